package nodeconfig

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"

	"go.podman.io/image/v5/pkg/sysregistriesv2"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry"
)

// authFiles returns the files in which CRI-O looks for a credential if the pull has
// none, in its order (pkg/docker/config, getAuthFilePaths): only global_auth_file if it
// is set. Those of a namespace (/etc/crio/auth) are not included.
func (s crioSettings) authFiles() []string {
	if s.GlobalAuthFile != "" {
		return []string{s.GlobalAuthFile}
	}
	return []string{"/run/containers/0/auth.json", "/root/.config/containers/auth.json", "/root/.docker/config.json", dockerCfg}
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
			return []Notice{{Kind: NoticeCredentialHelper, Path: registriesFile}}
		}
		if notices := c.searchAuthFiles(e); e.NodeCredential != nil || len(notices) > 0 {
			return notices
		}
	}
	return nil
}

func (c *Config) searchAuthFiles(e *registry.Endpoint) []Notice {
	keys := authKeys(e.Settings.Rewritten.Name())
	for _, name := range c.crio.authFiles() {
		data, err := c.fs.ReadFile(name, maxConfigFile)
		if err != nil {
			continue
		}
		file, err := parseAuthFile(data, name == dockerCfg)
		if err != nil {
			return []Notice{{Kind: NoticeNodeCredentialUnusable, Path: name}}
		}
		if file.CredHelpers[keys[len(keys)-1]] != "" {
			return []Notice{{Kind: NoticeCredentialHelper, Path: name}}
		}
		entry, _ := file.find(keys)
		found, unusable := entry.credential()
		if unusable {
			return []Notice{{Kind: NoticeNodeCredentialUnusable, Path: name}}
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
	decoded, err := base64.StdEncoding.DecodeString(a.Auth)
	if err != nil {
		return nil, true
	}
	user, password, ok := strings.Cut(string(decoded), ":")
	password = strings.Trim(password, "\x00")
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
func (f authFile) find(keys []string) (authEntry, bool) {
	if f.legacy {
		keys = keys[len(keys)-1:]
	}
	for _, key := range keys {
		if entry, ok := f.Auths[key]; ok {
			return entry, true
		}
	}
	host := dockerHost(keys[len(keys)-1])
	for _, key := range slices.Sorted(maps.Keys(f.Auths)) {
		stripped := strings.TrimPrefix(strings.TrimPrefix(key, "http://"), "https://")
		if stripped != key || f.legacy {
			stripped, _, _ = strings.Cut(stripped, "/")
		}
		if dockerHost(stripped) == host {
			return f.Auths[key], true
		}
	}
	return authEntry{}, false
}

// dockerHost is normalizeRegistry of package pkg/docker/config.
func dockerHost(host string) string {
	switch host {
	case "registry-1.docker.io", "docker.io":
		return "index.docker.io"
	}
	return host
}
