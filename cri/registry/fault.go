package registry

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/auth"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"

	"github.com/whypull/whypull/cri/oci"
)

// Fault is what went wrong in a conversation; "" if nothing did or it is
// unknown.
type Fault string

// The faults that a conversation can have.
const (
	// the way to the registry
	FaultNameNotFound       Fault = "NameNotFound"
	FaultDNSFailure         Fault = "DNSFailure"
	FaultConnectionRefused  Fault = "ConnectionRefused"
	FaultConnectionTimeout  Fault = "ConnectionTimeout"
	FaultNetworkUnreachable Fault = "NetworkUnreachable"
	FaultAddressForbidden   Fault = "AddressForbidden" // link-local or metadata address: never dialed
	// FaultAddressUnspecified: 0.0.0.0 or ::, which DNS servers return for
	// names that it blocks; never dialed.
	FaultAddressUnspecified Fault = "AddressUnspecified"
	FaultProxyFailed        Fault = "ProxyFailed"

	// TLS
	FaultTLSUntrusted        Fault = "TLSUntrusted"
	FaultTLSHostnameMismatch Fault = "TLSHostnameMismatch"
	FaultTLSExpired          Fault = "TLSExpired"
	FaultTLSHandshakeFailed  Fault = "TLSHandshakeFailed"
	FaultHTTPSMismatch       Fault = "HTTPSMismatch" // one side speaks TLS, the other plain HTTP

	// HTTP
	FaultUnauthorized       Fault = "Unauthorized"      // 401, or the token server refused the credential
	FaultInsufficientScope  Fault = "InsufficientScope" // a token was issued, but not for this repository
	FaultForbidden          Fault = "Forbidden"         // 403, denied
	FaultNotFound           Fault = "NotFound"          // 404 without a code for a tag or repository
	FaultTagNotFound        Fault = "TagNotFound"
	FaultRepositoryNotFound Fault = "RepositoryNotFound"
	FaultRateLimited        Fault = "RateLimited"
	FaultServerError        Fault = "ServerError" // 5xx
	FaultUnexpectedAnswer   Fault = "UnexpectedAnswer"
	FaultPolicyBlocked      Fault = "PolicyBlocked" // 402, 451, or the error code of a policy
	FaultWebPage            Fault = "WebPage"       // an HTML page instead of a registry's response

	// content
	FaultPlatformMismatch  Fault = "PlatformMismatch"
	FaultUnsupportedFormat Fault = "UnsupportedFormat"
	FaultContentCorrupt    Fault = "ContentCorrupt" // wrong digest, wrong size, truncated
	FaultContentMissing    Fault = "ContentMissing" // the registry lacks a blob or manifest that is referenced
)

// Phase is a step of a conversation.
type Phase string

// The phases in their order.
const (
	PhaseDNS      Phase = "dns"
	PhaseConnect  Phase = "connect"
	PhaseTLS      Phase = "tls"
	PhasePing     Phase = "ping"
	PhaseToken    Phase = "token"
	PhaseManifest Phase = "manifest"
	PhaseBlob     Phase = "blob"
)

// Refusal is something that whypull refuses to do although the runtime would.
type Refusal string

// The refusals.
const (
	// ErrAddressForbidden: a link-local address, a cloud's metadata service, or not a
	// unicast address.
	ErrAddressForbidden Refusal = "address refused: link-local, metadata or not unicast"
	// ErrAddressUnspecified: 0.0.0.0 or ::.
	ErrAddressUnspecified Refusal = "address refused: unspecified"
	// ErrTokenRedirected: a token server answered a login with a redirect, behind
	// which the credential would have gone.
	ErrTokenRedirected Refusal = "redirect of a token request refused"
	// ErrRealmInsecure: an https registry names a token server without TLS for a credential.
	ErrRealmInsecure Refusal = "token server without TLS refused"
	// ErrChallengeInsecure: an https registry redirected to plain http, where the
	// credential is requested. The runtime would send it.
	ErrChallengeInsecure Refusal = "credential asked for over plain http refused"
	// ErrChallengeElsewhere: the target of a redirect asks for the credential.
	ErrChallengeElsewhere Refusal = "credential for the target of a redirect refused"
	// ErrBodyTooLarge: a response is larger than any legitimate one.
	ErrBodyTooLarge Refusal = "answer too large"
	// ErrNoRoom: other responses used up the memory until our deadline. It says nothing
	// about the registry.
	ErrNoRoom Refusal = "no memory for the answer in time"
	// ErrTooManyParts: a manifest, an index or a config has more entries than any
	// legitimate one. The runtime may accept it.
	ErrTooManyParts Refusal = "content has too many parts"
	// ErrTooManyRedirects: like the runtime, whypull follows ten.
	ErrTooManyRedirects Refusal = "too many redirects"
)

// Error implements error.
func (r Refusal) Error() string { return string(r) }

// proxyRefused is a proxy's response to CONNECT other than 200.
type proxyRefused struct{ status int }

// Error implements error.
func (p proxyRefused) Error() string {
	return "proxy answered CONNECT with status " + strconv.Itoa(p.status)
}

// faultOf returns the fault of an error by the types in its chain; "" if the caller gave up or
// our deadline passed. phase decides if the types do not: Go has no types for most errors of
// a TLS handshake.
func faultOf(err error, phase Phase) Fault {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, ErrNoRoom) || errors.Is(err, ErrTooManyParts) {
		return ""
	}
	// An error often fits several, such as "connection refused" from a DNS server; the
	// first one counts.
	for _, of := range []func(error) Fault{refusalFault, proxyFault, dnsFault, tlsFault, httpError, authFault, networkFault} {
		fault := of(err)
		if fault == FaultConnectionTimeout && phase == PhaseDNS {
			return FaultDNSFailure // our deadline passed before the resolver's
		}
		if fault != "" {
			return fault
		}
	}
	if phase == PhaseTLS {
		return FaultTLSHandshakeFailed
	}
	return FaultUnexpectedAnswer
}

func refusalFault(err error) Fault {
	refusal, ok := errors.AsType[Refusal](err)
	if !ok {
		return ""
	}
	return cmp.Or(refusalFaults[refusal], FaultUnexpectedAnswer)
}

var refusalFaults = map[Refusal]Fault{ //nolint:gochecknoglobals // never written
	ErrAddressForbidden: FaultAddressForbidden, ErrAddressUnspecified: FaultAddressUnspecified, ErrChallengeElsewhere: FaultUnauthorized,
}

// proxyFault comes before dnsFault: a proxy's name that does not resolve is the proxy's
// fault.
func proxyFault(err error) Fault {
	if hasOp(err, "proxyconnect") || hasOp(err, "socks connect") || errors.As(err, new(proxyRefused)) {
		return FaultProxyFailed
	}
	return ""
}

// beforeProxy returns why a proxy could not be reached; "" if it was.
func beforeProxy(err error) Fault {
	if !hasOp(err, "proxyconnect") && !hasOp(err, "socks connect") || errors.As(err, new(proxyRefused)) {
		return ""
	}
	return cmp.Or(dnsFault(err), networkFault(err))
}

func dnsFault(err error) Fault {
	var dns *net.DNSError
	switch {
	case !errors.As(err, &dns):
		return ""
	case dns.IsNotFound:
		return FaultNameNotFound
	default:
		return FaultDNSFailure
	}
}

func tlsFault(err error) Fault {
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, http.ErrSchemeMismatch):
		return FaultHTTPSMismatch
	case errors.As(err, &record):
		if speaksRecords(record.RecordHeader) {
			return FaultTLSHandshakeFailed
		}
		return FaultHTTPSMismatch
	case hasOp(err, "remote error") || hasOp(err, "local error"):
		return FaultTLSHandshakeFailed
	}
	return certificateFault(err)
}

// speaksRecords reports whether bytes are the header of a record of TLS (RFC 8446,
// 5.1): else the server speaks plain HTTP, or another protocol.
func speaksRecords(header [5]byte) bool {
	return header[0] >= 20 && header[0] <= 24 && header[1] == 3
}

// otherProtocol reports whether an error shows a server that speaks neither TLS nor
// HTTP: nothing of its own is known to begin as an answer of HTTP does.
func otherProtocol(err error) bool {
	record, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok && !speaksRecords(record.RecordHeader) && string(record.RecordHeader[:]) != "HTTP/"
}

// alertOf returns what an alert says, by its text, since its type is not exported.
func alertOf(err error) Alert {
	if err == nil {
		return ""
	}
	for text, alert := range map[string]Alert{
		"tls: unrecognized name": AlertName, "tls: certificate required": AlertCertificate, "tls: bad certificate": AlertCertificate,
		"tls: protocol version not supported": AlertVersion, "unsupported protocol version": AlertVersion,
		"tls: failed to parse certificate from server": AlertMalformed,
	} {
		if strings.Contains(err.Error(), text) {
			return alert
		}
	}
	return ""
}

// hasOp reports whether an error's chain has a net.OpError with the operation.
func hasOp(err error, name string) bool {
	var op *net.OpError
	for errors.As(err, &op) {
		if op.Op == name {
			return true
		}
		err = op.Err
	}
	return false
}

func certificateFault(err error) Fault {
	var (
		verification *tls.CertificateVerificationError
		hostname     x509.HostnameError
		invalid      x509.CertificateInvalidError
		authority    x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &hostname):
		return FaultTLSHostnameMismatch
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return FaultTLSExpired
	case errors.As(err, &invalid), errors.As(err, &authority), errors.As(err, &verification):
		return FaultTLSUntrusted
	default:
		return ""
	}
}

func httpError(err error) Fault {
	if status, ok := errors.AsType[remoteerrors.ErrUnexpectedStatus](err); ok {
		return statusFault(status.StatusCode)
	}
	return ""
}

func authFault(err error) Fault {
	switch {
	case errors.Is(err, docker.ErrInvalidAuthorization), // a credential is required, and there is none
		errdefs.IsNotImplemented(err): // the runtime does not support the scheme
		return FaultUnauthorized
	case errors.Is(err, auth.ErrNoToken):
		return FaultUnexpectedAnswer
	default:
		return ""
	}
}

// networkFault comes last: most other chains end with its errors.
func networkFault(err error) Fault {
	var timeout net.Error
	switch {
	case isErrno(err, syscall.ECONNREFUSED):
		return FaultConnectionRefused
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		isErrno(err, syscall.ETIMEDOUT), errors.As(err, &timeout) && timeout.Timeout():
		return FaultConnectionTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), unreachable(err):
		return FaultNetworkUnreachable
	default:
		return ""
	}
}

func unreachable(err error) bool {
	return slices.ContainsFunc([]syscall.Errno{
		syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED, syscall.EHOSTUNREACH, syscall.ENETUNREACH,
		syscall.EHOSTDOWN, syscall.ENETDOWN, syscall.EADDRNOTAVAIL,
		syscall.EPERM, syscall.EACCES, // a packet filter or an eBPF program on the node
	}, func(errno syscall.Errno) bool { return isErrno(err, errno) })
}

// isErrno reports whether an error is a system call's, by the name that it has in
// package syscall.
func isErrno(err error, errno syscall.Errno) bool {
	return errors.Is(err, errno) || errors.Is(err, socketErrno(errno))
}

// statusBandwidthLimit is the status of some web servers and hosts for an account that has
// used up its bandwidth.
const statusBandwidthLimit = 509

// statusFault returns the fault of an HTTP status without context. A 404 or 410 can mean more; 407
// is only sent by proxies. Hosted registries answer 402 for an account that is not paid for
// or has used up its quota, which is no error of theirs and does not pass.
func statusFault(status int) Fault {
	switch {
	case status == http.StatusUnauthorized:
		return FaultUnauthorized
	case status == http.StatusForbidden:
		return FaultForbidden
	case status == http.StatusNotFound, status == http.StatusGone:
		return FaultNotFound
	case status == http.StatusProxyAuthRequired:
		return FaultProxyFailed
	case status == http.StatusTooManyRequests, status == statusBandwidthLimit:
		return FaultRateLimited
	case status == http.StatusPaymentRequired, status == http.StatusUnavailableForLegalReasons:
		return FaultPolicyBlocked
	case status >= http.StatusInternalServerError:
		return FaultServerError
	default:
		return FaultUnexpectedAnswer
	}
}

// isPolicy reports whether a refusal is because of a policy and not of missing permissions:
// by Harbor's error code, with status 412, or by known phrases of Harbor, Artifactory with Xray and Nexus
// Firewall.
func isPolicy(status int, body []byte) bool {
	if status != http.StatusForbidden && status != http.StatusPreconditionFailed || startsPage(body) {
		return false
	}
	codes := oci.ReadErrorCodes(body)
	if slices.Contains(codes, "PROJECTPOLICYVIOLATION") || slices.Contains(codes, "PROJECT_POLICY_VIOLATION") { // of older versions
		return true
	}
	text := strings.ToLower(wordsOf(body))
	return slices.ContainsFunc([]string{
		"due to configured policy in", "download blocking policy", "policy violation", "quarantined", "not signed in notary",
		"image is not signed by", "packages curation service", "blocked by policy", "is deprecated and shutting down",
		"is not allowed access", // the firewall of ACR
	}, func(words string) bool { return strings.Contains(text, words) })
}

// upstreamRefuses reports whether a registry that caches another one refuses because that
// does not accept the registry's own credentials: ECR with a pull through cache rule, and
// Harbor's proxy cache, which quotes the answer that it got itself.
func upstreamRefuses(status int, body []byte) bool {
	if status != http.StatusUnauthorized && status != http.StatusForbidden || startsPage(body) {
		return false
	}
	words := strings.ToLower(wordsOf(body))
	return slices.ContainsFunc([]string{"pull through cache rule", "http status code: 401, body", "http status code: 403, body"}, func(quote string) bool {
		return strings.Contains(words, quote)
	})
}

// tokenFault returns the fault of a failed token request: a 404 or 403 of the token server is
// not the registry's response for the image. step is the phase of the request.
func tokenFault(err error, step Phase) Fault {
	var status remoteerrors.ErrUnexpectedStatus
	if !errors.As(err, &status) {
		return faultOf(err, step)
	}
	switch fault := statusFault(status.StatusCode); fault {
	case FaultForbidden:
		return FaultUnauthorized
	case FaultNotFound:
		return FaultUnexpectedAnswer
	default:
		return fault
	}
}

func contextError(err error) error {
	for _, c := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, c) {
			return c
		}
	}
	return nil
}
