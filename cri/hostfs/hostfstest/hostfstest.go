// Package hostfstest makes the file systems of nodes, for tests.
package hostfstest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// New makes a directory with files, and returns it.
func New(tb testing.TB, files map[string]string) string {
	tb.Helper()
	root := tb.TempDir()
	Add(tb, root, files)
	return root
}

// Add makes files below a root. A name that ends with a slash is a directory; contents
// "-> x" are a link to x.
func Add(tb testing.TB, root string, files map[string]string) {
	tb.Helper()
	for name, content := range files {
		at := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(at), 0o700)
		target, link := strings.CutPrefix(content, "-> ")
		switch {
		case err != nil:
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(at, 0o700)
		case link:
			err = os.Symlink(target, at)
		default:
			err = os.WriteFile(at, []byte(content), 0o600)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}
