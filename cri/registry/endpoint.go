package registry

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/distribution/reference"

	"github.com/whypull/whypull/cri/credential"
)

// Endpoint is one registry endpoint that the runtime would ask for an image. Package
// nodeconfig creates it from the node's configuration.
type Endpoint struct {
	Scheme string // https or http, as configured
	Host   string // host[:port]
	// Mirror is true if this is not the registry in the image reference.
	Mirror bool
	// SkipVerify is true if the runtime accepts any certificate.
	SkipVerify bool
	// HTTPFallback is true if the runtime tries https first and http if the server does
	// not speak TLS: localhost, and http with TLS settings.
	HTTPFallback bool
	// Source is the path on the node of its configuration: the directory of hosts.toml,
	// containerd's configuration file, a registries file of CRI-O; "" for the image's
	// registry without any configuration.
	Source string
	// Blind is true if this process cannot read a CA certificate for it, so that
	// FaultTLSUntrusted proves nothing.
	Blind bool
	// BlindClient is the same for a client certificate: FaultTLSHandshakeFailed, or a
	// response that requires one, proves nothing.
	BlindClient bool
	// NodeCredential is the node's own credential for it; nil if there is none. The
	// runtime sends it only if the pull has none, or with WithoutCredential.
	NodeCredential *credential.Credential
	// NodeCredentialSource is the path, on the node, of the file that has NodeCredential.
	NodeCredentialSource string
	// NodeCredentialBroken is the path, on the node, of a file of credentials that does not
	// parse, and over which the runtime fails where it would look for NodeCredential; ""
	// for none.
	NodeCredentialBroken string
	// Unloaded is true if the runtime need not have read what Source says now.
	Unloaded bool
	// WithoutCredential is true if the runtime does not send it the pull's credential:
	// with CRI-O, a mirror on another host (newPullClient).
	WithoutCredential bool
	// Settings are the settings for requests.
	Settings Settings
}

// Settings are the runtime's and whypull's settings for requests to an endpoint.
type Settings struct {
	// Path is the path of the API, usually /v2.
	Path string
	// Namespace is the value of ?ns=; "" for none.
	Namespace string
	// Capabilities are what the runtime uses the endpoint for.
	Capabilities docker.HostCapabilities
	// Rewritten replaces the pull's reference; nil if it is the same.
	Rewritten reference.Named
	// Rewrite gives the repository that is asked for in place of the pull's; nil for
	// the same.
	Rewrite func(repository string) string `json:"-"`
	// Pings is true if the runtime requests /v2/ first (CRI-O).
	Pings bool
	// TakesSchema1 is true if the runtime accepts manifests of the first schema.
	TakesSchema1 bool
	// NoDockerZstd is true if the runtime does not know layers of Docker's media type
	// that are compressed with zstd, NoZstd if it cannot decompress zstd at all.
	NoDockerZstd, NoZstd bool
	// Variant distinguishes endpoints of one host that are asked with other certificates
	// or headers; it counts from 0 for each host.
	Variant int
	// Header are additional headers of the runtime's requests, TokenHeader those of
	// requests to the token server. Those in hosts.toml often contain secrets.
	Header, TokenHeader credential.Redacted[http.Header]
	// Transport is cloned for every conversation; only its TLS settings are used.
	Transport *http.Transport `json:"-"` // has private keys
	// Proxy chooses the proxy.
	Proxy ProxyFunc `json:"-"`
	// Resolve resolves hostnames; nil is Go's resolver.
	Resolve ResolveFunc `json:"-"`
	// Version is the version of whypull, for the User-Agent header.
	Version string
	// Room limits the memory for responses over all conversations that share it; nil:
	// each conversation has its own.
	Room *Room
	// Timeouts of a conversation; none may be zero.
	Timeouts Timeouts
}

// Timeouts limit the parts of a conversation with an endpoint. The defaults add up to less
// than the kubelet's first back-off.
type Timeouts struct {
	DNS      time.Duration // resolving one name; 5 s
	Connect  time.Duration // TCP, all addresses of a name together; 5 s
	TLS      time.Duration // one handshake; 5 s
	Response time.Duration // from request to response header; 8 s
	Total    time.Duration // the whole conversation; 9 s
}

// WithDefaults returns the timeouts with defaults in place of zeros.
func (t Timeouts) WithDefaults() Timeouts {
	t.DNS = cmp.Or(max(t.DNS, 0), 5*time.Second)
	t.Connect = cmp.Or(max(t.Connect, 0), 5*time.Second)
	t.TLS = cmp.Or(max(t.TLS, 0), 5*time.Second)
	t.Response = cmp.Or(max(t.Response, 0), 8*time.Second)
	t.Total = cmp.Or(max(t.Total, 0), 9*time.Second)
	return t
}

// Reference returns the reference to request from this endpoint for a pull of ref: CRI-O's
// configuration can replace the repository as well as the host.
func (e Endpoint) Reference(ref reference.Named) reference.Named {
	if e.Settings.Rewritten != nil {
		return e.Settings.Rewritten
	}
	if e.Settings.Rewrite != nil {
		return renamed(ref, e.Settings.Rewrite(repository(ref)))
	}
	return ref
}

// renamed is a reference with another repository; the same where that is no valid
// name.
func renamed(ref reference.Named, repository string) reference.Named {
	registry, _, _ := strings.Cut(ref.Name(), "/")
	name, err := reference.WithName(registry + "/" + repository)
	if err != nil {
		return ref
	}
	out, err := reference.Parse(name.String() + strings.TrimPrefix(ref.String(), ref.Name()))
	if named, ok := out.(reference.Named); ok && err == nil {
		return named
	}
	return ref
}

// Key identifies the request for a reference at this endpoint: endpoints of the same host can
// differ by their path, by their TLS settings and headers or, with CRI-O, their repository.
func (e Endpoint) Key(ref reference.Named) string {
	return e.String() + e.Settings.Path + " " + e.Reference(ref).String() + " " + e.Manner()
}

// Manner identifies how the host of this endpoint is asked, whatever the path: what cannot be
// reached with one CA certificate may be with another.
func (e Endpoint) Manner() string {
	return fmt.Sprint(e.SkipVerify, e.HTTPFallback, e.Settings.Variant)
}

// SameManner reports whether two endpoints of one host are asked with the same TLS settings and
// headers.
func (e Endpoint) SameManner(o Endpoint) bool {
	return e.SkipVerify == o.SkipVerify && e.HTTPFallback == o.HTTPFallback &&
		sameTLS(e.Settings.Transport, o.Settings.Transport) &&
		maps.EqualFunc(e.Settings.Header.Reveal(), o.Settings.Header.Reveal(), slices.Equal[[]string]) &&
		maps.EqualFunc(e.Settings.TokenHeader.Reveal(), o.Settings.TokenHeader.Reveal(), slices.Equal[[]string])
}

func sameTLS(a, b *http.Transport) bool {
	if a == nil || b == nil || a.TLSClientConfig == nil || b.TLSClientConfig == nil {
		return a == b
	}
	one, other := a.TLSClientConfig, b.TLSClientConfig
	sameChain := func(x, y tls.Certificate) bool { return slices.EqualFunc(x.Certificate, y.Certificate, bytes.Equal) }
	return one.RootCAs.Equal(other.RootCAs) && slices.EqualFunc(one.Certificates, other.Certificates, sameChain)
}

// String returns the endpoint as scheme://host[:port].
func (e Endpoint) String() string { return e.Scheme + "://" + e.Host }

// Serves reports whether the runtime asks this endpoint for the reference: a tag requires
// the capabilities pull and resolve, a digest only pull (core/remotes/docker/resolver.go,
// Resolve).
func (e Endpoint) Serves(ref reference.Named) bool {
	caps := docker.HostCapabilityPull
	if _, ok := ref.(reference.Digested); !ok {
		caps |= docker.HostCapabilityResolve
	}
	return e.Settings.Capabilities.Has(caps)
}
