package nodeconfig_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/whypull/whypull/cri/hostfs/hostfstest"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// A file without effect is reported to whom it was meant for.
func TestMisplacedHostsFile(t *testing.T) {
	for _, tc := range []struct {
		name, host, file string
		kind             nodeconfig.NoticeKind
	}{
		{"upstream", "docker.io", "registry-1.docker.io", nodeconfig.NoticeUpstreamName},
		{"index", "docker.io", "index.docker.io", nodeconfig.NoticeUpstreamName},
		{"web site", "docker.io", "hub.docker.com", nodeconfig.NoticeUpstreamName},
		{"upstream of another", "quay.io", "registry-1.docker.io", ""},
		{"its own name", "registry-1.docker.io", "registry-1.docker.io", ""},
		{"scheme", "hub.test:5000", "https:/hub.test:5000", nodeconfig.NoticeFolderNotHost},
		{"scheme of another", "quay.io", "https:/hub.test:5000", ""},
		{"path", "hub.test", "hub.test/team", nodeconfig.NoticeFolderNotHost},
		{"port", "hub.test:5000", "hub.test_5000", nodeconfig.NoticePortFolder},
		{"port of another", "hub.test:5001", "hub.test_5000", ""},
		{"root", "hub.test", ".", nodeconfig.NoticeNoFolder},
		{"right", "hub.test:5000", "hub.test_5000_", ""},
		{"default", "hub.test", "_default", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join("/certs.d", tc.file, "hosts.toml")
			opts := options(node(t, map[string]string{file: mirror("m.test"), "certs.d/x/y": ""}))
			opts.CertsDir = "/certs.d"
			_, notices := endpoints(t, opts, tc.host)
			want := []nodeconfig.Notice{{Kind: tc.kind, Path: file}}
			if tc.kind == "" {
				want = nil
			}
			if !slices.Equal(notices, want) {
				t.Errorf("notices %v, want %v", notices, want)
			}
		})
	}
}

// A directory of the host without its port is the other registry's, unless what is in it
// is about the port.
func TestDirectoryWithoutPort(t *testing.T) {
	for text, want := range map[string]nodeconfig.NoticeKind{
		"server = 'http://hub.test:5000'\n": nodeconfig.NoticePortFolder,
		mirror("hub.test:5000/v2/project"):  nodeconfig.NoticePortFolder,
		mirror("hub.test:50001"):            "",
		mirror("hub.test"):                  "",
	} {
		opts := options(node(t, map[string]string{"certs.d/hub.test/hosts.toml": text}))
		opts.CertsDir = "/certs.d"
		_, notices := endpoints(t, opts, "hub.test:5000")
		if slices.Contains(notices, nodeconfig.Notice{Kind: nodeconfig.NoticePortFolder, Path: "/certs.d/hub.test/hosts.toml"}) != (want != "") {
			t.Errorf("%q: notices %v", text, notices)
		}
	}
}

// Beside a file that is read, others for the registry are left over, but for those of a
// part of it.
func TestLeftOverHostsFiles(t *testing.T) {
	opts := options(node(t, map[string]string{
		"certs.d/docker.io/hosts.toml": mirror("m.test"), "certs.d/registry-1.docker.io/hosts.toml": mirror("old.test"),
		"certs.d/docker.io/library/hosts.toml": mirror("part.test"),
	}))
	opts.CertsDir = "/certs.d"
	want := nodeconfig.Notice{Kind: nodeconfig.NoticeFolderNotHost, Path: "/certs.d/docker.io/library/hosts.toml"}
	if _, notices := endpoints(t, opts, "docker.io"); !slices.Equal(notices, []nodeconfig.Notice{want}) {
		t.Errorf("notices %v", notices)
	}
}

func TestConfigPathUnset(t *testing.T) {
	const withPort = "/etc/containerd/certs.d/port.test:5000/hosts.toml"
	opts := options(node(t, map[string]string{"etc/containerd/certs.d/hub.test/ca.crt": "", withPort: mirror("m.test")}))
	for version, ignored := range map[string]bool{"1.7.35": true, "2.1.0": true, "2.2.0": false} {
		opts.RuntimeVersion = version
		_, notices := endpoints(t, opts, "hub.test")
		want := nodeconfig.Notice{Kind: nodeconfig.NoticePathUnset, Path: "/etc/containerd/certs.d/hub.test"}
		if slices.Contains(notices, want) != ignored {
			t.Errorf("%s: notices %v", version, notices)
		}
		_, notices = endpoints(t, opts, "port.test:5000")
		if slices.Contains(notices, nodeconfig.Notice{Kind: nodeconfig.NoticePathUnset, Path: withPort}) != ignored {
			t.Errorf("%s: notices with a port %v", version, notices)
		}
		if _, notices := endpoints(t, opts, "quay.io"); len(notices) > 0 {
			t.Errorf("%s: notices for another host %v", version, notices)
		}
	}
}

func TestNoCapableHost(t *testing.T) {
	opts := options(node(t, map[string]string{"certs.d/hub.test/hosts.toml": "server = 'https://hub.test'\ncapabilities = ['pull']\n"}))
	opts.CertsDir, opts.TempDir = "/certs.d", t.TempDir()
	want := nodeconfig.Notice{Kind: nodeconfig.NoticeNoCapableHost, Path: "/certs.d/hub.test/hosts.toml"}
	for name, refused := range map[string]bool{"hub.test/a:1": true, "hub.test/a@" + registrytest.Digest: false} {
		eps, notices, err := nodeconfig.Load(opts).EndpointsFor(t.Context(), "hub.test", ref(t, name))
		if err != nil || len(eps) != 1 || slices.Contains(notices, want) != refused {
			t.Errorf("%s: %v, notices %v, %v", name, eps, notices, err)
		}
		if got := eps[0].Reference(ref(t, name)).String(); got != name {
			t.Errorf("asked for %s", got)
		}
	}
}

// What is not mounted can be asked for, but says nothing of its certificates.
func TestHiddenFiles(t *testing.T) {
	s := registrytest.New(t, registrytest.Config{Repositories: repositories()})
	server := "server = 'https://" + s.Host + "'\n"
	table := "[host.'https://" + s.Host + "']\n"
	const own, run = "certs.d/_default/hosts.toml", "/opt/pki/x.pem"
	for name, tc := range map[string]struct {
		files, links map[string]string
		blind        []bool // by endpoint
		client       bool
		hidden       string
	}{
		"authority":             {files: map[string]string{own: server + "ca = '" + run + "'\n"}, blind: []bool{true}, hidden: run},
		"one of a list":         {files: map[string]string{own: server + "ca = ['own.pem', '" + run + "']\n", "certs.d/_default/own.pem": "x"}, blind: []bool{true}, hidden: run},
		"of the mirror alone":   {files: map[string]string{own: server + table + "\"ca\" = '" + run + "'\n"}, blind: []bool{true, true}, hidden: run},
		"client":                {files: map[string]string{own: server + "client = [['" + run + "', '/etc/k']]\n"}, blind: []bool{false}, client: true, hidden: run},
		"link to it":            {files: map[string]string{own: server + "ca = '/etc/pki/x.pem'\n", "etc/pki/y": ""}, links: map[string]string{"etc/pki/x.pem": run}, blind: []bool{true}, hidden: "/etc/pki/x.pem"},
		"docker layout":         {files: map[string]string{"certs.d/_default/y": ""}, links: map[string]string{"certs.d/_default/x.crt": run}, blind: []bool{true}, hidden: "/certs.d/_default/x.crt"},
		"docker layout, client": {files: map[string]string{"certs.d/_default/x.cert": ""}, links: map[string]string{"certs.d/_default/x.key": run}, blind: []bool{false}, client: true, hidden: "/certs.d/_default/x.cert"},
		"next to what is mounted for another reason": {files: map[string]string{own: server + "ca = '/var/lib/other/x.pem'\n", "var/lib/rancher/y": ""}, blind: []bool{true}, hidden: "/var/lib/other/x.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			root := node(t, tc.files)
			for from, to := range tc.links {
				if err := os.Symlink(to, filepath.Join(root, from)); err != nil {
					t.Fatal(err)
				}
			}
			opts := options(root)
			opts.CertsDir, opts.ConfigFile = "/certs.d", "/var/lib/rancher/config.toml"
			eps, notices := endpoints(t, opts, s.Host)
			if len(notices) == 0 || notices[0] != (nodeconfig.Notice{Kind: nodeconfig.NoticeHidden, Path: tc.hidden}) {
				t.Errorf("notices %v", notices)
			}
			if len(eps) != len(tc.blind) {
				t.Fatalf("endpoints %q", names(eps))
			}
			for i, e := range eps {
				if e.Blind != tc.blind[i] || e.BlindClient != tc.client {
					t.Errorf("endpoint %d: blind %t and %t", i, e.Blind, e.BlindClient)
				}
				if a := e.Probe(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil); a.Fault != registry.FaultTLSUntrusted {
					t.Errorf("fault %q: %v", a.Fault, a.Err)
				}
			}
		})
	}
}

// A host's directory that is named in a section without effect.
func TestDirectoryOfIgnoredSection(t *testing.T) {
	const file = "etc/containerd/config.toml"
	const dir = "etc/containerd/certs.d/"
	for _, version := range []string{"2.1.4", "2.2.1"} { // without and with a default for config_path
		opts := options(node(t, map[string]string{
			file:                        "version = 3\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = '/etc/containerd/certs.d'\n",
			dir + "hub.test/hosts.toml": mirror("m.test"),
			dir + "other.test/x.crt":    "",
		}))
		opts.RuntimeVersion = version
		for host, name := range map[string]string{"hub.test": "hub.test/hosts.toml", "other.test": "other.test"} {
			want := nodeconfig.Notice{Kind: nodeconfig.NoticePathElsewhere, Path: "/" + dir + name}
			if _, notices := endpoints(t, opts, host); !slices.Equal(notices, []nodeconfig.Notice{want}) {
				t.Errorf("%s: %v", version, notices)
			}
		}
	}
}

// A directory that is there with other files is mounted: what is not in it does
// not exist.
func TestMissingIsNotHidden(t *testing.T) {
	opts := options(node(t, map[string]string{"certs.d/hub.test/hosts.toml": "server = 'https://hub.test'\nca = '/usr/share/pki/x.pem'\n", "usr/share/y": ""}))
	opts.CertsDir, opts.TempDir = "/certs.d", t.TempDir()
	if _, _, err := nodeconfig.Load(opts).EndpointsFor(t.Context(), "hub.test", ref(t, "hub.test/whypull/whypull")); err == nil {
		t.Error("no error")
	}
}

// A change of the node's files is seen by the next diagnosis.
func TestChangeIsSeen(t *testing.T) {
	opts := options(node(t, map[string]string{"etc/containerd/config.toml": "version = 3\n"}))
	write := func(name, text string) { hostfstest.Add(t, opts.Root, map[string]string{name: text}) }
	config := nodeconfig.Load(opts)
	want := func(c *nodeconfig.Config, first string) {
		t.Helper()
		eps, _, err := c.EndpointsFor(t.Context(), "hub.test", ref(t, "hub.test/whypull/whypull"))
		if err != nil || eps[0].String() != first {
			t.Errorf("endpoints %q, %v; want %s first", names(eps), err, first)
		}
	}
	want(config, "https://hub.test")
	write("etc/containerd/config.toml", "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/certs.d'\n")
	want(config, "https://hub.test")
	config = nodeconfig.Load(opts)
	want(config, "https://hub.test")
	write("certs.d/hub.test/hosts.toml", mirror("m1.test"))
	want(config, "https://m1.test") // hosts.toml is read for each pull
	write("certs.d/hub.test/hosts.toml", mirror("m2.test"))
	want(config, "https://m2.test")
}

// containerd refuses a file that has no table of a host until 1.7.32, as its
// source and runs of it show.
func TestFileWithoutHosts(t *testing.T) {
	for version, used := range map[string]bool{"1.6.36": false, "1.7.31": false, "1.7.32": true, "1.7.35": true, "2.0.5": true, "2.4.2": true} {
		for _, mounted := range []bool{true, false} {
			opts := options(node(t, map[string]string{"certs.d/hub.test/hosts.toml": "server = 'https://m.test'\n", "certs.d/with.test/hosts.toml": mirror("m.test")}))
			opts.CertsDir, opts.RuntimeVersion = "/certs.d", version
			if !mounted {
				opts.Root, opts.CertsDir = "", filepath.Join(opts.Root, "certs.d")
			}
			eps, notices := endpoints(t, opts, "hub.test")
			want, first := []nodeconfig.Notice(nil), "https://m.test"
			if !used {
				want, first = []nodeconfig.Notice{{
					Kind: nodeconfig.NoticeHostsWithoutTable, Path: opts.CertsDir + "/hub.test/hosts.toml",
				}}, "https://hub.test"
			}
			if len(eps) != 1 || eps[0].String() != first || !slices.Equal(notices, want) {
				t.Errorf("%s: endpoints %q, notices %v", version, names(eps), notices)
			}
			if eps, notices := endpoints(t, opts, "with.test"); len(eps) != 2 || len(notices) > 0 {
				t.Errorf("%s: endpoints %q, notices %v", version, names(eps), notices)
			}
		}
	}
}
