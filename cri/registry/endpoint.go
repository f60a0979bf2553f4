package registry

import (
	"net/http"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/distribution/reference"

	"github.com/whypull/whypull/cri/credential"
)

// Endpoint is one registry that the runtime would ask for an image. Package
// nodeconfig makes it from the node's configuration.
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
	// Source is where, on the node, it is configured: the directory of
	// hosts.toml, containerd's own file, a file of CRI-O's registries; "" if it
	// is the image's own registry without any configuration.
	Source string
	// Blind is true if a certificate authority for it cannot be seen by this
	// process: FaultTLSUntrusted says nothing then.
	Blind bool
	// BlindClient is true if that holds for a client certificate:
	// FaultTLSHandshakeFailed, or an answer that wants one, says nothing.
	BlindClient bool
	// NodeCredential is the node's own for it, nil if there is none. The runtime
	// sends it only if the pull brings none, or WithoutCredential.
	NodeCredential *credential.Credential
	// NodeCredentialSource is the path, on the node, of the file that has it.
	NodeCredentialSource string
	// WithoutCredential is true if the runtime keeps the pull's credential from
	// it: with CRI-O, a mirror of another host (newPullClient).
	WithoutCredential bool
	// Settings are how it is asked.
	Settings Settings
}

// Settings are how the runtime asks an endpoint, and how whypull does.
type Settings struct {
	// Path is the API's, as a rule /v2.
	Path string
	// Namespace is the value of the query ?ns=; "" for none.
	Namespace string
	// Capabilities are what the runtime uses the endpoint for.
	Capabilities docker.HostCapabilities
	// Rewritten is what is asked for in place of the pull's reference; nil for
	// the same.
	Rewritten reference.Named
	// Pings is true if the runtime asks /v2/ before anything else (CRI-O).
	Pings bool
	// TakesSchema1 is true if the runtime takes manifests of the first schema.
	TakesSchema1 bool
	// Header is what the runtime sends besides its own, and TokenHeader what it
	// sends to the token server. Those of hosts.toml often hold secrets.
	Header, TokenHeader credential.Redacted[http.Header]
	// Transport is a template, which is cloned for every conversation: the TLS
	// settings count.
	Transport *http.Transport `json:"-"` // has private keys
	// Proxy chooses the proxy.
	Proxy ProxyFunc `json:"-"`
	// Resolve resolves host names; nil is Go's resolver.
	Resolve ResolveFunc `json:"-"`
	// Version is this program's, for the User-Agent header.
	Version string
	// Room bounds the memory for answers, over all conversations that have it;
	// nil: each conversation has one of its own.
	Room *Room
	// Timeouts of a conversation; all are set.
	Timeouts Timeouts
}

// Timeouts bound the parts of a conversation with an endpoint. The defaults
// add up to less than the kubelet waits between two attempts.
type Timeouts struct {
	DNS      time.Duration // resolving one name; 5 s
	Connect  time.Duration // TCP, all addresses of a name together; 5 s
	TLS      time.Duration // one handshake; 5 s
	Response time.Duration // from request to response header; 8 s
	Total    time.Duration // the whole conversation; 9 s
}

// WithDefaults returns the timeouts with defaults in place of zeros.
func (t Timeouts) WithDefaults() Timeouts {
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	set(&t.DNS, 5*time.Second)
	set(&t.Connect, 5*time.Second)
	set(&t.TLS, 5*time.Second)
	set(&t.Response, 8*time.Second)
	set(&t.Total, 9*time.Second)
	return t
}

// Reference is what this endpoint is to be asked for when the pull is of ref:
// CRI-O's configuration may replace the repository as well as the host.
func (e Endpoint) Reference(ref reference.Named) reference.Named {
	if e.Settings.Rewritten != nil {
		return e.Settings.Rewritten
	}
	return ref
}

// Key tells apart the questions that endpoints are asked about a reference: one
// host may stand for several, by another path or, with CRI-O, by another
// repository.
func (e Endpoint) Key(ref reference.Named) string {
	return e.String() + e.Settings.Path + " " + e.Reference(ref).String()
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
	return e.Settings.Capabilities.Has(caps)
}
