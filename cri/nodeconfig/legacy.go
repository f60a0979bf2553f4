package nodeconfig

import (
	"cmp"
	"context"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/pelletier/go-toml/v2"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry"
)

// registrySettings is the table "registry" of containerd's image plugin
// (internal/cri/config, Registry). Mirrors, Configs and Auths are deprecated but still
// in use.
type registrySettings struct {
	ConfigPath string                    `toml:"config_path"`
	Mirrors    mirrors                   `toml:"mirrors"`
	Configs    map[string]legacyRegistry `toml:"configs"` // by the endpoint's host
	Auths      map[string]legacyAuth     `toml:"auths"`
	Headers    map[string][]string       `toml:"headers"`
}

// mirrors are by host; "*" stands for those that have none.
type mirrors map[string]legacyMirror

type legacyMirror struct {
	Endpoints []string          `toml:"endpoint" json:"endpoint"`
	Rewrite   map[string]string `toml:"rewrite" json:"rewrite"` // of k3s and RKE2
}

func (m mirrors) of(host string) legacyMirror {
	if mirror, ok := m[host]; ok {
		return mirror
	}
	return m["*"]
}

type legacyRegistry struct {
	Auth *legacyAuth `toml:"auth" json:"auth"`
	TLS  *legacyTLS  `toml:"tls" json:"tls"` // until 1.7
}

type legacyAuth struct {
	Username      string `toml:"username" json:"username"`
	Password      string `toml:"password" json:"password"`
	Auth          string `toml:"auth" json:"auth"`
	IdentityToken string `toml:"identitytoken" json:"identity_token"`
}

type legacyTLS struct {
	Skip bool   `toml:"insecure_skip_verify" json:"insecure_skip_verify"`
	CA   string `toml:"ca_file" json:"ca_file"`
	Cert string `toml:"cert_file" json:"cert_file"`
	Key  string `toml:"key_file" json:"key_file"`
}

// decodeRegistry decodes the table like containerd, which does not load the plugin if a
// value has a wrong type.
func decodeRegistry(registry map[string]any) (registrySettings, error) {
	var out registrySettings
	data, err := toml.Marshal(registry)
	if err != nil {
		return out, err
	}
	if err := toml.Unmarshal(data, &out); err != nil {
		return registrySettings{}, err
	}
	return out.withAuths(), nil
}

// header returns a copy of the header for all hosts.
func (r registrySettings) header() http.Header { return http.Header(r.Headers).Clone() }

// withAuths merges "auths" into "configs", over which they take precedence (ValidateImageConfig).
func (r registrySettings) withAuths() registrySettings {
	for _, endpoint := range slices.Sorted(maps.Keys(r.Auths)) {
		u, err := url.Parse(endpoint)
		if err != nil {
			continue // containerd does not start then
		}
		auth, host := r.Auths[endpoint], endpoint
		if u.Scheme != "" {
			host = u.Host
		}
		if r.Configs == nil {
			r.Configs = map[string]legacyRegistry{}
		}
		config := r.Configs[host]
		config.Auth = &auth
		r.Configs[host] = config
	}
	return r
}

// contradicts reports whether the CRI plugin does not load with the settings
// (ValidateImageConfig; ValidatePluginConfig in 1.x, which also checks "tls"). The running
// runtime was started with others.
func (s settings) contradicts(v runtimeVersion) bool {
	if s.registry.Reveal().ConfigPath == "" {
		return false
	}
	hasTLS := func(r legacyRegistry) bool { return r.TLS != nil }
	return len(s.registry.Reveal().Mirrors) > 0 ||
		!v.atLeast(2, 0) && slices.ContainsFunc(slices.Collect(maps.Values(s.registry.Reveal().Configs)), hasTLS)
}

// legacyEndpoints returns the endpoints like registryHosts of the CRI plugin
// (internal/cri/server/images/image_pull.go; pkg/cri/server in 1.x).
func (c *Config) legacyEndpoints(_ context.Context, host string) ([]registry.Endpoint, []Notice, error) {
	invalid := func(err error) error {
		return &ConfigError{Notice{Kind: NoticeEndpointInvalid, Path: c.settings.file}, err}
	}
	urls, err := c.settings.registry.Reveal().endpoints(host)
	if err != nil {
		return nil, nil, invalid(err)
	}
	var endpoints []registry.Endpoint
	var notices []Notice
	for _, u := range urls {
		e, hidden, err := c.legacyEndpoint(host, u)
		if err != nil {
			return nil, nil, invalid(err)
		}
		if e.Source != "" && lacksVersion(u.Path) {
			notices = append(notices, Notice{Kind: NoticePathWithoutVersion, Path: c.settings.file, Endpoint: e.String()})
		}
		if c.rewrites() { // also for the registry itself
			e.Settings.Rewrite = rewriting(c.settings.registry.Reveal().Mirrors.of(host).Rewrite)
		}
		endpoints, notices = append(endpoints, e), append(notices, hidden...)
	}
	return endpoints, notices, nil
}

// endpoints is registryEndpoints: the mirrors of the host or, if it has none,
// of "*", then the host itself unless it is among them.
func (r registrySettings) endpoints(host string) ([]*url.URL, error) {
	var urls []*url.URL
	itself := false
	for _, endpoint := range r.Mirrors.of(host).Endpoints {
		u, err := legacyURL(endpoint)
		if err != nil {
			return nil, err
		}
		itself = itself || u.Host == host
		urls = append(urls, u)
	}
	if itself {
		return urls, nil
	}
	upstream := defaultHost(host)
	return append(urls, &url.URL{Scheme: legacyScheme(upstream), Host: upstream, Path: "/v2"}), nil
}

// legacyURL is addDefaultScheme followed by the parsing in registryHosts.
func legacyURL(endpoint string) (*url.URL, error) {
	hasScheme := strings.Contains(endpoint, "://")
	if !hasScheme {
		endpoint = "dummy://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	if !hasScheme {
		u.Scheme = legacyScheme(u.Host)
	}
	u.Path = cmp.Or(u.Path, "/v2")
	return u, nil
}

func legacyScheme(host string) string {
	if docker.IsLocalhost(host) {
		return "http"
	}
	return "https"
}

func (c *Config) legacyEndpoint(domain string, u *url.URL) (registry.Endpoint, []Notice, error) {
	e := c.plainEndpoint(namespaceFor(domain, u.Host), u.Scheme, u.Host, u.Path)
	config, ok := c.settings.registry.Reveal().Configs[u.Host]
	_, mirrored := c.settings.registry.Reveal().Mirrors[domain]
	if ok || mirrored || e.Mirror {
		e.Source = c.settings.file
	}
	var notices []Notice
	if config.TLS != nil && !c.version.atLeast(2, 0) {
		var err error
		if notices, err = c.legacyTLS(&e, *config.TLS); err != nil {
			return e, nil, err
		}
	}
	e.SkipVerify = e.Settings.Transport.TLSClientConfig.InsecureSkipVerify
	return e, notices, nil
}

// legacyTLS is getTLSConfig of containerd 1.x.
func (c *Config) legacyTLS(e *registry.Endpoint, t legacyTLS) ([]Notice, error) {
	if (t.Cert == "") != (t.Key == "") {
		return nil, errNoPair
	}
	e.Settings.Transport.TLSClientConfig.InsecureSkipVerify = t.Skip
	var notices []Notice
	if t.Cert != "" {
		found, err := c.addClient(e, t.Cert, t.Key)
		if err != nil {
			return nil, err
		}
		notices = found
	}
	if t.CA == "" {
		return notices, nil
	}
	found, err := c.addCA(e, t.CA)
	return append(notices, found...), err
}

// credential returns the credential that containerd reads from an "auth" (ParseAuth).
// unusable reports that it has no user, which makes it an identity token that a Credential
// cannot hold, or no password, so that the authorizer does not send it.
func (a legacyAuth) credential() (found *credential.Credential, unusable bool) {
	switch {
	case a.Username != "":
		return complete(a.Username, a.Password)
	case a.IdentityToken != "":
		return nil, true
	case a.Auth == "":
		return nil, false
	}
	user, password, ok := splitAuth(a.Auth)
	if !ok {
		return nil, true
	}
	return complete(user, password)
}

// splitAuth returns the user name and password in an "auth"; ok is false if it has none.
func splitAuth(auth string) (user, password string, ok bool) {
	decoded, err := base64.StdEncoding.DecodeString(auth)
	user, password, ok = strings.Cut(string(decoded), ":")
	return user, strings.Trim(password, "\x00"), ok && err == nil
}

// complete returns a credential that has both parts.
func complete(user, password string) (found *credential.Credential, unusable bool) {
	if user == "" || password == "" {
		return nil, true
	}
	c := credential.New(user, password)
	return &c, false
}

// addNodeCredentials sets the credentials that containerd has for the endpoints: those in
// registry.configs by the endpoint's host (PullImage).
func (c *Config) addNodeCredentials(endpoints []registry.Endpoint) (notices []Notice) {
	for i := range endpoints {
		auth := c.nodeAuth(endpoints[i].Host)
		if auth == nil {
			continue
		}
		found, unusable := auth.credential()
		if found != nil {
			endpoints[i].NodeCredential, endpoints[i].NodeCredentialSource = found, c.settings.file
		}
		if unusable {
			notices = append(notices, Notice{Kind: NoticeCredentialUnusable, Path: c.settings.file})
		}
	}
	return notices
}
