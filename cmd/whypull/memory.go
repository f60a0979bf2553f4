package main

import (
	"io/fs"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

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
