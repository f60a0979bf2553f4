package nodeconfig_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/whypull/whypull/cri/credential/credentialtest"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// ofRuntime are the options of a node whose runtime decides about the proxy.
func ofRuntime(root string) nodeconfig.Options {
	opts := options(root)
	opts.Proxy = nil
	return opts
}

// stranger is a process on the node, so that the machine's own are not asked.
func stranger() map[string]string {
	return map[string]string{"proc/1/comm": "systemd\n", "proc/self/comm": "x"}
}

func process(pid int, comm, cmdline, environ string) map[string]string {
	dir := fmt.Sprintf("proc/%d/", pid)
	zero := func(s string) string { return strings.ReplaceAll(s, " ", "\x00") + "\x00" }
	return map[string]string{
		dir + "comm": comm + "\n", dir + "cmdline": zero(cmdline), dir + "environ": zero(environ),
		dir + "status": "Name:\t" + comm + "\nUid:\t0\t0\t0\t0\nNSpid:\t7\n",
	}
}

func with(all ...map[string]string) map[string]string {
	out := stranger()
	for _, files := range all {
		maps.Copy(out, files)
	}
	return out
}

// proxyOf is what Config says of the proxy for a host.
func proxyOf(t *testing.T, opts nodeconfig.Options, host string) (proxy, source string, known bool) {
	t.Helper()
	if opts.TempDir == "" {
		opts.TempDir = t.TempDir()
	}
	c := nodeconfig.Load(opts)
	eps, _, err := c.EndpointsFor(t.Context(), host, ref(t, host+"/whypull/whypull"))
	if err != nil || len(eps) == 0 {
		t.Fatalf("%d endpoints, %v", len(eps), err)
	}
	proxy, source = c.ProxyFor(eps[0])
	return proxy, source, c.ProxyKnown()
}

const (
	own    = "etc/systemd/system/containerd.service"
	dropIn = "etc/systemd/system/containerd.service.d/"
)

func TestProxyOfRuntime(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://agent.test:1") // of another process
	const set = "HTTPS_PROXY=http://u:" + secret + "@p.test:3128"
	ofProcess := "the environment of containerd"
	for _, tc := range []struct {
		name          string
		files         map[string]string
		opts          nodeconfig.Options
		host          string
		proxy, source string
		unknown       bool
	}{
		{name: "nothing is known", unknown: true},
		{name: "a process without proxy", files: process(7, "containerd", "/usr/bin/containerd", "PATH=/bin")},
		{
			name: "a process", files: process(7, "containerd", "/usr/bin/containerd", set),
			proxy: "p.test:3128", source: ofProcess,
		},
		{
			name: "the process wins over the unit", files: with(process(7, "containerd", "containerd", "NO_PROXY=x"), map[string]string{own: "[Service]\nEnvironment=" + set}),
		},
		{
			name: "lower case, no proxy by suffix", host: "hub.corp.test",
			files: process(7, "containerd", "containerd", "https_proxy=http://p.test:1 no_proxy=.corp.test"),
		},
		{
			name: "the first of two in an environment", files: process(7, "containerd", "containerd", "HTTPS_PROXY=http://a.test HTTPS_PROXY=http://b.test"),
			proxy: "a.test", source: ofProcess,
		},
		{
			name: "the process with our configuration", opts: nodeconfig.Options{ConfigFile: "/etc/containerd/config.toml"},
			files: with(
				process(5, "containerd", "containerd --config /var/run/docker/containerd/containerd.toml", "HTTPS_PROXY=http://docker.test"),
				process(6, "containerd", "/usr/bin/containerd", "HTTPS_PROXY=http://right.test:8"),
				process(9, "containerd", "containerd -c=/elsewhere", "HTTPS_PROXY=http://wrong.test"),
			),
			proxy: "right.test:8", source: ofProcess,
		},
		{
			name: "several, none with our configuration", unknown: true, opts: nodeconfig.Options{ConfigFile: "/none"},
			files: with(process(5, "containerd", "containerd", set), process(6, "containerd", "containerd", set)),
		},
		{
			name: "one, whatever its configuration", files: process(5, "containerd", "containerd -c /var/lib/rancher/k3s/c.toml", "HTTPS_PROXY=http://p.test:1"),
			proxy: "p.test:1", source: ofProcess,
		},
		{
			name: "CRI-O's process", opts: nodeconfig.Options{Runtime: "cri-o"},
			files: with(process(5, "containerd", "containerd", "HTTPS_PROXY=http://wrong.test"), process(6, "crio", "crio", "HTTPS_PROXY=http://p.test:1")),
			proxy: "p.test:1", source: "the environment of crio",
		},
		{name: "a unit", files: map[string]string{own: "[Service]\nEnvironment=" + set + "\n"}, proxy: "p.test:3128", source: "/" + own},
		{
			name: "a drop-in is enough", files: map[string]string{dropIn + "proxy.conf": "[Service]\nEnvironment=\"HTTPS_PROXY=http://p.test:1\" 'NO_PROXY=a,b'\n"},
			proxy: "p.test:1", source: "/" + dropIn + "proxy.conf",
		},
		{
			name: "quotes, escapes, specifiers", files: map[string]string{own: "[Service]\nEnvironment=A=1 \"HTTPS_PROXY=http://u:p%%40q@\\x70.test:1\" B=\\\n  2\n"},
			proxy: "p.test:1", source: "/" + own,
		},
		{
			name: "the last drop-in wins, by name", files: map[string]string{
				own: "[Service]\nEnvironment=HTTPS_PROXY=http://a.test\n", dropIn + "20.conf": "[Service]\nEnvironment=HTTPS_PROXY=http://b.test:2",
				"usr/lib/systemd/system/containerd.service.d/10.conf": "[Service]\nEnvironment=HTTPS_PROXY=http://c.test",
			},
			proxy: "b.test:2", source: "/" + dropIn + "20.conf",
		},
		{
			name: "an empty value takes it back", files: map[string]string{
				own: "[Service]\nEnvironment=HTTPS_PROXY=http://a.test\n", dropIn + "20.conf": "[Service]\nEnvironment=\n",
			},
		},
		{
			name: "a drop-in hides one of its name", files: map[string]string{
				own: "[Service]", dropIn + "p.conf": "[Service]\n",
				"usr/lib/systemd/system/containerd.service.d/p.conf": "[Service]\nEnvironment=" + set,
			},
		},
		{
			name: "other sections, comments, other files", files: map[string]string{
				own:                       "[Unit]\nEnvironment=" + set + "\n[Service]\n# Environment=" + set + "\n;Environment=" + set + "\n",
				dropIn + "x.txt":          "[Service]\nEnvironment=" + set,
				"etc/environment":         set,
				"etc/default/containerd":  set,
				"usr/lib/systemd/x.conf":  set,
				"etc/systemd/system.conf": "[Service]\nDefaultEnvironment=" + set,
			},
		},
		{
			name: "files win over assignments", files: map[string]string{
				own:                      "[Service]\nEnvironmentFile=-/etc/default/%N\nEnvironmentFile=-/etc/none\nEnvironment=HTTPS_PROXY=http://a.test\n",
				"etc/default/containerd": "# x\nHTTPS_PROXY = \"http://p.test:1\"  \nNO_PROXY='none'\n",
			},
			proxy: "p.test:1", source: "/etc/default/containerd",
		},
		{
			name: "files are taken back", files: map[string]string{
				own: "[Service]\nEnvironmentFile=/etc/p\n", dropIn + "a.conf": "[Service]\nEnvironmentFile=\n", "etc/p": set,
			},
		},
		{
			name: "a pattern of files", files: map[string]string{own: "[Service]\nEnvironmentFile=/etc/p/*.env\n", "etc/p/a.env": set},
			proxy: "p.test:3128", source: "/etc/p/a.env",
		},
		{
			name: "the manager's default", files: map[string]string{
				own: "[Service]\n", "etc/systemd/system.conf.d/p.conf": "[Manager]\nDefaultEnvironment=\"HTTPS_PROXY=http://p.test:1\"\n",
			},
			proxy: "p.test:1", source: "/etc/systemd/system.conf.d/p.conf",
		},
		{
			name: "the manager's default, unset", files: map[string]string{
				own: "[Service]\nUnsetEnvironment=HTTPS_PROXY\n", "etc/systemd/system.conf": "[Manager]\nDefaultEnvironment=\"HTTPS_PROXY=http://p.test:1\"\n",
			},
		},
		{
			name: "k3s", files: map[string]string{
				"etc/systemd/system/k3s-agent.service":     "[Service]\nEnvironmentFile=-/etc/sysconfig/%N\nEnvironmentFile=-/etc/systemd/system/k3s-agent.service.env\n",
				"etc/systemd/system/k3s-agent.service.env": "HTTPS_PROXY=http://all.test\nCONTAINERD_HTTPS_PROXY='http://p.test:1'\n",
			},
			proxy: "p.test:1", source: "/etc/systemd/system/k3s-agent.service.env",
		},
		{
			name: "k3s, whatever the order", files: map[string]string{
				"etc/systemd/system/k3s.service": "[Service]\nEnvironment=CONTAINERD_HTTPS_PROXY=http://p.test:1\nEnvironmentFile=/etc/all\n",
				"etc/all":                        "CONTAINERD_NO_PROXY=x\nHTTPS_PROXY=http://all.test\nNO_PROXY=hub.test\n",
			},
			proxy: "p.test:1", source: "/etc/systemd/system/k3s.service",
		},
		{
			name: "a container's process of that name", unknown: true,
			files: with(process(7, "containerd", "containerd", set), map[string]string{"proc/7/status": "Uid:\t0\t0\t0\t0\nNSpid:\t7\t1\n"}),
		},
		{
			name: "a user's process of that name", unknown: true,
			files: with(process(7, "containerd", "containerd", set), map[string]string{"proc/7/status": "Uid:\t0\t1000\t0\t0\nNSpid:\t7\n"}),
		},
		{
			name:  "the node's process beside a container's",
			files: with(process(6, "containerd", "containerd", "HTTPS_PROXY=http://wrong.test"), map[string]string{"proc/6/status": "Uid:\t0\t0\t0\t0\nNSpid:\t6\t1\n"}, process(7, "containerd", "containerd", set)),
			proxy: "p.test:3128", source: ofProcess,
		},
		{
			name: "rke2 before another containerd", opts: nodeconfig.Options{CertsDir: "/var/lib/rancher/rke2/agent/etc/containerd/certs.d"},
			files: map[string]string{own: "[Service]\nEnvironment=HTTPS_PROXY=http://a.test\n", "usr/local/lib/systemd/system/rke2-agent.service": "[Service]\nEnvironment=HTTPS_PROXY=http://p.test:1"},
			proxy: "p.test:1", source: "/usr/local/lib/systemd/system/rke2-agent.service",
		},
		{
			name: "CRI-O's unit", opts: nodeconfig.Options{Runtime: "cri-o"},
			files: map[string]string{"usr/lib/systemd/system/crio.service": "[Service]\nEnvironmentFile=-/etc/sysconfig/crio\n", "etc/sysconfig/crio": set},
			proxy: "p.test:3128", source: "/etc/sysconfig/crio",
		},
		{
			name: "a unit of http alone", files: map[string]string{own: "[Service]\nEnvironment=HTTP_PROXY=http://p.test:1\n"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			opts := ofRuntime(node(t, with(tc.files)))
			opts.Runtime, opts.ConfigFile, opts.CertsDir = tc.opts.Runtime, tc.opts.ConfigFile, tc.opts.CertsDir
			host := tc.host
			if host == "" {
				host = "hub.test"
			}
			proxy, source, known := proxyOf(t, opts, host)
			if proxy != tc.proxy || source != tc.source && proxy != "" || known == tc.unknown {
				t.Errorf("proxy %q by %q, known %t; want %q by %q, known %t", proxy, source, known, tc.proxy, tc.source, !tc.unknown)
			}
		})
	}
}

func TestProxyMasked(t *testing.T) {
	root := node(t, with(map[string]string{
		own: "[Service]\n", "usr/lib/systemd/system/containerd.service.d/p.conf": "[Service]\nEnvironment=HTTPS_PROXY=http://p.test\n", dropIn + "x": "",
	}))
	if err := os.Symlink("/dev/null", filepath.Join(root, dropIn, "p.conf")); err != nil {
		t.Fatal(err)
	}
	if proxy, _, known := proxyOf(t, ofRuntime(root), "hub.test"); proxy != "" || !known {
		t.Errorf("proxy %q, known %t", proxy, known)
	}
}

func TestExplicitProxyWins(t *testing.T) {
	opts := options(node(t, with(map[string]string{own: "[Service]\nEnvironment=HTTPS_PROXY=http://p.test\n"})))
	if proxy, source, known := proxyOf(t, opts, "hub.test"); proxy != "" || source != "" || !known {
		t.Errorf("proxy %q by %q, known %t", proxy, source, known)
	}
}

// The registry is asked through the proxy of the runtime.
func TestProxyIsUsed(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.Host)
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(proxy.Close)
	opts := ofRuntime(node(t, with(map[string]string{own: "[Service]\nEnvironment=HTTPS_PROXY=" + proxy.URL + "\n"})))
	a := endpoint(t, opts, "hub.test").Probe(t.Context(), ref(t, "hub.test/team/app:1.0"), nil)
	if a.Found || "http://"+a.Proxy.Address != proxy.URL || len(asked) != 1 || asked[0] != "CONNECT hub.test:443" {
		t.Errorf("proxy %q, asked %q, error %v", a.Proxy.Address, asked, a.Err)
	}
	opts.Root = node(t, stranger())
	s := registrytest.New(t, registrytest.Config{Repositories: repositories()})
	opts.Root = node(t, with(map[string]string{"etc/ssl/certs/ca-certificates.crt": string(s.CA.PEM())}))
	if a := endpoint(t, opts, s.Host).Probe(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil); !a.Found || a.Proxy.Address != "" {
		t.Errorf("without a proxy: %q, %v", a.Proxy.Address, a.Err)
	}
}

func TestProxiesDoNotPrint(t *testing.T) {
	opts := ofRuntime(node(t, with(map[string]string{own: "[Service]\nEnvironment=HTTPS_PROXY=http://u:" + secret + "@p.test:1\n"})))
	c, e := nodeconfig.Load(opts), endpoint(t, opts, "hub.test")
	credentialtest.NeverShows(t, *c, secret)
	credentialtest.NeverShows(t, e, secret)
	if proxy, _ := c.ProxyFor(e); proxy != "p.test:1" {
		t.Errorf("proxy %q", proxy)
	}
}

// An entry of NO_PROXY that names the host and never matches it is a notice, one that is
// not for it none.
func TestNoProxyEntries(t *testing.T) {
	t.Parallel()
	for entries, want := range map[string]bool{
		"https://hub.test": true, "https://hub.test/": true, "hub.test/v2/": true, "localhost|hub.test": true, "localhost;.test": true, "localhost hub.test": true,
		"hub.test": false, ".test": false, "https://other.test": false, "10.0.0.0/8": false, "localhost": false, "localhost, hub.test": false,
	} {
		assertNoProxyNotice(t, `"NO_PROXY=`+entries+`"`, want)
	}
	// Without quotes, an assignment in a unit ends at a blank, behind which an entry is lost.
	for assignment, want := range map[string]bool{
		"NO_PROXY=localhost, hub.test": true, "no_proxy=localhost, .test ,x": true, "NO_PROXY=localhost, other.test": false,
	} {
		assertNoProxyNotice(t, assignment, want)
	}
}

// assertNoProxyNotice checks whether there is a notice of the entry for hub.test in a unit
// with an assignment.
func assertNoProxyNotice(t *testing.T, assignment string, want bool) {
	t.Helper()
	opts := nodeconfig.Options{Root: node(t, with(map[string]string{
		own: "[Service]\nEnvironment=HTTPS_PROXY=http://p.test:3128 " + assignment + "\n",
	})), TempDir: t.TempDir()}
	_, notices, err := sources(t, opts, "hub.test/a:1")
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Contains(notices, nodeconfig.Notice{Kind: nodeconfig.NoticeNoProxyEntry, Path: "/" + own, Endpoint: "https://hub.test"})
	if got != want {
		t.Errorf("%s: %t: %v", assignment, got, notices)
	}
}
