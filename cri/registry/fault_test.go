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
		"ssh record":           {tls.RecordHeaderError{RecordHeader: [5]byte{'S', 'S', 'H', '-', '2'}}, here, FaultTLSHandshakeFailed},
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
		if tc.err == nil {
			continue
		}
		e := &Error{Endpoint: "https://h", Phase: tc.phase, Fault: tc.want, cause: harmless(tc.err)}
		for err := error(e); err != nil; err = errors.Unwrap(err) {
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
	if got := tokenFault(typeless, n.step()); got != FaultUnexpectedAnswer {
		t.Errorf("got %q", got)
	}
	n.setInner(PhaseTLS)
	if got := tokenFault(typeless, n.step()); got != FaultTLSHandshakeFailed {
		t.Errorf("in the handshake: got %q", got)
	}
	n.enter(PhaseDNS, true)
	if got := tokenFault(context.DeadlineExceeded, n.step()); got != FaultDNSFailure || n.current() != PhaseToken {
		t.Errorf("at the resolver: got %q in %q", got, n.current())
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

func TestDescriptor(t *testing.T) {
	for contentType, want := range map[string]string{
		"application/vnd.oci.image.index.v1+json":                         "application/vnd.oci.image.index.v1+json",
		"application/vnd.docker.distribution.manifest.v2+json; charset=x": "application/vnd.docker.distribution.manifest.v2+json",
		"application/x-freely-chosen":                                     "",
		"":                                                                "",
	} {
		h := http.Header{"Content-Type": {contentType}, "Docker-Content-Digest": {"sha256:<script>"}}
		if dgst, mediaType := descriptor(h); dgst != "" || mediaType != want {
			t.Errorf("%q: got %q, %q; want %q", contentType, dgst, mediaType, want)
		}
	}
}

func TestParseVersion(t *testing.T) {
	const newest = "2.4"
	for s, want := range map[string]string{
		"v2.1.4": "2.1.4", "1.7.35~ds1": "1.7.35", "2.0.5-k3s1": "2.0.5", "2.10": "2.10", "1.7.x": "1.7",
		"": newest, "v2": newest, "devel": newest, "99999999999999999999.1": newest, "0.1": newest,
	} {
		if got := parseVersion(s).String(); got != want {
			t.Errorf("%q: got %v, want %v", s, got, want)
		}
	}
}

func TestVersionsAreCompared(t *testing.T) {
	for s, want := range map[string]bool{"2.1.4": true, "2.1": true, "v2.10.0-rc.1": true, "3.0": true, "2.0.5": false, "1.37": false} {
		if got := parseVersion(s).atLeast(2, 1); got != want {
			t.Errorf("%s is at least 2.1: %t", s, got)
		}
	}
	for s, want := range map[string]bool{"1.7.31": true, "1.6.40": true, "1.7": true, "1.7.32": false, "1.8": false, "2.0": false, "": false} {
		if got := parseVersion(s).wantsHostTable(); got != want {
			t.Errorf("%s wants a host's table: %t", s, got)
		}
	}
}

func TestRewritePaths(t *testing.T) {
	const doc = `# ca = "/comment"
server = "https://h"   # "/untouched"
ca = '/root.pem'
client = [["/c.pem", """/k.pem"""], "/both.pem"]
header.ca = "/dotted"

[host."https://m/ca"]
  ca = [ "rel.pem",
    "/multi\\line.pem" ]   # end
  [host."https://m/ca".header]
    ca = "/header"

[other."x"]
  ca = "/other"
`
	const want = `# ca = "/comment"
server = "https://h"   # "/untouched"
ca = "/n/root.pem"
client = [["/n/c.pem", "/n/k.pem"], "/n/both.pem"]
header.ca = "/dotted"

[host."https://m/ca"]
  ca = [ "rel.pem",
    "/n/multi\\line.pem" ]   # end
  [host."https://m/ca".header]
    ca = "/header"

[other."x"]
  ca = "/other"
`
	rebase := func(p string) string {
		if strings.HasPrefix(p, "/") {
			return "/n" + p
		}
		return p
	}
	got, changed := rewritePaths([]byte(doc), rebase)
	if string(got) != want || !changed {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, broken := range []string{"ca = '/a'\n[host", "ca = ", "", "ca = 3\n"} {
		if got, changed := rewritePaths([]byte(broken), rebase); string(got) != broken || changed {
			t.Errorf("%q became %q", broken, got)
		}
	}
}

// The rewritten file must be one that containerd's decoder reads, for any file.
func FuzzRewritePaths(f *testing.F) {
	f.Add("ca = '/a'\n[host.\"x\"]\nclient = [['/a', \"/b\"], '/c']\n")
	f.Fuzz(func(t *testing.T, doc string) {
		got, changed := rewritePaths([]byte(doc), func(p string) string { return "/n" + p })
		if !changed {
			return
		}
		if again, _ := rewritePaths(got, func(p string) string { return p }); string(again) != string(got) {
			t.Errorf("%q became %q, which is not stable", doc, got)
		}
	})
}

func TestQuote(t *testing.T) {
	if got, want := quote("a\"b\\c\n\x7fé"), `"a\"b\\c\u000A\u007Fé"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
