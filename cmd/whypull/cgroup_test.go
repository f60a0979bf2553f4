//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// memoryCgroup is a cgroup with a memory limit, of either version.
type memoryCgroup struct {
	dir  string
	seen string // where a container finds it
	v2   bool
}

// newMemoryCgroup returns an empty cgroup with a memory limit in bytes, which is
// removed with the test. It skips the test where none can be created.
func newMemoryCgroup(tb testing.TB, limit int) memoryCgroup {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("only root can create a cgroup with a memory limit")
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		tb.Skip("there are no cgroups:", err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		tb.Skip("there are no cgroups:", err)
	}
	var tried []error
	for _, c := range memoryHierarchies(string(mounts)) {
		for _, parent := range parents(c, string(own)) {
			g := c
			g.dir = filepath.Join(parent, "whypull-test-"+strconv.Itoa(os.Getpid()))
			err := g.create(limit)
			if err == nil {
				tb.Cleanup(func() {
					if err := os.Remove(g.dir); err != nil {
						tb.Error(err)
					}
				})
				return g
			}
			tried = append(tried, err)
		}
	}
	tb.Skip("no cgroup with a memory limit can be created here:", tried)
	return memoryCgroup{}
}

// memoryHierarchies returns the mounted hierarchies that may limit memory; dir is
// the mount point.
func memoryHierarchies(mountinfo string) []memoryCgroup {
	var out []memoryCgroup
	for line := range strings.Lines(mountinfo) {
		before, after, _ := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		switch {
		case len(fields) < 5 || len(kind) < 3:
		case kind[0] == "cgroup2":
			out = append(out, memoryCgroup{dir: fields[4], seen: cgroupRoot, v2: true})
		case kind[0] == "cgroup" && strings.Contains(","+kind[2]+",", ",memory,"):
			out = append(out, memoryCgroup{dir: fields[4], seen: filepath.Join(cgroupRoot, "memory")})
		}
	}
	return out
}

// parents returns the cgroups of a hierarchy in which one may be created: the
// process's own, those above it, and the root. In version 2 one that has processes
// cannot limit the memory of its children.
func parents(c memoryCgroup, own string) []string {
	path := "/"
	for line := range strings.Lines(strings.TrimSpace(own)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) == 3 && (c.v2 && fields[1] == "" || !c.v2 && strings.Contains(","+fields[1]+",", ",memory,")) {
			path = filepath.Clean(fields[2])
		}
	}
	out := []string{filepath.Join(c.dir, path)}
	for path != "/" {
		path = filepath.Dir(path)
		out = append(out, filepath.Join(c.dir, path))
	}
	return out
}

// create creates the cgroup, or leaves nothing behind.
func (g memoryCgroup) create(limit int) error {
	if err := os.Mkdir(g.dir, 0o755); err != nil { // #nosec G301 -- the kernel's own mode
		return err
	}
	name := "memory.limit_in_bytes"
	if g.v2 {
		name = "memory.max"
		_ = g.write("memory.swap.max", "0") // not there without swap
	}
	if err := g.write(name, strconv.Itoa(limit)); err != nil {
		_ = os.Remove(g.dir)
		return err
	}
	return nil
}

// write writes a file of the cgroup, which the kernel creates.
func (g memoryCgroup) write(name, text string) error {
	f, err := os.OpenFile(filepath.Join(g.dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // the write has succeeded or failed
	_, err = f.WriteString(text)
	return err
}

// command returns a command that runs in the cgroup, and sees it as a container
// sees its own.
func (g memoryCgroup) command(program string, args ...string) *exec.Cmd {
	const script = `echo $$ >"$1/cgroup.procs" && mount --bind "$1" "$2" && shift 2 && exec "$@"`
	cmd := exec.Command("sh", append([]string{"-ec", script, "sh", g.dir, g.seen, program}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return cmd
}

// kills returns how many processes the kernel has killed for lack of memory.
func (g memoryCgroup) kills() (int, error) {
	if g.v2 {
		return g.value("memory.events", "oom_kill")
	}
	return g.value("memory.oom_control", "oom_kill")
}

// anonymous returns the bytes of memory that belong to no file.
func (g memoryCgroup) anonymous() (int, error) {
	if g.v2 {
		return g.value("memory.stat", "anon")
	}
	return g.value("memory.stat", "rss")
}

// workingSet returns the bytes that the kubelet takes for the memory in use, and
// evicts pods for: all but the pages of files that have not been used of late.
func (g memoryCgroup) workingSet() (int, error) {
	all, inactive := "memory.usage_in_bytes", "total_inactive_file"
	if g.v2 {
		all, inactive = "memory.current", "inactive_file"
	}
	text, err := os.ReadFile(filepath.Join(g.dir, all))
	if err != nil {
		return 0, err
	}
	usage, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, err
	}
	unused, err := g.value("memory.stat", inactive)
	return usage - unused, err
}

// value returns a number of one of the cgroup's files.
func (g memoryCgroup) value(file, name string) (int, error) {
	text, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			return strconv.Atoi(n)
		}
	}
	return 0, fmt.Errorf("%s has no %s: %s", file, name, text)
}
