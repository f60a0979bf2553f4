package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// What is unmapped belongs to the program's file and has never been written; the program
// goes on afterwards, in code and in read-only data.
func TestDropPages(t *testing.T) {
	all := programMappings("/proc/self")
	if len(all) == 0 {
		t.Fatal("the program is not mapped")
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, program) && !strings.Contains(strings.Fields(line)[1], "w") {
			want++
		}
	}
	if len(all) != want {
		t.Errorf("%d mappings, want the %d that are not writable of\n%s", len(all), want, maps)
	}
	before := residentFile(t)
	unmap(all)
	after := residentFile(t)
	if after >= before {
		t.Errorf("%d KiB of files mapped before, %d after", before, after)
	}
	if err := root().Help(); err != nil { // code and texts all over the program
		t.Error(err)
	}
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
