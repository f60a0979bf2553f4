package registry

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// links makes symbolic links under a directory, with what they need.
func links(t *testing.T, root string, targets map[string]string) {
	t.Helper()
	for name, target := range targets {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestResolve(t *testing.T) {
	root := t.TempDir()
	links(t, root, map[string]string{
		"absolute":     "/etc/ssl",
		"relative":     "a/../b",
		"up":           "../../../../etc",
		"deep/chain":   "/absolute/certs",
		"etc/ssl/back": "..",
		"slash":        "/",
	})
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
		got, err := newRootFS(root).resolve(name)
		if err != nil || got != filepath.Join(root, want) {
			t.Errorf("%s: got %s, %v; want %s", name, got, err, filepath.Join(root, want))
		}
	}
	for _, dir := range []string{"", "/", "//"} {
		if got, err := newRootFS(dir).resolve("/etc/../x"); err != nil || got != "/x" {
			t.Errorf("root %q: got %s, %v", dir, got, err)
		}
	}
}

func TestResolveLoop(t *testing.T) {
	root := t.TempDir()
	links(t, root, map[string]string{"a": "/b", "b": "a", "self": "self/x"})
	for _, name := range []string{"/a", "/b/c", "/self"} {
		if _, err := newRootFS(root).resolve(name); !errors.Is(err, syscall.ELOOP) {
			t.Errorf("%s: error %v", name, err)
		}
		if _, err := newRootFS(root).readFile(name); !errors.Is(err, syscall.ELOOP) {
			t.Errorf("%s: error %v", name, err)
		}
		if _, err := newRootFS(root).exists(name); !errors.Is(err, syscall.ELOOP) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestReadFile(t *testing.T) {
	root := t.TempDir()
	links(t, root, map[string]string{"link": "/real", "dir/x": "y", "gone": "/nothing"})
	if err := os.WriteFile(filepath.Join(root, "real"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(root, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "huge"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(root, "huge"), maxConfigFile+1); err != nil {
		t.Fatal(err)
	}
	fs := newRootFS(root)
	if got, err := fs.readFile("/link"); err != nil || string(got) != "text" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, name := range []string{"/pipe", "/dir", "/huge"} {
		if _, err := fs.readFile(name); err == nil || errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := fs.readFile("/gone"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if there, err := fs.exists("/gone"); there || err != nil {
		t.Errorf("a link to nothing: %t, %v", there, err)
	}
}
