package kubelet

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
)

// Provider is a credential provider plugin that the kubelet asks for an image.
type Provider struct {
	// Name is the plugin's, which is its file name.
	Name string
	// Pattern is the entry of its matchImages that stands for the image; empty
	// if it is not fit to be shown.
	Pattern string
	// TokenMode tells that the plugin is given a token of the pod's service
	// account, which the pod may not meet the conditions for.
	TokenMode bool
}

const providerFlag = "image-credential-provider-config"

// Providers returns the plugins that the kubelet asks for the image, in the
// order of its configuration (pluginProvider.isImageAllowed). Absent tells that
// no plugins are configured; NotVisible, that their configuration is not seen,
// or does not decode here. The kubelet reads it when it starts, and may have an
// older one.
func (k *Kubelet) Providers(image diagnosis.Image) ([]Provider, Presence) {
	all, presence := once(k.plugins, "", k.readPlugins)
	var out []Provider
	for _, p := range all {
		i := slices.IndexFunc(p.MatchImages, func(pattern string) bool { return keyring.Covers(pattern, image) })
		if i >= 0 {
			out = append(out, Provider{Name: p.Name, Pattern: showable(p.MatchImages[i]), TokenMode: p.TokenAttributes != nil})
		}
	}
	return out, presence
}

// readPlugins returns all that are configured.
func (k *Kubelet) readPlugins() ([]providerPlugin, Presence) {
	name, presence := k.providerPath()
	if presence != Present {
		return nil, presence
	}
	return k.readProviders(name)
}

// providerPath is the value of the kubelet's flag: as whypull is told, as the
// kubelet's service has it, as a running kubelet shows it, and last a file that
// a distribution of Kubernetes is known to use.
func (k *Kubelet) providerPath() (string, Presence) {
	if k.providerConfig != "" {
		return k.providerConfig, Present
	}
	s := k.service()
	for _, text := range s.texts {
		if name := flag(text, providerFlag); path.IsAbs(name) {
			return name, Present
		}
	}
	line, running := k.commandLine()
	if name := flag(line, providerFlag); path.IsAbs(name) {
		return name, Present
	}
	if running {
		return "", Absent
	}
	for _, name := range wellKnown() {
		if _, presence, _ := k.read(name); presence == Present {
			return name, Present
		}
	}
	if s.hidden {
		return "", NotVisible
	}
	return "", Absent
}

// wellKnown are the configurations of EKS, Bottlerocket, GKE, AKS and k3s.
func wellKnown() []string {
	return []string{
		"/etc/eks/image-credential-provider/config.json",
		"/etc/kubernetes/kubelet/credential-provider-config.yaml",
		"/etc/srv/kubernetes/cri_auth_config.yaml",
		"/var/lib/kubelet/credential-provider-config.yaml",
		"/var/lib/rancher/credentialprovider/config.yaml",
	}
}

// commandLine is a running kubelet's, where the node's processes are visible.
func (k *Kubelet) commandLine() (string, bool) {
	for _, pid := range k.list("/proc") {
		if strings.Trim(pid, "0123456789") != "" {
			continue
		}
		f, _, err := k.read("/proc/" + pid + "/cmdline")
		if err != nil {
			continue
		}
		program, _, _ := strings.Cut(string(f.Data), "\x00")
		if filepath.Base(program) == "kubelet" {
			return strings.ReplaceAll(string(f.Data), "\x00", " "), true
		}
	}
	return "", false
}

// providerConfig is what is needed of kubelet.config.k8s.io's
// CredentialProviderConfig, which is the same in v1, v1beta1 and v1alpha1.
type providerConfig struct {
	Kind       string           `json:"kind"`
	APIVersion string           `json:"apiVersion"`
	Providers  []providerPlugin `json:"providers"`
}

type providerPlugin struct {
	Name            string    `json:"name"`
	MatchImages     []string  `json:"matchImages"`
	TokenAttributes *struct{} `json:"tokenAttributes"`
}

// readProviders reads a file, or since Kubernetes 1.34 all files of a directory
// (readCredentialProviderConfig). The kubelet does not start with one that does
// not decode, or with a name that occurs twice, so such a one is not its own.
func (k *Kubelet) readProviders(name string) ([]providerPlugin, Presence) {
	var all []providerPlugin
	files := k.providerFiles(name)
	for _, file := range files {
		f, presence, err := k.read(file)
		if presence != Present || err != nil {
			return nil, NotVisible
		}
		c, ok := decodeProviders(f.Data)
		if !ok {
			return nil, NotVisible
		}
		all = append(all, c.Providers...)
	}
	if len(files) == 0 || slices.ContainsFunc(all, providerPlugin.invalid) || duplicates(all) {
		return nil, NotVisible
	}
	return all, Present
}

func (k *Kubelet) providerFiles(name string) []string {
	if !k.has(name) {
		return []string{name}
	}
	var out []string
	for _, file := range k.list(name) {
		if slices.Contains([]string{".json", ".yaml", ".yml"}, path.Ext(file)) && !k.has(path.Join(name, file)) {
			out = append(out, path.Join(name, file))
		}
	}
	return out
}

func decodeProviders(data []byte) (providerConfig, bool) {
	var c providerConfig
	plain, err := yaml.ToJSON(data)
	if err != nil || json.Unmarshal(plain, &c) != nil {
		return c, false
	}
	version, ok := strings.CutPrefix(c.APIVersion, "kubelet.config.k8s.io/")
	return c, ok && c.Kind == "CredentialProviderConfig" && slices.Contains([]string{"v1", "v1beta1", "v1alpha1"}, version)
}

// invalid tells that a plugin's name is no file name, as the kubelet demands, or
// not one that can be shown.
func (p providerPlugin) invalid() bool {
	return p.Name == "" || p.Name == "." || p.Name == ".." || len(p.Name) > 255 || !only(p.Name, "-_.+")
}

func duplicates(all []providerPlugin) bool {
	seen := map[string]bool{}
	for _, p := range all {
		if seen[p.Name] {
			return true
		}
		seen[p.Name] = true
	}
	return false
}

func showable(pattern string) string {
	if len(pattern) > 160 || !only(pattern, "-_.:/*?[]") {
		return ""
	}
	return pattern
}

// only tells that a text is made of letters and digits of ASCII and these.
func only(s, others string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letter && !strings.ContainsRune(others, r)
	})
}
