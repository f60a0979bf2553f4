package hostfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Files of the machine itself and below a root are read on every system, by its own paths
// and with slashes.
func TestEverySystem(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a", "file"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		FS
		at string
	}{
		"the machine": {New("/"), filepath.Join(dir, "a")}, "with slashes": {New(""), filepath.ToSlash(filepath.Join(dir, "a"))},
		"a root": {New(dir), "/a"}, "a root with slashes": {New(filepath.ToSlash(dir) + "/"), "a"},
	} {
		if got, err := tc.ReadFile(tc.at+"/file", 4); err != nil || string(got) != "text" {
			t.Errorf("%s: %q, error %v", name, got, err)
		}
		if _, err := tc.ReadFile(tc.at+"/file", 3); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: a byte too many: error %v", name, err)
		}
		if _, err := tc.Open(tc.at + "/b"); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s: a directory: error %v", name, err)
		}
		for _, missing := range []string{"none", "none/x", "localhost:5000"} { // no file on Windows has a colon in its name
			if there, err := tc.Exists(tc.at + "/" + missing); there || err != nil {
				t.Errorf("%s: %s exists: %t, %v", name, missing, there, err)
			}
		}
		if got := tc.List(tc.at); len(got) != 2 || got[0] != "b" || got[1] != "file" {
			t.Errorf("%s: entries %q", name, got)
		}
		if got := tc.Files(tc.at); len(got) != 1 || !tc.IsFile(got[0]) || tc.IsDir(got[0]) || !tc.IsDir(tc.at) || tc.Readlink(got[0]) != "" {
			t.Errorf("%s: files %q", name, got)
		}
		if _, err := tc.Open(tc.at + "/none"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
