package box

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// hierarchy is one mounted cgroup hierarchy of the machine.
type hierarchy struct {
	mount   string // mount point on the machine
	unified bool   // cgroup v2
	options string // mount options, such as "memory" or "none,name=systemd"
}

// hierarchies returns the machine's cgroup hierarchies. It ignores a v2 hierarchy if
// there is a v1 one, because then v2 has no controllers.
func hierarchies(mountinfo string) []hierarchy {
	var v1, v2 []hierarchy
	for line := range strings.SplitSeq(mountinfo, "\n") {
		before, after, ok := strings.Cut(line, " - ")
		fields, tail := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(tail) < 3 {
			continue
		}
		switch tail[0] {
		case "cgroup":
			v1 = append(v1, hierarchy{mount: fields[4], options: controllers(tail[2])})
		case "cgroup2":
			v2 = append(v2, hierarchy{mount: fields[4], unified: true})
		}
	}
	if len(v1) > 0 {
		return v1
	}
	return v2
}

// controllers returns the mount options that select a hierarchy.
func controllers(options string) string {
	var keep []string
	for o := range strings.SplitSeq(options, ",") {
		switch {
		case strings.HasPrefix(o, "name="):
			return "none," + o
		case o != "rw" && o != "ro" && o != "clone_children" && o != "xattr" && !strings.Contains(o, "="):
			keep = append(keep, o)
		}
	}
	return strings.Join(keep, ",")
}

func machineHierarchies() ([]hierarchy, error) {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("mount table: %w", err)
	}
	found := hierarchies(string(mountinfo))
	if len(found) == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted on this machine")
	}
	return found, nil
}

// joinCgroups creates the box's cgroup in every hierarchy and moves the calling process
// into it.
func joinCgroups(spec Spec) error {
	all, err := machineHierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		if err := h.join(spec.Cgroup, spec.Precedence); err != nil {
			return fmt.Errorf("cgroup %s in %s: %w", spec.Cgroup, h.mount, err)
		}
	}
	return nil
}

func (h hierarchy) join(name string, precedence bool) error {
	dir := filepath.Join(h.mount, name)
	if h.unified {
		if err := enableControllers(h.mount); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { // #nosec G301 -- the kernel's own mode
		return err
	}
	if strings.Contains(h.options, "cpuset") {
		if err := inheritCPUSet(h.mount, dir); err != nil {
			return err
		}
	}
	if precedence {
		if err := h.takePrecedence(dir); err != nil {
			return err
		}
	}
	return writeExisting(filepath.Join(dir, "cgroup.procs"), "0")
}

// takePrecedence gives a cgroup 100 times the default weight.
func (h hierarchy) takePrecedence(dir string) error {
	file, weight := "cpu.weight", "10000"
	if !h.unified {
		file, weight = "cpu.shares", "102400"
	}
	if err := writeExisting(filepath.Join(dir, file), weight); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil // another v1 hierarchy, or no controller of processors
}

// inheritCPUSet copies the CPUs and memory nodes of the parent to a new v1 cpuset: an
// empty one accepts no process.
func inheritCPUSet(parent, dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(parent, name)) // #nosec G304 -- a cgroup file
		if err != nil {
			return err
		}
		if err := writeExisting(filepath.Join(dir, name), string(value)); err != nil {
			return err
		}
	}
	return writeExisting(filepath.Join(dir, "cgroup.clone_children"), "1")
}

// enableControllers enables all controllers for the children of a v2 cgroup.
func enableControllers(dir string) error {
	list, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers")) // #nosec G304 -- a cgroup file
	if err != nil {
		return err
	}
	for c := range strings.FieldsSeq(string(list)) {
		if err := writeExisting(filepath.Join(dir, "cgroup.subtree_control"), "+"+c); err != nil {
			return err
		}
	}
	return nil
}

// leaveRoot moves the calling process out of the root of its own v2 namespace: a cgroup
// with processes cannot enable controllers for its children.
func leaveRoot(dir string) error {
	if err := enterLeaf(dir); err != nil {
		return err
	}
	return enableControllers(dir)
}

// enterLeaf moves the calling process from a cgroup to a new one below it, in which it and
// its children share what a node's services have beside the pods.
func enterLeaf(dir string) error {
	leaf := filepath.Join(dir, "lab")
	if err := os.MkdirAll(leaf, 0o755); err != nil { // #nosec G301 -- the kernel's own mode
		return err
	}
	return writeExisting(filepath.Join(leaf, "cgroup.procs"), "0")
}

// writeExisting writes to a kernel file and never creates one.
func writeExisting(path, value string) error {
	f, err := os.OpenFile(filepath.Clean(path), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// RemoveCgroups removes the named cgroup and its children from every hierarchy. It
// retries busy cgroups until ctx is done.
func RemoveCgroups(ctx context.Context, name string) error {
	all, err := machineHierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		if err := removeTree(ctx, filepath.Join(h.mount, name)); err != nil {
			return err
		}
	}
	return nil
}

func removeTree(ctx context.Context, dir string) error {
	for {
		err := rmdirAll(dir)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cgroup %s is still in use: %w", dir, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// rmdirAll removes a tree of cgroup directories from the leaves up; their files need
// not be removed.
func rmdirAll(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := rmdirAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}
