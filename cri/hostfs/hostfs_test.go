//go:build linux

package hostfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/whypull/whypull/cri/hostfs/hostfstest"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	root := hostfstest.New(t, map[string]string{
		"absolute":     "-> /etc/ssl",
		"relative":     "-> a/../b",
		"up":           "-> ../../../../etc",
		"deep/chain":   "-> /absolute/certs",
		"etc/ssl/back": "-> ..",
		"slash":        "-> /",
	})
	f := New(root)
	for name, want := range map[string]string{
		"/absolute/x":      "/etc/ssl/x",
		"/relative":        "/b",
		"/up/passwd":       "/etc/passwd", // never above the root
		"/deep/chain/y":    "/etc/ssl/certs/y",
		"/etc/ssl/back/z":  "/etc/z",
		"/none/../x":       "/x",
		"/slash/slash/etc": "/etc",
		"no/slash/../etc":  "/no/etc",
		"/../../etc":       "/etc",
		"/":                "/",
	} {
		got, err := f.Resolve(name)
		if err != nil || got != filepath.Join(root, want) || f.Within(got) != want {
			t.Errorf("%s: got %s, %v; want %s", name, got, err, filepath.Join(root, want))
		}
	}
	for _, dir := range []string{"", "/", "//"} {
		f := New(dir)
		if got, err := f.Resolve("/etc/../x"); err != nil || got != "/x" || f.Within(got) != "/x" || !f.IsHost() || f.Root() != "/" {
			t.Errorf("root %q: got %s, %v", dir, got, err)
		}
	}
	if f.IsHost() || f.Root() != root || New(root+"/") != f {
		t.Errorf("root %q, is the host's: %t", f.Root(), f.IsHost())
	}
}

// Links resolve as on the node, anywhere in a path.
func TestReadFollowsLinks(t *testing.T) {
	t.Parallel()
	const outside = "/etc/hostname-of-this-machine"
	root := hostfstest.New(t, map[string]string{
		"etc/real":    "text",
		"absolute":    "-> /etc/real",
		"relative":    "-> etc/real",
		"chain":       "-> /absolute",
		"dir":         "-> /etc",
		"up":          "-> ../../../../../../../../etc/real",
		"dangling":    "-> /nothing",
		"out":         "-> " + outside,
		"loop":        "-> /loop",
		"a":           "-> /b",
		"b":           "-> a",
		"self":        "-> self/x",
		"etc/file/x/": "",
		"magic":       "-> /proc/self/root/etc/passwd",
	})
	f := New(root)
	for _, name := range []string{"/etc/real", "/absolute", "/relative", "/chain", "/dir/real", "/up", "/dir/../etc/real", "etc/real"} {
		if got, err := f.ReadFile(name, 4); err != nil || string(got) != "text" {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		if there, err := f.Exists(name); !there || err != nil || !f.IsFile(name) || f.IsDir(name) {
			t.Errorf("%s: exists %t, %v", name, there, err)
		}
	}
	for _, name := range []string{"/dangling", "/out", "/etc/none", "/none/none", "/magic"} {
		if _, err := f.ReadFile(name, 4); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: error %v", name, err)
		}
		if there, err := f.Exists(name); there || err != nil || f.IsFile(name) || f.IsDir(name) {
			t.Errorf("%s: exists %t, %v", name, there, err)
		}
	}
	if got := f.First("/etc/none", "/etc", "/up", "/etc/real"); got != "/up" {
		t.Errorf("first file %q", got)
	}
	if got := f.First("/etc/none", "/loop"); got != "" {
		t.Errorf("first of no files %q", got)
	}
	for _, name := range []string{"/loop", "/a", "/b/c", "/self"} {
		if _, err := f.ReadFile(name, 4); !errors.Is(err, syscall.ELOOP) {
			t.Errorf("%s: error %v", name, err)
		}
		if _, err := f.Exists(name); !errors.Is(err, syscall.ELOOP) {
			t.Errorf("%s: error %v", name, err)
		}
		if _, err := f.Resolve(name); !errors.Is(err, syscall.ELOOP) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := f.Exists("/etc/real/x"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("below a file: error %v", err)
	}
}

// Only regular files are read, and only up to the limit.
func TestReadIsBounded(t *testing.T) {
	t.Parallel()
	root := hostfstest.New(t, map[string]string{"full": "12345678", "dir/": "", "link": "-> /pipe", "sub/full": "x"})
	check(t, syscall.Mkfifo(filepath.Join(root, "pipe"), 0o600)) // nothing writes to it
	huge := filepath.Join(root, "huge")
	check(t, os.WriteFile(huge, nil, 0o600))
	check(t, os.Truncate(huge, 1<<40))
	for _, f := range []struct {
		FS
		at string
	}{{New(root), "/"}, {New("/"), root + "/"}} {
		for name, want := range map[string]error{"pipe": ErrNotRegular, "dir": ErrNotRegular, "huge": ErrTooLarge, "full": nil} {
			if _, err := f.ReadFile(f.at+name, 8); !errors.Is(err, want) {
				t.Errorf("%s%s: error %v, want %v", f.at, name, err, want)
			}
		}
		if _, err := f.ReadFile(f.at+"full", 7); !errors.Is(err, ErrTooLarge) {
			t.Errorf("a byte too many: error %v", err)
		}
		if got, err := f.ReadStart(f.at+"full", 3); string(got) != "123" || err != nil {
			t.Errorf("the start is %q, %v", got, err)
		}
		if got, err := f.ReadStart(f.at+"huge", 3); len(got) != 3 || err != nil {
			t.Errorf("the start is %q, %v", got, err)
		}
		if got, err := f.Read(f.at+"full", 8); got.Changed.IsZero() || err != nil {
			t.Errorf("changed at %s, %v", got.Changed, err)
		}
	}
	f := New(root)
	if _, err := f.Open("/link"); !errors.Is(err, ErrNotRegular) {
		t.Errorf("a link to a pipe: error %v", err)
	}
	if info, err := f.Stat("/link"); err != nil || info.Mode().Type() != fs.ModeNamedPipe {
		t.Errorf("a pipe is %v, %v", info, err)
	}
	if path := (*fs.PathError)(nil); !errors.As(second(f.Open("/pipe")), &path) || path.Path != "/pipe" {
		t.Errorf("the error names %+v", path)
	}
	if _, err := New("/dev").Open("/null"); !errors.Is(err, ErrNotRegular) {
		t.Errorf("a device: error %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestReadDir(t *testing.T) {
	t.Parallel()
	f := New(hostfstest.New(t, map[string]string{
		"d/b.conf": "", "d/a.conf": "", "d/c.txt": "", "d/sub/": "", "d/l.conf": "-> b.conf", "d/gone.conf": "-> /none", "here": "-> /d", "file": "",
	}))
	want := []string{"a.conf", "b.conf", "c.txt", "gone.conf", "l.conf", "sub"}
	for _, dir := range []string{"/d", "/here", "/d/sub/.."} {
		if got := f.List(dir); !slices.Equal(got, want) {
			t.Errorf("%s: %q", dir, got)
		}
	}
	if got := f.Files("/d"); !slices.Equal(got, []string{"/d/a.conf", "/d/b.conf", "/d/c.txt", "/d/l.conf"}) {
		t.Errorf("files %q", got)
	}
	if got := f.Glob("/here/*.conf"); !slices.Equal(got, []string{"/here/a.conf", "/here/b.conf", "/here/gone.conf", "/here/l.conf"}) {
		t.Errorf("pattern: %q", got)
	}
	if got := f.Glob("/d/[.conf"); got != nil {
		t.Errorf("a broken pattern: %q", got)
	}
	if _, err := f.ReadDir("/file"); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a file: error %v", err)
	}
	if got := f.List("/none"); got != nil {
		t.Errorf("nothing: %q", got)
	}
	for name, want := range map[string]string{"/d/l.conf": "b.conf", "/here/gone.conf": "/none", "/here": "/d", "/d/a.conf": "", "/x/y": ""} {
		if got := f.Readlink(name); got != want {
			t.Errorf("link %s: %q", name, got)
		}
	}
}

func TestDropIns(t *testing.T) {
	t.Parallel()
	f := New(hostfstest.New(t, map[string]string{
		"etc/u.d/20.conf": "", "etc/u.d/masked.conf": "-> /dev/null", "etc/u.d/x.txt": "", "etc/u.d/d.conf/": "",
		"usr/u.d/10.conf": "", "usr/u.d/20.conf": "", "usr/u.d/masked.conf": "", "usr/all.d/05.conf": "", "usr/all.d/10.conf": "",
	}))
	want := []string{"/usr/all.d/05.conf", "/usr/u.d/10.conf", "/etc/u.d/20.conf"}
	if got := f.DropIns([]string{"/etc", "/usr"}, []string{"u.d", "all.d"}); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Swapping a directory for a link out of the root during a read does not make
// the read leave the root.
func TestLinkSwap(t *testing.T) {
	t.Parallel()
	outside := hostfstest.New(t, map[string]string{"file": "outside"})
	root := hostfstest.New(t, map[string]string{"d/file": "inside", "l": "-> " + outside})
	done := make(chan struct{})
	var swaps sync.WaitGroup
	swaps.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(root, "d"), unix.AT_FDCWD, filepath.Join(root, "l"), unix.RENAME_EXCHANGE)
			}
		}
	})
	f := New(root)
	seen := map[string]bool{}
	for range 3000 {
		data, err := f.ReadFile("/d/file", 10)
		if err != nil {
			data = []byte("nothing")
		}
		seen[string(data)] = true
		for _, name := range f.List("/d") {
			seen[name] = true
		}
	}
	close(done)
	swaps.Wait()
	if seen["outside"] || !seen["inside"] && !seen["nothing"] {
		t.Errorf("read %v", seen)
	}
}

// A file that is replaced between the check and the read is the one that was
// checked.
func TestFileSwap(t *testing.T) {
	t.Parallel()
	root := hostfstest.New(t, map[string]string{"d/file": "text"})
	f := New(root)
	handle, err := f.open("/d/file", func(fs.FileMode) error {
		check(t, os.Remove(filepath.Join(root, "d/file")))
		return syscall.Mkfifo(filepath.Join(root, "d/file"), 0o600)
	})
	check(t, err)
	defer handle.Close() //nolint:errcheck // only read
	if info, err := handle.Stat(); err != nil || !info.Mode().IsRegular() {
		t.Errorf("opened %v, %v", info, err)
	}
}
