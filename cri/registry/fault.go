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

	"github.com/whypull/whypull/agent/diagnosis"
)

// Refusal is something that we refuse to do though the runtime would.
type Refusal string

// The refusals.
const (
	// ErrAddressForbidden: link-local, a cloud's metadata service, or no
	// address of one machine at all.
	ErrAddressForbidden Refusal = "address refused: link-local, metadata or not unicast"
	// ErrTokenRedirected: a token server answered with a redirect, behind
	// which the credential would have gone.
	ErrTokenRedirected Refusal = "redirect of a token request refused"
	// ErrRealmInsecure: an https registry names a token server without TLS.
	ErrRealmInsecure Refusal = "token server without TLS refused"
	// ErrChallengeElsewhere: the host of a redirect asks for the credential.
	ErrChallengeElsewhere Refusal = "credential for the target of a redirect refused"
	// ErrBodyTooLarge: an answer is larger than any honest one.
	ErrBodyTooLarge Refusal = "answer too large"
	// ErrTooManyRedirects: the runtime stops after ten as well.
	ErrTooManyRedirects Refusal = "too many redirects"
)

// Error implements error.
func (r Refusal) Error() string { return string(r) }

// proxyRefused is a proxy's answer to CONNECT other than 200.
type proxyRefused struct{ status int }

// Error implements error.
func (p proxyRefused) Error() string {
	return "proxy answered CONNECT with status " + strconv.Itoa(p.status)
}

// rung is one step of the ladder: a family of errors, and its fault ("" if
// the error is of another family).
type rung func(error) diagnosis.Fault

// ladder is the order in which an error is tried. An error often fits several
// families, as the chain of "connection refused" by a DNS server does; the
// first one to fit is the one that explains.
func ladder() []rung {
	return []rung{refusalFault, proxyFault, dnsFault, tlsFault, httpError, authFault, networkFault}
}

// faultOf says what is wrong, from the types in an error's chain alone, and ""
// if the caller gave up. phase decides where the types do not: Go has no types
// for most errors of a TLS handshake.
func faultOf(err error, phase diagnosis.Phase) diagnosis.Fault {
	if err == nil || errors.Is(err, context.Canceled) {
		return ""
	}
	for _, step := range ladder() {
		fault := step(err)
		if fault == diagnosis.FaultConnectionTimeout && phase == diagnosis.PhaseDNS {
			return diagnosis.FaultDNSFailure // our deadline came before the resolver's
		}
		if fault != "" {
			return fault
		}
	}
	if phase == diagnosis.PhaseTLS {
		return diagnosis.FaultTLSHandshakeFailed
	}
	return diagnosis.FaultUnexpectedAnswer
}

func refusalFault(err error) diagnosis.Fault {
	var r Refusal
	switch {
	case !errors.As(err, &r):
		return ""
	case r == ErrAddressForbidden:
		return diagnosis.FaultAddressForbidden
	case r == ErrChallengeElsewhere:
		return diagnosis.FaultUnauthorized
	default:
		return diagnosis.FaultUnexpectedAnswer
	}
}

// proxyFault comes before the name service: a proxy's name that does not
// resolve is the proxy's fault.
func proxyFault(err error) diagnosis.Fault {
	var refused proxyRefused
	if hasOp(err, "proxyconnect") || hasOp(err, "socks connect") || errors.As(err, &refused) {
		return diagnosis.FaultProxyFailed
	}
	return ""
}

// beforeProxy is what is wrong with the way to a proxy, "" if it was reached.
func beforeProxy(err error) diagnosis.Fault {
	if !hasOp(err, "proxyconnect") && !hasOp(err, "socks connect") || errors.As(err, new(proxyRefused)) {
		return ""
	}
	return cmp.Or(dnsFault(err), networkFault(err))
}

func dnsFault(err error) diagnosis.Fault {
	var dns *net.DNSError
	switch {
	case !errors.As(err, &dns):
		return ""
	case dns.IsNotFound:
		return diagnosis.FaultNameNotFound
	default:
		return diagnosis.FaultDNSFailure
	}
}

func tlsFault(err error) diagnosis.Fault {
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, http.ErrSchemeMismatch):
		return diagnosis.FaultHTTPSMismatch
	case errors.As(err, &record):
		if string(record.RecordHeader[:]) == "HTTP/" {
			return diagnosis.FaultHTTPSMismatch
		}
		return diagnosis.FaultTLSHandshakeFailed
	case isAlert(err):
		return diagnosis.FaultTLSHandshakeFailed
	}
	return certificateFault(err)
}

// isAlert: the type of an alert is not exported, the operation is a field.
func isAlert(err error) bool { return hasOp(err, "remote error") || hasOp(err, "local error") }

// hasOp looks for the operation of package net in all of an error's chain.
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

func certificateFault(err error) diagnosis.Fault {
	var (
		verification *tls.CertificateVerificationError
		hostname     x509.HostnameError
		invalid      x509.CertificateInvalidError
		authority    x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &hostname):
		return diagnosis.FaultTLSHostnameMismatch
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return diagnosis.FaultTLSExpired
	case errors.As(err, &invalid), errors.As(err, &authority), errors.As(err, &verification):
		return diagnosis.FaultTLSUntrusted
	default:
		return ""
	}
}

func httpError(err error) diagnosis.Fault {
	if status, ok := errors.AsType[remoteerrors.ErrUnexpectedStatus](err); ok {
		return statusFault(status.StatusCode)
	}
	return ""
}

func authFault(err error) diagnosis.Fault {
	switch {
	case errors.Is(err, docker.ErrInvalidAuthorization), // a credential is wanted, and there is none
		errdefs.IsNotImplemented(err): // it is wanted in a way that the runtime does not know
		return diagnosis.FaultUnauthorized
	case errors.Is(err, auth.ErrNoToken):
		return diagnosis.FaultUnexpectedAnswer
	default:
		return ""
	}
}

// networkFault comes last: its errors are at the end of most other chains.
func networkFault(err error) diagnosis.Fault {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return diagnosis.FaultConnectionRefused
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, syscall.ETIMEDOUT), errors.As(err, &timeout) && timeout.Timeout():
		return diagnosis.FaultConnectionTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), unreachable(err):
		return diagnosis.FaultNetworkUnreachable
	default:
		return ""
	}
}

func unreachable(err error) bool {
	for _, errno := range []syscall.Errno{
		syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED, syscall.EHOSTUNREACH, syscall.ENETUNREACH,
		syscall.EHOSTDOWN, syscall.ENETDOWN, syscall.EADDRNOTAVAIL,
		syscall.EPERM, syscall.EACCES, // a packet filter or an eBPF program on the node
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// statusFault is the meaning of an HTTP status without any context. A 404 can
// mean more; 407 is only ever said by a proxy.
func statusFault(status int) diagnosis.Fault {
	switch {
	case status == http.StatusUnauthorized:
		return diagnosis.FaultUnauthorized
	case status == http.StatusForbidden:
		return diagnosis.FaultForbidden
	case status == http.StatusNotFound:
		return diagnosis.FaultNotFound
	case status == http.StatusProxyAuthRequired:
		return diagnosis.FaultProxyFailed
	case status == http.StatusTooManyRequests:
		return diagnosis.FaultRateLimited
	case status == http.StatusUnavailableForLegalReasons:
		return diagnosis.FaultPolicyBlocked
	case status >= http.StatusInternalServerError:
		return diagnosis.FaultServerError
	default:
		return diagnosis.FaultUnexpectedAnswer
	}
}

// isPolicy tells that a refusal is a policy's and not for want of a right: by
// Harbor's error code, or by words of a closed set that Harbor, Artifactory
// with Xray and Nexus Firewall use.
func isPolicy(status int, code ErrorCode, body []byte) bool {
	if status != http.StatusForbidden && status != http.StatusPreconditionFailed || startsPage(body) {
		return false
	}
	if code == CodePolicyViolation || code == CodePolicyViolationOld {
		return true
	}
	text := strings.ToLower(string(body))
	return slices.ContainsFunc([]string{
		"due to configured policy in", "download blocking policy", "policy violation", "quarantined", "not signed in notary",
		"blocked by policy",
	}, func(words string) bool { return strings.Contains(text, words) })
}

// tokenFault is the fault of a token request that failed: a token server that
// does not exist, or forbids, is not the registry saying so of the image. step
// is where the request was.
func tokenFault(err error, step diagnosis.Phase) diagnosis.Fault {
	var status remoteerrors.ErrUnexpectedStatus
	if !errors.As(err, &status) {
		return faultOf(err, step)
	}
	switch fault := statusFault(status.StatusCode); fault {
	case diagnosis.FaultForbidden:
		return diagnosis.FaultUnauthorized
	case diagnosis.FaultNotFound:
		return diagnosis.FaultUnexpectedAnswer
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
