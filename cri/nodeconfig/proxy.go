package nodeconfig

import (
	"cmp"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"github.com/whypull/whypull/cri/hostfs"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/systemd"
)

// proxies are the proxies of the runtime's process: what its HTTP client
// (net/http, ProxyFromEnvironment) reads from its environment. Their values may
// hold passwords, and are where nothing prints them: in a function.
//
// The agent's own environment is no substitute: it is another process, in a
// container.
type proxies struct {
	source string
	choose func(*url.URL) (*url.URL, error) // nil: not known, no proxy
}

// readProxy finds the proxies of the node's runtime: in the environment of its
// process, else in the systemd unit that starts it.
func readProxy(fs hostfs.FS, opts Options) proxies {
	if env, ok := processEnvironment(fs, opts); ok {
		return newProxies(env, "the environment of "+opts.processName())
	}
	for _, unit := range opts.units() {
		service := systemd.ReadService(fs, unit)
		if files := service.Files(); len(files) > 0 {
			env := forContainerd(unit, service.Environment())
			return newProxies(env, cmp.Or(env.FileOf(proxyVariables()...), files[0]))
		}
	}
	return proxies{}
}

func newProxies(env systemd.Environment, source string) proxies {
	config := httpproxy.Config{
		HTTPProxy:  env.First("HTTP_PROXY", "http_proxy"),
		HTTPSProxy: env.First("HTTPS_PROXY", "https_proxy"),
		NoProxy:    env.First("NO_PROXY", "no_proxy"),
		CGI:        env.First("REQUEST_METHOD") != "",
	}
	return proxies{source: source, choose: config.ProxyFunc()}
}

func proxyVariables() []string {
	return []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"}
}

// proxy is a ProxyFunc.
func (p proxies) proxy(req *http.Request) (*url.URL, error) {
	if p.choose == nil {
		return nil, nil //nolint:nilnil // http.Transport's convention for no proxy
	}
	return p.choose(req.URL)
}

// ProxyKnown tells whether the proxies of the runtime are known: they were
// given in Options.Proxy, or the environment of its process or its systemd unit
// could be read. If it is false, requests are made without a proxy, and whether
// the runtime uses one is not known.
func (c *Config) ProxyKnown() bool { return c.explicitProxy || c.proxy.choose != nil }

// ProxyFor gives the proxy that an endpoint is asked through, as host[:port],
// and where that is configured: "the environment of containerd", or the path,
// on the node, of the file of a systemd unit. Both are "" if there is none; the
// source also if the proxy was given in Options.Proxy.
func (c *Config) ProxyFor(e registry.Endpoint) (hostport, source string) {
	req := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: e.Scheme, Host: e.Host, Path: "/v2/"}}
	proxy, err := c.opts.Proxy(req)
	if err != nil || proxy == nil {
		return "", ""
	}
	return shownHost(proxy), c.proxy.source
}

// shownHost is the host of a proxy's address: never its user or password.
func shownHost(u *url.URL) string {
	if port := u.Port(); port != "" {
		return net.JoinHostPort(u.Hostname(), port)
	}
	return u.Host
}

// processName is the name of the runtime's process, as the kernel has it.
func (o Options) processName() string {
	if o.isCRIO() {
		return "crio"
	}
	return "containerd"
}

// units gives the systemd units that may start the runtime, the likeliest
// first: a distribution of Kubernetes with a containerd of its own keeps that
// one's configuration in its own directory.
func (o Options) units() []string {
	if o.isCRIO() {
		return []string{"crio", "cri-o"}
	}
	units := []string{"containerd", "k3s", "k3s-agent", "rke2-server", "rke2-agent", "k0sworker", "k0scontroller"}
	for _, name := range []string{"rke2", "k3s", "k0s"} {
		if !strings.Contains(o.ConfigFile+"/"+o.CertsDir, "/"+name+"/") {
			continue
		}
		slices.SortStableFunc(units, func(a, b string) int {
			return boolOrder(strings.HasPrefix(a, name), strings.HasPrefix(b, name))
		})
		return units
	}
	return units
}

// boolOrder sorts what is true before what is not.
func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

// forContainerd gives the environment that k3s, rke2 and k0s start their
// containerd with: of the variables that begin with CONTAINERD_ the rest of
// the name is set for it, behind all others (k3s, pkg/agent/containerd, Run).
// As in package os/exec, the last of several wins.
func forContainerd(unit string, env systemd.Environment) systemd.Environment {
	if unit == "containerd" || unit == "crio" || unit == "cri-o" {
		return env
	}
	var out, own systemd.Environment
	for _, v := range env {
		var forIt bool
		if v.Name, forIt = strings.CutPrefix(v.Name, "CONTAINERD_"); forIt {
			own = append(own, v)
			continue
		}
		out = out.Set(v)
	}
	for _, v := range own {
		out = out.Set(v)
	}
	return out
}
