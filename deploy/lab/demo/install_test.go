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
	plain, err := overlay(l, root, Options{})
	if err != nil || plain != filepath.Join(root, "deploy") {
		t.Errorf("without components: %s, %v", plain, err)
	}
	l.Kubernetes = "1.34"
	if old, err := overlay(l, root, Options{}); err != nil || old != filepath.Join(root, "deploy", "before-1.36") {
		t.Errorf("on Kubernetes 1.34: %s, %v", old, err)
	}
	dir, err := overlay(l, root, Options{Components: []string{"direct-pod-access"}, Flags: map[string]string{"pull-stall-after": "10s"}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "/before-1.36\n") {
		t.Errorf("the manifests for Kubernetes 1.34 are not in\n%s", text)
	}
	if !strings.Contains(string(text), `{name: WHYPULL_PULL_STALL_AFTER, value: "10s"}`) {
		t.Errorf("the flag is not in\n%s", text)
	}
	found := 0
	for line := range strings.Lines(string(text)) {
		path, ok := strings.CutPrefix(line, "- ")
		path = strings.TrimSpace(path)
		if !ok || strings.HasPrefix(path, "target:") {
			continue
		}
		found++
		if _, err := os.Stat(filepath.Join(dir, path, "kustomization.yaml")); err != nil {
			t.Error(err)
		}
	}
	if found != 2 {
		t.Errorf("%d directories in\n%s", found, text)
	}
}

// The lab tests what users get.
func TestBuildsWithTheSameFlags(t *testing.T) {
	t.Parallel()
	flags := buildFlags()
	ldflags := flags[len(flags)-1]
	for name, version := range map[string]string{"Makefile": "$(VERSION)", "Dockerfile": "$VERSION"} {
		text, err := os.ReadFile(filepath.Join("../../..", name))
		if err != nil {
			t.Fatal(err)
		}
		want := "go " + strings.Join(flags[:len(flags)-1], " ") + ` "` + strings.Replace(ldflags, "=lab", "="+version, 1) + `"`
		if !strings.Contains(string(text), want) {
			t.Errorf("%s does not contain %s", name, want)
		}
	}
}
