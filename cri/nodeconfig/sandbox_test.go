package nodeconfig_test

import (
	"testing"

	"github.com/whypull/whypull/cri/nodeconfig"
)

// The names and the defaults of the setting are those of each version's own
// configuration (internal/cri/config, plugins/cri/images, configMigration).
func TestSandboxImage(t *testing.T) {
	const v3 = "version = 3\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = 'hub.test/pause:1'\n"
	const v2 = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"hub.test/old:1\"\n"
	for _, tc := range []struct {
		name, file, content, runtime, version, want string
	}{
		{"unset, 2.4", "", "", "containerd", "v2.4.2", "registry.k8s.io/pause:3.10.2"},
		{"unset, 2.2", "", "", "containerd", "v2.2.1", "registry.k8s.io/pause:3.10.1"},
		{"unset, 2.0", "", "", "containerd", "v2.0.5", "registry.k8s.io/pause:3.10"},
		{"unset, 1.7", "", "", "containerd", "1.7.35", "registry.k8s.io/pause:3.8"},
		{"unset, 1.6", "", "", "containerd", "1.6.36~ds1", "registry.k8s.io/pause:3.6"},
		{"unset, older than we know", "", "", "containerd", "1.5.1", ""},
		{"set, 2.4", "etc/containerd/config.toml", v3, "containerd", "v2.4.2", "hub.test/pause:1"},
		{"set as 1.x does, 2.4", "etc/containerd/config.toml", v2, "containerd", "v2.4.2", "hub.test/old:1"},
		{"set as 1.x does, 1.7", "etc/containerd/config.toml", v2, "containerd", "v1.7.35", "hub.test/old:1"},
		{"CRI-O, unset", "", "", "cri-o", "1.37.0", "registry.k8s.io/pause:3.10.1"},
		{"CRI-O, unset, 1.33", "", "", "cri-o", "1.33.13", "registry.k8s.io/pause:3.10"},
		{"CRI-O, unset, 1.30", "", "", "cri-o", "1.30.2", "registry.k8s.io/pause:3.9"},
		{"CRI-O, unset, older than we know", "", "", "cri-o", "1.26.1", ""},
		{"CRI-O, set", "etc/crio/crio.conf.d/10.conf", "[crio.image]\npause_image = \"hub.test/pause:2\"\n", "cri-o", "1.37.0", "hub.test/pause:2"},
	} {
		files := map[string]string{}
		if tc.file != "" {
			files[tc.file] = tc.content
		}
		opts := options(node(t, files))
		opts.Runtime, opts.RuntimeVersion = tc.runtime, tc.version
		if got := nodeconfig.Load(opts).SandboxImage(); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
		opts.CertsDir = "/other" // is about hosts.toml alone
		if got := nodeconfig.Load(opts).SandboxImage(); got != tc.want {
			t.Errorf("%s, with a folder for hosts.toml: %q, want %q", tc.name, got, tc.want)
		}
	}
}
