package kubelet

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/cri/hostfs/hostfstest"
)

// newNode creates a node with these files, as far as it is mounted.
func newNode(t testing.TB, files map[string]string) *Kubelet {
	t.Helper()
	return New(Options{Root: hostfstest.New(t, files)})
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
