package kubelet

import (
	"path"
	"slices"
	"time"

	"github.com/whypull/whypull/cri/credential"
)

// Plugin is how the kubelet runs a credential provider plugin.
type Plugin struct {
	// Name is the plugin's name, which is its file name.
	Name string
	// APIVersion is the version of requests and responses.
	APIVersion string
	// Path is the path of its program on the node; empty if the directory is not known.
	Path string
	// Args and Env may hold passwords. Env has the environment of the kubelet's service,
	// as far as it is known, and after it the variables of the plugin's configuration.
	Args, Env credential.Redacted[[]string]
	// CacheDuration is how long an answer serves that does not say so itself.
	CacheDuration time.Duration
	// TokenMode reports whether the plugin gets a token of the pod's service account,
	// and AccountNeeded whether it is not run without one.
	TokenMode, AccountNeeded bool
}

// defaultPath is the PATH that systemd gives to services.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"

// Plugin returns how the kubelet runs the plugin of a name.
func (k *Kubelet) Plugin(name string) (Plugin, bool) {
	all, _ := readCached(k.plugins, "", k.readPlugins)
	i := slices.IndexFunc(all, func(p providerPlugin) bool { return p.Name == name })
	if i < 0 {
		return Plugin{}, false
	}
	p, s := all[i], k.service()
	out := Plugin{
		Name: p.Name, APIVersion: p.APIVersion, Args: credential.Redact(p.Args),
		Env: credential.Redact(p.environment(s.env)), TokenMode: p.TokenAttributes != nil,
	}
	if dir := k.pluginDirectory(s); dir != "" {
		out.Path = path.Join(dir, p.Name)
	}
	if p.DefaultCacheDuration != nil {
		out.CacheDuration = p.DefaultCacheDuration.Duration
	}
	if p.TokenAttributes != nil {
		out.AccountNeeded = p.TokenAttributes.RequireServiceAccount
	}
	return out, true
}

// environment returns the service's environment with the plugin's own variables
// (mergeEnvVars): of two with one name the later one counts.
func (p providerPlugin) environment(service []string) []string {
	out := append([]string{defaultPath}, service...)
	for _, v := range p.Env {
		out = append(out, v.Name+"="+v.Value)
	}
	return out
}

// pluginDirectory returns the value of the kubelet's flag, which is found like that for
// the configuration.
func (k *Kubelet) pluginDirectory(s service) string {
	if k.pluginDir != "" {
		return k.pluginDir
	}
	if dir := pathFlag(s.texts, pluginFlag); dir != "" {
		return dir
	}
	line, _ := k.commandLine()
	if dir := pathFlag([]string{line}, pluginFlag); dir != "" {
		return dir
	}
	config, _ := k.providerPath()
	for _, known := range wellKnownProviders {
		if known.config == config {
			return known.dir
		}
	}
	return ""
}
