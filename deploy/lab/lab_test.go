package lab_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/binaries"
)

func TestDefaultDir(t *testing.T) {
	t.Setenv(lab.DirVariable, "/somewhere")
	l, err := lab.Open("")
	if err != nil || l.Dir() != "/somewhere" {
		t.Errorf("%v, %v", l, err)
	}
	t.Setenv(lab.DirVariable, "")
	t.Setenv("XDG_CACHE_HOME", "/cache")
	if l, err = lab.Open(""); err != nil || l.Dir() != "/cache/whypull/lab" {
		t.Errorf("%v, %v", l, err)
	}
}

func TestALabThatDoesNotExist(t *testing.T) {
	l, err := lab.Open(filepath.Join(t.TempDir(), "none"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Down(t.Context()); err != nil {
		t.Errorf("down: %v", err)
	}
	if status, err := l.Status(t.Context()); err != nil || status.Running || status.Ready {
		t.Errorf("status: %+v, %v", status, err)
	}
	if _, _, err := l.Exec(t.Context(), nil, "true"); !errors.Is(err, lab.ErrNotRunning) {
		t.Errorf("exec: %v", err)
	}
	if _, err := l.ReadFile("/etc/hosts"); !errors.Is(err, lab.ErrNotRunning) {
		t.Errorf("read: %v", err)
	}
	if err := l.StopComponent(t.Context(), "kubelet"); !errors.Is(err, lab.ErrNotRunning) {
		t.Errorf("stop: %v", err)
	}
	if _, err := l.KubectlPath(); err == nil {
		t.Error("KubectlPath returned no error")
	}
}

func TestCgroupDependsOnTheFolder(t *testing.T) {
	names := map[string]bool{}
	for _, dir := range []string{"/a", "/b", "/a/"} {
		l, err := lab.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		names[l.Cgroup()] = true
	}
	if len(names) != 2 {
		t.Errorf("cgroups: %v", names)
	}
}

func TestBrokenSettingsAreTold(t *testing.T) {
	dir := t.TempDir()
	l, err := lab.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "settings.json"), "{")
	if _, err := l.ToolPath("kubectl"); err == nil || !bytes.Contains([]byte(err.Error()), []byte("settings")) {
		t.Errorf("got %v", err)
	}
}

// A lab that was started for a demo has no Prometheus.
func TestLacks(t *testing.T) {
	dir := t.TempDir()
	l, err := lab.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	tools := binaries.Paths{}
	for _, f := range binaries.Default() {
		for _, tool := range f.Tools {
			tools[tool.Name] = "/" + tool.Name
		}
	}
	text, err := json.Marshal(map[string]any{"Tools": tools})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "settings.json"), string(text))
	if tool, err := l.Lacks(); err != nil || tool != "" {
		t.Errorf("lacks %q, %v", tool, err)
	}
	l.Extra = binaries.Monitoring()
	if tool, err := l.Lacks(); err != nil || tool != "prometheus" {
		t.Errorf("lacks %q, %v", tool, err)
	}
}

// A lab keeps its version of Kubernetes, and its cluster is not started with another.
func TestVersion(t *testing.T) {
	dir := t.TempDir()
	l, err := lab.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	runs := func(want string) {
		t.Helper()
		if cluster, err := l.Cluster(); err != nil || cluster.Kubernetes != want {
			t.Errorf("runs %q, want %s: %v", cluster.Kubernetes, want, err)
		}
	}
	newest := binaries.Newest().Kubernetes
	runs(newest)
	writeFile(t, filepath.Join(dir, "settings.json"), `{"kubernetes":"1.34"}`)
	runs("1.34")
	l.Kubernetes = newest
	runs(newest)
	if os.Geteuid() != 0 {
		t.Skip("up needs root")
	}
	if err := os.MkdirAll(filepath.Join(dir, "var/lib/etcd"), 0o700); err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string]string{newest: "runs Kubernetes 1.34, not " + newest + ": use lab reset", "1.33": "known are 1.34 and " + newest} {
		l.Kubernetes = version
		if err := l.Up(t.Context(), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("up with Kubernetes %s: %v", version, err)
		}
	}
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
