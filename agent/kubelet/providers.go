package kubelet

import (
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/cri/credential"
)

// Provider is a credential provider plugin that the kubelet runs for an image.
type Provider struct {
	// Name is the plugin's name, which is its file name.
	Name string
	// Pattern is the matchImages entry that matches the image; empty if it is
	// not safe to show.
	Pattern string
	// TokenMode reports whether the plugin needs a token of the pod's service
	// account, for which the pod may not meet the conditions.
	TokenMode bool
}

// providerFlag and pluginFlag are the kubelet's flags for the configuration and for
// the directory of the plugins.
const (
	providerFlag = "image-credential-provider-config"
	pluginFlag   = "image-credential-provider-bin-dir"
)

// Providers returns the plugins that the kubelet runs for the image, in the
// order of its configuration (pluginProvider.isImageAllowed), as far as that is
// known. The kubelet reads the configuration at startup, so it may use an older one.
func (k *Kubelet) Providers(image diagnosis.Image) []Provider {
	var out []Provider
	for _, p := range readCached(k.plugins, "", k.readPlugins) {
		i := slices.IndexFunc(p.MatchImages, func(pattern string) bool { return keyring.Covers(pattern, image) })
		if i >= 0 {
			out = append(out, Provider{Name: p.Name, Pattern: safePattern(p.MatchImages[i]), TokenMode: p.TokenAttributes != nil})
		}
	}
	return out
}

// NearProviders returns the plugins that are not for the image, by a pattern that
// nearly is: it lacks the image's port, has a wildcard in its path, begins with
// a scheme, or has a placeholder, in which case Pattern is empty. The kubelet takes port
// and path as they are written.
func (k *Kubelet) NearProviders(image diagnosis.Image) []Provider {
	var out []Provider
	for _, p := range readCached(k.plugins, "", k.readPlugins) {
		if slices.ContainsFunc(p.MatchImages, func(pattern string) bool { return keyring.Covers(pattern, image) }) {
			continue
		}
		i := slices.IndexFunc(p.MatchImages, func(pattern string) bool { return nearlyCovers(filled(pattern), image) })
		if i >= 0 && (safePattern(p.MatchImages[i]) != "" || filled(p.MatchImages[i]) != p.MatchImages[i]) {
			out = append(out, Provider{Name: p.Name, Pattern: safePattern(p.MatchImages[i])})
		}
	}
	return out
}

var placeholder = regexp.MustCompile(`\$\(?\w+\)?|<[^<>]*>`)

// filled returns a pattern with wildcards for placeholders that were not replaced by their
// values. With one in braces, such as ${REGION}, the kubelet does not start.
func filled(pattern string) string {
	return placeholder.ReplaceAllString(pattern, "*")
}

// nearlyCovers reports whether a pattern would cover an image without its scheme and
// the wildcards at its path's end, and with the image's port.
func nearlyCovers(pattern string, image diagnosis.Image) bool {
	if _, rest, found := strings.Cut(pattern, "://"); found {
		pattern = rest
	}
	host, folder, _ := strings.Cut(pattern, "/")
	name, _, _ := strings.Cut(host, ":")
	if _, port, found := strings.Cut(image.Registry, ":"); found {
		name += ":" + port
	}
	folder, _, _ = strings.Cut(folder, "*")
	return keyring.Covers(strings.TrimSuffix(name+"/"+folder, "/"), image)
}

// providerPath returns the value of the kubelet's flag; "" if it is not known. It takes
// the first of: whypull's own option, the kubelet's systemd unit, the command line of a
// running kubelet, and the default paths of known distributions.
func (k *Kubelet) providerPath() string {
	if k.providerConfig != "" {
		return k.providerConfig
	}
	if name, running := k.pathFlag(k.service(), providerFlag); name != "" || running {
		return name
	}
	for _, known := range wellKnownProviders {
		if _, presence, _ := k.read(known.config); presence == Present {
			return known.config
		}
	}
	return ""
}

// pathFlag returns the absolute path that a flag has in the kubelet's service or, without
// one, in the command line of a running kubelet, and reports whether that was found.
func (k *Kubelet) pathFlag(s service, name string) (value string, running bool) {
	if value = firstPath(s.texts, name); value != "" {
		return value, false
	}
	line, running := k.commandLine()
	return firstPath([]string{line}, name), running
}

// firstPath returns the first absolute path that one of the texts has for a flag.
func firstPath(texts []string, name string) string {
	for _, text := range texts {
		if value := flag(text, name); path.IsAbs(value) {
			return value
		}
	}
	return ""
}

// wellKnownProviders are the configurations that EKS, Bottlerocket, GKE, AKS and k3s
// use, and the directories of their plugins.
var wellKnownProviders = []struct{ config, dir string }{ //nolint:gochecknoglobals // never written
	{"/etc/eks/image-credential-provider/config.json", "/etc/eks/image-credential-provider"},
	{"/etc/kubernetes/kubelet/credential-provider-config.yaml", "/usr/libexec/kubernetes/kubelet/plugins"},
	{"/etc/srv/kubernetes/cri_auth_config.yaml", "/home/kubernetes/bin"},
	{"/var/lib/kubelet/credential-provider-config.yaml", "/var/lib/kubelet/credential-provider"},
	{"/var/lib/rancher/credentialprovider/config.yaml", "/var/lib/rancher/credentialprovider/bin"},
}

// commandLine returns a running kubelet's command line, if the node's processes
// are visible.
func (k *Kubelet) commandLine() (string, bool) {
	proc, err := procfs.NewFS(filepath.Join(k.host.Root(), "proc"))
	if err != nil {
		return "", false
	}
	all, _ := proc.AllProcs() // none then
	for _, p := range all {
		if args, err := p.CmdLine(); err == nil && len(args) > 0 && path.Base(args[0]) == "kubelet" {
			return strings.Join(args, " "), true
		}
	}
	return "", false
}

// providerConfig is the part of kubelet.config.k8s.io's
// CredentialProviderConfig that is needed here; it is the same in v1, v1beta1
// and v1alpha1.
type providerConfig struct {
	Kind       string           `json:"kind"`
	APIVersion string           `json:"apiVersion"`
	Providers  []providerPlugin `json:"providers"`
}

// providerPlugin holds what may be a password in Args and Env.
type providerPlugin struct {
	Name                 string           `json:"name"`
	APIVersion           string           `json:"apiVersion"`
	MatchImages          []string         `json:"matchImages"`
	DefaultCacheDuration *metav1.Duration `json:"defaultCacheDuration"`
	Args                 []string         `json:"args"`
	Env                  []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"env"`
	TokenAttributes *TokenAttributes `json:"tokenAttributes"`
}

// readPlugins returns all configured plugins. The configuration is a file or, since
// Kubernetes 1.34, all files of a directory (readCredentialProviderConfig). The kubelet
// does not start with one that does not decode or is invalid, so that cannot be the one in
// use: then there are none.
func (k *Kubelet) readPlugins() []providerPlugin {
	var all []providerPlugin
	for _, file := range k.providerFiles(k.providerPath()) {
		f, _, err := k.read(file)
		if err != nil {
			return nil
		}
		c, ok := decodeProviders(f.Data)
		tokens := func(p providerPlugin) bool { return p.TokenAttributes != nil }
		if !ok || c.APIVersion != "kubelet.config.k8s.io/v1" && slices.ContainsFunc(c.Providers, tokens) {
			return nil // of the fields, only v1 has those for tokens, and the kubelet takes no unknown ones
		}
		all = append(all, c.Providers...)
	}
	if slices.ContainsFunc(all, providerPlugin.invalid) || hasDuplicates(all) {
		return nil
	}
	return all
}

func (k *Kubelet) providerFiles(name string) []string {
	switch {
	case name == "":
		return nil
	case !k.host.IsDir(name):
		return []string{name}
	}
	var out []string
	for _, file := range k.host.List(name) {
		if slices.Contains([]string{".json", ".yaml", ".yml"}, path.Ext(file)) && !k.host.IsDir(path.Join(name, file)) {
			out = append(out, path.Join(name, file))
		}
	}
	return out
}

// knownVersions are those of the configuration and of its plugins.
var knownVersions = []string{"v1", "v1beta1", "v1alpha1"} //nolint:gochecknoglobals // never written

func decodeProviders(data []byte) (providerConfig, bool) {
	var c providerConfig
	plain, err := yaml.ToJSON(data)
	if err != nil || json.Unmarshal(plain, &c) != nil {
		return c, false
	}
	version, ok := strings.CutPrefix(c.APIVersion, "kubelet.config.k8s.io/")
	return c, ok && c.Kind == "CredentialProviderConfig" && slices.Contains(knownVersions, version)
}

// invalid reports whether the kubelet would refuse the plugin
// (validateCredentialProviderConfig), or its name is not safe to show.
func (p providerPlugin) invalid() bool {
	version, ok := strings.CutPrefix(p.APIVersion, "credentialprovider.kubelet.k8s.io/")
	if !ok || !slices.Contains(knownVersions, version) || len(p.MatchImages) == 0 || slices.ContainsFunc(p.MatchImages, noAddress) {
		return true
	}
	if p.DefaultCacheDuration == nil || p.DefaultCacheDuration.Duration < 0 {
		return true
	}
	if p.TokenAttributes != nil && (version != "v1" || p.TokenAttributes.invalid()) {
		return true
	}
	return p.Name == "" || p.Name == "." || p.Name == ".." || len(p.Name) > 255 || !onlyAlphanumericOr(p.Name, "-_.+")
}

// invalid reports whether the kubelet would refuse the attributes. That of Kubernetes 1.33,
// where they were new, has no cacheType; since 1.34 it is required.
func (a *TokenAttributes) invalid() bool {
	keys := slices.Concat(a.Required, a.Optional)
	slices.Sort(keys)
	return a.Audience == "" || !slices.Contains([]string{"", CacheByToken, CacheByAccount}, a.CacheType) ||
		a.RequireAccount == nil || !*a.RequireAccount && len(a.Required) > 0 ||
		slices.ContainsFunc(keys, invalidKey) || len(slices.Compact(keys)) < len(a.Required)+len(a.Optional)
}

// noAddress reports whether a pattern of images does not parse (ParseSchemelessURL).
func noAddress(pattern string) bool {
	_, err := url.Parse("https://" + pattern)
	return err != nil
}

// invalidKey reports whether an annotation's name is none (validateServiceAccountAnnotationKeys).
func invalidKey(key string) bool {
	return len(validation.IsQualifiedName(strings.ToLower(key))) > 0
}

func hasDuplicates(all []providerPlugin) bool {
	names := map[string]bool{}
	for _, p := range all {
		names[p.Name] = true
	}
	return len(names) < len(all)
}

func safePattern(pattern string) string {
	if len(pattern) > 160 || !onlyAlphanumericOr(pattern, "-_.:/*?[]") {
		return ""
	}
	return pattern
}

// onlyAlphanumericOr reports whether s consists of ASCII letters, digits and
// the other characters given.
func onlyAlphanumericOr(s, others string) bool {
	const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	return strings.Trim(s, alphanumeric+others) == ""
}

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
	// RequireAccount is whether the plugin is not run for pods without an account; the
	// kubelet refuses attributes without it.
	RequireAccount *bool `json:"requireServiceAccount"`
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
		Env: credential.Redact(p.environment(s.env)), Token: p.TokenAttributes,
		CacheDuration: p.DefaultCacheDuration.Duration, // each has one (invalid)
	}
	if dir := k.pluginDirectory(s); dir != "" {
		out.Path = path.Join(dir, p.Name)
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
