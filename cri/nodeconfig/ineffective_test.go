package nodeconfig_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/whypull/whypull/cri/nodeconfig"
)

// A proxy that somebody has set, and that the runtime does not have.
func TestProxyWithoutEffect(t *testing.T) {
	const set = "HTTPS_PROXY=http://p.test:3128"
	for name, tc := range map[string]struct {
		files map[string]string
		path  string
		kind  nodeconfig.NoticeKind
	}{
		"none":                {files: map[string]string{own: "[Service]\n"}},
		"in effect":           {files: map[string]string{own: "[Service]\nEnvironment=" + set + "\n"}},
		"typographic quotes":  {files: map[string]string{own: "[Service]\n", dropIn + "p.conf": "[Service]\nEnvironment=”" + set + "”\n"}, path: dropIn + "p.conf", kind: nodeconfig.NoticeProxyQuotes},
		"no section":          {files: map[string]string{own: "[Service]\n", dropIn + "p.conf": "Environment=" + set + "\n"}, path: dropIn + "p.conf", kind: nodeconfig.NoticeProxyNoSection},
		"no .conf":            {files: map[string]string{own: "[Service]\n", dropIn + "p": "[Service]\nEnvironment=" + set + "\n"}, path: dropIn + "p", kind: nodeconfig.NoticeProxyNoConf},
		"one word":            {files: map[string]string{own: "[Service]\n", dropIn + "p.conf": "[Service]\nEnvironment=\"HTTP_PROXY=http://p.test:1 " + set + "\"\n"}, path: dropIn + "p.conf", kind: nodeconfig.NoticeProxyOneWord},
		"variable":            {files: map[string]string{own: "[Service]\n", dropIn + "p.conf": "[Service]\nEnvironment=\"HTTPS_PROXY=${HTTPS_PROXY:-}\"\n"}, path: dropIn + "p.conf", kind: nodeconfig.NoticeProxyVariable},
		"percent":             {files: map[string]string{own: "[Service]\n", dropIn + "p.conf": "[Service]\nEnvironment=\"HTTPS_PROXY=http://u:p%40ss@p.test:3128\"\n"}, path: dropIn + "p.conf", kind: nodeconfig.NoticeProxyPercent},
		"percent twice":       {files: map[string]string{own: "[Service]\n", dropIn + "p.conf": "[Service]\nEnvironment=\"HTTPS_PROXY=http://u:p%%40ss@p.test:3128\"\n"}},
		"export":              {files: map[string]string{own: "[Service]\nEnvironmentFile=/etc/p.env\n", "etc/p.env": "export " + set + "\n"}, path: "etc/p.env", kind: nodeconfig.NoticeProxyExport},
		"for http alone":      {files: map[string]string{own: "[Service]\nEnvironment=HTTP_PROXY=http://p.test:1\n"}, path: own, kind: nodeconfig.NoticeProxyHTTPOnly},
		"of Docker":           {files: map[string]string{own: "[Service]\n", "etc/systemd/system/docker.service.d/p.conf": "[Service]\nEnvironment=" + set + "\n"}, path: "etc/systemd/system/docker.service.d/p.conf", kind: nodeconfig.NoticeProxyOfDocker},
		"for logins":          {files: map[string]string{own: "[Service]\n", "etc/environment": set + "\n"}, path: "etc/environment", kind: nodeconfig.NoticeProxyOfLogins},
		"not restarted since": {files: with(process(7, "containerd", "containerd", "A=b"), map[string]string{own: "[Service]\nEnvironment=" + set + "\n"}), path: own, kind: nodeconfig.NoticeProxyNotRestarted},
	} {
		opts := ofRuntime(node(t, with(tc.files)))
		var got []nodeconfig.Notice
		for _, n := range nodeconfig.Load(opts).Notices() {
			if strings.HasPrefix(string(n.Kind), "Proxy") {
				got = append(got, n)
			}
		}
		if (len(got) == 1) != (tc.kind != "") || len(got) == 1 && (got[0].Path != "/"+tc.path || got[0].Kind != tc.kind) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Settings of registries under the name that the plugin has in a file of another
// version.
func TestSectionWithoutEffect(t *testing.T) {
	const mirrors = ".registry.mirrors.\"docker.io\"]\nendpoint = [\"https://mirror.test\"]\n"
	for name, tc := range map[string]struct {
		config, version string
		ignored         bool
	}{
		"version 2":            {"version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"" + mirrors, "1.7.20", false},
		"no version, its name": {"[plugins.cri" + mirrors, "1.7.20", false},
		"no version":           {"[plugins.\"io.containerd.grpc.v1.cri\"" + mirrors, "1.7.20", true},
		"version 1 in 2":       {"version = 2\n[plugins.cri" + mirrors, "1.7.20", true},
		"version 3 in 1.7":     {"version = 2\n[plugins.\"io.containerd.cri.v1.images\"" + mirrors, "1.7.20", true},
		"version 3":            {"version = 3\n[plugins.\"io.containerd.cri.v1.images\"" + mirrors, "2.1.0", false},
		"version 2 in 3":       {"version = 3\n[plugins.\"io.containerd.grpc.v1.cri\"" + mirrors, "2.1.0", true},
		"version 2 in 3, 2.3":  {"version = 3\n[plugins.\"io.containerd.grpc.v1.cri\"" + mirrors, "2.3.0", false},
		"version 1 in 3":       {"version = 3\n[plugins.cri" + mirrors, "2.1.0", true},
	} {
		opts := options(node(t, map[string]string{"etc/containerd/config.toml": tc.config}))
		opts.RuntimeVersion = tc.version
		got := false
		for _, n := range nodeconfig.Load(opts).Notices() {
			got = got || n == nodeconfig.Notice{Kind: nodeconfig.NoticeSectionIgnored, Path: "/etc/containerd/config.toml"}
		}
		if got != tc.ignored {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Files in conf.d count if the configuration imports them, by the sources of every version
// (cmd/containerd/server/config, LoadConfig), and not because they are there.
func TestNotImported(t *testing.T) {
	const path = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n"
	for name, tc := range map[string]struct {
		config, dropIn string
		want           bool
	}{
		"not imported":         {"version = 2\n", path, true},
		"no file":              {"", path, true},
		"imported":             {"version = 2\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n", path, false},
		"another one imported": {"version = 2\nimports = [\"conf.d/b.toml\"]\n", path, true},
		"about other things":   {"version = 2\n", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"x\"\n", false},
		"invalid":              {"version = 2\n", "=", false},
	} {
		files := map[string]string{"etc/containerd/conf.d/a.toml": tc.dropIn, "etc/containerd/conf.d/b.toml": "", "etc/containerd/conf.d/c.conf": path}
		if tc.config != "" {
			files["etc/containerd/config.toml"] = tc.config
		}
		for _, version := range []string{"1.6.36", "1.7.30", "2.1.4", "2.2.0", "2.4.2"} {
			opts := options(node(t, files))
			opts.RuntimeVersion = version
			notice := nodeconfig.Notice{Kind: nodeconfig.NoticeNotImported, Path: "/etc/containerd/conf.d/a.toml"}
			if got := slices.Contains(nodeconfig.Load(opts).Notices(), notice); got != tc.want {
				t.Errorf("%s, %s: %v", name, version, nodeconfig.Load(opts).Notices())
			}
		}
	}
}
