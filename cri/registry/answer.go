package registry

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Answer is what an endpoint said, or what kept it from saying anything. It
// holds no text that the registry chose freely: what comes from there is a
// number, one of a closed set, or checked against its grammar and bounded.
type Answer struct {
	// Endpoint is the endpoint asked, as scheme://host[:port]. The scheme is
	// the one that was spoken, where the endpoint may be either. Of a failure it
	// is the place that failed, which may be the target of a redirect.
	Endpoint string
	// Via is the endpoint that redirected to Endpoint; "" if there was no
	// redirect to another place.
	Via string
	// Hops are the places that the request that failed was redirected to, in
	// order and as scheme://host[:port], at most 10: the last one is Endpoint or,
	// in PhaseToken, the one in the place of the token server. Targets are those
	// that any request was redirected to, sorted, at most 16.
	Hops, Targets []string
	// Found: the manifest is there, and the runtime may have it with this
	// credential; of Inspect, also that all that it looked at is fine. Only
	// Found is good news: no Fault can also mean that the conversation was not
	// held to its end (Err says why: the caller gave up, or our time was over).
	Found bool
	// Fault is what is wrong; "" if nothing is, or nothing is known.
	Fault Fault
	// Phase is where the conversation ended. PhaseToken covers everything
	// about the token server, its name and certificate too.
	Phase Phase
	// Status is the HTTP status that decided, 0 if there was none. In
	// PhaseToken it is the token server's.
	Status int
	// OtherProtocol: the server speaks neither TLS nor HTTP, for FaultHTTPSMismatch.
	OtherProtocol bool
	// Waited is how long was waited for what did not come, for
	// FaultConnectionTimeout.
	Waited time.Duration
	// ErrorCode is the error code of the OCI distribution specification that
	// came with Status, "" if none did. A HEAD request brings none, a GET that
	// follows it does.
	ErrorCode ErrorCode
	// HTML: the answer was a page for people, and not of a registry's API.
	HTML bool
	// SaysExpired: the registry or its token server refused the credential with
	// words that say that it has expired.
	SaysExpired bool
	// Exists is for what Control says of the repository, where the caller spends
	// its requests; Probe and Inspect leave it empty.
	Exists Existence
	// Scheme says how the registry asked for a credential.
	Scheme AuthScheme
	// Challenge is the "error" of the last 401's challenge.
	Challenge ChallengeError
	// CredentialSent: the registry or its token server was sent the credential. If
	// neither asked, a credential is not sent.
	CredentialSent bool
	// TokenIssued: the token server gave a token, for the credential if one
	// was sent, else for an anonymous client.
	TokenIssued bool
	// TokenHost is the token server, host[:port]; "" if none was named. It is
	// set as well where we refuse to talk to it.
	TokenHost string
	// RetryAfter is how long the registry, its token server or the target of a
	// redirect wants to be left alone: Retry-After or, with a 429,
	// RateLimit-Reset and X-RateLimit-Reset. 0 if it did not say; at most 24
	// hours.
	RetryAfter time.Duration
	// RateLimit is the registry's account of its limit; nil if it gave none.
	RateLimit *RateLimit
	// Tags are tags of the repository that exist, sorted, for
	// FaultTagNotFound; at most 100. If the list has more pages, they are those
	// about where the missing tag would be.
	Tags []string
	// Platforms are those that the image is for, as os/arch[/variant], sorted,
	// at most 16: those of an index, without attestations, or the one of a
	// config. Platform is the one that was looked for. Of Inspect.
	Platforms []string
	Platform  string
	// OtherPlatform: a manifest without an index is for another platform. The
	// runtime pulls it all the same; the container cannot start.
	OtherPlatform bool
	// Artifact: the manifest is not of an image (a Helm chart, a signature).
	// The runtime pulls it, and cannot start it.
	Artifact bool
	// Parts are the config and the layers that the runtime would fetch from this
	// endpoint for the platform, each once, at most 201, and Compressed is the size
	// of all of them, in bytes, as the manifest has it: what a pull without any of
	// them downloads. None and 0 as long as the manifest is not known. Of Inspect
	// and Replay.
	Parts      []Part
	Compressed int64
	// Source is the index of the source that the answer is of, and Missed are the
	// sources that could not give the piece that failed, if none could. Of Inspect
	// and Replay with several sources.
	Source int
	Missed []Missed
	// Looked is how many blobs Inspect looked at, the config among them.
	Looked int
	// Blob is the digest of what is missing, corrupt or refused: a blob, or the
	// manifest of a platform.
	Blob string
	// Digest and MediaType of the manifest, if Found and valid; of Inspect, if
	// the manifest that the reference names is as it should be.
	Digest    string
	MediaType string
	// Addresses are what the endpoint's name (or its proxy's) resolved to, in
	// the order of the resolver; those of a redirect's target are not.
	Addresses []netip.Addr
	// Remote is the address of the last connection.
	Remote netip.AddrPort
	// DNSServer is the resolver that failed, for PhaseDNS, as host:port.
	DNSServer string
	// Proxy is the proxy that was used, as host:port; "" for none. With a
	// proxy the node does not resolve the registry's name. For FaultProxyFailed
	// and in PhaseBlob it is the one of the request that failed.
	Proxy string
	// ProxyStatus is the HTTP status of the proxy's own answer, for
	// FaultProxyFailed; 0 if it gave none.
	ProxyStatus int
	// ProxyFault is what kept the proxy from being asked at all, for
	// FaultProxyFailed; "" if it was, or that is not known.
	ProxyFault Fault
	// Clock is the registry's, for FaultTLSExpired of its own certificate.
	Clock Clock
	// Certificate is the registry's own or, if one of a chain was refused, that
	// one; nil without TLS, and for FaultProxyFailed.
	Certificate *Certificate
	// CertificateExpiry is until when the node will accept the registry's
	// certificate: the earliest end of its verified chain, of the chain that
	// lasts longest where there are several; of a certificate that is refused
	// for its time, its own end. Zero without TLS, where the runtime does not
	// verify, and for certificates that are refused for another reason.
	CertificateExpiry time.Time
	// Durations are how long each phase took that was entered. Probe's first
	// request counts as PhasePing, whatever its answer; PhaseToken has
	// everything about the token server, PhaseBlob everything about blobs, the
	// connection to a redirect's target and the transfer included.
	Durations map[Phase]time.Duration
	// Err is the error behind Fault, without anything secret: its text is made
	// of Phase, host, Fault and Status. It unwraps to a *net.DNSError, a
	// syscall.Errno, a Refusal or a context's error if such was the cause.
	Err error
}

// Part is a blob that a manifest names.
type Part struct {
	Digest string // "" where the manifest has none that is valid
	Size   int64  // bytes
}

// Certificate tells about an X.509 certificate. Names are cleaned of anything
// but letters, digits and common punctuation, and bounded.
type Certificate struct {
	Subject, Issuer     string   // common name, else organization
	Names               []string // DNS names and addresses it is for, at most 8
	NotBefore, NotAfter time.Time
}

// RateLimit is a registry's account of a client's limit, from the headers
// ratelimit-limit and ratelimit-remaining that Docker Hub sends
// ("0;w=21600"), and RateLimit-Reset or X-RateLimit-Reset of others.
type RateLimit struct {
	Limit, Remaining int // requests
	// Window is the time over which they are counted: the longest that a client
	// without any left has to wait. 0 if the registry did not say.
	Window time.Duration
	// Reset is when the count starts anew; 0 if the registry did not say. Both
	// are at most 24 hours.
	Reset time.Duration
}

// Existence is what a control question says of a repository that is refused.
type Existence string

// The existences. "" is for a question that was not asked or not answered.
const (
	// ExistsYes: the registry says of a repository beside it that there is no
	// such repository, and does not say so of this one.
	ExistsYes Existence = "yes"
	// ExistsUnknown: the registry refuses what cannot exist in the same way.
	ExistsUnknown Existence = "unknown"
)

// AuthScheme is how a registry asks for a credential.
type AuthScheme string

// The schemes that the runtime knows.
const (
	SchemeNone   AuthScheme = ""
	SchemeBasic  AuthScheme = "basic"
	SchemeBearer AuthScheme = "bearer"
	// SchemeUnknown: a 401 without a challenge that the runtime can answer.
	SchemeUnknown AuthScheme = "unknown"
)

// ChallengeError is the "error" parameter of a Bearer challenge (RFC 6750).
type ChallengeError string

// The challenge errors.
const (
	ChallengeInsufficientScope ChallengeError = "insufficient_scope"
	ChallengeInvalidToken      ChallengeError = "invalid_token"
	ChallengeInvalidRequest    ChallengeError = "invalid_request"
)

// ErrorCode is an error code of the OCI distribution specification, or one of
// those that registries have added to it.
type ErrorCode string

// The error codes.
const (
	CodeUnauthorized    ErrorCode = "UNAUTHORIZED"
	CodeDenied          ErrorCode = "DENIED"
	CodeNameInvalid     ErrorCode = "NAME_INVALID"
	CodeNameUnknown     ErrorCode = "NAME_UNKNOWN"
	CodeManifestUnknown ErrorCode = "MANIFEST_UNKNOWN"
	CodeManifestInvalid ErrorCode = "MANIFEST_INVALID"
	CodeTagInvalid      ErrorCode = "TAG_INVALID"
	CodeTooManyRequests ErrorCode = "TOOMANYREQUESTS"
	CodeUnsupported     ErrorCode = "UNSUPPORTED"
	CodeUnavailable     ErrorCode = "UNAVAILABLE"
	CodeUnknown         ErrorCode = "UNKNOWN"
	CodeBlobUnknown     ErrorCode = "BLOB_UNKNOWN"
	// CodePolicyViolation is Harbor's, with status 412, for what a project's
	// policy withholds (vulnerabilities, missing signature);
	// CodePolicyViolationOld is that of its older versions.
	CodePolicyViolation    ErrorCode = "PROJECTPOLICYVIOLATION"
	CodePolicyViolationOld ErrorCode = "PROJECT_POLICY_VIOLATION"
)

func knownCode(s string) ErrorCode {
	switch code := ErrorCode(s); code {
	case CodeUnauthorized, CodeDenied, CodeNameInvalid, CodeNameUnknown, CodeManifestUnknown, CodeManifestInvalid,
		CodeTagInvalid, CodeTooManyRequests, CodeUnsupported, CodeUnavailable, CodeUnknown, CodeBlobUnknown,
		CodePolicyViolation, CodePolicyViolationOld:
		return code
	}
	return ""
}

// Error is why a conversation did not find the manifest.
type Error struct {
	Endpoint string
	Phase    Phase
	Fault    Fault
	Status   int
	cause    error
}

// Error implements error.
func (e *Error) Error() string {
	what := string(e.Fault)
	if what == "" {
		what = "given up"
	}
	if e.Status > 0 {
		what = fmt.Sprintf("%s (status %d)", what, e.Status)
	}
	return fmt.Sprintf("registry %s: %s: %s", e.Endpoint, e.Phase, what)
}

// Unwrap returns the cause if it is of a type that carries no text of a registry.
func (e *Error) Unwrap() error { return e.cause }

// harmless reduces an error to the part of its chain that cannot hold a
// secret, an URL or words of a registry.
func harmless(err error) error {
	var (
		dns    *net.DNSError
		errno  syscall.Errno
		refuse Refusal
	)
	switch {
	case errors.As(err, &dns):
		return dns
	case errors.As(err, &refuse):
		return refuse
	case errors.As(err, &errno):
		return errno
	}
	return contextError(err)
}
