package nodeconfig

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/distribution/reference"
	"github.com/sirupsen/logrus"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry"
)

// EndpointsFor returns the endpoints for an image in the runtime's order, those that
// serve it first. host is the registry of the image's normalized name ("docker.io",
// "hub.example.com:5000"). Notices are about this host's configuration; the endpoints
// are those that the runtime uses despite them.
//
// A configuration with which the runtime refuses the pull is a *ConfigError. Other
// errors are this process's own, such as a missing temporary directory.
func (c *Config) EndpointsFor(ctx context.Context, host string, ref reference.Named) ([]registry.Endpoint, []Notice, error) {
	if c.opts.isCRIO() {
		return c.crioEndpoints(ref)
	}
	find := c.hostEndpoints
	switch {
	case c.opts.isDocker():
		find = c.dockerEndpoints
	case c.unset && c.settings.pullsLocally(c.version): // by registry.mirrors and .configs (registryHosts)
		find = func(ctx context.Context, host string) ([]registry.Endpoint, []Notice, error) {
			endpoints, notices, err := c.legacyEndpoints(ctx, host)
			return endpoints, append(notices, c.unreadCertificates(host, "", nil)...), err
		}
	}
	endpoints, notices, err := find(ctx, host)
	notices = append(append(c.ignoredNotices(host), c.misplaced(host)...), notices...)
	notices = append(append(notices, c.generatedNotices(host)...), c.ofDocker(host)...)
	for i := range endpoints {
		endpoints[i].Unloaded = c.opts.isDocker() || c.opts.CertsDir == "" && c.unseen()
		settings := &endpoints[i].Settings
		own := settings.Header.Reveal()
		settings.TokenHeader = credential.Redact(c.tokenHeader(own))
		settings.Header = credential.Redact(c.withHeaders(own))
		if c.version.atLeast(2, 0) && c.settings.registry.Reveal().Configs[endpoints[i].Host].TLS != nil { // which it does not know
			notices = append(notices, Notice{Kind: NoticeTLSIgnored, Path: c.settings.file, Endpoint: endpoints[i].String()})
		}
	}
	notices = append(notices, c.addNodeCredentials(endpoints)...)
	notices = append(notices, c.noProxyNotices(endpoints)...)
	if !c.opts.isDocker() {
		notices = append(notices, c.configsNotices(host, endpoints)...)
	}
	serves := func(e registry.Endpoint) bool { return e.Serves(ref) }
	if err == nil && len(endpoints) > 0 && !slices.ContainsFunc(endpoints, serves) {
		notices = append(notices, Notice{Kind: NoticeNoCapableHost, Path: path.Join(endpoints[0].Source, hostsFile)})
	}
	return withVariants(endpoints), notices, err
}

// withVariants numbers the endpoints of each host that differ in how they are asked.
func withVariants(endpoints []registry.Endpoint) []registry.Endpoint {
	for i := range endpoints {
		e := &endpoints[i]
		for _, before := range endpoints[:i] {
			if before.String() != e.String() {
				continue
			}
			if before.SameManner(*e) {
				e.Settings.Variant = before.Settings.Variant
				break
			}
			e.Settings.Variant = max(e.Settings.Variant, before.Settings.Variant+1)
		}
	}
	return endpoints
}

// withHeaders puts registry.headers, which the runtime sends to all hosts,
// before those of one host (core/remotes/docker, request).
func (c *Config) withHeaders(own http.Header) http.Header {
	if len(c.settings.registry.Reveal().Headers) == 0 {
		return own
	}
	all := c.settings.registry.Reveal().header()
	for key, values := range own {
		all[key] = append(all[key], values...)
	}
	return all
}

// tokenHeader returns the header that containerd sends to a token server: none before
// 2.1; since then the host's or, if it has none and the CRI plugin pulls itself,
// registry.headers (core/remotes/docker/config, ConfigureHosts;
// internal/cri/server/images, registryHosts).
func (c *Config) tokenHeader(own http.Header) http.Header {
	switch {
	case !c.version.atLeast(2, 1):
		return nil
	case len(own) > 0:
		return own
	case c.settings.pullsLocally(c.version):
		return c.settings.registry.Reveal().header()
	}
	return nil
}

// hostEndpoints returns the endpoints configured in the hosts' directories.
func (c *Config) hostEndpoints(ctx context.Context, host string) ([]registry.Endpoint, []Notice, error) {
	dir, err := c.findHostDir(host, c.dirs)
	switch {
	case err != nil:
		return nil, nil, &ConfigError{Notice{Kind: NoticeCertificateUnusable, Path: dir}, err}
	case dir == "":
		endpoints, err := c.configure(ctx, host, "", view{}, new(recordedError))
		return endpoints, c.unreadCertificates(host, "", nil), err
	case !c.fs.IsDir(dir):
		return nil, nil, &ConfigError{Notice{Kind: NoticeNotDirectory, Path: dir}, nil}
	}
	v, err := c.view(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", dir, err)
	}
	var invalid recordedError
	endpoints, err := c.configure(ctx, host, dir, v, &invalid)
	notices := c.fileNotices(dir, invalid.err)
	if v.without {
		notices = []Notice{{Kind: NoticeHostsWithoutTable, Path: path.Join(dir, hostsFile)}}
	}
	var counts []byte
	if invalid.err == nil {
		counts = v.doc
		tables := hostTables(v.doc)
		notices = append(notices, c.applyHostsFile(endpoints, v.hidden, tables)...)
		notices = append(notices, addressNotices(host, path.Join(dir, hostsFile), endpoints, tables)...)
		notices = append(notices, keyNotices(path.Join(dir, hostsFile), v.doc, endpoints)...)
		if c.leavesOutServer(v.doc, tables) {
			endpoints = endpoints[:max(len(endpoints)-1, 0)]
		}
	}
	return endpoints, append(notices, c.unreadCertificates(host, dir, counts)...), errors.Join(err, v.close())
}

// applyHostsFile adds to the endpoints what containerd's package does not return from
// hosts.toml: which files are hidden, dial_timeout and rewrites (see view).
func (c *Config) applyHostsFile(endpoints []registry.Endpoint, hidden []hiddenFile, tables map[string]hostTable) (notices []Notice) {
	for i := range endpoints {
		e, name := &endpoints[i], tableName(endpoints, i)
		for _, h := range hidden {
			if h.host == e.Host || h.host == name {
				e.Blind = e.Blind || h.key == "ca"
				e.BlindClient = e.BlindClient || h.key == "client"
			}
		}
		t := tables[name]
		if timeout, _ := time.ParseDuration(t.DialTimeout); timeout > 0 && timeout < c.opts.Timeouts.Connect {
			e.Settings.Timeouts.Connect = timeout
		}
		if c.rewrites() {
			e.Settings.Rewrite = rewriting(t.Rewrite)
		}
	}
	for _, h := range hidden {
		notices = append(notices, Notice{Kind: NoticeHidden, Path: h.path})
	}
	return notices
}

func (c *Config) configure(ctx context.Context, host, dir string, v view, invalid *recordedError) ([]registry.Endpoint, error) {
	set := &clients{pool: c.pool, transports: map[*http.Client]*http.Transport{}}
	hosts, err := config.ConfigureHosts(withLogger(ctx, invalid), config.HostOptions{
		HostDir:      v.hostDir,
		UpdateClient: set.update,
	})(host)
	if err != nil {
		return nil, &ConfigError{Notice{Kind: NoticeCertificateUnusable, Path: path.Join(dir, hostsFile)}, err}
	}
	endpoints := make([]registry.Endpoint, 0, len(hosts))
	for i, h := range hosts {
		transport := set.transports[h.Client]
		e := c.newEndpoint(namespaceFor(host, h.Host), h, transport)
		e.HTTPFallback = h.Client.Transport != http.RoundTripper(transport)
		if i == len(hosts)-1 && e.Scheme == "https" && docker.IsLocalhost(host) && c.version.prefersHTTP() && hostTables(v.doc)[""].line == 0 {
			e.HTTPFallback = true
		}
		if e.HTTPFallback && !c.version.triesTLS(e.Host) {
			e.Scheme, e.HTTPFallback = "http", false
		}
		e.Source = dir
		endpoints = append(endpoints, e)
	}
	return endpoints, nil
}

func (v view) hostDir(string) (string, error) {
	if v.dir == "" {
		return "", errdefs.ErrNotFound
	}
	return v.dir, nil
}

// plainEndpoint returns an endpoint for everything, with only the node's CA certificates.
func (c *Config) plainEndpoint(namespace, scheme, host, path string) registry.Endpoint {
	transport := docker.DefaultHTTPTransport(&tls.Config{})
	if c.pool != nil {
		transport.TLSClientConfig.RootCAs = c.pool.Clone()
	}
	return c.newEndpoint(namespace, docker.RegistryHost{
		Scheme: scheme, Host: host, Path: path, Capabilities: docker.HostCapabilityResolve | docker.HostCapabilityPull,
	}, transport)
}

// newEndpoint returns an endpoint; namespace is the value of ?ns=.
func (c *Config) newEndpoint(namespace string, h docker.RegistryHost, transport *http.Transport) registry.Endpoint {
	return registry.Endpoint{
		Scheme:     h.Scheme,
		Host:       h.Host,
		Mirror:     namespace != "",
		SkipVerify: transport.TLSClientConfig.InsecureSkipVerify,
		Settings: registry.Settings{
			Path: h.Path, Namespace: namespace, Capabilities: h.Capabilities, Header: credential.Redact(h.Header),
			// containerd 1.x converts them, and CRI-O, whose version also begins with 1, reads them.
			TakesSchema1: strings.HasPrefix(strings.TrimPrefix(c.opts.RuntimeVersion, "v"), "1."),
			Transport:    transport, Proxy: c.opts.Proxy, Resolve: c.opts.Resolve,
			Version: c.opts.Version, Timeouts: c.opts.Timeouts, Room: c.opts.Room,
			NoZstd: c.lacksZstd(),
		},
	}
}

// lacksZstd reports whether the runtime cannot decompress layers with zstd: Docker before
// 23.0 (moby 41759), containerd before 1.5 (archive/compression).
func (c *Config) lacksZstd() bool {
	switch {
	case c.opts.isCRIO():
		return false
	case c.opts.isDocker():
		return c.version.atLeast(17, 0) && !c.version.atLeast(23, 0) // 2.4 is one that is not known
	}
	return !c.version.atLeast(1, 5)
}

// namespaceFor is containerd's rule for adding ?ns=: for mirrors (registry.go,
// isProxy).
func namespaceFor(domain, host string) string {
	if domain == host || domain == "docker.io" && host == "registry-1.docker.io" {
		return ""
	}
	return domain
}

// ignoredNotices reports a directory for this host that the runtime ignores.
func (c *Config) ignoredNotices(host string) []Notice {
	dir, err := c.findHostDir(host, c.ignored)
	if err != nil || dir == "" {
		return nil
	}
	return []Notice{c.unused(dir, Notice{Kind: NoticePathList, Path: dir})}
}

func (c *Config) fileNotices(dir string, invalid error) []Notice {
	file := path.Join(dir, hostsFile)
	if invalid != nil {
		n := Notice{Kind: NoticeHostsUnreadable, Path: file, Line: lineOf(invalid)}
		if n.Line == 0 {
			n.Kind = NoticeHostsBadValue
		}
		return []Notice{n}
	}
	if misnamed := path.Join(dir, "host.toml"); c.fs.IsFile(misnamed) && !c.fs.IsFile(file) {
		return []Notice{{Kind: NoticeHostsMisnamed, Path: misnamed}}
	}
	return nil
}

// clients collects the transports that containerd makes, before it wraps them, and
// gives each host the node's CA certificates.
//
// containerd adds a host's "ca" to the pool of the transport that it clones, or to the
// system's pool, which in our image is not the node's. Clones share the pool, so each
// one gets a fresh one. DefaultTLS would be simpler but makes containerd try https on
// every http endpoint.
type clients struct {
	pool       *x509.CertPool // nil: Go's own
	base       *http.Transport
	transports map[*http.Client]*http.Transport
}

// update is a config.UpdateClientFunc: it is called for the default client, then for
// every host with its own client.
func (s *clients) update(client *http.Client) error {
	transport, ok := client.Transport.(*http.Transport)
	if !ok {
		return errors.New("containerd's client has no *http.Transport")
	}
	s.transports[client] = transport
	if s.base == nil {
		s.base = transport
	}
	if s.pool != nil {
		s.base.TLSClientConfig.RootCAs = s.pool.Clone()
	}
	return nil
}

// recordedError holds the first error that containerd's package logs, its only report of
// a hosts.toml that does not parse.
type recordedError struct{ err error }

// Levels implements logrus.Hook.
func (r *recordedError) Levels() []logrus.Level { return []logrus.Level{logrus.ErrorLevel} }

// Fire implements logrus.Hook.
func (r *recordedError) Fire(e *logrus.Entry) error {
	if err, ok := e.Data[logrus.ErrorKey].(error); ok && r.err == nil {
		r.err = err
	}
	return nil
}

// withLogger keeps containerd's log lines, which quote configuration and
// registries, out of this process's output.
func withLogger(ctx context.Context, hook logrus.Hook) context.Context {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	logger.SetLevel(logrus.ErrorLevel)
	logger.AddHook(hook)
	return log.WithLogger(ctx, logrus.NewEntry(logger))
}

// TransferDir reports whether containerd's transfer service, called by a client other than
// CRI, pulls from the same endpoints as CRI, and returns the directory of hosts.toml files
// to pass to it; "" for none. The service does not know legacy mirrors, configs and auths;
// before 2.0 it does not read hosts.toml, so nothing may be configured for the endpoints.
func (c *Config) TransferDir(endpoints []registry.Endpoint) (dir string, same bool) {
	v := c.version
	if c.opts.isCRIO() || c.settings.localPull || !v.atLeast(1, 7) || c.opts.CertsDir == "" && c.unseen() {
		return "", false
	}
	for _, e := range endpoints {
		if e.NodeCredential != nil || !v.atLeast(2, 0) && (e.Source != "" || e.Scheme == "http" || e.HTTPFallback) {
			return "", false
		}
	}
	if !v.atLeast(2, 0) {
		return "", true
	}
	if !v.atLeast(2, 1) && len(c.dirs) > 1 { // CRI searches each of them, the service none
		return "", false
	}
	return strings.Join(c.dirs, ":"), true
}
