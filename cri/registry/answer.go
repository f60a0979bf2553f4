package registry

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Answer is an endpoint's response, or why there is none. It has no text that the registry
// chose freely: values from the registry are numbers, in a closed set, or checked against
// their grammar and limited in size.
type Answer struct {
	// Endpoint is the endpoint, as scheme://host[:port], with the scheme that was used if
	// both are possible. After a failure it is the host that failed, which may be the
	// target of a redirect.
	Endpoint  string
	Redirects Redirects
	// Found: the manifest exists and the credential may read it; of Inspect, also that
	// everything it checked is right. An empty Fault alone is no success: the
	// conversation may have been ended early by the caller or a timeout (see Err).
	Found bool
	// Final: the runtime asks no other endpoint for the manifest, though this one does
	// not have it. containerd does not if it has to follow a HEAD with a GET, and that
	// fails (core/remotes/docker/resolver.go, Resolve). Of Probe.
	Final bool
	// Fault is what is wrong; "" if nothing is or it is unknown.
	Fault Fault
	// Phase is where the conversation ended. PhaseToken includes the DNS name and the
	// certificate of the token server.
	Phase Phase
	// Status is the decisive HTTP status; 0 if there was none. In PhaseToken it is the
	// token server's.
	Status     int
	Response   Response
	Auth       Auth
	Connection Connection
	TLS        TLS
	Proxy      Proxy
	Content    Content
	// Durations are the durations of the phases that were entered. Probe's first request
	// counts as PhasePing; PhaseToken includes everything about the token server, PhaseBlob
	// everything about blobs, including connections to redirect targets and transfers.
	Durations map[Phase]time.Duration
	// Err is what of the error behind Fault has no secret, no URL and no text from a
	// registry: a *net.DNSError, a syscall.Errno, a Refusal or a context error; nil if it
	// was none of them.
	Err error
}

// Redirects are where requests were redirected to, as scheme://host[:port].
type Redirects struct {
	// Via is the endpoint that redirected to Answer.Endpoint; "" without a redirect to
	// another host.
	Via string
	// Hops are the redirect targets of the failed request, in order, at most 10; the last
	// one is Answer.Endpoint or, in PhaseToken, the one that replaces the token server.
	// Targets are the redirect targets of all requests, sorted, at most 16.
	Hops, Targets []string
}

// Response is what the decisive response says beside its status.
type Response struct {
	// HTML: it was an HTML page and not from a registry's API.
	HTML bool
	// NoAPI: there is no /v2/ either, for FaultNotFound.
	NoAPI bool
	// UpstreamRefuses: the registry caches another one, which does not accept the
	// credentials that it has for it, for FaultUnexpectedAnswer.
	UpstreamRefuses bool
	// RetryAfter is how long the registry, its token server or the target of a redirect
	// asks clients to wait: Retry-After or, with a 429, RateLimit-Reset and
	// X-RateLimit-Reset. 0 if it does not; at most 24 hours.
	RetryAfter time.Duration
	// RateLimit is the registry's rate limit, in any response; nil if it sent none.
	RateLimit *RateLimit
}

// Auth is how the registry asked for a credential, and what it and its token server did
// with it.
type Auth struct {
	// Required is the endpoint's answer to the request without credentials; nil if it
	// did not ask for any.
	Required *AuthRequired
	// Scheme is how the registry asked for a credential.
	Scheme AuthScheme
	// CredentialSent: the credential was sent to the registry or its token server. It is
	// not sent if neither asks for it.
	CredentialSent bool
	// TokenIssued: the token server issued a token, for the credential if one was sent,
	// else an anonymous one.
	TokenIssued bool
	// TokenHost is the token server, host[:port]; "" if there is none. It is also set if
	// whypull refuses to use it. TokenPlain: it is without TLS.
	TokenHost  string
	TokenPlain bool
	// TokenRejected: the registry rejected as invalid a token that its token server had
	// just issued, for FaultUnexpectedAnswer. Skew is how far the registry's clock is
	// then ahead of the token server's, rounded to minutes; negative if it is behind, 0 if
	// they are about the same; nil if one of them has not sent its time.
	TokenRejected bool
	Skew          *time.Duration
	// SaysExpired: the registry or its token server rejected the credential and said that
	// it has expired.
	SaysExpired bool
	// Exists is for the caller to store the result of Control; Probe and Inspect leave it
	// false.
	Exists bool
	// Standing is for what Standing says of the credential, where the caller spends
	// its requests; Probe and Inspect leave it empty.
	Standing Standing
}

// Connection is the connection to the endpoint, or why there was none.
type Connection struct {
	// Addresses are the addresses of the endpoint's name (or its proxy's), in the
	// resolver's order, without those of a redirect's target.
	Addresses []netip.Addr
	// Remote is the address of the last connection.
	Remote netip.AddrPort
	// OtherProtocol: the server speaks neither TLS nor HTTP, for FaultHTTPSMismatch.
	OtherProtocol bool
	// Waited is how long was waited for what did not come, for
	// FaultConnectionTimeout.
	Waited time.Duration
}

// TLS is what the endpoint showed in the TLS handshake. It is empty without TLS.
type TLS struct {
	// Certificate is the registry's certificate or the one in its chain that was rejected;
	// nil for FaultProxyFailed.
	Certificate *Certificate
	// Alert is why a handshake failed, for FaultTLSHandshakeFailed; "" if the server has not
	// said so.
	Alert Alert
	// Expiry is when the node stops accepting the registry's certificate: the first
	// expiry in its verified chain, or in the longest-lived of several chains; for a
	// certificate that is expired or not yet valid, its own expiry. Zero without
	// verification, and for certificates rejected for another reason.
	Expiry time.Time
	// Clock is how far the registry's clock is ahead of the node's, rounded to minutes, for
	// FaultTLSExpired of its own certificate; negative if it is behind; 0 if they are about
	// the same. It is by a connection that was not verified and used for nothing else; nil
	// if the registry has not sent its time.
	Clock *time.Duration
}

// Alert is a reason for which a TLS handshake fails.
type Alert string

// The alerts, as a report has them: in words that follow the server's name.
const (
	AlertName        Alert = "it does not serve this name (TLS alert: unrecognized name)"
	AlertCertificate Alert = "it requires a client certificate, or rejects that of the node"
	AlertVersion     Alert = "it and the node support no common version of TLS"
	AlertMalformed   Alert = "its certificate is malformed, so the runtime cannot parse it either"
)

// Proxy is the proxy that was used. With a proxy the node does not resolve the registry's
// name. For FaultProxyFailed and in PhaseBlob it is that of the failed request.
type Proxy struct {
	// Address is host:port, with the scheme in front unless that is http; "" for none.
	Address string
	// Status is the HTTP status of the proxy's own response, for FaultProxyFailed; 0 if
	// there was none.
	Status int
	// Fault is why the proxy could not be reached, for FaultProxyFailed; "" if it was
	// reached or that is unknown.
	Fault Fault
}

// Content is what the registry has of the image.
type Content struct {
	// Digest of the manifest, if Answer.Found and valid; of Inspect, if the manifest of the
	// reference is right.
	Digest string
	// Tags are existing tags of the repository, sorted, at most 100, for
	// FaultTagNotFound. If the list has more pages, they are those around the missing
	// tag.
	Tags []string
	// Platforms are the image's platforms, as os/arch[/variant], sorted, at most 16: those
	// of an index, without attestations, or the one in a config. Platform is the requested
	// one. Of Inspect.
	Platforms []string
	Platform  string
	// OtherPlatform: a manifest without an index is for another platform. The runtime
	// pulls it, but the container cannot start.
	OtherPlatform bool
	// Artifact: the manifest is not an image's (a Helm chart, a signature). The runtime
	// pulls it but cannot start it.
	Artifact bool
	// Parts are the config and the layers that the runtime would fetch from this endpoint
	// for the platform, each once, at most 201. Compressed is the sum of their sizes in
	// the manifest, in bytes: the download size of a pull. Both are empty if the manifest
	// is unknown. Of Inspect and Replay.
	Parts      []Part
	Compressed int64
	// Source is the index of the source that the answer is of, and Missed are the
	// sources that could not give the piece that failed, if none could. Of Inspect
	// and Replay with several sources.
	Source int
	Missed []Missed
	// Looked is the number of blobs that Inspect checked, including the config.
	Looked int
	// Blob is the digest of the blob or platform manifest that is missing, corrupt or
	// refused.
	Blob string
	// Form is why the runtime cannot use the image, for FaultUnsupportedFormat.
	Form Form
	// Encrypted: the manifest has encrypted layers (containers/ocicrypt), which only a runtime
	// with a key for them can unpack. Of Inspect and Replay.
	Encrypted bool
	// Outside: the manifest has layers with URLs of their own, which are not checked. Of
	// Inspect and Replay.
	Outside bool
}

// Form is why a runtime cannot use an image; empty for reasons that are rare.
type Form string

// The forms, as a report has them: in words that follow the image's name.
const (
	FormSchema1   Form = "only in manifest schema 1, which the runtime does not support"
	FormText      Form = "with a manifest of the media type text/plain, which the runtime takes for schema 1 and does not support"
	FormBlob      Form = "as a blob that is no manifest: its digest may be that of an image's config (the image ID)"
	FormMediaType Form = "without the media type of a manifest, so the runtime does not read it"
	FormTooLarge  Form = "with a manifest that is larger than the runtime reads"
	FormLayers    Form = "with a config that has another number of layers than the manifest"
	FormZstd      Form = "with layers compressed with zstd, which this version of the runtime cannot decompress"
)

// Part is a blob in a manifest.
type Part struct {
	Digest string // "" if invalid
	Size   int64  // bytes
}

// Certificate describes an X.509 certificate. Names are limited in length, and characters
// other than letters, digits and common punctuation are removed.
type Certificate struct {
	Issuer              string   // common name, else organization
	Names               []string // DNS names and IP addresses, at most 8
	Authority           string   // its own common name, if it is that of an authority in the chain
	SelfSigned          bool
	Alone               bool // the server has sent no other with it
	Namesake            bool // the node trusts another authority of the issuer's name, for FaultTLSUntrusted
	NotBefore, NotAfter time.Time
}

// RateLimit is a client's rate limit, from the headers ratelimit-limit and ratelimit-remaining
// ("0;w=21600") of Docker Hub and others.
type RateLimit struct {
	Limit, Remaining int // requests
	// Window is the period of the limit, the longest time that a client may have to wait,
	// at most 24 hours; 0 if unknown.
	Window time.Duration
}

// AuthScheme is how a registry asks for a credential.
type AuthScheme string

// The schemes that the runtime knows.
const (
	SchemeNone   AuthScheme = ""
	SchemeBasic  AuthScheme = "basic"
	SchemeBearer AuthScheme = "bearer"
	// SchemeUnknown: a 401 without a challenge that the runtime supports.
	SchemeUnknown AuthScheme = "unknown"
)

// harmless returns the part of an error's chain that cannot contain a secret, a URL or text
// from a registry.
func harmless(err error) error {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns
	}
	if refusal, ok := errors.AsType[Refusal](err); ok {
		return refusal
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return contextError(err)
}
