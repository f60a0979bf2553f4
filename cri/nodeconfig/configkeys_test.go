package nodeconfig_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/whypull/whypull/cri/nodeconfig"
)

// kindsOf returns the kinds of the notices of one endpoint for a registry.
func kindsOf(t *testing.T, opts nodeconfig.Options, host, endpoint string) (kinds []nodeconfig.NoticeKind) {
	t.Helper()
	_, notices := endpoints(t, opts, host)
	for _, n := range notices {
		if n.Endpoint == endpoint || n.Endpoint == "" {
			kinds = append(kinds, n.Kind)
		}
	}
	return kinds
}

// A credential, or TLS settings, for an endpoint that are not where containerd looks.
func TestConfigsOfAnotherName(t *testing.T) {
	t.Parallel()
	const auth, tls = ".auth]\nusername = \"u\"\npassword = \"" + secret + "\"\n", ".tls]\ninsecure_skip_verify = true\n"
	const mirror = "[registry.mirrors.\"hub.test\"]\nendpoint = [\"https://m.test:5000\"]\n"
	for name, tc := range map[string]struct {
		table, version string
		want           nodeconfig.NoticeKind
	}{
		"the mirror":              {"[registry.configs.\"m.test:5000\"" + auth, "1.7.35", ""},
		"the mirror, TLS":         {"[registry.configs.\"m.test:5000\"" + tls, "1.7.35", ""},
		"the registry":            {"[registry.configs.\"hub.test\"" + auth, "1.7.35", nodeconfig.NoticeCredentialKey},
		"the registry, TLS":       {"[registry.configs.\"hub.test\"" + tls, "1.7.35", nodeconfig.NoticeTLSKey},
		"the registry, TLS, 2.x":  {"[registry.configs.\"hub.test\"" + tls, "2.1.4", ""},
		"everything":              {"[registry.configs.\"*\"" + auth, "1.7.35", nodeconfig.NoticeCredentialKey},
		"no port":                 {"[registry.configs.\"m.test\"" + auth, "1.7.35", nodeconfig.NoticeCredentialKey},
		"a scheme":                {"[registry.configs.\"https://m.test:5000\"" + auth, "1.7.35", nodeconfig.NoticeCredentialKey},
		"a scheme and a path":     {"[registry.configs.\"https://m.test:5000/v2/\"" + auth, "2.1.4", nodeconfig.NoticeCredentialKey},
		"auths below it":          {"[registry.configs.auths.\"https://m.test:5000\"]\nauth = \"eA==\"\n", "1.7.35", nodeconfig.NoticeCredentialKey},
		"auths":                   {"[registry.auths.\"https://m.test:5000\"]\nauth = \"dTpw\"\n", "1.7.35", ""},
		"unusable":                {"[registry.configs.\"m.test:5000\".auth]\nauth = \"dckr\"\n", "1.7.35", nodeconfig.NoticeCredentialUnusable},
		"of the mirror":           {"[registry.mirrors.\"m.test:5000\"" + auth, "1.7.35", nodeconfig.NoticeCredentialKey},
		"another registry":        {"[registry.configs.\"other.test\"" + auth, "1.7.35", ""},
		"both, of which one is":   {"[registry.configs.\"m.test:5000\"" + auth + "[registry.configs.\"hub.test\"" + auth, "1.7.35", ""},
		"another version's":       {"[plugins.cri.registry.configs.\"m.test:5000\"" + auth, "1.7.35", nodeconfig.NoticeCredentialKey},
		"another version's, TLS":  {"[plugins.cri.registry.configs.\"m.test:5000\"" + tls, "1.7.35", nodeconfig.NoticeTLSKey},
		"no such settings at all": {"", "1.7.35", ""},
	} {
		opts := configured(t, mirror+tc.table, nil)
		opts.RuntimeVersion = tc.version
		var want []nodeconfig.NoticeKind
		if tc.want != "" {
			want = []nodeconfig.NoticeKind{tc.want}
		}
		if got := kindsOf(t, opts, "hub.test", "https://m.test:5000"); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// The same in registries.yaml, and what is in it under a key that is not read.
func TestRegistriesKeys(t *testing.T) {
	t.Parallel()
	const auth, tls = "auth:\n  username: u\n  password: " + secret + "\n", "tls:\n  insecure_skip_verify: true\n"
	below := func(keys, text string) string {
		all := ""
		for i, key := range strings.Split(keys, "/") {
			all += strings.Repeat("  ", i) + "\"" + key + "\":\n"
		}
		indent := strings.Repeat("  ", strings.Count(keys, "/")+1)
		return all + indent + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+indent) + "\n"
	}
	const stray, key, tlsKey = nodeconfig.NoticeRegistriesKey, nodeconfig.NoticeCredentialKey, nodeconfig.NoticeTLSKey
	for name, tc := range map[string]struct {
		text string
		want []nodeconfig.NoticeKind
	}{
		"everything":     {below("configs/*", auth), []nodeconfig.NoticeKind{key}},
		"a path":         {below("configs/https:~~hub.test~v2~", auth), []nodeconfig.NoticeKind{key}},
		"config":         {below("config/hub.test", auth), []nodeconfig.NoticeKind{stray, key}},
		"mirrros":        {below("mirrros/hub.test", "endpoint:\n- http://hub.test\n"), []nodeconfig.NoticeKind{stray}},
		"of another":     {below("mirrros/other.test", "endpoint:\n- http://other.test\n"), nil},
		"not indented":   {"configs:\n" + below("hub.test", auth), []nodeconfig.NoticeKind{stray, key}},
		"below mirrors":  {below("mirrors/configs/hub.test", auth+tls), []nodeconfig.NoticeKind{key, tlsKey}},
		"with its port":  {below("configs/hub.test:443", tls), []nodeconfig.NoticeKind{tlsKey}},
		"other settings": {below("configs/other.test", auth+tls), nil},
	} {
		opts := k3sNode(t, map[string]string{k3sYAML: strings.ReplaceAll(tc.text, "~", "/")})
		if got := kindsOf(t, opts, "hub.test", "https://hub.test"); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
