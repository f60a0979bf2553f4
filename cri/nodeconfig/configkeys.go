package nodeconfig

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/whypull/whypull/cri/registry"
)

// settingNames are the names under which a document has credentials and TLS settings of
// registries, wherever they are in it.
type settingNames struct{ auth, tls []string }

// collect adds what is in a table of that name: a credential and TLS settings are in tables
// called "auth" and "tls" below it, or in the table itself.
func (s *settingNames) collect(name string, t map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(t)) {
		switch value := t[key].(type) {
		case map[string]any:
			if key == "auth" || key == "tls" {
				key = name
			}
			s.collect(key, value)
		case string:
			switch key {
			case "password", "auth":
				s.auth = append(s.auth, name)
			case "ca_file":
				s.tls = append(s.tls, name)
			}
		case bool:
			if key == "insecure_skip_verify" && value {
				s.tls = append(s.tls, name)
			}
		}
	}
}

// written returns registries.yaml, from which k3s and RKE2 generate the other files, or else
// the last of containerd's, with the names in it, whatever the runtime reads of it, and the
// settings that are where it looks.
func (c *Config) written() (file string, names settingNames, read registriesYAML) {
	if file = c.registriesFile(); file != "" {
		var doc map[string]any
		data, err := c.fs.ReadFile(file, maxRegistriesFile)
		if err == nil && yaml.Unmarshal(data, &doc) == nil && yaml.Unmarshal(data, &read) == nil {
			names.collect("", doc)
		}
		return file, names, read
	}
	var config configFile
	_ = readTOML(c.fs, c.settings.file, &config) // with an error it is empty
	for _, plugin := range []string{pluginImages, pluginCRI, pluginV1} {
		names.collect("", table(table(config.Plugins, plugin), "registry"))
	}
	if c.version.atLeast(2, 0) {
		names.tls = nil // there is another notice of it
	}
	return c.settings.file, names, registriesYAML{Configs: c.settings.registry.Reveal().Configs}
}

// configsNotices reports credentials and TLS settings that are meant for an endpoint and are
// not in "configs" under its host[:port], where the runtime looks.
func (c *Config) configsNotices(host string, endpoints []registry.Endpoint) (notices []Notice) {
	file, names, read := c.written()
	for _, e := range endpoints {
		own := read.Configs[e.Host]
		if slices.Contains(c.aliases(e.Host), host) {
			own = read.config(host)
		}
		isMeant := func(name string) bool { return isMeant(name, host, e.Host) }
		if own.Auth == nil && e.NodeCredential == nil && slices.ContainsFunc(names.auth, isMeant) {
			notices = append(notices, Notice{Kind: NoticeCredentialKey, Path: file, Endpoint: e.String()})
		}
		if defaultHost(host) == e.Host { // k3s and RKE2 generate them from either name
			own.TLS = read.config(host).TLS
		}
		forAll := !e.Mirror && own.Auth == nil && read.Configs["*"].TLS != nil // for the registries that have no entry
		if own.TLS == nil && !e.SkipVerify && !forAll && slices.ContainsFunc(names.tls, isMeant) {
			notices = append(notices, Notice{Kind: NoticeTLSKey, Path: file, Endpoint: e.String()})
		}
	}
	return notices
}

// isMeant reports whether somebody who writes a name in "configs" means an endpoint for a
// registry: "*", the registry itself, or the endpoint's address in another form.
func isMeant(name, host, endpoint string) bool {
	if _, rest, ok := strings.Cut(name, "://"); ok {
		name = rest
	}
	name, _, _ = strings.Cut(name, "/")
	bare, _, _ := strings.Cut(endpoint, ":")
	return slices.Contains([]string{"*", host, endpoint, bare, bare + ":443"}, name)
}

// strayKeys reports that registries.yaml has a key beside "mirrors" and "configs", which k3s and
// RKE2 ignore, with something for a host below it.
func strayKeys(file string, data []byte, host string) []Notice {
	var doc map[string]any
	if yaml.Unmarshal(data, &doc) != nil {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(doc)) {
		if key != "mirrors" && key != "configs" && strings.Contains(fmt.Sprint(key, doc[key]), host) {
			return []Notice{{Kind: NoticeRegistriesKey, Path: file}}
		}
	}
	return nil
}
