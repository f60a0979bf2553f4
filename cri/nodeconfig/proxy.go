package nodeconfig

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/systemd"
)

// environment is the environment of the runtime's process, from which its HTTP client reads
// the proxies (net/http, ProxyFromEnvironment). The agent's is no substitute: it is another
// process, in a container.
type environment struct {
	systemd.Environment
	source    string // of its proxies; "" if the environment is not known
	ofProcess bool   // it is that of the process that runs
}

// environment returns the environment of the node's runtime, from its process or else from
// its systemd unit.
func (c *Config) environment() environment {
	if env := c.process.environment; len(env) > 0 {
		return environment{env, "the environment of " + c.opts.processName(), true}
	}
	for _, unit := range c.opts.units() {
		service := systemd.ReadService(c.fs, unit)
		if files := service.Files(); len(files) > 0 {
			env := forContainerd(unit, service.Environment())
			return environment{env, cmp.Or(env.FileOf("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"), files[0]), false}
		}
	}
	return environment{}
}

// proxy returns a ProxyFunc for the proxies in the environment, which may contain passwords;
// there are none if it is not known.
func (env environment) proxy() registry.ProxyFunc {
	config := httpproxy.Config{
		HTTPProxy:  env.First("HTTP_PROXY", "http_proxy"),
		HTTPSProxy: env.First("HTTPS_PROXY", "https_proxy"),
		NoProxy:    env.First("NO_PROXY", "no_proxy"),
		CGI:        env.First("REQUEST_METHOD") != "",
	}
	choose := config.ProxyFunc()
	return func(req *http.Request) (*url.URL, error) { return choose(req.URL) }
}

// ProxyKnown reports whether the runtime's proxies are known: from Options.Proxy, the
// environment of its process or its systemd unit. If not, requests are made without a
// proxy, and it is unknown whether the runtime uses one.
func (c *Config) ProxyKnown() bool { return c.explicitProxy || c.env.source != "" }

// ProxyFor returns the proxy for an endpoint as host[:port], with the scheme in front
// unless that is http, and where it is configured:
// "the environment of containerd" or the path on the node of a systemd unit file. Both are
// "" if there is none; source is also "" with Options.Proxy.
func (c *Config) ProxyFor(e registry.Endpoint) (hostport, source string) {
	req := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: e.Scheme, Host: e.Host, Path: "/v2/"}}
	proxy, err := c.opts.Proxy(req)
	if err != nil || proxy == nil {
		return "", ""
	}
	return registry.ProxyAddress(proxy), c.env.source
}

// noProxyNotices reports endpoints for which a proxy is used although NO_PROXY names them,
// in a form that httpproxy does not know.
func (c *Config) noProxyNotices(endpoints []registry.Endpoint) []Notice {
	written := c.env.First("NO_PROXY", "no_proxy")
	if written == "" {
		return nil
	}
	for line := range strings.Lines(c.text(c.env.FileOf("NO_PROXY", "no_proxy"))) {
		if _, rest, found := strings.Cut(strings.ToUpper(line), "NO_PROXY="); found { // a unit's ends at a blank
			written += "," + strings.ToLower(rest)
		}
	}
	var hosts []string
	for _, entry := range strings.FieldsFunc(written, func(r rune) bool { return strings.ContainsRune(",;| \t\"'", r) }) {
		if _, rest, ok := strings.Cut(entry, "://"); ok {
			entry = rest
		}
		if host, rest, _ := strings.Cut(entry, "/"); !isNumber(rest) { // of a network
			entry = host
		}
		hosts = append(hosts, entry)
	}
	meant := (&httpproxy.Config{HTTPProxy: "http://proxy", HTTPSProxy: "http://proxy", NoProxy: strings.Join(hosts, ",")}).ProxyFunc()
	var notices []Notice
	for _, e := range endpoints {
		proxy, err := meant(&url.URL{Scheme: e.Scheme, Host: e.Host})
		if used, _ := c.ProxyFor(e); used != "" && err == nil && proxy == nil {
			file := cmp.Or(c.env.FileOf("NO_PROXY", "no_proxy"), c.env.source)
			notices = append(notices, Notice{Kind: NoticeNoProxyEntry, Path: file, Endpoint: e.String()})
		}
	}
	return notices
}

func isNumber(s string) bool {
	_, err := strconv.Atoi(s)
	return err == nil
}

// processName returns the name of the runtime's process in the kernel.
func (o Options) processName() string {
	switch {
	case o.isCRIO():
		return "crio"
	case o.isDocker():
		return "dockerd"
	}
	return "containerd"
}

// units returns the systemd units that may start the runtime, most likely first: a
// Kubernetes distribution with its own containerd has that one's configuration in its own
// directory.
func (o Options) units() []string {
	switch {
	case o.isCRIO():
		return []string{"crio", "cri-o"}
	case o.isDocker():
		return []string{"docker"}
	}
	units := []string{"containerd", "k3s", "k3s-agent", "rke2-server", "rke2-agent", "k0sworker", "k0scontroller"}
	for _, name := range []string{"rke2", "k3s", "k0s"} {
		if !strings.Contains(o.ConfigFile+"/"+o.CertsDir, "/"+name+"/") {
			continue
		}
		slices.SortStableFunc(units, func(a, b string) int { return strings.Count(b, name) - strings.Count(a, name) })
		return units
	}
	return units
}

// forContainerd returns the environment in which k3s, RKE2 and k0s start their
// containerd: variables named CONTAINERD_X are added as X after all others (k3s,
// pkg/agent/containerd, Run). As in package os/exec, the last of several wins.
func forContainerd(unit string, env systemd.Environment) systemd.Environment {
	if unit == "containerd" || unit == "crio" || unit == "cri-o" || unit == "docker" {
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
