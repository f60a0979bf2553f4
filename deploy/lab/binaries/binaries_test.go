package binaries

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"
)

func TestKeyChangesWithEverythingThatChangesAProgram(t *testing.T) {
	base := Family{Name: "guest", Version: "v1", Tags: "a", LDFlags: "-s", Tools: []Tool{{Name: "pause", Package: "./pause", Source: "pause.go.txt"}}}
	variants := map[string]func(f *Family) string{
		"version":    func(f *Family) string { f.Version = "v2"; return "go1" },
		"tags":       func(f *Family) string { f.Tags = "b"; return "go1" },
		"flags":      func(f *Family) string { f.LDFlags = "-w"; return "go1" },
		"go version": func(*Family) string { return "go2" },
		"module":     func(f *Family) string { f.Name = "etcd"; return "go1" },
		"source": func(f *Family) string {
			f.Tools = []Tool{{Name: "pause", Package: "./pause", Source: "tools.go.txt"}}
			return "go1"
		},
		"module of ours": func(f *Family) string {
			f.Module = fstest.MapFS{"go.mod": {Data: []byte("module m")}}
			return "go1"
		},
		"package": func(f *Family) string {
			f.Tools = []Tool{{Name: "pause", Package: "./other", Source: "pause.go.txt"}}
			return "go1"
		},
	}
	want := mustKey(t, base, "go1")
	if again := mustKey(t, base, "go1"); again != want {
		t.Errorf("the key is not stable: %s, then %s", want, again)
	}
	for name, change := range variants {
		f := base
		goVersion := change(&f)
		if got := mustKey(t, f, goVersion); got == want {
			t.Errorf("another %s has the same key %s", name, got)
		}
	}
}

func mustKey(t *testing.T, f Family, goVersion string) string {
	t.Helper()
	key, err := f.key(goVersion)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestEveryFamilyHasItsModule(t *testing.T) {
	tools := map[string]bool{}
	for i, f := range slices.Concat(All(), Old()) {
		if i == len(All()) {
			clear(tools)
		}
		key := mustKey(t, f, "go1")
		if !strings.HasPrefix(key, f.Name+"-"+f.Version+"-") {
			t.Errorf("key %s does not contain family and version", key)
		}
		module, err := f.file(map[bool]string{true: f.Name + ".mod", false: "go.mod"}[f.Module == nil])
		if err != nil {
			t.Fatal(err)
		}
		if f.Name != "guest" && f.Module == nil && !bytes.Contains(module, []byte(" "+f.Version)) {
			t.Errorf("%s.mod does not pin %s", f.Name, f.Version)
		}
		for _, tool := range f.Tools {
			if tools[tool.Name] {
				t.Errorf("two tools are called %s", tool.Name)
			}
			tools[tool.Name] = true
		}
	}
}

// A module of our own is written unchanged, without its tests.
func TestOwnModule(t *testing.T) {
	f := Family{Name: "ours", Module: fstest.MapFS{
		"go.mod": {Data: []byte("module m")}, "cmd/c/main.go": {Data: []byte("package main")}, "cmd/c/main_test.go": {Data: []byte("package main")},
	}, Tools: []Tool{{Name: "c", Package: "./cmd/c"}}}
	dir := t.TempDir()
	if err := f.writeModule(dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"go.mod": "module m", "cmd/c/main.go": "package main", "cmd/c/main_test.go": ""} {
		if got, _ := os.ReadFile(filepath.Join(dir, name)); string(got) != want {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
}

// Several builders build the smallest family at once.
func TestBuild(t *testing.T) {
	dir := t.TempDir()
	families := []Family{guest(t)}
	var all sync.WaitGroup
	var progress lockedBuffer
	for range 3 {
		all.Go(func() {
			cache, err := OpenCache(dir, &progress)
			if err != nil {
				t.Error(err)
				return
			}
			paths, err := cache.Build(t.Context(), families)
			if err != nil {
				t.Error(err)
				return
			}
			if info, err := os.Stat(paths["pause"]); err != nil || info.Mode()&0o100 == 0 {
				t.Errorf("no program at %s: %v", paths["pause"], err)
			}
		})
	}
	all.Wait()
	if built := strings.Count(progress.String(), "built pause"); built != 1 {
		t.Errorf("pause was built %d times:\n%s", built, progress.String())
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "bin", "build-*")); len(left) > 0 {
		t.Errorf("work directories are left: %v", left)
	}
}

// A build that takes long says so, also where nobody can see a spinner.
func TestLongBuildIsReported(t *testing.T) {
	t.Parallel()
	var progress lockedBuffer
	cache, err := OpenCache(t.TempDir(), &progress)
	if err != nil {
		t.Fatal(err)
	}
	cache.every = time.Millisecond
	if _, err := cache.Build(t.Context(), []Family{guest(t)}); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"building 1 families of programs", "[1/1] guest v1: building pause (1/1)\n", "[1/1] guest v1: building pause (1/1) for 0 s\n", "[1/1] guest v1: built pause in "} {
		if !strings.Contains(progress.String(), line) {
			t.Errorf("progress lacks %q:\n%s", line, progress.String())
		}
	}
}

// The first family that fails ends the others, and is named.
func TestOneOfSeveralFails(t *testing.T) {
	t.Parallel()
	broken := guest(t)
	broken.Version, broken.Tools = "v0", []Tool{{Name: "none", Package: "./none"}}
	cache, err := OpenCache(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if paths, err := cache.Build(t.Context(), []Family{guest(t), broken}); err == nil || !strings.Contains(err.Error(), "building guest v0: ") || paths != nil {
		t.Errorf("got %v, %v", paths, err)
	}
	if n := together(); n < 1 || n > runtime.NumCPU() {
		t.Errorf("%d builds at a time", n)
	}
}

// The demo needs a cluster and nothing that only tests need.
func TestClusterNeedsNoTestPrograms(t *testing.T) {
	t.Parallel()
	for _, f := range Default() {
		if slices.Contains([]string{"prometheus", "crio", "alertmanager"}, f.Name) || strings.HasPrefix(f.Name, "containerd-") {
			t.Errorf("a cluster builds %s", f.Name)
		}
	}
}

// Every cluster has the same programs, and asking for another names those that there are.
func TestClusters(t *testing.T) {
	t.Parallel()
	names := func(c Cluster) (all []string) {
		for _, f := range c.Families() {
			for _, tool := range f.Tools {
				all = append(all, tool.Name)
			}
		}
		slices.Sort(all)
		return all
	}
	for _, c := range Clusters() {
		found, err := FindCluster(c.Kubernetes)
		if err != nil || found.Kubernetes != c.Kubernetes || !slices.Equal(names(found), names(Newest())) {
			t.Errorf("cluster %s: %v\n%v\n%v", c.Kubernetes, err, names(found), names(Newest()))
		}
		if version := found.Families()[0].Version; !strings.HasPrefix(version, "v"+c.Kubernetes+".") {
			t.Errorf("cluster %s runs Kubernetes %s", c.Kubernetes, version)
		}
	}
	known := "known are 1.34 and " + Newest().Kubernetes
	for _, name := range []string{"", "1.33", "1.34.12"} {
		if _, err := FindCluster(name); err == nil || !strings.Contains(err.Error(), known) {
			t.Errorf("cluster %q: %v", name, err)
		}
	}
}

func TestFailedBuildLeavesNothingAndTellsWhy(t *testing.T) {
	dir := t.TempDir()
	broken := guest(t)
	broken.Tools = []Tool{{Name: "none", Package: "./none"}}
	cache, err := OpenCache(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = cache.Build(t.Context(), []Family{broken})
	if err == nil || !strings.Contains(err.Error(), "guest v1") || !strings.Contains(err.Error(), "./none") {
		t.Errorf("got %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "bin", "guest-v1-*[0-9a-f]")); len(left) > 0 {
		t.Errorf("a failed build is in the cache: %v", left)
	}
}

func TestLockWaitsNoLongerThanItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lockFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lockFile(ctx, path); err == nil {
		t.Error("locked a locked file")
	}
}

func guest(t *testing.T) Family {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go command")
	}
	for _, f := range Default() {
		if f.Name == "guest" {
			f.Tools = f.Tools[:1]
			return f
		}
	}
	t.Fatal("no family named guest")
	return Family{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
