package registry

import (
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"

	"go.podman.io/image/v5/pkg/sysregistriesv2"
)

// authFiles gives the files in which CRI-O looks for a credential if a pull
// brings none, in its order (pkg/docker/config, getAuthFilePaths):
// global_auth_file alone if it is set. Those of a namespace (/etc/crio/auth)
// are not known here.
func (s crioSettings) authFiles() []string {
	if s.GlobalAuthFile != "" {
		return []string{s.GlobalAuthFile}
	}
	return []string{"/run/containers/0/auth.json", "/root/.config/containers/auth.json", "/root/.docker/config.json"}
}

// authFile is containers-auth.json(5).
type authFile struct {
	Auths       map[string]authEntry `json:"auths"`
	CredHelpers map[string]string    `json:"credHelpers"`
}

type authEntry struct {
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
}

// addNodeLogin gives an endpoint the credential that CRI-O has for it: from the
// first of "credential-helpers" that has one, of which the files are one
// (pkg/docker/config, getCredentialsWithHomeDir).
func (c *Config) addNodeLogin(e *Endpoint) []Notice {
	for _, helper := range c.crioHelpers {
		if helper != sysregistriesv2.AuthenticationFileHelper {
			return []Notice{{Kind: NoticeCredentialHelper, Path: registriesFile}}
		}
		if notices := c.searchAuthFiles(e); e.NodeLogin != nil || len(notices) > 0 {
			return notices
		}
	}
	return nil
}

func (c *Config) searchAuthFiles(e *Endpoint) []Notice {
	keys := authKeys(e.rewritten.Name())
	for _, name := range c.crio.authFiles() {
		data, err := c.fs.readFile(name)
		if err != nil {
			continue
		}
		var file authFile
		if err := json.Unmarshal(data, &file); err != nil {
			return []Notice{{Kind: NoticeNodeLoginUnusable, Path: name}}
		}
		if file.CredHelpers[keys[len(keys)-1]] != "" {
			return []Notice{{Kind: NoticeCredentialHelper, Path: name}}
		}
		if entry, ok := file.find(keys); ok {
			return e.useAuth(entry, name)
		}
	}
	return nil
}

func (e *Endpoint) useAuth(entry authEntry, file string) []Notice {
	login, unusable := legacyAuth{Auth: entry.Auth}.login()
	if entry.IdentityToken != "" || unusable || login == nil {
		return []Notice{{Kind: NoticeNodeLoginUnusable, Path: file}}
	}
	e.NodeLogin, e.NodeLoginSource = login, file
	return nil
}

// authKeys gives the keys that are for a repository, the most specific first,
// the host last.
func authKeys(name string) []string {
	keys := []string{name}
	for strings.Contains(name, "/") {
		name = path.Dir(name)
		keys = append(keys, name)
	}
	return keys
}

// find gives the entry for the most specific key; else one for the host in the
// forms that Docker writes, such as https://index.docker.io/v1/.
func (f authFile) find(keys []string) (authEntry, bool) {
	for _, key := range keys {
		if entry, ok := f.Auths[key]; ok {
			return entry, true
		}
	}
	host := dockerHost(keys[len(keys)-1])
	for _, key := range slices.Sorted(maps.Keys(f.Auths)) {
		stripped := strings.TrimPrefix(strings.TrimPrefix(key, "http://"), "https://")
		if stripped != key {
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
