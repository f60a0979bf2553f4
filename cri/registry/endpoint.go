package registry

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/distribution/reference"
	"github.com/sirupsen/logrus"
)

// Endpoint is one registry that the runtime would ask for an image. Get it
// from Config.Endpoints.
type Endpoint struct {
	Scheme string // https or http, as configured
	Host   string // host[:port]
	// Mirror is true if this is not the registry that the image names.
	Mirror bool
	// SkipVerify is true if the runtime takes any certificate.
	SkipVerify bool
	// HTTPFallback is true if the runtime tries https first and takes http if
	// the server does not speak TLS: localhost, and http with TLS settings.
	HTTPFallback bool
	// Source is the directory, on the node, that configures it; "" if it is
	// the image's own registry without any configuration.
	Source string

	domain    string // the image's registry, for ?ns=
	host      docker.RegistryHost
	transport *http.Transport // a template: cloned for every conversation
	opts      *Options
}

// String is the endpoint as scheme://host[:port].
func (e Endpoint) String() string { return e.Scheme + "://" + e.Host }

// Serves tells whether the runtime asks this endpoint for the reference: a tag
// needs the capabilities pull and resolve, a digest only pull
// (core/remotes/docker/resolver.go, Resolve).
func (e Endpoint) Serves(ref reference.Named) bool {
	caps := docker.HostCapabilityPull
	if _, ok := ref.(reference.Digested); !ok {
		caps |= docker.HostCapabilityResolve
	}
	return e.host.Capabilities.Has(caps)
}

// Endpoints gives the endpoints for the images of a registry, as the image's
// normalised name has it ("docker.io", "hub.example.com:5000"), in the
// runtime's order. Notices say what is odd about this host's configuration;
// the endpoints are those that the runtime would use all the same.
//
// A configuration with which the runtime refuses the pull is a *ConfigError.
// Other errors are this process's own trouble, such as no temporary directory.
func (c *Config) Endpoints(ctx context.Context, host string) ([]Endpoint, []Notice, error) {
	notices := c.ignoredNotices(host)
	dir, err := c.findHostDir(host, c.dirs)
	if err != nil {
		return nil, notices, &ConfigError{Notice{Kind: NoticeHostsFileUnusable, Path: dir}, err}
	}
	if dir == "" {
		endpoints, err := c.configure(ctx, host, "", view{}, new(recordedError))
		return endpoints, notices, err
	}
	v, err := c.view(dir)
	if err != nil {
		return nil, notices, fmt.Errorf("reading %s: %w", dir, err)
	}
	var invalid recordedError
	endpoints, err := c.configure(ctx, host, dir, v, &invalid)
	notices = append(notices, c.fileNotices(dir, invalid.err)...)
	return endpoints, notices, errors.Join(err, v.close())
}

func (c *Config) configure(ctx context.Context, host, dir string, v view, invalid *recordedError) ([]Endpoint, error) {
	set := newClients(c.pool)
	hosts, err := config.ConfigureHosts(withLogger(ctx, invalid), config.HostOptions{
		HostDir:      v.hostDir,
		UpdateClient: set.update,
	})(host)
	if err != nil {
		return nil, &ConfigError{Notice{Kind: NoticeHostsFileUnusable, Path: path.Join(dir, hostsFile)}, err}
	}
	endpoints := make([]Endpoint, 0, len(hosts))
	for _, h := range hosts {
		endpoints = append(endpoints, c.endpoint(host, dir, h, set))
	}
	return endpoints, nil
}

func (v view) hostDir(string) (string, error) {
	if v.dir == "" {
		return "", errdefs.ErrNotFound
	}
	return v.dir, nil
}

func (c *Config) endpoint(domain, dir string, h docker.RegistryHost, set *clients) Endpoint {
	transport := set.transports[h.Client]
	return Endpoint{
		Scheme:       h.Scheme,
		Host:         h.Host,
		Mirror:       isMirror(domain, h.Host),
		SkipVerify:   transport.TLSClientConfig.InsecureSkipVerify,
		HTTPFallback: h.Client.Transport != http.RoundTripper(transport),
		Source:       dir,
		domain:       domain,
		host:         h,
		transport:    transport,
		opts:         &c.opts,
	}
}

// isMirror is containerd's rule for adding ?ns= (registry.go, isProxy).
func isMirror(domain, host string) bool {
	return domain != host && (domain != "docker.io" || host != "registry-1.docker.io")
}

// ignoredNotices reports a directory for this host that the runtime ignores.
func (c *Config) ignoredNotices(host string) []Notice {
	dir, err := c.findHostDir(host, c.ignored)
	if err != nil || dir == "" {
		return nil
	}
	return []Notice{{Kind: NoticeConfigPathIgnored, Path: dir}}
}

func (c *Config) fileNotices(dir string, invalid error) []Notice {
	file := path.Join(dir, hostsFile)
	if invalid != nil {
		return []Notice{{Kind: NoticeHostsFileInvalid, Path: file, Line: lineOf(invalid)}}
	}
	misnamed := path.Join(dir, "host.toml")
	if there, err := c.fs.exists(misnamed); err != nil || !there {
		return nil
	}
	if there, err := c.fs.exists(file); err != nil || there {
		return nil
	}
	return []Notice{{Kind: NoticeHostsFileMisnamed, Path: misnamed}}
}

// clients collects the transports that containerd makes, before it wraps
// them, and gives each host the node's authorities.
//
// containerd adds a host's "ca" to the pool of the transport that it clones,
// or to the system's pool if there is none; ours is of another image. A clone
// shares the pool, so each clone that was made is followed by a fresh pool.
// DefaultTLS would be the obvious way to set one, but it also makes containerd
// try https on every http endpoint.
type clients struct {
	pool       *x509.CertPool // nil: Go's own
	base       *http.Transport
	transports map[*http.Client]*http.Transport
}

func newClients(pool *x509.CertPool) *clients {
	return &clients{pool: pool, transports: map[*http.Client]*http.Transport{}}
}

// update is a config.UpdateClientFunc: called for the default client first,
// then for every host that has a client of its own.
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

// recordedError keeps the first error that containerd's package logs: the only
// way in which it reports a hosts.toml that does not parse.
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
	if hook != nil {
		logger.AddHook(hook)
	}
	return log.WithLogger(ctx, logrus.NewEntry(logger))
}
