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
	// Token is the token of the pod's service account that it gets; nil for none.
	Token *TokenAttributes
}

// TokenAttributes say which token of a pod's service account a plugin gets (KEP-4412).
type TokenAttributes struct {
	// Audience is that of the token.
	Audience string `json:"serviceAccountTokenAudience"`
	// CacheType is what an answer serves for: CacheByToken or CacheByAccount; "" if it is not
	// said, which a kubelet of 1.33 takes and a newer one refuses.
	CacheType string `json:"cacheType"`
	// AccountNeeded reports whether the plugin is not run for pods without an account.
	AccountNeeded bool `json:"-"`
	// Required are the annotations that an account must have for the plugin to be run;
	// it gets them and those of Optional.
	Required []string `json:"requiredServiceAccountAnnotationKeys"`
	Optional []string `json:"optionalServiceAccountAnnotationKeys"`
}

// The types of caches: of answers that serve for one token only, and for all tokens of an
// account.
const (
	CacheByToken   = "Token"
	CacheByAccount = "ServiceAccount"
)

// defaultPath is the PATH that systemd gives to services.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"

// Plugin returns how the kubelet runs the plugin of a name.
func (k *Kubelet) Plugin(name string) (Plugin, bool) {
	all := readCached(k.plugins, "", k.readPlugins)
	i := slices.IndexFunc(all, func(p providerPlugin) bool { return p.Name == name })
	if i < 0 {
		return Plugin{}, false
	}
	p, s := all[i], k.service()
	out := Plugin{
		Name: p.Name, APIVersion: p.APIVersion, Args: credential.Redact(p.Args),
		Env: credential.Redact(p.environment(s.env)), Token: p.TokenAttributes.attributes(),
	}
	if dir := k.pluginDirectory(s); dir != "" {
		out.Path = path.Join(dir, p.Name)
	}
	if p.DefaultCacheDuration != nil {
		out.CacheDuration = p.DefaultCacheDuration.Duration
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
	if dir, _ := k.pathFlag(s, pluginFlag); dir != "" {
		return dir
	}
	config := k.providerPath()
	for _, known := range wellKnownProviders {
		if known.config == config {
			return known.dir
		}
	}
	return ""
}
