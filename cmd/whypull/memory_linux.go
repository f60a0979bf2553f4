package main

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/whypull/whypull/agent"
)

// smallEvery is the interval at which the process is made smaller: that of the kubelet's
// probes, after which an idle node has touched all that it needs.
const smallEvery = 10 * time.Second

// idleGC and burstGC are GOGC, in percent: as a rule the agent allocates little, and a small
// heap costs nothing; for smallEvery after many pods have begun to fail, most of what is
// allocated is soon garbage, and each collection keeps a processor from the pods. Go's
// memory limit holds.
const (
	idleGC  = 50
	burstGC = 200
)

// keepSmall keeps the process small until the context ends. It collects garbage early, except
// in a burst, and unmaps the pages of the program's file. The program's start
// touches nearly all of those, a failing pod many, and an idle node few. The kernel has them
// in its page cache, from which it can drop them when the node needs memory, and maps again
// what is used, 64 KiB at a time, without reading the file.
func keepSmall(ctx context.Context, pods *agent.Pods) {
	var last int
	gc := func(percent int) { // each call stops all goroutines for a moment
		if percent != last && os.Getenv("GOGC") == "" {
			debug.SetGCPercent(percent)
		}
		last = percent
	}
	gc(idleGC)
	program := programMappings("/proc/self")
	tick := time.NewTicker(smallEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pods.Burst():
			gc(burstGC)
			tick.Reset(smallEvery)
		case <-tick.C:
			gc(idleGC)
			unmap(program)
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
// own program as the file has it, so that what is unmapped there can be read again. Neither
// may it be written, nor has it been: a linker of a program that is not static relocates a
// part before it takes away the right to write (proc(5), Anonymous).
func programMappings(process string) []mapping {
	program, err := os.Readlink(process + "/exe")
	if err != nil {
		return nil
	}
	file, err := os.Open(process + "/smaps") //nolint:gosec // a constant path
	if err != nil {
		return nil
	}
	defer file.Close() //nolint:errcheck // was read only
	var out []mapping
	var m mapping
	var ours bool
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) < 2:
		case fields[0] == "Anonymous:":
			if ours && fields[1] == "0" {
				out = append(out, m)
			}
		case !strings.HasSuffix(fields[0], ":"): // the first line of a mapping
			_, err := fmt.Sscanf(fields[0], "%x-%x", &m.start, &m.end)
			ours = err == nil && !strings.Contains(fields[1], "w") && strings.HasSuffix(lines.Text(), " "+program)
		}
	}
	return out
}

// cgroupRoot is the directory in which a container finds its own cgroup.
const cgroupRoot = "/sys/fs/cgroup"

// memoryShare is the percentage of the container's memory limit that becomes Go's
// soft limit. The rest is for memory that Go's runtime does not count, such as the
// program's own pages (a quarter of the manifest's limit), socket buffers and files in
// a tmpfs, and for what it exceeds its limit by.
const memoryShare = 54

// limitMemory sets Go's soft memory limit from the container's limit, unless the
// environment has GOMEMLIMIT. It returns the limit in bytes; 0 if it set none.
func limitMemory(cgroup fs.FS, lookUp func(string) (string, bool), set func(int64) int64) int64 {
	if _, there := lookUp("GOMEMLIMIT"); there {
		return 0
	}
	limit := cgroupLimit(cgroup) / 100 * memoryShare
	if limit > 0 {
		set(limit)
	}
	return limit
}

// limitOwnMemory is limitMemory for this process.
func limitOwnMemory() int64 {
	return limitMemory(os.DirFS(cgroupRoot), os.LookupEnv, debug.SetMemoryLimit)
}

// limitProcessors lets Go's code run on one processor at a time, unless the environment
// has GOMAXPROCS. However much a node's pods give the agent to do, the others are left to
// them; and goroutines that wake each other on two processors take a quarter more
// processor time for the same work. Package runtime takes one for each of the node's.
func limitProcessors(lookUp func(string) (string, bool), set func(int) int) {
	if _, there := lookUp("GOMAXPROCS"); !there {
		set(1)
	}
}

// cgroupLimit returns the memory limit in bytes of a cgroup of version 2 or 1; 0 if
// it has none.
func cgroupLimit(cgroup fs.FS) int64 {
	for _, file := range []string{"memory.max", "memory/memory.limit_in_bytes"} {
		text, err := fs.ReadFile(cgroup, file)
		if err != nil {
			continue
		}
		limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil || limit < 0 || limit > math.MaxInt64/2 { // "max", or version 1's equivalent
			return 0
		}
		return limit
	}
	return 0
}
