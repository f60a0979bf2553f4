package nodeconfig_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/whypull/whypull/cri/hostfs/hostfstest"
	"github.com/whypull/whypull/cri/nodeconfig"
)

// sourceTree writes empty files below a root.
func sourceTree(t *testing.T, files ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range files {
		hostfstest.Add(t, root, map[string]string{name: ""})
	}
	return root
}

// Existing files are listed, and places where files may appear.
func TestSources(t *testing.T) {
	t.Parallel()
	root := sourceTree(t, "/certs.d/hub.test:5000/hosts.toml", "/certs.d/hub.test:5000/ca.crt", "/certs.d/other.test/hosts.toml",
		"/etc/containers/registries.conf.d/50-mirror.conf", "/etc/containers/certs.d/hub.test:5000/client.cert")
	for _, tt := range []struct {
		name    string
		options nodeconfig.Options
		want    []string
		not     []string
	}{
		{"containerd", nodeconfig.Options{Root: root, CertsDir: "/certs.d"}, []string{
			"/etc/containerd/config.toml", "/certs.d/hub.test_5000_", "/certs.d/hub.test:5000", "/certs.d/hub.test:5000/ca.crt",
			"/certs.d/hub.test:5000/hosts.toml", "/certs.d/_default",
		}, []string{"/certs.d/other.test/hosts.toml", "/etc/containers/registries.conf"}},
		{"the file of k3s", nodeconfig.Options{Root: root, CertsDir: "/certs.d", ConfigFile: "/k3s/config.toml"}, []string{"/k3s/config.toml"},
			[]string{"/etc/containerd/config.toml"}},
		{"CRI-O", nodeconfig.Options{Root: root, Runtime: "cri-o"}, []string{
			"/etc/crio/crio.conf", "/etc/containers/registries.conf", "/etc/containers/registries.conf.d",
			"/etc/containers/registries.conf.d/50-mirror.conf", "/etc/containers/certs.d/hub.test:5000/client.cert",
		}, []string{"/etc/containerd/config.toml"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := nodeconfig.Load(tt.options).Sources("hub.test:5000")
			for _, want := range tt.want {
				if !slices.Contains(got, want) {
					t.Errorf("%s is missing: %q", want, got)
				}
			}
			for _, not := range tt.not {
				if slices.Contains(got, not) {
					t.Errorf("%s has no say: %q", not, got)
				}
			}
		})
	}
}

// A directory with any number of files is watched as such.
func TestSourcesAreBounded(t *testing.T) {
	t.Parallel()
	var files []string
	for i := range 100 {
		files = append(files, fmt.Sprintf("/certs.d/hub.test/%d.crt", i))
	}
	got := nodeconfig.Load(nodeconfig.Options{Root: sourceTree(t, files...), CertsDir: "/certs.d"}).Sources("hub.test")
	if len(got) > 40 || !slices.Contains(got, "/certs.d/hub.test") {
		t.Errorf("%d sources", len(got))
	}
}
