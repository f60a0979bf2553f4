package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// What is unmapped is code and read-only data of the program, and has the same content
// afterwards, also in programs that a linker has relocated, as this one is with -race.
func TestDropPages(t *testing.T) {
	all := programMappings("/proc/self")
	code := reflect.ValueOf(TestDropPages).Pointer()
	if !slices.ContainsFunc(all, func(m mapping) bool { return m.start <= code && code < m.end }) {
		t.Fatalf("the program's code is not in %x", all)
	}
	content, before := contentOf(t, all), residentFile(t)
	unmap(all)
	if after := residentFile(t); after >= before {
		t.Errorf("%d KiB of files mapped before, %d after", before, after)
	}
	if contentOf(t, all) != content {
		t.Error("the content has changed")
	}
}

// contentOf returns a checksum of what the process has in memory there.
func contentOf(t *testing.T, all []mapping) [sha256.Size]byte {
	t.Helper()
	memory, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close() //nolint:errcheck // was read only
	sum := sha256.New()
	for _, m := range all {
		if _, err := io.Copy(sum, io.NewSectionReader(memory, int64(m.start), int64(m.end-m.start))); err != nil {
			t.Fatal(err)
		}
	}
	return [sha256.Size]byte(sum.Sum(nil))
}

// residentFile returns how much of files the process has in memory, in KiB (proc(5)).
func residentFile(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(status), "RssFile:")
	if !found {
		t.Skip("the kernel does not say what is mapped of files")
	}
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}
