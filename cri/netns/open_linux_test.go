package netns

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpenErrors(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"run/netns", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("run/netns/empty", "")
	write("run/netns/text", "x")
	if err := unix.Mkfifo(filepath.Join(root, "run/netns/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("loop", filepath.Join(root, "run/netns/loop")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		"/run/netns/gone":                  ErrGone,
		"/var/run/netns/gone":              ErrGone,
		"/var/lib/netns/x":                 ErrNotMounted,
		"/run/other/x":                     ErrNotMounted,
		"/run/netns/empty":                 ErrNotNamespace,
		"/var/run/netns/empty":             ErrNotNamespace,
		"/run/netns/text":                  ErrNotNamespace,
		"/run/netns/pipe":                  ErrNotNamespace,
		"/run/netns":                       ErrNotNamespace,
		"/run/netns/loop":                  unix.ELOOP,
		"/run/netns/empty/x":               unix.ENOTDIR,
		"":                                 unix.EINVAL,
		"run/netns/empty":                  unix.EINVAL,
		"/run/netns/../netns/empty":        unix.EINVAL,
		"/../../../proc/self/ns/net":       unix.EINVAL,
		"/run/" + strings.Repeat("x", 300): unix.ENAMETOOLONG,
	} {
		n, err := Open(root, path)
		if n != nil || !errors.Is(err, want) {
			t.Errorf("%.40q: %v, error %v; want %v", path, n, err, want)
		}
	}
	if _, err := Open(filepath.Join(root, "none"), "/run/netns/x"); !errors.Is(err, ErrNotMounted) {
		t.Errorf("without a root: error %v", err)
	}
}

// The error for a missing propagation must say so.
func TestOpenNamesTheMissingPropagation(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{"empty": "", "text": "x"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(root, "/"+name)
		if err == nil || strings.Contains(err.Error(), "HostToContainer") != (text == "") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// The node's links resolve inside root, whatever this process has at their
// targets.
func TestOpenFollowsLinksBelowRoot(t *testing.T) {
	w := newTestNamespace(t)
	for name, link := range map[string]string{"absolute": "/run", "relative": "../run", "beyond root": "../../../../../run"} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			at := filepath.Join(root, "run/netns/a")
			for _, dir := range []string{"run/netns", "var"} {
				if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			bind(t, w.path, at)
			// Mounted at one of its two spellings.
			opens(t, root, "/var/run/netns/a")
			opens(t, root, "/run/netns/a")
			if err := os.Symlink(link, filepath.Join(root, "var/run")); err != nil {
				t.Fatal(err)
			}
			opens(t, root, "/var/run/netns/a")
		})
	}
	t.Run("only /var/run is mounted", func(t *testing.T) {
		root := t.TempDir()
		if err := os.MkdirAll(filepath.Join(root, "var/run/netns"), 0o700); err != nil {
			t.Fatal(err)
		}
		bind(t, w.path, filepath.Join(root, "var/run/netns/a"))
		opens(t, root, "/run/netns/a")
		opens(t, root, "/var/run/netns/a")
	})
}

func bind(t *testing.T, from, at string) {
	t.Helper()
	if err := os.WriteFile(at, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(from, at, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
}

func opens(t *testing.T, root, path string) {
	t.Helper()
	n, err := Open(root, path)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenOwnNamespace(t *testing.T) {
	needRoot(t)
	at := filepath.Join(t.TempDir(), "own")
	bind(t, "/proc/self/ns/net", at)
	opens(t, "/", at)
}

func TestOpenRefusesOtherNamespaces(t *testing.T) {
	needRoot(t)
	at := filepath.Join(t.TempDir(), "uts")
	bind(t, "/proc/self/ns/uts", at)
	if _, err := Open("/", at); !errors.Is(err, ErrNotNamespace) {
		t.Errorf("error %v, want that it is another kind of namespace", err)
	}
}

// A magic link of /proc leads out of every root.
func TestOpenFollowsNoLinksOfProc(t *testing.T) {
	if _, err := Open("/", "/proc/self/ns/net"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("error %v, want %v", err, unix.ELOOP)
	}
}
