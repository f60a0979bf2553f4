package runtimes

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/nodeconfig/nodeconfigtest"
	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/binaries"
	"github.com/whypull/whypull/deploy/lab/registry"
)

func TestReadLeavesOutAnUnfinishedLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results")
	write(t, path, `{"Case":"b","Runtime":"containerd 1.6"}
{"Case":"b","Runtime":"containerd 2.4"}
{"Case":"a","Runtime":"containerd 1.7"}
{"Case":"c","Runt`)
	all, err := read(path, caseOf)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range all {
		got = append(got, r.Case+" on "+r.Runtime)
	}
	if want := []string{"a on containerd 1.7", "b on containerd 2.4", "b on containerd 1.6"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestReadTellsWhatItCannotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results")
	if _, err := read(path, caseOf); err == nil {
		t.Error("there is no such file")
	}
	write(t, path, "nonsense\n")
	if _, err := read(path, caseOf); err == nil {
		t.Error("a line is no result")
	}
}

func TestRuntimesShareNothing(t *testing.T) {
	seen := map[string]string{}
	for _, r := range All() {
		for _, path := range []string{r.Socket(), r.ConfigFile(), r.state(), r.root(), r.Name, r.Tool} {
			if other, taken := seen[path]; taken {
				t.Errorf("%s is of %s and of %s", path, other, r.Name)
			}
			seen[path] = r.Tool
		}
		if !strings.Contains(r.config(r), r.Socket()) || place(r.Name) < 0 {
			t.Errorf("the configuration of %s names no socket, or it has no place", r.Name)
		}
	}
}

// TestEveryRuntimeHasTheSameRegistries reads the configuration files as whypull
// does.
func TestEveryRuntimeHasTheSameRegistries(t *testing.T) {
	root := t.TempDir()
	if err := registry.WriteFiles(root, files(Releases())); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, certsDir, "registry.example", "hosts.toml"), "server = \"https://elsewhere.example\"\n[host.\"https://mirror.example\"]\n")
	for _, r := range Releases() {
		_, version, _ := strings.Cut(r.Name, " ")
		config := nodeconfig.Load(nodeconfig.Options{Root: root, ConfigFile: r.ConfigFile(), RuntimeVersion: version})
		endpoints, _, err := config.EndpointsFor(t.Context(), "registry.example", nodeconfigtest.Ref(t, "registry.example/app"))
		if err != nil {
			t.Fatal(err)
		}
		var hosts []string
		for _, e := range endpoints {
			hosts = append(hosts, e.Host)
		}
		if want := []string{"mirror.example", "elsewhere.example"}; !slices.Equal(hosts, want) {
			t.Errorf("%s asks %q, want %q", r.Name, hosts, want)
		}
	}
}

// A box has the programs and the files of its own runtimes only.
func TestABoxHasNoOtherRuntimes(t *testing.T) {
	l, err := lab.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	some := Releases()[:1]
	if links := spec(l, some, binaries.Paths{}).Links; links[toolDir+"/containerd"] == "" || links[toolDir+"/crio"] != "" {
		t.Errorf("links %v", links)
	}
	if written := files(some); written["/etc/containerd/config.toml"] == "" || written["/etc/crio/crio.conf"] != "" {
		t.Errorf("files %v", written)
	}
}

func TestTheLabBuildsEveryRuntime(t *testing.T) {
	versions := map[string]string{}
	for _, f := range slices.Concat(binaries.Default(), binaries.Runtimes()) {
		for _, tool := range f.Tools {
			versions[tool.Name] = f.Version
		}
	}
	l, err := lab.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	box := spec(l, All(), binaries.Paths{})
	for _, r := range All() {
		_, release, _ := strings.Cut(r.Name, " ")
		if !strings.HasPrefix(versions[r.Tool], "v"+release+".") {
			t.Errorf("%s is built as %q", r.Name, versions[r.Tool])
		}
		if box.Links[toolDir+"/"+r.Tool] == "" {
			t.Errorf("%s is not in the box", r.Tool)
		}
	}
	for inside, outside := range box.Writable {
		if !strings.HasPrefix(outside, l.Dir()+"/") {
			t.Errorf("%s of the box is %s, outside of the lab's folder", inside, outside)
		}
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
