package nodeconfig_test

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes/docker/config"

	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/hostfs/hostfstest"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

func names(eps []registry.Endpoint) []string {
	var names []string
	for _, e := range eps {
		names = append(names, e.String())
	}
	return names
}

func kinds(notices []nodeconfig.Notice) []nodeconfig.NoticeKind {
	var kinds []nodeconfig.NoticeKind
	for _, n := range notices {
		kinds = append(kinds, n.Kind)
	}
	return kinds
}

// mirror is a hosts.toml with one mirror and, without "server", the default.
func mirror(host string) string { return "[host.\"https://" + host + "\"]\n" }

func TestDefaultEndpoints(t *testing.T) {
	for host, want := range map[string]string{
		"docker.io":            "https://registry-1.docker.io",
		"quay.io":              "https://quay.io",
		"hub.example.com:5000": "https://hub.example.com:5000",
		"localhost:5000":       "https://localhost:5000", // with a fallback
		"localhost:80":         "http://localhost:80",
		"localhost":            "https://localhost",
	} {
		e := endpoint(t, options(node(t, nil)), host)
		if e.String() != want || e.Mirror || e.Source != "" || e.HTTPFallback != (host == "localhost:5000") {
			t.Errorf("%s: endpoint %+v, want %s", host, e, want)
		}
	}
}

// What localhost without settings is asked over, by the sources of these versions
// (remotes/docker/config, ConfigureHosts): "+" for http where https fails.
func TestLocalhost(t *testing.T) {
	for version, want := range map[string][4]string{
		"1.6.24": {"http", "http", "http", "http"},
		"1.6.25": {"https", "https", "http", "https+"},
		"1.7.6":  {"http", "http", "http", "http"},
		"1.7.7":  {"https+", "https+", "http", "https+"},
		"1.7.8":  {"https", "https", "http", "https+"},
		"1.7.24": {"https", "https", "http", "https+"},
		"2.4.2":  {"https", "https", "http", "https+"},
	} {
		opts := options(node(t, map[string]string{"certs.d/quay.io/hosts.toml": ""}))
		opts.CertsDir, opts.RuntimeVersion = "/certs.d", version
		for i, host := range []string{"localhost", "localhost:443", "localhost:80", "127.0.0.1:5001"} {
			e := endpoint(t, opts, host)
			got := e.Scheme
			if e.HTTPFallback {
				got += "+"
			}
			if got != want[i] || e.SkipVerify != (host != "localhost:80") {
				t.Errorf("%s: %s: %s, skips verification: %t", version, host, got, e.SkipVerify)
			}
		}
	}
}

// The address of a server that somebody has set is taken as it is.
func TestLocalhostWithServer(t *testing.T) {
	opts := options(node(t, map[string]string{"certs.d/localhost/hosts.toml": "server = 'https://localhost'\n[host.'https://m.test']\n"}))
	opts.CertsDir, opts.RuntimeVersion = "/certs.d", "1.6.20"
	eps, _ := endpoints(t, opts, "localhost")
	if want := []string{"https://m.test", "https://localhost"}; !slices.Equal(names(eps), want) || eps[1].HTTPFallback {
		t.Errorf("endpoints %q", names(eps))
	}
}

// Older versions ask a host that is configured for http over http, whatever its TLS
// settings.
func TestHTTPWithTLSSettings(t *testing.T) {
	files := map[string]string{"certs.d/quay.io/hosts.toml": "[host.'http://m.test']\nskip_verify = true\n[host.'http://m.test:5000']\nskip_verify = true\n"}
	for version, want := range map[string][]string{
		"1.6.20": {"http://m.test", "http://m.test:5000", "https://quay.io"},
		"1.7.12": {"http://m.test", "https://m.test:5000", "https://quay.io"},
		"2.4.2":  {"https://m.test", "https://m.test:5000", "https://quay.io"},
	} {
		opts := options(node(t, files))
		opts.CertsDir, opts.RuntimeVersion = "/certs.d", version
		eps, _ := endpoints(t, opts, "quay.io")
		if !slices.Equal(names(eps), want) {
			t.Errorf("%s: %q, want %q", version, names(eps), want)
		}
		for _, e := range eps {
			if e.HTTPFallback != (e.Scheme == "https" && e.Host != "quay.io") {
				t.Errorf("%s: %s: falls back: %t", version, e, e.HTTPFallback)
			}
		}
	}
}

// Which directory is looked at depends on the version and the settings of
// containerd, as its sources and runs of it show.
func TestConfigPath(t *testing.T) {
	const own = "[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/my/certs'\n"
	const old = "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/my/certs\"\n"
	const empty = "[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = ''\n"
	const emptyOld = "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = ''\n"
	const list = "[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/none:/my/certs'\n"
	for _, tc := range []struct {
		name, config, version string
		dir                   string // where the mirror is configured
		used                  bool
		notice                nodeconfig.NoticeKind
	}{
		{"default of 2.4", "", "v2.4.2", "/etc/containerd/certs.d", false, nodeconfig.NoticePathList},
		{"default of 2.4, docker's", "", "", "/etc/docker/certs.d", false, nodeconfig.NoticePathList},
		{"default of 2.1", "", "2.1.4", "/etc/containerd/certs.d", false, nodeconfig.NoticePathUnset},
		{"default of 1.7", "", "1.7.35~ds1", "/etc/containerd/certs.d", false, nodeconfig.NoticePathUnset},
		{"default of 2.2.1", "", "v2.2.1", "/etc/containerd/certs.d", false, nodeconfig.NoticePathList},
		{"empty, 2.2.1", "version = 3\n" + empty, "v2.2.1", "/etc/containerd/certs.d", false, nodeconfig.NoticePathUnset},
		{"empty, migrated by 2.2.1", "version = 2\n" + emptyOld, "v2.2.1", "/etc/containerd/certs.d", false, nodeconfig.NoticePathList},
		{"empty, 2.2.2", "version = 3\n" + empty, "v2.2.2", "/etc/containerd/certs.d", false, nodeconfig.NoticePathList},
		{"mirrors, 2.2.1", "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry.mirrors.'docker.io']\nendpoint = ['https://m.test']\n", "v2.2.1", "/etc/containerd/certs.d", true, nodeconfig.NoticeMirrorsBesidePath},
		{"version 3", "version = 3\n" + own, "v2.4.2", "/my/certs", true, ""},
		{"version 4", "version = 4\n" + own, "v2.4.2", "/my/certs", true, ""},
		{"version 2", "version = 2\n" + old, "v1.7.35", "/my/certs", true, ""},
		{"version 2, migrated", "version = 2\n" + old, "v2.4.2", "/my/certs", true, ""},
		{"version 4, the old plugin is ignored", "version = 4\n" + old, "v2.4.2", "/my/certs", false, nodeconfig.NoticeSectionIgnored},
		{"version 3, the old plugin is ignored", "version = 3\n" + old, "v2.1.4", "/my/certs", false, nodeconfig.NoticeSectionIgnored},
		{"version 3, migrated", "version = 3\n" + old, "v2.3.0", "/my/certs", true, ""},
		{"version 2, migrated to 3", "version = 2\n" + old, "v2.2.5", "/my/certs", true, ""},
		{"no version, not migrated", old, "v2.2.5", "/my/certs", false, nodeconfig.NoticeSectionIgnored},
		{"version 1", "[plugins.cri.registry]\nconfig_path = '/my/certs'\n", "v1.6.36", "/my/certs", true, ""},
		{"list, transfer service", "version = 3\n" + list, "v2.4.2", "/my/certs", false, nodeconfig.NoticePathList},
		{"list, before the transfer service", "version = 3\n" + list, "v2.0.5", "/my/certs", true, ""},
		{
			"list, local pull", "version = 3\n[plugins.'io.containerd.cri.v1.images']\nuse_local_image_pull = true\n" + list,
			"v2.4.2", "/my/certs", true, "",
		},
		{
			"default, local pull by concurrency", "version = 3\n[plugins.'io.containerd.cri.v1.images']\nmax_concurrent_downloads = 5\n",
			"v2.4.2", "/etc/docker/certs.d", true, "",
		},
		{
			"default, local pull by an old setting",
			"version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd]\ndisable_snapshot_annotations = false\n",
			"v2.4.2", "/etc/containerd/certs.d", true, "",
		},
		{"broken", "version = 3\n[plugins\n", "v2.4.2", "/none", false, nodeconfig.NoticeUnreadable},
		{
			"legacy", "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']\nendpoint = ['https://m.test']\n",
			"v2.4.2", "/etc/containerd/certs.d", false, nodeconfig.NoticePathUnset,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := map[string]string{
				tc.dir + "/quay.io/hosts.toml":       mirror("mirror.test"),
				"/etc/ssl/certs/ca-certificates.crt": string(catest.New(t).PEM()),
			}
			if tc.config != "" {
				files["/etc/containerd/config.toml"] = tc.config
			}
			opts := options(node(t, files))
			opts.RuntimeVersion = tc.version
			conf := nodeconfig.Load(opts)
			eps, notices, err := conf.EndpointsFor(t.Context(), "quay.io", ref(t, "quay.io/whypull/whypull"))
			want := []string{"https://quay.io"}
			if tc.used {
				want = []string{"https://mirror.test", "https://quay.io"}
			}
			if err != nil || !slices.Equal(names(eps), want) {
				t.Errorf("endpoints %q, %v; want %q", names(eps), err, want)
			}
			var wantKinds []nodeconfig.NoticeKind
			if tc.notice != "" {
				wantKinds = []nodeconfig.NoticeKind{tc.notice}
			}
			if got := kinds(append(conf.Notices(), notices...)); !slices.Equal(got, wantKinds) {
				t.Errorf("notices %q, want %q", got, wantKinds)
			}
		})
	}
}

// containerd's unit may name another file, as that of kOps does.
func TestConfigFileOfUnit(t *testing.T) {
	const file = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/certs\"\n"
	for name, tc := range map[string]struct {
		unit, config, version string
		other                 bool // the file is another one
	}{
		"a flag":               {unit: "ExecStart=/usr/bin/containerd -c /etc/containerd/config-kops.toml $CONTAINERD_OPTS", other: true},
		"a long one":           {unit: "ExecStart=/usr/bin/containerd --config=/etc/containerd/config-kops.toml", other: true},
		"a path in a variable": {unit: "Environment=CONFIG=/usr/share/none.toml\nEnvironment=CONFIG=/etc/containerd/config-kops.toml\nExecStart=/usr/bin/containerd --config ${CONFIG}", other: true},
		"in a variable":        {unit: "Environment=CONTAINERD_OPTS='--config /etc/containerd/config-kops.toml'\nExecStart=containerd $CONTAINERD_OPTS", other: true},
		"none":                 {unit: "ExecStart=/usr/bin/containerd"},
		"a file that is not":   {unit: "ExecStart=/usr/bin/containerd -c /usr/share/containerd/config.toml"},
		"a shell":              {unit: "ExecStartPre=/bin/sh -c /etc/containerd/prepare\nExecStart=/usr/bin/containerd"},
		"k3s":                  {unit: "ExecStart=/usr/bin/containerd -c /etc/containerd/config-kops.toml", version: "v2.1.5-k3s1"},
		"named":                {unit: "ExecStart=/usr/bin/containerd -c /etc/containerd/config-kops.toml", config: "/etc/my.toml"},
	} {
		opts := options(node(t, map[string]string{
			own: "[Service]\n" + tc.unit + "\n", "certs/quay.io/hosts.toml": mirror("m.test"), "etc/containerd/prepare": "",
			"etc/containerd/config.toml": "version = 2\n", "etc/containerd/config-kops.toml": file, "etc/my.toml": "",
		}))
		opts.ConfigFile, opts.RuntimeVersion = tc.config, cmp.Or(tc.version, "2.1.4")
		if eps, _ := endpoints(t, opts, "quay.io"); (len(eps) == 2) != tc.other {
			t.Errorf("%s: endpoints %q", name, names(eps))
		}
	}
}

func TestImports(t *testing.T) {
	path := func(dir string) string {
		return "[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '" + dir + "'\n"
	}
	opts := options(node(t, map[string]string{
		"etc/containerd/config.toml":   "version = 3\nimports = ['conf.d/*.toml', '/opt/last.toml', '/opt/gone.toml']\n" + path("/first"),
		"etc/containerd/conf.d/a.toml": "version = 3\nimports = ['/etc/containerd/config.toml']\n" + path("/second"),
		"opt/last.toml":                "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '/third'\n",
		"first/quay.io/hosts.toml":     mirror("first.test"),
		"second/quay.io/hosts.toml":    mirror("second.test"),
		"third/quay.io/hosts.toml":     mirror("third.test"),
	}))
	eps, _ := endpoints(t, opts, "quay.io")
	if want := []string{"https://third.test", "https://quay.io"}; !slices.Equal(names(eps), want) {
		t.Errorf("endpoints %q, want %q", names(eps), want)
	}
	notices := nodeconfig.Load(opts).Notices()
	if !slices.Contains(notices, nodeconfig.Notice{Kind: nodeconfig.NoticeUnreadable, Path: "/opt/gone.toml"}) {
		t.Errorf("notices %v do not name the import that is missing", notices)
	}
}

// Until 1.7 an import replaces a plugin's whole section; since 2.0 tables are merged.
// Until 2.2 there is one version for all files.
func TestImportsOfVersions(t *testing.T) {
	const plugin = "[plugins.\"io.containerd.grpc.v1.cri\""
	for name, tc := range map[string]struct {
		main, second, version, want string
	}{
		"merged since 2.0":            {"version = 2\n" + plugin + ".registry]\nconfig_path = '/a'\n", "version = 2\n" + plugin + "]\nsandbox_image = 'x'\n", "2.0.5", "/a"},
		"replaced before":             {"version = 2\n" + plugin + ".registry]\nconfig_path = '/a'\n", "version = 2\n" + plugin + "]\nsandbox_image = 'x'\n", "1.7.35", ""},
		"kept without the section":    {"version = 2\n" + plugin + ".registry]\nconfig_path = '/a'\n", "version = 2\n[plugins.x]\n", "1.6.36", "/a"},
		"version of the import":       {"version = 2\n", plugin + ".registry]\nconfig_path = '/a'\n", "1.7.35", "/a"},
		"version 1 by default":        {"", plugin + ".registry]\nconfig_path = '/a'\n", "1.7.35", ""},
		"version 1's name":            {"", "[plugins.cri.registry]\nconfig_path = '/a'\n", "1.7.35", "/a"},
		"version 1's name, migrated":  {"", "[plugins.cri.registry]\nconfig_path = '/a'\n", "2.3.1", "/a"},
		"version 1's name, by 2":      {"version = 2\n", "[plugins.cri.registry]\nconfig_path = '/a'\n", "2.1.4", "/a"},
		"version 1's name, by 3":      {"", "[plugins.cri.registry]\nconfig_path = '/a'\n", "2.1.4", ""},
		"version 2's, by an import":   {"version = 2\n" + plugin + ".registry]\nconfig_path = '/a'\n", "version = 3\n[plugins.x]\n", "2.1.4", ""},
		"version 2's, with an import": {"version = 2\n" + plugin + ".registry]\nconfig_path = '/a'\n", "version = 3\n[plugins.x]\n", "2.3.1", "/a"},
		"the new name, to an old one": {"", "version = 2\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/a'\n", "1.7.35", ""},
		"an empty value counts":       {"version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/a'\n", "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = ''\n", "2.1.4", ""},
	} {
		t.Run(name, func(t *testing.T) {
			opts := options(node(t, map[string]string{
				"etc/containerd/config.toml": "imports = ['b.toml']\n" + tc.main,
				"etc/containerd/b.toml":      tc.second,
				"a/quay.io/hosts.toml":       mirror("m.test"),
			}))
			opts.RuntimeVersion = tc.version
			eps, _ := endpoints(t, opts, "quay.io")
			if used := len(eps) == 2; used != (tc.want != "") {
				t.Errorf("endpoints %q", names(eps))
			}
		})
	}
}

func TestHostsFile(t *testing.T) {
	opts := options(node(t, map[string]string{"certs.d/docker.io/hosts.toml": `
server = "https://origin.test"

[host."https://zzz.test"]
  capabilities = ["pull"]
  override_path = true

[host."http://aaa.test:5000/prefix"]
  capabilities = ["pull", "resolve"]
  [host."http://aaa.test:5000/prefix".header]
    x-api-key = "k"

[host."https://mmm.test"]
  skip_verify = true
`}))
	opts.CertsDir = "/certs.d"
	eps, notices := endpoints(t, opts, "docker.io")
	want := []string{"https://zzz.test", "http://aaa.test:5000", "https://mmm.test", "https://origin.test"}
	bare := nodeconfig.Notice{Kind: nodeconfig.NoticePathWithoutVersion, Path: "/certs.d/docker.io/hosts.toml", Line: 4, Endpoint: "https://zzz.test"}
	if !slices.Equal(names(eps), want) || !slices.Equal(notices, []nodeconfig.Notice{bare}) {
		t.Fatalf("endpoints %q, notices %v; want %q in the file's order", names(eps), notices, want)
	}
	tag, digest := ref(t, "nginx:1.0"), ref(t, "nginx@"+registrytest.Digest)
	for i, resolves := range []bool{false, true, true, true} {
		if e := eps[i]; e.Serves(tag) != resolves || !e.Serves(digest) || !e.Mirror || e.Source != "/certs.d/docker.io" {
			t.Errorf("%s: serves the tag %t, the digest %t, mirror %t, source %s", e, e.Serves(tag), e.Serves(digest), e.Mirror, e.Source)
		}
	}
	if eps[0].SkipVerify || !eps[2].SkipVerify {
		t.Error("skip_verify of the wrong host")
	}
}

// The names of a host's directory are containerd's: compare with its own code.
func TestHostDirectoryNames(t *testing.T) {
	for _, host := range []string{"docker.io", "hub.test:5000", "127.0.0.1:5000", "other.test"} {
		for _, there := range [][]string{
			{"hub.test_5000_", "hub.test:5000", "_default"}, {"hub.test:5000", "_default"}, {"docker.io"}, {"127.0.0.1_5000_"}, {"_default"},
		} {
			files := map[string]string{}
			for _, dir := range there {
				files["certs.d/"+dir+"/hosts.toml"] = mirror("mirror.test")
			}
			opts := options(node(t, files))
			opts.CertsDir = "/certs.d"
			want, _ := config.HostDirFromRoot(filepath.Join(opts.Root, "certs.d"))(host)
			eps, _ := endpoints(t, opts, host)
			if got := eps[0].Source; got != strings.TrimPrefix(want, opts.Root) {
				t.Errorf("%s in %q: %q, want %q", host, there, got, want)
			}
		}
	}
}

// The directory for all hosts is one since 1.6.17 (remotes/docker/config, hostPaths).
func TestDefaultDirectory(t *testing.T) {
	for version, want := range map[string]int{"1.6.16": 1, "1.6.17": 2, "1.7.0": 2, "": 2} {
		opts := options(node(t, map[string]string{"certs.d/_default/hosts.toml": mirror("mirror.test")}))
		opts.CertsDir, opts.RuntimeVersion = "/certs.d", version
		eps, notices := endpoints(t, opts, "hub.test")
		unread := nodeconfig.Notice{Kind: nodeconfig.NoticeDefaultFolder, Path: "/certs.d/_default/hosts.toml"}
		if len(eps) != want || slices.Contains(notices, unread) != (want == 1) {
			t.Errorf("%s: %q, notices %v", version, names(eps), notices)
		}
	}
}

func TestInvalidHostsFile(t *testing.T) {
	const password = "Authorization = 123456"
	for name, tc := range map[string]struct {
		text string
		line int
	}{
		"syntax":     {"server = \"https://m.test\"\n[host\n", 2},
		"capability": {"[host.\"https://m.test\"]\ncapabilities = [\"fly\"]\n", 0},
		"header":     {"[host.\"https://m.test\"]\n[host.\"https://m.test\".header]\n" + password + "\n", 0},
		"type":       {"[host.\"https://m.test\"]\nskip_verify = \"yes\"\n", 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t, registrytest.Config{Repositories: repositories()})
			opts := options(node(t, map[string]string{
				"certs.d/" + s.Host + "/hosts.toml": tc.text,
				"certs.d/" + s.Host + "/ca.crt":     string(s.CA.PEM()),
			}))
			opts.CertsDir = "/certs.d"
			eps, notices := endpoints(t, opts, s.Host)
			want := nodeconfig.Notice{Kind: nodeconfig.NoticeHostsUnreadable, Path: "/certs.d/" + s.Host + "/hosts.toml", Line: tc.line}
			if tc.line == 0 {
				want.Kind = nodeconfig.NoticeHostsBadValue
			}
			if !slices.Equal(notices, []nodeconfig.Notice{want}) {
				t.Errorf("notices %v, want %v", notices, want)
			}
			// containerd falls back to the certificates in the directory.
			if len(eps) != 1 || eps[0].Mirror || !eps[0].Probe(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil).Found {
				t.Errorf("endpoints %q", names(eps))
			}
		})
	}
}

func TestUnusableHostsFile(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"no file":        {"certs.d/hub.test/hosts.toml": "server = \"https://hub.test\"\nca = \"/etc/gone.pem\"\n"},
		"no certificate": {"certs.d/hub.test/hosts.toml": "server = \"https://hub.test\"\nca = \"x.pem\"\n", "certs.d/hub.test/x.pem": secret},
		"no key":         {"certs.d/hub.test/hosts.toml": "server = \"https://hub.test\"\nclient = \"x.pem\"\n", "certs.d/hub.test/x.pem": secret},
	} {
		t.Run(name, func(t *testing.T) {
			opts := options(node(t, files))
			opts.CertsDir, opts.TempDir = "/certs.d", t.TempDir()
			_, _, err := nodeconfig.Load(opts).EndpointsFor(t.Context(), "hub.test", ref(t, "hub.test/whypull/whypull"))
			var bad *nodeconfig.ConfigError
			if !errors.As(err, &bad) || bad.Kind != nodeconfig.NoticeCertificateUnusable || bad.Path != "/certs.d/hub.test/hosts.toml" {
				t.Errorf("error %v: %+v", err, bad)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("error %q", err)
			}
			if left, err := os.ReadDir(opts.TempDir); err != nil || len(left) > 0 {
				t.Errorf("left in the temporary directory: %v, %v", left, err)
			}
		})
	}
}

// What is no file, which may never end, and what is too large is not read. With the first
// the runtime does not pull either; of the second nothing is known.
func TestUnboundedFiles(t *testing.T) {
	const names = "server = 'https://hub.test'\nca = 'ca.pem'\nclient = [['c.pem', '/keys/k.pem']]\n"
	for name, tc := range map[string]struct{ hosts, odd string }{
		"hosts.toml":     {"", "certs.d/hub.test/hosts.toml"},
		"ca":             {names, "certs.d/hub.test/ca.pem"},
		"key":            {names, "keys/k.pem"},
		"not hosts.toml": {"", "certs.d/hub.test/x.crt"},
	} {
		for kind, create := range map[string]func(file string) error{
			"pipe":  func(file string) error { return syscall.Mkfifo(file, 0o600) },
			"large": func(file string) error { return errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, 9<<20)) },
		} {
			for _, mounted := range []bool{true, false} {
				t.Run(fmt.Sprint(name, " ", kind, " ", mounted), func(t *testing.T) {
					files := map[string]string{"certs.d/hub.test/": "", "keys/": ""}
					opts := options(node(t, files))
					root := opts.Root
					opts.CertsDir, opts.TempDir = "/certs.d", t.TempDir()
					hosts := tc.hosts
					if !mounted {
						opts.Root, opts.CertsDir, hosts = "", filepath.Join(root, "certs.d"), strings.ReplaceAll(hosts, "/keys", filepath.Join(root, "keys"))
					}
					if hosts != "" {
						hostfstest.Add(t, root, map[string]string{"certs.d/hub.test/hosts.toml": hosts})
					}
					if err := create(filepath.Join(root, tc.odd)); err != nil {
						t.Fatal(err)
					}
					_, _, err := sources(t, opts, "hub.test/a:1")
					_, refused := errors.AsType[*nodeconfig.ConfigError](err)
					if wantRefused := kind == "pipe" && tc.odd != "certs.d/hub.test/hosts.toml"; err == nil || refused != wantRefused {
						t.Errorf("error %v, of the configuration: %t", err, refused)
					}
				})
			}
		}
	}
}

// containerd refuses the pull where a host's directory is a file: it cannot look for
// hosts.toml in it.
func TestFileInPlaceOfDirectory(t *testing.T) {
	opts := options(node(t, map[string]string{"certs.d/hub.test": mirror("m.test")}))
	opts.CertsDir, opts.TempDir = "/certs.d", t.TempDir()
	_, _, err := sources(t, opts, "hub.test/a:1")
	if bad, ok := errors.AsType[*nodeconfig.ConfigError](err); !ok || bad.Kind != nodeconfig.NoticeNotDirectory || bad.Path != "/certs.d/hub.test" {
		t.Errorf("error %v", err)
	}
	if _, err := config.ConfigureHosts(t.Context(), config.HostOptions{HostDir: config.HostDirFromRoot(filepath.Join(opts.Root, "certs.d"))})("hub.test"); err == nil {
		t.Error("containerd reads it")
	}
}

func TestMisnamedHostsFile(t *testing.T) {
	opts := options(node(t, map[string]string{"certs.d/hub.test/host.toml": mirror("m.test")}))
	opts.CertsDir = "/certs.d"
	eps, notices := endpoints(t, opts, "hub.test")
	want := nodeconfig.Notice{Kind: nodeconfig.NoticeHostsMisnamed, Path: "/certs.d/hub.test/host.toml"}
	if !slices.Equal(names(eps), []string{"https://hub.test"}) || !slices.Equal(notices, []nodeconfig.Notice{want}) {
		t.Errorf("endpoints %q, notices %v", names(eps), notices)
	}
}

// Absolute paths and links in the node's files mean the node's root.
func TestRebasedCertificates(t *testing.T) {
	ca := catest.New(t)
	s := registrytest.New(t, registrytest.Config{CA: ca, Repositories: repositories()})
	server := "# ca = \"/decoy\"\nserver = \"https://" + s.Host + "\"\n"
	pem := string(ca.PEM())
	for name, tc := range map[string]struct {
		files map[string]string
		links map[string]string // name to target
	}{
		"absolute":      {files: map[string]string{"certs.d/_default/hosts.toml": server + "ca = '/etc/pki/ca.pem'\n", "etc/pki/ca.pem": pem}},
		"relative":      {files: map[string]string{"certs.d/_default/hosts.toml": server + "ca = \"ca.pem\"\n", "certs.d/_default/ca.pem": pem}},
		"parent":        {files: map[string]string{"certs.d/_default/hosts.toml": server + "ca = \"../ca.pem\"\n", "certs.d/ca.pem": pem}},
		"list":          {files: map[string]string{"certs.d/_default/hosts.toml": server + "ca = [ # both\n '/a.pem', \"/\\u0062.pem\" ]\n", "a.pem": pem, "b.pem": pem}},
		"mirror":        {files: map[string]string{"certs.d/_default/hosts.toml": "server = 'https://x.test'\n[host.'https://" + s.Host + "']\nca = '/a.pem'\n", "a.pem": pem}},
		"docker layout": {files: map[string]string{"certs.d/_default/ca.crt": pem}},
		"linked certificate": {
			files: map[string]string{"certs.d/_default/hosts.toml": server + "ca = '/etc/pki/ca.pem'\n", "real.pem": pem, "etc/pki/x": ""},
			links: map[string]string{"etc/pki/ca.pem": "/real.pem"},
		},
		"linked directory": {
			files: map[string]string{"var/certs/hosts.toml": server + "ca = 'ca.pem'\n", "var/certs/ca.pem": pem, "certs.d/x": ""},
			links: map[string]string{"certs.d/_default": "/var/certs"},
		},
		"linked file": {
			files: map[string]string{"var/hosts.toml": server + "ca = 'ca.pem'\n", "certs.d/_default/ca.pem": pem},
			links: map[string]string{"certs.d/_default/hosts.toml": "/var/hosts.toml"},
		},
		"linked docker layout": {
			files: map[string]string{"var/ca.pem": pem, "certs.d/_default/x": ""},
			links: map[string]string{"certs.d/_default/ca.crt": "/var/ca.pem"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := node(t, tc.files)
			for from, to := range tc.links {
				if err := os.Symlink(to, filepath.Join(root, from)); err != nil {
					t.Fatal(err)
				}
			}
			opts := options(root)
			opts.CertsDir = "/certs.d"
			eps, notices := endpoints(t, opts, s.Host)
			a := eps[0].Probe(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil)
			if !a.Found || len(notices) > 0 {
				t.Errorf("notices %v, answer %v", notices, a.Err)
			}
		})
	}
}

// A host's own authority is trusted beside the node's, and by that host alone.
func TestAuthorities(t *testing.T) {
	node1, own := catest.New(t), catest.New(t)
	trustedByNode := registrytest.New(t, registrytest.Config{CA: node1, Repositories: repositories()})
	trustedByHost := registrytest.New(t, registrytest.Config{CA: own, Repositories: repositories()})
	text := "server = 'https://" + trustedByHost.Host + "'\n" +
		"[host.'https://" + trustedByHost.Host + "']\nca = 'own.pem'\n" +
		"[host.'https://" + trustedByNode.Host + "']\nca = 'own.pem'\n" +
		"[host.'https://" + trustedByHost.Host + "/']\ndial_timeout = '1s'\n"
	opts := options(node(t, map[string]string{
		"etc/pki/tls/certs/ca-bundle.crt": string(node1.PEM()), // Fedora's place
		"certs.d/hub.test/hosts.toml":     text,
		"certs.d/hub.test/own.pem":        string(own.PEM()),
	}))
	opts.CertsDir = "/certs.d"
	eps, _ := endpoints(t, opts, "hub.test")
	for i, want := range []registry.Fault{"", "", registry.FaultTLSUntrusted, registry.FaultTLSUntrusted} {
		a := eps[i].Probe(t.Context(), ref(t, "hub.test/team/app:1.0"), nil)
		if a.Fault != want {
			t.Errorf("endpoint %d: fault %q, want %q: %v", i, a.Fault, want, a.Err)
		}
	}
}

func TestBundles(t *testing.T) {
	ca := catest.New(t)
	s := registrytest.New(t, registrytest.Config{CA: ca, Repositories: repositories()})
	for _, file := range []string{"etc/ssl/ca-bundle.pem", "etc/ssl/cert.pem", "etc/ssl/certs/0123abcd.0", "usr/share/my.crt"} {
		root := node(t, map[string]string{file: string(ca.PEM()), "etc/ssl/certs/README": "none"})
		for from, to := range map[string]string{
			"etc/ssl/certs/my.pem":    "/usr/share/my.crt", // Debian's links are absolute
			"etc/ssl/certs/alias.pem": "my.pem",
			"etc/ssl/certs/loop":      "/etc/ssl/certs/loop",
		} {
			if err := os.Symlink(to, filepath.Join(root, from)); err != nil {
				t.Fatal(err)
			}
		}
		opts := options(root)
		if a := endpoint(t, opts, s.Host).Probe(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil); !a.Found || len(nodeconfig.Load(opts).Notices()) > 0 {
			t.Errorf("%s: %v, %v", file, a.Err, nodeconfig.Load(opts).Notices())
		}
	}
	if got := kinds(nodeconfig.Load(options(node(t, nil))).Notices()); !slices.Equal(got, []nodeconfig.NoticeKind{nodeconfig.NoticeNoAuthorities}) {
		t.Errorf("notices %q", got)
	}
}

// The variables with which Go's crypto/x509 looks elsewhere for CA certificates
// (root_unix.go): one replaces the files, the other the directories.
func TestCertificateVariables(t *testing.T) {
	ca, other := catest.New(t), catest.New(t)
	s := registrytest.New(t, registrytest.Config{CA: ca, Repositories: repositories()})
	files := func(unit string) map[string]string {
		return with(map[string]string{
			own: "[Service]\n" + unit + "\n", "etc/ssl/certs/ca-certificates.crt": string(other.PEM()),
			"etc/my/ca.pem": string(ca.PEM()), "etc/my/dir/a": string(ca.PEM()), "etc/env": "SSL_CERT_FILE=/etc/my/ca.pem\n", "etc/none/README": "",
		})
	}
	system := files("Environment=SSL_CERT_FILE=/etc/my/none.pem")
	system["etc/ssl/certs/ca-certificates.crt"] = string(ca.PEM())
	replaced := files("Environment=SSL_CERT_FILE=/etc/none/README SSL_CERT_DIR=/etc/none")
	replaced["etc/ssl/certs/ca-certificates.crt"] = string(ca.PEM())
	for name, tc := range map[string]struct {
		files           map[string]string
		trusted, unseen bool
	}{
		"none":                   {files: files("")},
		"a file":                 {files: files("Environment=SSL_CERT_FILE=/etc/my/ca.pem"), trusted: true},
		"a file of variables":    {files: files("EnvironmentFile=/etc/env"), trusted: true},
		"directories":            {files: files("Environment=SSL_CERT_DIR=/etc/none:/etc/my/dir"), trusted: true},
		"no such file":           {files: system, trusted: true},
		"both without any":       {files: replaced, unseen: true},
		"of the process":         {files: with(files(""), process(7, "containerd", "containerd", "SSL_CERT_FILE=/etc/my/ca.pem")), trusted: true},
		"not of the process":     {files: with(files("Environment=SSL_CERT_FILE=/etc/my/ca.pem"), process(7, "containerd", "containerd", "A=b"))},
		"not mounted":            {files: files("Environment=SSL_CERT_FILE=/opt/ca.pem"), unseen: true},
		"a directory, unmounted": {files: files("Environment=SSL_CERT_DIR=/opt/certs"), unseen: true},
	} {
		opts := ofRuntime(node(t, tc.files))
		a := endpoint(t, opts, s.Host).Probe(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil)
		unseen := slices.Contains(kinds(nodeconfig.Load(opts).Notices()), nodeconfig.NoticeNoAuthorities)
		if a.Found != tc.trusted || !a.Found && a.Fault != registry.FaultTLSUntrusted || unseen != tc.unseen {
			t.Errorf("%s: %v, certificates unseen: %t", name, a.Err, unseen)
		}
	}
}

func TestProcessOnTheNode(t *testing.T) {
	root := node(t, map[string]string{"quay.io/hosts.toml": mirror("mirror.test")})
	for _, dir := range []string{"", "/"} {
		opts := options(dir)
		opts.CertsDir = root
		eps, _ := endpoints(t, opts, "quay.io")
		if want := []string{"https://mirror.test", "https://quay.io"}; !slices.Equal(names(eps), want) {
			t.Errorf("endpoints %q, want %q", names(eps), want)
		}
	}
}

func TestNoTemporaryDirectory(t *testing.T) {
	opts := options(node(t, map[string]string{"certs.d/hub.test/hosts.toml": "server = 'https://hub.test'\nca = '/x'\n"}))
	opts.CertsDir, opts.TempDir = "/certs.d", filepath.Join(t.TempDir(), "none")
	_, _, err := nodeconfig.Load(opts).EndpointsFor(t.Context(), "hub.test", ref(t, "hub.test/whypull/whypull"))
	var config *nodeconfig.ConfigError
	if err == nil || errors.As(err, &config) {
		t.Errorf("error %v: want one that does not blame the configuration", err)
	}
}

// An endpoint at which no registry's API can be is named with its line.
func TestAddressNotices(t *testing.T) {
	for name, tc := range map[string]struct {
		host, file string
		want       []nodeconfig.Notice
	}{
		"web site": {"docker.io", "# comment\nserver = \"https://docker.io\"\n[host.\"https://m.test\"]\n", []nodeconfig.Notice{
			{Kind: nodeconfig.NoticeWebSite, Line: 2, Endpoint: "https://docker.io"},
		}},
		"web site as a host": {"docker.io", "\n[host.\"https://hub.docker.com\"]\n", []nodeconfig.Notice{
			{Kind: nodeconfig.NoticeWebSite, Line: 2, Endpoint: "https://hub.docker.com"},
		}},
		"registry":  {"docker.io", "server = \"https://registry-1.docker.io\"\n[host.\"https://m.test/v2\"]\n", nil},
		"no server": {"docker.io", "[host.\"https://m.test\"]\n", nil},
		"doubled": {"hub.test", "server = \"https://hub.test\"\n\n[host.\"https://m.test:443/v2/proj\"]\ncapabilities = [\"pull\"]\n", []nodeconfig.Notice{
			{Kind: nodeconfig.NoticePathDoubled, Line: 3, Endpoint: "https://m.test:443"},
		}},
		"doubled server": {"hub.test", "server = \"https://m.test/v2/proj\"\n", []nodeconfig.Notice{
			{Kind: nodeconfig.NoticePathDoubled, Line: 1, Endpoint: "https://m.test"},
		}},
		"overridden": {"hub.test", "[host.\"https://m.test/v2/proj\"]\noverride_path = true\n", nil},
		"overridden without v2": {"hub.test", "[host.\"https://m.test/proj\"]\noverride_path = true\n", []nodeconfig.Notice{
			{Kind: nodeconfig.NoticePathWithoutVersion, Line: 1, Endpoint: "https://m.test"},
		}},
		"path before v2": {"hub.test", "[host.\"https://m.test/api/docker/repo\"]\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			opts := options(node(t, map[string]string{"certs.d/" + tc.host + "/hosts.toml": tc.file}))
			opts.CertsDir = "/certs.d"
			_, notices := endpoints(t, opts, tc.host)
			for i := range tc.want {
				tc.want[i].Path = "/certs.d/" + tc.host + "/hosts.toml"
			}
			if !slices.Equal(notices, tc.want) {
				t.Errorf("notices %+v, want %+v", notices, tc.want)
			}
		})
	}
}

// The tables "rewrite" are for the containerd of k3s and RKE2; others pass them over.
func TestRewrite(t *testing.T) {
	const table = "server = \"https://registry-1.docker.io/v2\"\n[host.\"https://m.test\"]\n[host.\"https://m.test\".rewrite]\n\"^library/(.*)\" = \"hub/$1\"\n\"(\" = \"x\"\n"
	for version, want := range map[string]string{"2.0.5-k3s1": "hub/alpine", "v1.7.23-k3s2": "hub/alpine", "": "hub/alpine", "2.0.5": "library/alpine", "1.7.35": "library/alpine"} {
		opts := options(node(t, map[string]string{"certs.d/docker.io/hosts.toml": table}))
		opts.CertsDir, opts.RuntimeVersion = "/certs.d", version
		eps, _ := endpoints(t, opts, "docker.io")
		for _, name := range []string{"alpine:3", "alpine@" + registrytest.Digest} {
			image := ref(t, name)
			if got := eps[0].Reference(image).String(); got != strings.Replace(image.String(), "library/alpine", want, 1) {
				t.Errorf("%q: the mirror is asked for %s", version, got)
			}
			if got := eps[1].Reference(image).String(); got != image.String() {
				t.Errorf("%q: the registry is asked for %s", version, got)
			}
		}
		if other := ref(t, "quay.io/team/app:1"); eps[0].Reference(other).String() != other.String() {
			t.Errorf("%q: %s", version, eps[0].Reference(other))
		}
	}
}
