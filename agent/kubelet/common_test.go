package kubelet

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
)

// newNode creates a node's file system, as far as it is mounted. A name that
// ends with a slash is a directory; contents "-> x" are a link to x.
func newNode(t testing.TB, files map[string]string) *Kubelet {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		at := filepath.Join(root, name)
		check(t, os.MkdirAll(filepath.Dir(at), 0o700))
		target, link := strings.CutPrefix(content, "-> ")
		switch {
		case strings.HasSuffix(name, "/"):
			check(t, os.MkdirAll(at, 0o700))
		case link:
			check(t, os.Symlink(target, at))
		default:
			check(t, os.WriteFile(at, []byte(content), 0o600))
		}
	}
	return New(Options{Root: root})
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const records = "var/lib/kubelet/image_manager/"

// pulled and pulling return the paths of records.
func pulled(ref string) string { return records + "pulled/sha256-" + sum(ref) }

func pulling(image string) string { return records + "pulling/sha256-" + sum(image) }

func sum(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

// imageOf is an image as the watch on pods parses it.
func imageOf(written string) diagnosis.Image {
	image, _ := podwatch.ParseImage(written)
	return image
}
