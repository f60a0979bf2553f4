package demo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/whypull/whypull/deploy/lab"
)

func TestOverlayNamesWhatIsThere(t *testing.T) {
	t.Parallel()
	l, err := lab.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := overlay(l, root, nil)
	if err != nil || plain != filepath.Join(root, "deploy") {
		t.Errorf("without components: %s, %v", plain, err)
	}
	dir, err := overlay(l, root, []string{"direct-pod-access"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for line := range strings.Lines(string(text)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "- ")
		if !ok {
			continue
		}
		found++
		if _, err := os.Stat(filepath.Join(dir, path, "kustomization.yaml")); err != nil {
			t.Error(err)
		}
	}
	if found != 2 {
		t.Errorf("%d folders in\n%s", found, text)
	}
}
