package disk_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/whypull/whypull/cri/disk"
)

// tmpfs mounts a tmpfs at a path below a directory.
func tmpfs(t *testing.T, dir, name, options string) string {
	t.Helper()
	at := mkdir(t, dir, name)
	switch err := unix.Mount("tmpfs", at, "tmpfs", 0, options); {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		t.Skip("this process may not mount")
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, 0); err != nil {
			t.Error(err)
		}
	})
	return at
}

func mkdir(t *testing.T, dir, name string) string {
	t.Helper()
	at := filepath.Join(dir, name)
	if err := os.MkdirAll(at, 0o700); err != nil {
		t.Fatal(err)
	}
	return at
}

func filesystems(t *testing.T, root string, places ...disk.Place) []disk.Filesystem {
	t.Helper()
	all, err := disk.Filesystems(t.Context(), root, places)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func only(t *testing.T, root string, p disk.Place) disk.Filesystem {
	t.Helper()
	all := filesystems(t, root, p)
	if len(all) != 1 {
		t.Fatalf("%+v, want one file system", all)
	}
	return all[0]
}

func content(path string, standIns ...string) disk.Place {
	return disk.Place{Use: disk.UseContent, Path: path, StandIns: standIns}
}

// On the node itself every directory is accessible, and the numbers are those
// of the system call.
func TestOnTheNodeItself(t *testing.T) {
	dir := t.TempDir()
	for _, root := range []string{"", "/"} {
		f := only(t, root, content(dir))
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err != nil {
			t.Fatal(err)
		}
		if f.Unseen != "" || f.Path != dir || f.Seen != "" || f.Presumed || f.Total != s.Blocks*uint64(s.Frsize) || f.TotalInodes != s.Files || f.Device == 0 {
			t.Errorf("root %q: %+v, want %+v", root, f, s)
		}
		if f.Free > f.Total || f.Full() {
			t.Errorf("root %q: %+v", root, f)
		}
	}
	if f := only(t, "/", content(filepath.Join(dir, "nothing"))); f.Unseen != disk.UnseenMissing || f.Total != 0 || f.Full() {
		t.Errorf("missing: %+v", f)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if f := only(t, "/", content(filepath.Join(dir, "file/below"))); f.Unseen != disk.UnseenMissing {
		t.Errorf("below a file: %+v", f)
	}
}

// Used-up bytes and used-up inodes are reported separately.
func TestFullFilesystems(t *testing.T) {
	const size = 1 << 20
	for name, tc := range map[string]struct {
		options        string
		fill           func(t *testing.T, dir string)
		full, noInodes bool
	}{
		"empty":     {"size=1m,nr_inodes=64", func(*testing.T, string) {}, false, false},
		"no bytes":  {"size=1m,nr_inodes=64", fillBytes, true, false},
		"no inodes": {"size=1m,nr_inodes=64", fillInodes, true, true},
		"unbounded": {"size=1m,nr_inodes=0", fillInodesUpTo100, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			at := tmpfs(t, t.TempDir(), "store", tc.options)
			tc.fill(t, at)
			f := only(t, "/", content(at))
			if f.Full() != tc.full || f.NoInodes() != tc.noInodes || f.Total != size {
				t.Errorf("%+v: full %t, no inodes %t", f, f.Full(), f.NoInodes())
			}
		})
	}
}

func fillBytes(t *testing.T, dir string) {
	if err := os.WriteFile(filepath.Join(dir, "large"), make([]byte, 2<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal("it does not fill:", err)
	}
}

func fillInodes(t *testing.T, dir string) {
	for n := range 100 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), nil, 0o600); errors.Is(err, unix.ENOSPC) {
			return
		}
	}
	t.Fatal("it does not fill")
}

func fillInodesUpTo100(t *testing.T, dir string) {
	for n := range 100 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Below a root, only what is mounted there is the node's. The rest belongs to
// the agent's own container, and its file system is not reported.
func TestBelowRoot(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "host")
	store := tmpfs(t, root, "var/lib/containerd/tmpmounts", "size=3m")
	tmpfs(t, dir, "other", "size=5m")
	mkdir(t, root, "var/tmp")
	mkdir(t, store, "below")
	for _, tc := range []struct {
		place disk.Place
		want  disk.Unseen
		seen  string
	}{
		{content("/var/lib/containerd/tmpmounts"), "", ""},
		{content("/var/lib/containerd/tmpmounts/below"), "", ""},
		{content("/var/lib/containerd/tmpmounts/nothing"), disk.UnseenMissing, ""},
		{content("/var/lib/containerd/tmpmounts/../../../tmp"), disk.UnseenNotMounted, ""},
		{content("/var/tmp"), disk.UnseenNotMounted, ""},
		{content("/var/lib/containerd"), disk.UnseenNotMounted, ""},
		{content("/var/lib/containerd/content"), disk.UnseenNotMounted, ""},
		{content("/../other"), disk.UnseenNotMounted, ""},
		{content("/"), disk.UnseenNotMounted, ""},
		{content("/var/lib/containerd/content", "/var/tmp", "/var/lib/containerd/tmpmounts"), "", "/var/lib/containerd/tmpmounts"},
		{content("/var/lib/containerd/content", "/var/tmp"), disk.UnseenNotMounted, ""},
	} {
		f := only(t, root, tc.place)
		if f.Unseen != tc.want || f.Path != tc.place.Path || f.Seen != tc.seen || f.Presumed != (tc.seen != "") {
			t.Errorf("%+v: %+v", tc.place, f)
		}
		if seen := tc.want == ""; seen != (f.Total == 3<<20) || !seen && (f.Total != 0 || f.Device != 0) {
			t.Errorf("%+v: %+v", tc.place, f)
		}
	}
	if f := only(t, root+"/", content("/var/lib/containerd/tmpmounts")); f.Unseen != "" {
		t.Errorf("root with a slash: %+v", f)
	}
	if f := only(t, filepath.Join(dir, "hos"), content("/t/var/lib/containerd/tmpmounts")); f.Unseen != disk.UnseenNotMounted {
		t.Errorf("another root: %+v", f)
	}
}

// Links resolve as on the node and do not leave the root.
func TestLinksStayBelowTheRoot(t *testing.T) {
	dir := t.TempDir()
	outside := tmpfs(t, dir, "data", "size=7m")
	root := tmpfs(t, dir, "host", "size=1m")
	tmpfs(t, root, "data", "size=2m")
	mkdir(t, root, "var/lib")
	for name, target := range map[string]string{"absolute": outside, "up": "../../../../../../../../.." + outside, "moved": "/data"} {
		if err := os.Symlink(target, filepath.Join(root, "var/lib", name)); err != nil {
			t.Fatal(err)
		}
	}
	if f := only(t, root, content("/var/lib/moved")); f.Unseen != "" || f.Total != 2<<20 {
		t.Errorf("moved: %+v", f)
	}
	for _, name := range []string{"absolute", "up"} {
		if f := only(t, root, content("/var/lib/"+name)); f.Unseen != disk.UnseenMissing {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// Places on one file system are one entry, with all their uses, in order.
func TestPlacesOnOneDevice(t *testing.T) {
	dir := t.TempDir()
	one, two := tmpfs(t, dir, "one", "size=1m"), tmpfs(t, dir, "two", "size=2m")
	mkdir(t, one, "a")
	gone := filepath.Join(dir, "gone")
	all := filesystems(t, "/",
		disk.Place{Use: disk.UseTemporary, Path: two},
		disk.Place{Use: disk.UseImages, Path: filepath.Join(one, "a")},
		disk.Place{Use: disk.UseImages, Path: one},
		disk.Place{Use: disk.UseContent, Path: gone},
		disk.Place{Use: disk.UseContent, Path: filepath.Join(one, "b"), StandIns: []string{one}},
		disk.Place{Use: disk.UseImages, Path: gone},
	)
	if len(all) != 3 {
		t.Fatalf("%+v", all)
	}
	for n, want := range []disk.Filesystem{
		{Path: two, Uses: []disk.Use{disk.UseTemporary}, Total: 2 << 20},
		{Path: filepath.Join(one, "a"), Uses: []disk.Use{disk.UseContent, disk.UseImages}, Total: 1 << 20, Presumed: true},
		{Path: gone, Uses: []disk.Use{disk.UseContent, disk.UseImages}, Unseen: disk.UnseenMissing},
	} {
		got := all[n]
		if got.Path != want.Path || !slices.Equal(got.Uses, want.Uses) || got.Total != want.Total || got.Presumed != want.Presumed || got.Unseen != want.Unseen {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

// Of stacked mounts, the top one counts.
func TestStackedMounts(t *testing.T) {
	dir := t.TempDir()
	root := tmpfs(t, dir, "host", "size=1m")
	tmpfs(t, root, "store", "size=2m")
	tmpfs(t, root, "store", "size=3m")
	if f := only(t, root, content("/store")); f.Total != 3<<20 {
		t.Errorf("%+v", f)
	}
}

// A read-only mount is examined too.
func TestReadOnly(t *testing.T) {
	at := tmpfs(t, t.TempDir(), "store", "size=1m")
	if err := unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if f := only(t, "/", content(at)); f.Total != 1<<20 {
		t.Errorf("%+v", f)
	}
}

// Without time left nothing is known, and no file system is reported as full.
func TestContextEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	all, err := disk.Filesystems(ctx, "/", disk.Containerd("/var/lib/containerd", nil))
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	for _, f := range all {
		if f.Unseen != disk.UnseenTimeout || f.Full() {
			t.Errorf("%+v", f)
		}
	}
}

// An error of the file system itself is reported, and no stand-in is tried.
func TestFailed(t *testing.T) {
	dir := t.TempDir()
	if f := only(t, "/", content(filepath.Join(dir, strings.Repeat("x", 300)), dir)); f.Unseen != disk.UnseenFailed || f.Total != 0 {
		t.Errorf("%+v", f)
	}
}

// A directory without access is reported as such.
func TestForbidden(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may look at everything")
	}
	dir := t.TempDir()
	closed := mkdir(t, dir, "closed")
	mkdir(t, closed, "store")
	if err := os.Chmod(closed, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(closed, 0o700) })
	if f := only(t, "/", content(filepath.Join(closed, "store"))); f.Unseen != disk.UnseenForbidden {
		t.Errorf("%+v", f)
	}
}
