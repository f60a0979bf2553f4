package nodeconfig_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/nodeconfig/nodeconfigtest"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

const (
	daemonJSON = "etc/docker/daemon.json"
	dockerUnit = "usr/lib/systemd/system/docker.service"
)

// onDocker are the options of a node with cri-dockerd.
func onDocker(t *testing.T, files map[string]string) nodeconfig.Options {
	t.Helper()
	opts := nodeconfigtest.CRIO(t, with(files))
	opts.Runtime, opts.RuntimeVersion = "docker", "28.5.1"
	return opts
}

// The endpoints that LookupPullEndpoints of Docker 28.5.1 returns: "?" for one that
// is also asked over http and whose certificate is not verified, "!" for one whose
// certificate is not verified.
func TestDockerEndpoints(t *testing.T) {
	opts := onDocker(t, map[string]string{
		daemonJSON: `{"registry-mirrors": ["https://m1.test", "http://m2.test:5000/", "https://plain.test:5000"], "insecure-registries": ["plain.test:5000", "10.0.0.0/8", "http://old.test"]}`,
		dockerUnit: "[Service]\nExecStart=/usr/bin/dockerd -H fd:// --insecure-registry flag.test --insecure-registry=192.168.0.0/16 --registry-mirror=https://m3.test/\n",
		// containerd's own are not Docker's
		"etc/containerd/certs.d/hub.test/hosts.toml": mirror("wrong.test"),
	})
	for host, want := range map[string][]string{
		"docker.io":       {"https://m1.test", "http://m2.test:5000", "https://plain.test:5000!", "https://m3.test", "https://registry-1.docker.io"},
		"hub.test":        {"https://hub.test"},
		"plain.test:5000": {"https://plain.test:5000?"},
		"plain.test":      {"https://plain.test"},
		"old.test":        {"https://old.test?"},
		"flag.test":       {"https://flag.test?"},
		"10.1.2.3:5000":   {"https://10.1.2.3:5000?"},
		"192.168.1.1":     {"https://192.168.1.1?"},
		"127.0.0.1:5000":  {"https://127.0.0.1:5000?"},
		"[::1]:5000":      {"https://[::1]:5000?"},
		"localhost:5000":  {"https://localhost:5000?"},
		"11.1.2.3":        {"https://11.1.2.3"},
		"m2.test:5000":    {"https://m2.test:5000"},
		"index.test:443":  {"https://index.test:443"},
		"quay.io":         {"https://quay.io"},
		"registry.k8s.io": {"https://registry.k8s.io"},
	} {
		eps, notices := endpoints(t, opts, host)
		var got []string
		for i, e := range eps {
			name := e.String()
			if e.SkipVerify {
				name += map[bool]string{false: "!", true: "?"}[e.HTTPFallback]
			}
			got = append(got, name)
			if !e.Unloaded || e.Source != "/"+daemonJSON || e.Settings.Path != "/v2" || e.Mirror != (i < len(eps)-1) || e.Settings.Namespace != "" {
				t.Errorf("%s: %+v", host, e)
			}
		}
		if !slices.Equal(got, want) || len(notices) > 0 {
			t.Errorf("%s: %q, want %q; %v", host, got, want, notices)
		}
	}
	if dir, same := nodeconfig.Load(opts).TransferDir(nil); same {
		t.Errorf("containerd would pull the same from %q", dir)
	}
}

// Docker does not start with a mirror that it does not accept (registry, ValidateMirror), so
// the one that runs has other mirrors than its file.
func TestDockerMirrorInvalid(t *testing.T) {
	for mirror, valid := range map[string]bool{
		"https://m.test": true, "http://m.test:5000/": true, "https://m.test/path/": true,
		"m.test": false, "m.test:5000": false, "//m.test": false, "": false, "ftp://m.test": false, "https://m.test?x=y": false,
		"https://m.test#x": false, "https://user:" + "password@m.test": false, "https:m.test": false, "https://[": false,
	} {
		opts := onDocker(t, map[string]string{
			daemonJSON: `{"registry-mirrors": ["` + mirror + `", "https://good.test"]}`,
			dockerUnit: "[Service]\nExecStart=/usr/bin/dockerd --registry-mirror=https://flag.test\n",
		})
		var want []nodeconfig.Notice
		hosts := []string{"https://good.test", "https://flag.test", "https://registry-1.docker.io"}
		if !valid {
			want = []nodeconfig.Notice{{Kind: nodeconfig.NoticeDockerMirror, Path: "/" + daemonJSON}}
		} else {
			hosts = append([]string{strings.TrimSuffix(strings.TrimSuffix(mirror, "/"), "/path")}, hosts...)
		}
		eps, notices := endpoints(t, opts, "docker.io")
		if !slices.Equal(notices, want) || !slices.Equal(names(eps), hosts) {
			t.Errorf("%q: %q, %v", mirror, names(eps), notices)
		}
		if _, notices := endpoints(t, opts, "hub.test"); len(notices) > 0 {
			t.Errorf("%q: %v for another registry", mirror, notices)
		}
	}
}

// The image store of Docker 29 reads hosts.toml in the directory of certificates.
func TestDockerHostsFile(t *testing.T) {
	for version, want := range map[string][]string{
		"28.5.1": {"https://hub.test"},
		"29.0.0": {"https://m.test", "https://hub.test"},
	} {
		opts := onDocker(t, map[string]string{"etc/docker/certs.d/hub.test/hosts.toml": mirror("m.test")})
		opts.RuntimeVersion = version
		eps, notices := endpoints(t, opts, "hub.test")
		if !slices.Equal(names(eps), want) || len(notices) > 0 || !eps[0].Unloaded {
			t.Errorf("%s: %q, %v", version, names(eps), notices)
		}
		if eps, _ := endpoints(t, opts, "other.test"); !slices.Equal(names(eps), []string{"https://other.test"}) {
			t.Errorf("%s: %q", version, names(eps))
		}
	}
}

// Docker reads certificates as CRI-O does, from its own directory alone.
func TestDockerCertificates(t *testing.T) {
	ca := catest.New(t)
	s := registrytest.New(t, registrytest.Config{CA: ca, Repositories: repositories()})
	for dir, want := range map[string]registry.Fault{
		"etc/docker/certs.d/":             "",
		"etc/containers/certs.d/":         registry.FaultTLSUntrusted,
		"root/.config/containers/certs.d": registry.FaultTLSUntrusted,
	} {
		opts := onDocker(t, map[string]string{dir + "/" + s.Host + "/ca.crt": string(ca.PEM())})
		if a := endpoint(t, opts, s.Host).Probe(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil); a.Fault != want {
			t.Errorf("%s: %q, want %q: %v", dir, a.Fault, want, a.Err)
		}
	}
	opts := onDocker(t, map[string]string{"etc/docker/certs.d/hub.test/x.cert": ""})
	if _, _, err := sources(t, opts, "hub.test/a:1"); !refuses(err, nodeconfig.NoticeCertificatesUnusable, "/etc/docker/certs.d/hub.test/x.cert") {
		t.Errorf("error %v", err)
	}
}

func TestDockerFile(t *testing.T) {
	const insecure = `{"insecure-registries": ["hub.test"], "data-root": "/mnt/docker"}`
	for name, tc := range map[string]struct {
		files    map[string]string
		insecure bool
		notice   nodeconfig.Notice
		root     string
	}{
		"none":      {root: "/var/lib/docker"},
		"a file":    {files: map[string]string{daemonJSON: insecure}, insecure: true, root: "/mnt/docker"},
		"elsewhere": {files: map[string]string{dockerUnit: "[Service]\nExecStart=dockerd --config-file /etc/d.json\n", "etc/d.json": insecure}, insecure: true, root: "/mnt/docker"},
		"invalid":   {files: map[string]string{daemonJSON: "{"}, notice: nodeconfig.Notice{Kind: nodeconfig.NoticeUnreadable, Path: "/" + daemonJSON}, root: "/var/lib/docker"},
		"of a snap": {
			files:  with(process(7, "dockerd", "dockerd --config-file=/var/snap/docker/current/config/daemon.json", "A=b"), map[string]string{"proc/7/stat": "7 (dockerd) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 9 0 100" + strings.Repeat(" 0", 30) + "\n", "proc/stat": "btime 1\n"}),
			notice: nodeconfig.Notice{Kind: nodeconfig.NoticeHidden, Path: "/var/snap/docker/current/config/daemon.json"}, root: "/var/lib/docker",
		},
	} {
		c := nodeconfig.Load(onDocker(t, tc.files))
		eps, _, err := c.EndpointsFor(t.Context(), "hub.test", ref(t, "hub.test/whypull/whypull"))
		if err != nil || len(eps) != 1 || eps[0].SkipVerify != tc.insecure || c.Storage().Root != tc.root {
			t.Errorf("%s: %+v, %v, root %s", name, eps, err, c.Storage().Root)
		}
		if got := append(c.Notices(), nodeconfig.Notice{})[0]; got != tc.notice {
			t.Errorf("%s: notice %v", name, got)
		}
	}
}

// The proxies of daemon.json replace the variables of their names.
func TestDockerProxies(t *testing.T) {
	for name, tc := range map[string]struct{ file, proxy, source string }{
		"of the unit": {`{}`, "unit.test:1", "/" + dockerUnit},
		"of the file": {`{"proxies": {"https-proxy": "http://u:` + secret + `@file.test:2"}}`, "file.test:2", "/" + daemonJSON},
		"except":      {`{"proxies": {"no-proxy": "hub.test"}}`, "", ""},
	} {
		opts := onDocker(t, map[string]string{dockerUnit: "[Service]\nEnvironment=HTTPS_PROXY=http://unit.test:1\n", daemonJSON: tc.file})
		opts.Proxy = nil
		if proxy, source, known := proxyOf(t, opts, "hub.test"); proxy != tc.proxy || source != tc.source || !known {
			t.Errorf("%s: %q of %q", name, proxy, source)
		}
	}
}
