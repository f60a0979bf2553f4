package box

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// root is a root file system under construction.
type root struct {
	dir  string // where it is before it becomes the root
	spec Spec
}

// buildRoot creates the box's root file system and moves into it.
func buildRoot(spec Spec) error {
	r := root{dir: filepath.Join(spec.Dir, "root"), spec: spec}
	steps := []func() error{
		r.base, r.system, r.machineFiles, r.skeleton, r.kernel, r.tunables, r.devices, r.cgroups, r.binds, r.links, r.pivot,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("root file system: %w", err)
		}
	}
	return nil
}

func (r root) path(inside string) string { return filepath.Join(r.dir, inside) }

func (r root) mkdir(inside string, mode fs.FileMode) error {
	return os.MkdirAll(r.path(inside), mode)
}

func (r root) mount(source, inside, kind string, flags uintptr, data string) error {
	if err := r.mkdir(inside, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(source, r.path(inside), kind, flags, data); err != nil {
		return fmt.Errorf("mounting %s on %s: %w", source, inside, err)
	}
	return nil
}

func (r root) bind(source, inside string, readOnly bool) error {
	if err := r.mount(source, inside, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if !readOnly {
		return nil
	}
	return unix.Mount("", r.path(inside), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

// base detaches from the machine's mounts and creates an empty root.
func (r root) base() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := os.MkdirAll(r.dir, 0o750); err != nil {
		return err
	}
	if err := unix.Mount("lab", r.dir, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("tmpfs: %w", err)
	}
	for dir, mode := range map[string]fs.FileMode{"/etc": 0o755, "/run": 0o755, "/root": 0o700, "/tmp": 0o777 | fs.ModeSticky} {
		if err := r.mkdir(dir, mode); err != nil {
			return err
		}
	}
	return nil
}

// system mounts the machine's programs and libraries.
func (r root) system() error {
	if err := r.bind("/usr", "/usr", true); err != nil {
		return err
	}
	for _, dir := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		target, err := os.Readlink(dir)
		switch {
		case err == nil:
			err = os.Symlink(target, r.path(dir))
		case errors.Is(err, fs.ErrNotExist):
			err = nil
		default:
			err = r.bind(dir, dir, true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// machineFiles copies the files of /etc that the machine's programs need.
func (r root) machineFiles() error {
	for _, name := range []string{"/etc/ld.so.cache", "/etc/protocols", "/etc/services", "/etc/alternatives"} {
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := copyTree(name, r.path(name)); err != nil {
			return err
		}
	}
	return nil
}

func (r root) skeleton() error { return copyTree(r.spec.Skeleton, r.dir) }

// copyTree copies files, directories and symbolic links.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		return copyEntry(path, filepath.Join(to, relative), entry)
	})
}

func copyEntry(from, to string, entry fs.DirEntry) error {
	switch {
	case entry.IsDir():
		return os.MkdirAll(to, 0o755) // #nosec G301 -- the node's files are for all its users
	case entry.Type()&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	default:
		info, err := entry.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(filepath.Clean(from))
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, info.Mode().Perm()) // #nosec G703 -- below the root in the making
	}
}

func (r root) kernel() error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := r.mount("proc", "/proc", "proc", flags, ""); err != nil {
		return err
	}
	return r.mount("sysfs", "/sys", "sysfs", flags, "")
}

// tunables hides the kernel settings that the kubelet wants to change. They are not
// namespaced, and the machine's must not change.
func (r root) tunables() error {
	values := map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
	}
	for name, value := range values {
		target := r.path("/proc/sys/" + name)
		if _, err := os.Stat(target); err != nil {
			continue
		}
		source := r.path("/run/lab/sysctl/" + name)
		if err := os.MkdirAll(filepath.Dir(source), 0o750); err != nil {
			return err
		}
		if err := os.WriteFile(source, []byte(value+"\n"), 0o600); err != nil {
			return err
		}
		if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("covering %s: %w", target, err)
		}
	}
	return nil
}

// devices creates a /dev with what containers and the kubelet use.
func (r root) devices() error {
	if err := r.mount("dev", "/dev", "tmpfs", unix.MS_NOSUID, "mode=755"); err != nil {
		return err
	}
	nodes := map[string][2]uint32{
		"null": {1, 3}, "zero": {1, 5}, "full": {1, 7}, "random": {1, 8}, "urandom": {1, 9},
		"kmsg": {1, 11}, "tty": {5, 0}, "fuse": {10, 229},
	}
	for name, number := range nodes {
		device := int(unix.Mkdev(number[0], number[1])) // #nosec G115 -- fits by construction
		if err := unix.Mknod(r.path("/dev/"+name), unix.S_IFCHR|0o666, device); err != nil {
			return fmt.Errorf("device %s: %w", name, err)
		}
		if err := os.Chmod(r.path("/dev/"+name), 0o666); err != nil { // #nosec G302 -- a device
			return err
		}
	}
	if err := r.mount("devpts", "/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"); err != nil {
		return err
	}
	if err := r.mount("shm", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return err
	}
	for name, target := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(target, r.path("/dev/"+name)); err != nil {
			return err
		}
	}
	return nil
}

// cgroups mounts every hierarchy with the box's cgroup as its root.
func (r root) cgroups() error {
	all, err := machineHierarchies()
	if err != nil {
		return err
	}
	if all[0].unified {
		if err := r.mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, ""); err != nil {
			return err
		}
		return leaveRoot(r.path("/sys/fs/cgroup"))
	}
	if err := r.mount("cgroup", "/sys/fs/cgroup", "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	for _, h := range all {
		if err := r.cgroup(h); err != nil {
			return err
		}
		if slices.Contains(strings.Split(h.options, ","), "cpu") {
			// Beside the pods' cgroup each process would weigh as much as a processor of theirs.
			if err := enterLeaf(r.path("/sys/fs/cgroup/cpu")); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r root) cgroup(h hierarchy) error {
	name := strings.TrimPrefix(h.options, "none,name=")
	if err := r.mount("cgroup", "/sys/fs/cgroup/"+name, "cgroup", 0, h.options); err != nil {
		return err
	}
	alone := strings.Split(name, ",")
	if len(alone) == 1 {
		return nil
	}
	for _, controller := range alone {
		if err := os.Symlink(name, r.path("/sys/fs/cgroup/"+controller)); err != nil {
			return err
		}
	}
	return nil
}

func (r root) binds() error {
	for _, inside := range slices.Sorted(maps.Keys(r.spec.Writable)) {
		if err := r.bind(r.spec.Writable[inside], inside, false); err != nil {
			return err
		}
	}
	for _, inside := range slices.Sorted(maps.Keys(r.spec.ReadOnly)) {
		if err := r.bind(r.spec.ReadOnly[inside], inside, true); err != nil {
			return err
		}
	}
	return nil
}

func (r root) links() error {
	for inside, target := range r.spec.Links {
		if err := r.mkdir(filepath.Dir(inside), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(target, r.path(inside)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// pivot makes the new tree the root and detaches the machine's.
func (r root) pivot() error {
	if err := r.mkdir("/.machine", 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(r.dir, r.path("/.machine")); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Unmount("/.machine", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the machine's root: %w", err)
	}
	if err := os.Remove("/.machine"); err != nil {
		return err
	}
	// The kubelet and the runtime propagate mounts to containers.
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}
