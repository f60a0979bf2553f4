package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/auth"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
)

func dialError(err error) error {
	return &url.Error{Op: "Head", URL: "https://user:s3cret@h/?token=s3cret", Err: &net.OpError{Op: "dial", Net: "tcp", Err: err}}
}

func errno(e syscall.Errno) error { return dialError(os.NewSyscallError("connect", e)) }

func verification(err error) error {
	return dialError(&tls.CertificateVerificationError{Err: err})
}

// TestLadder has errors as the standard library and containerd wrap them.
func TestLadder(t *testing.T) {
	const here = PhasePing
	for name, tc := range map[string]struct {
		err   error
		phase Phase
		want  Fault
	}{
		"none":                 {nil, here, ""},
		"given up":             {dialError(context.Canceled), here, ""},
		"no such host":         {dialError(&net.DNSError{IsNotFound: true}), here, FaultNameNotFound},
		"servfail":             {dialError(&net.DNSError{IsTemporary: true}), here, FaultDNSFailure},
		"dns timeout":          {dialError(&net.DNSError{IsTimeout: true}), here, FaultDNSFailure},
		"dns server refuses":   {dialError(&net.DNSError{UnwrapErr: syscall.ECONNREFUSED}), here, FaultDNSFailure},
		"deadline in dns":      {context.DeadlineExceeded, PhaseDNS, FaultDNSFailure},
		"refused":              {errno(syscall.ECONNREFUSED), here, FaultConnectionRefused},
		"no route":             {errno(syscall.EHOSTUNREACH), here, FaultNetworkUnreachable},
		"no network":           {errno(syscall.ENETUNREACH), here, FaultNetworkUnreachable},
		"filtered":             {errno(syscall.EPERM), here, FaultNetworkUnreachable},
		"reset":                {errno(syscall.ECONNRESET), here, FaultNetworkUnreachable},
		"broken pipe":          {errno(syscall.EPIPE), here, FaultNetworkUnreachable},
		"end":                  {dialError(io.EOF), here, FaultNetworkUnreachable},
		"cut":                  {dialError(io.ErrUnexpectedEOF), here, FaultNetworkUnreachable},
		"kernel timeout":       {errno(syscall.ETIMEDOUT), here, FaultConnectionTimeout},
		"deadline":             {dialError(context.DeadlineExceeded), here, FaultConnectionTimeout},
		"socket deadline":      {dialError(os.ErrDeadlineExceeded), here, FaultConnectionTimeout},
		"unknown authority":    {verification(x509.UnknownAuthorityError{}), here, FaultTLSUntrusted},
		"wrong name":           {verification(x509.HostnameError{Certificate: &x509.Certificate{}}), here, FaultTLSHostnameMismatch},
		"expired":              {verification(x509.CertificateInvalidError{Reason: x509.Expired}), here, FaultTLSExpired},
		"wrong usage":          {verification(x509.CertificateInvalidError{Reason: x509.IncompatibleUsage}), here, FaultTLSUntrusted},
		"no roots":             {verification(x509.SystemRootsError{}), here, FaultTLSUntrusted},
		"unwrapped":            {x509.UnknownAuthorityError{}, here, FaultTLSUntrusted},
		"alert":                {&net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}, here, FaultTLSHandshakeFailed},
		"our alert":            {&net.OpError{Op: "local error", Err: errors.New("tls: bad record MAC")}, here, FaultTLSHandshakeFailed},
		"no common version":    {errors.New("tls: no supported versions"), PhaseTLS, FaultTLSHandshakeFailed},
		"http answer":          {&url.Error{Err: http.ErrSchemeMismatch}, here, FaultHTTPSMismatch},
		"http record":          {tls.RecordHeaderError{RecordHeader: [5]byte{'H', 'T', 'T', 'P', '/'}}, here, FaultHTTPSMismatch},
		"ssh record":           {tls.RecordHeaderError{RecordHeader: [5]byte{'S', 'S', 'H', '-', '2'}}, here, FaultHTTPSMismatch},
		"tls record":           {tls.RecordHeaderError{RecordHeader: [5]byte{22, 3, 9, 255, 255}}, here, FaultTLSHandshakeFailed},
		"proxy gone":           {dialError(&net.OpError{Op: "proxyconnect", Err: errno(syscall.ECONNREFUSED)}), here, FaultProxyFailed},
		"proxy nameless":       {&net.OpError{Op: "proxyconnect", Err: &net.DNSError{IsNotFound: true}}, here, FaultProxyFailed},
		"proxy refuses":        {dialError(proxyRefused{403}), here, FaultProxyFailed},
		"metadata":             {dialError(ErrAddressForbidden), here, FaultAddressForbidden},
		"token redirect":       {dialError(ErrTokenRedirected), here, FaultUnexpectedAnswer},
		"challenge elsewhere":  {ErrChallengeElsewhere, here, FaultUnauthorized},
		"no basic credentials": {fmt.Errorf("%w: x", docker.ErrInvalidAuthorization), here, FaultUnauthorized},
		"no token":             {fmt.Errorf("x: %w", auth.ErrNoToken), PhaseToken, FaultUnexpectedAnswer},
		"status 401":           {remoteerrors.ErrUnexpectedStatus{StatusCode: 401}, here, FaultUnauthorized},
		"status 503":           {fmt.Errorf("x: %w", remoteerrors.ErrUnexpectedStatus{StatusCode: 503}), here, FaultServerError},
		"anything":             {errors.New("x"), here, FaultUnexpectedAnswer},
	} {
		if got := faultOf(tc.err, tc.phase); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
		for err := harmless(tc.err); err != nil; err = errors.Unwrap(err) {
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s: %q is in the chain", name, err)
			}
		}
	}
}

func TestStatusFault(t *testing.T) {
	for status, want := range map[int]Fault{
		400: FaultUnexpectedAnswer,
		401: FaultUnauthorized,
		403: FaultForbidden,
		404: FaultNotFound,
		405: FaultUnexpectedAnswer,
		407: FaultProxyFailed,
		410: FaultNotFound,
		429: FaultRateLimited,
		451: FaultPolicyBlocked,
		500: FaultServerError,
		503: FaultServerError,
		304: FaultUnexpectedAnswer,
	} {
		if got := statusFault(status); got != want {
			t.Errorf("%d: got %q, want %q", status, got, want)
		}
	}
}

func TestTokenFault(t *testing.T) {
	for status, want := range map[int]Fault{
		401: FaultUnauthorized, 403: FaultUnauthorized, 404: FaultUnexpectedAnswer,
		429: FaultRateLimited, 502: FaultServerError, 400: FaultUnexpectedAnswer,
	} {
		if got := tokenFault(remoteerrors.ErrUnexpectedStatus{StatusCode: status}, PhaseToken); got != want {
			t.Errorf("%d: got %q, want %q", status, got, want)
		}
	}
}

// What has no type is told by where the request for a token was.
func TestTokenFaultByStep(t *testing.T) {
	n := newNotes()
	leave := n.enter(PhaseToken, false)
	defer leave()
	typeless := errors.New("tls: no supported versions")
	if got := tokenFault(typeless, n.now().step()); got != FaultUnexpectedAnswer {
		t.Errorf("got %q", got)
	}
	n.setInner(PhaseTLS)
	if got := tokenFault(typeless, n.now().step()); got != FaultTLSHandshakeFailed {
		t.Errorf("in the handshake: got %q", got)
	}
	n.enter(PhaseDNS, true)
	if got := tokenFault(context.DeadlineExceeded, n.now().step()); got != FaultDNSFailure || n.now().phase != PhaseToken {
		t.Errorf("at the resolver: got %q in %q", got, n.now().phase)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                              0,
		"0":                             0,
		"120":                           2 * time.Minute,
		"-5":                            0,
		"soon":                          0,
		"99999999999999":                0,
		"4000000000":                    24 * time.Hour,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute,
		"Fri, 02 Jan 2026 03:00:00 GMT": 0,
	} {
		h := http.Header{}
		h.Set("Retry-After", value)
		if got := retryAfter(h, now); got != want {
			t.Errorf("%q: got %s, want %s", value, got, want)
		}
	}
}

func TestManifestDigest(t *testing.T) {
	valid := "sha256:" + strings.Repeat("a", 64)
	for in, want := range map[string]string{valid: valid, "sha256:<script>": "", "": ""} {
		if got := manifestDigest(http.Header{"Docker-Content-Digest": {in}}); got != want {
			t.Errorf("%q: got %q", in, got)
		}
	}
}
