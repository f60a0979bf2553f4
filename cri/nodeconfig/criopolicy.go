package nodeconfig

import (
	"cmp"
	"encoding/json"
	"path"

	"github.com/distribution/reference"
	"go.podman.io/image/v5/docker/policyconfiguration"
	"sigs.k8s.io/yaml"
)

// policyFile is containers-policy.json(5), as far as it decides without a look at
// signatures.
type policyFile struct {
	Default    []policyRequirement                       `json:"default"`
	Transports map[string]map[string][]policyRequirement `json:"transports"`
}

type policyRequirement struct {
	Type string `json:"type"`
}

// The requirements that need no signature.
const (
	policyAccepts = "insecureAcceptAnything"
	policyRejects = "reject"
)

// policyPath returns the policy that CRI-O holds an image against: that of the
// pod's namespace, else crio.conf's, else the library's; "" if there is none.
func (c *Config) policyPath() string {
	if c.namespace != "" {
		if name := path.Join(cmp.Or(c.crio.SignaturePolicyDir, defaultPoliciesDir), c.namespace+".json"); c.fs.IsFile(name) {
			return name
		}
	}
	return cmp.Or(c.crio.SignaturePolicy, c.fs.First(homeConfig+"/policy.json", "/etc/containers/policy.json"))
}

// heldAgainstPolicy returns a notice if the policy wants a signature for an image,
// or rejects it. A policy that does not parse is a *ConfigError: with such a one
// CRI-O pulls nothing.
func (c *Config) heldAgainstPolicy(ref reference.Named) ([]Notice, error) {
	name := c.policyPath()
	if name == "" {
		return nil, nil
	}
	data, err := c.fs.ReadFile(name, maxConfigFile)
	if err != nil {
		return nil, nil // not seen here
	}
	var file policyFile
	if err := json.Unmarshal(data, &file); err != nil || len(file.Default) == 0 {
		return nil, &ConfigError{Notice{Kind: NoticePolicyUnusable, Path: name}, err}
	}
	signed := false
	for _, r := range file.of(ref) {
		switch r.Type {
		case policyAccepts:
		case policyRejects:
			return []Notice{{Kind: NoticePolicyRejects, Path: name}}, nil
		case "":
			return nil, &ConfigError{Notice{Kind: NoticePolicyUnusable, Path: name}, nil}
		default:
			signed = true
		}
	}
	if signed {
		return []Notice{{Kind: NoticePolicySigned, Path: name}}, nil
	}
	return nil, nil
}

// of returns the requirements for an image: those of the most particular scope
// (docker/policyconfiguration).
func (f policyFile) of(ref reference.Named) []policyRequirement {
	scopes := f.Transports["docker"]
	for _, scope := range append([]string{ref.String()}, policyconfiguration.DockerReferenceNamespaces(ref)...) {
		if r, ok := scopes[scope]; ok {
			return r
		}
	}
	if r, ok := scopes[""]; ok {
		return r
	}
	return f.Default
}

// brokenSignatureStore returns the first file of registries.d that does not parse, or that
// has an entry of an earlier one: with such a one CRI-O pulls nothing
// (docker/registries_d.go, loadAndMergeConfig).
func (c *Config) brokenSignatureStore() error {
	dir := "/etc/containers/registries.d"
	if home := homeConfig + "/registries.d"; c.fs.IsDir(home) {
		dir = home
	}
	seen := map[string]bool{}
	for _, name := range c.fs.Files(dir) {
		if path.Ext(name) != ".yaml" {
			continue
		}
		data, err := c.fs.ReadFile(name, maxConfigFile)
		if err != nil {
			continue
		}
		var file struct {
			DefaultDocker map[string]any            `json:"default-docker"`
			Docker        map[string]map[string]any `json:"docker"`
		}
		if err := yaml.Unmarshal(data, &file); err != nil {
			return &ConfigError{Notice{Kind: NoticeSignatureStoreBroken, Path: name}, err}
		}
		if file.Docker == nil {
			file.Docker = map[string]map[string]any{}
		}
		if file.DefaultDocker != nil {
			file.Docker[""] = file.DefaultDocker
		}
		for entry := range file.Docker {
			if seen[entry] {
				return &ConfigError{Notice{Kind: NoticeSignatureStoreBroken, Path: name}, nil}
			}
			seen[entry] = true
		}
	}
	return nil
}
