package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// pagesEvery is the interval at which the pages of the program's file are unmapped.
const pagesEvery = time.Minute

// dropPages unmaps the pages of the program's file until the context ends. The program's
// start touches nearly all of them, a failing pod many, and an idle node few. The kernel
// has them in its page cache, from which it can drop them when the node needs memory, and
// maps again what is used, 64 KiB at a time, without reading the file.
func dropPages(ctx context.Context) {
	tick := time.NewTicker(pagesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			unmap(programMappings("/proc/self"))
		}
	}
}

// unmap drops pages of a file from the process's memory. Where that fails, they stay.
func unmap(all []mapping) {
	for _, m := range all {
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, m.start, m.end-m.start, syscall.MADV_DONTNEED)
	}
}

// mapping is a range of addresses.
type mapping struct{ start, end uintptr }

// programMappings returns where a process, given by its directory in /proc, has mapped its
// own program without the right to write: what is unmapped there can be read again (proc(5)).
func programMappings(process string) []mapping {
	program, err := os.Readlink(process + "/exe")
	if err != nil {
		return nil
	}
	file, err := os.Open(process + "/maps") //nolint:gosec // a constant path
	if err != nil {
		return nil
	}
	defer file.Close() //nolint:errcheck // was read only
	var out []mapping
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var m mapping
		var rights string
		_, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &m.start, &m.end, &rights)
		if err == nil && !strings.Contains(rights, "w") && strings.HasSuffix(lines.Text(), " "+program) {
			out = append(out, m)
		}
	}
	return out
}
