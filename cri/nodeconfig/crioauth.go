package nodeconfig

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"go.podman.io/image/v5/pkg/sysregistriesv2"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry"
)

// authFiles gives the files in which CRI-O looks for a credential if a pull
// brings none, in its order (pkg/docker/config, getAuthFilePaths):
// the one of the pod's namespace and image alone if there is one, else
// global_auth_file if it is set.
func (c *Config) authFiles() []string {
	if c.namespaceAuth != "" {
		return []string{c.namespaceAuth}
	}
	if c.crio.GlobalAuthFile != "" {
		return []string{c.crio.GlobalAuthFile}
	}
	return []string{"/run/containers/0/auth.json", "/root/.config/containers/auth.json", "/root/.docker/config.json", dockerCfg}
}

// ForPod returns the configuration as it is for one pod's pull: CRI-O has policies
// and credentials for a namespace (/etc/crio/policies, /etc/crio/auth). image is
// the name as the pod has it.
func (c *Config) ForPod(namespace, image string) *Config {
	if !c.opts.isCRIO() || namespace == "" || strings.ContainsAny(namespace, "/\x00") {
		return c
	}
	own := *c
	own.namespace = namespace
	if named, err := reference.ParseNormalizedNamed(image); err == nil {
		sum := sha256.Sum256([]byte(named.Name())) // prepareTempAuthFile
		file := path.Join(cmp.Or(c.crio.NamespacedAuthDir, defaultNamespaceAuths), namespace+"-"+hex.EncodeToString(sum[:])+".json")
		if c.fs.IsFile(file) {
			own.namespaceAuth = file
		}
	}
	return &own
}

// ForSandbox returns the configuration as it is for the sandbox's image: CRI-O has
// credentials of its own for that (pause_image_auth_file).
func (c *Config) ForSandbox() *Config {
	if !c.opts.isCRIO() || c.crio.PauseImageAuthFile == "" {
		return c
	}
	own := *c
	own.crio.GlobalAuthFile = c.crio.PauseImageAuthFile
	return &own
}

// dockerCfg is Docker's old file, which has the entries at the top level.
const dockerCfg = "/root/.dockercfg"

// authFile is containers-auth.json(5).
type authFile struct {
	Auths       map[string]authEntry `json:"auths"`
	CredHelpers map[string]string    `json:"credHelpers"`
	legacy      bool                 // Docker's old file, whose keys are only hosts
}

type authEntry struct {
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
}

// addNodeCredential sets the credential that CRI-O has for an endpoint: from the first
// of "credential-helpers" that has one; the files count as one of them
// (pkg/docker/config, getCredentialsWithHomeDir).
func (c *Config) addNodeCredential(e *registry.Endpoint) []Notice {
	for _, helper := range c.crioHelpers {
		if helper != sysregistriesv2.AuthenticationFileHelper {
			return []Notice{{Kind: NoticeCredentialHelper, Path: c.mainRegistries()}}
		}
		if notices := c.searchAuthFiles(e); e.NodeCredential != nil || e.NodeCredentialBroken != "" || len(notices) > 0 {
			return notices
		}
	}
	return nil
}

func (c *Config) searchAuthFiles(e *registry.Endpoint) []Notice {
	keys := authKeys(e.Settings.Rewritten.Name())
	for _, name := range c.authFiles() {
		data, err := c.fs.ReadFile(name, maxConfigFile)
		if err != nil {
			continue
		}
		file, err := parseAuthFile(data, name == dockerCfg)
		if err != nil {
			e.NodeCredentialBroken = name
			return nil
		}
		if file.CredHelpers[keys[len(keys)-1]] != "" {
			return []Notice{{Kind: NoticeCredentialHelper, Path: name}}
		}
		entry := file.find(keys)
		if _, err := base64.StdEncoding.DecodeString(entry.Auth); err != nil {
			e.NodeCredentialBroken = name
			return nil
		}
		found, unusable := entry.credential()
		if unusable {
			return []Notice{{Kind: NoticeCredentialUnusable, Path: name}}
		}
		if found != nil {
			e.NodeCredential, e.NodeCredentialSource = found, name
			return nil
		}
	}
	return nil
}

func parseAuthFile(data []byte, legacy bool) (authFile, error) {
	file := authFile{legacy: legacy}
	if legacy {
		return file, json.Unmarshal(data, &file.Auths)
	}
	return file, json.Unmarshal(data, &file)
}

// credential returns the credential that CRI-O reads from an entry (decodeDockerAuth):
// none without "auth" or if that has no colon; then the next file is read. unusable
// reports that CRI-O would use something that a Credential cannot hold: an identity
// token, or a user name or password alone.
func (a authEntry) credential() (found *credential.Credential, unusable bool) {
	user, password, ok := splitAuth(a.Auth)
	switch {
	case !ok, user == "" && password == "" && a.IdentityToken == "":
		return nil, false
	case a.IdentityToken != "":
		return nil, true
	}
	return complete(user, password)
}

// authKeys returns the keys that match a repository, most specific first, the host
// last.
func authKeys(name string) []string {
	keys := []string{name}
	for strings.Contains(name, "/") {
		name = path.Dir(name)
		keys = append(keys, name)
	}
	return keys
}

// find returns the entry with the most specific key, else one for the host in Docker's
// forms, such as https://index.docker.io/v1/.
func (f authFile) find(keys []string) authEntry {
	if f.legacy {
		keys = keys[len(keys)-1:]
	}
	for _, key := range keys {
		if entry, ok := f.Auths[key]; ok {
			return entry
		}
	}
	host := dockerHost(keys[len(keys)-1])
	for _, key := range slices.Sorted(maps.Keys(f.Auths)) {
		stripped := strings.TrimPrefix(strings.TrimPrefix(key, "http://"), "https://")
		if stripped != key || f.legacy {
			stripped, _, _ = strings.Cut(stripped, "/")
		}
		if dockerHost(stripped) == host {
			return f.Auths[key]
		}
	}
	return authEntry{}
}

// dockerHost is normalizeRegistry of package pkg/docker/config.
func dockerHost(host string) string {
	switch host {
	case "registry-1.docker.io", "docker.io":
		return "index.docker.io"
	}
	return host
}
