package nodeconfig_test

import (
	"testing"

	"github.com/whypull/whypull/cri/nodeconfig"
)

// The settings and their defaults are those of the runtimes' own configuration.
func TestStorage(t *testing.T) {
	const (
		file     = "etc/containerd/config.toml"
		crio     = "etc/crio/crio.conf"
		graph    = "/var/lib/containers/storage"
		std      = "/var/lib/containerd"
		images   = "[plugins.'io.containerd.cri.v1.images']\n"
		imagesV2 = "[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n"
	)
	for name, tc := range map[string]struct {
		runtime, version string
		files            map[string]string
		want             nodeconfig.Storage
	}{
		"containerd":             {want: nodeconfig.Storage{Root: std}},
		"its root":               {files: map[string]string{file: "version = 3\nroot = '/data/containerd/'\n"}, want: nodeconfig.Storage{Root: "/data/containerd"}},
		"its root of 1.7":        {version: "1.7.35", files: map[string]string{file: "version = 2\nroot = '/data'\n"}, want: nodeconfig.Storage{Root: "/data"}},
		"its root is relative":   {files: map[string]string{file: "version = 3\nroot = 'data'\n"}, want: nodeconfig.Storage{Root: std}},
		"its file does not read": {files: map[string]string{file: "root = "}, want: nodeconfig.Storage{Root: std}},
		"the last import wins": {files: map[string]string{
			file: "version = 3\nroot = '/a'\nimports = ['conf.d/*.toml']\n", "etc/containerd/conf.d/1.toml": "version = 3\nroot = '/b'\n", "etc/containerd/conf.d/2.toml": "version = 3\n",
		}, want: nodeconfig.Storage{Root: "/b"}},
		"keeps layers": {files: map[string]string{file: "version = 3\n" + images + "discard_unpacked_layers = false\n"}, want: nodeconfig.Storage{Root: std}},

		"CRI-O": {runtime: "cri-o", want: nodeconfig.Storage{Root: graph}},
		"CRI-O's own root": {runtime: "cri-o", files: map[string]string{
			crio: "[crio]\nroot = '/a'\n[crio.image]\nbig_files_temporary_dir = '/big'\n", "etc/containers/storage.conf": "[storage]\ngraphroot = '/b'\n",
		}, want: nodeconfig.Storage{Root: "/a", Temporary: "/big"}},
		"CRI-O's drop-in": {runtime: "cri-o", files: map[string]string{
			crio: "[crio]\nroot = '/a'\n", "etc/crio/crio.conf.d/1.conf": "[crio]\nroot = '/c'\n", "etc/crio/crio.conf.d/2.conf": "[crio.image]\n",
		}, want: nodeconfig.Storage{Root: "/c"}},
		"storage.conf": {runtime: "cri-o", files: map[string]string{
			"etc/containers/storage.conf": "[storage]\ngraphroot = '/b'\n", "usr/share/containers/storage.conf": "[storage]\ngraphroot = '/c'\n",
		}, want: nodeconfig.Storage{Root: "/b"}},
		"the distribution's storage.conf": {runtime: "cri-o", files: map[string]string{"usr/share/containers/storage.conf": "[storage]\ngraphroot = '/c'\n"}, want: nodeconfig.Storage{Root: "/c"}},
		"storage.conf does not read":      {runtime: "cri-o", files: map[string]string{"etc/containers/storage.conf": "[storage\n"}, want: nodeconfig.Storage{Root: graph}},
	} {
		opts := options(node(t, tc.files))
		opts.Runtime, opts.RuntimeVersion = tc.runtime, tc.version
		if got := nodeconfig.Load(opts).Storage(); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}
