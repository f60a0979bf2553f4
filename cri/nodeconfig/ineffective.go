package nodeconfig

import (
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/whypull/whypull/cri/systemd"
)

// noteProxy notes a proxy that somebody has set for the runtime, and that is not in
// effect for registries, which are asked over https.
func (c *Config) noteProxy() {
	if c.env.source == "" {
		return
	}
	req := &http.Request{URL: &url.URL{Scheme: "https", Host: "registry.example"}}
	if proxy, err := c.opts.Proxy(req); err != nil || proxy != nil {
		return
	}
	for _, unit := range c.opts.units() {
		for _, name := range c.serviceFiles(unit) {
			if kind := c.proxyFlaw(name); kind != "" {
				c.notice(Notice{Kind: kind, Path: name})
				return
			}
		}
	}
	if !c.opts.isDocker() {
		for _, name := range c.serviceFiles("docker") {
			if setsProxy(c.text(name)) {
				c.notice(Notice{Kind: NoticeProxyOfDocker, Path: name})
				return
			}
		}
	}
	if text := c.text(loginEnvironment); setsProxy(text) {
		c.notice(Notice{Kind: NoticeProxyOfLogins, Path: loginEnvironment})
	}
}

// loginEnvironment is read for people who log in (pam_env), and for no service.
const loginEnvironment = "/etc/environment"

// serviceFiles returns the files that are meant for a service: what is in the
// folders of its drop-ins, whatever its name, its unit, and its files of
// environment.
func (c *Config) serviceFiles(unit string) []string {
	var files []string
	for _, root := range []string{"/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"} {
		files = append(files, c.fs.Files(path.Join(root, unit+".service.d"))...)
	}
	service := systemd.ReadService(c.fs, unit)
	files = append(files, service.Files()...)
	return append(files, service.EnvironmentFiles()...)
}

func (c *Config) text(name string) string {
	data, err := c.fs.ReadFile(name, maxConfigFile)
	if err != nil {
		return ""
	}
	return string(data)
}

// setsProxy reports whether a text assigns a proxy for https.
func setsProxy(text string) bool {
	return strings.Contains(text, "HTTPS_PROXY=") || strings.Contains(text, "https_proxy=")
}

// proxyFlaw says why a file of a service has no effect, "" if it sets no proxy, or
// if nothing can be seen that is wrong with it.
func (c *Config) proxyFlaw(name string) NoticeKind {
	text := c.text(name)
	isUnit := path.Ext(path.Dir(name)) == ".d" || path.Ext(name) == ".service"
	switch {
	case !setsProxy(text):
		if strings.Contains(text, "HTTP_PROXY=") || strings.Contains(text, "http_proxy=") {
			return NoticeProxyHTTPOnly
		}
		return ""
	case isUnit && path.Ext(name) != ".conf" && path.Ext(name) != ".service":
		return NoticeProxyNoConf
	case strings.ContainsAny(text, "“”„‘’"):
		return NoticeProxyQuotes
	case isUnit && !strings.Contains(text, "[Service]"):
		return NoticeProxyNoSection
	case !isUnit && strings.Contains(text, "export "):
		return NoticeProxyExport
	case isUnit && oneWord(text):
		return NoticeProxyOneWord
	case isUnit && strings.Contains(strings.NewReplacer(`"`, "", "'", "").Replace(strings.ToUpper(text)), "HTTPS_PROXY=$"):
		return NoticeProxyVariable
	case isUnit && systemd.Unexpandable(text):
		return NoticeProxyPercent
	case c.env.ofProcess && strings.HasPrefix(name, "/etc/"):
		return NoticeProxyNotRestarted
	}
	return ""
}

// oneWord reports whether an assignment of systemd's Environment= has several
// variables between one pair of quotes, which makes them one.
func oneWord(text string) bool {
	for line := range strings.SplitSeq(text, "\n") {
		value, found := strings.CutPrefix(strings.TrimSpace(line), `Environment="`)
		if !found {
			continue
		}
		inner, _, _ := strings.Cut(value, `"`)
		if first, _, several := strings.Cut(inner, " "); several && !setsProxy(first) && setsProxy(inner) {
			return true
		}
	}
	return false
}

// setsRegistries reports whether a file has the registry's settings under any of the
// plugin's names.
func (c configFile) setsRegistries() bool {
	return slices.ContainsFunc([]string{pluginImages, pluginCRI, pluginV1}, func(name string) bool {
		return len(table(table(c.Plugins, name), "registry")) > 0
	})
}
