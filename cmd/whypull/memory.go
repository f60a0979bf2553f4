package main

import (
	"io/fs"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// cgroupRoot is where a container sees its own cgroup.
const cgroupRoot = "/sys/fs/cgroup"

// memoryShare is the percentage of the container's memory limit that Go's runtime
// tries to stay below; the rest is for what it does not count, such as the
// kernel's buffers and files in memory.
const memoryShare = 85

// limitMemory has the garbage collector respect the container's memory limit,
// unless GOMEMLIMIT says what it has to respect. It returns the limit in bytes,
// 0 if it sets none.
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

func limitOwnMemory() int64 {
	return limitMemory(os.DirFS(cgroupRoot), os.LookupEnv, debug.SetMemoryLimit)
}

// cgroupLimit returns the memory limit of a cgroup in bytes, of version 2 or 1; 0
// if it has none.
func cgroupLimit(cgroup fs.FS) int64 {
	for _, file := range []string{"memory.max", "memory/memory.limit_in_bytes"} {
		text, err := fs.ReadFile(cgroup, file)
		if err != nil {
			continue
		}
		limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil || limit < 0 || limit > math.MaxInt64/2 { // "max", or what version 1 has for it
			return 0
		}
		return limit
	}
	return 0
}
