package registry

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
)

const (
	// maxBody bounds the body of any answer: fifty tags of 128 bytes have 7
	// KiB, tokens of the large clouds have up to 20 KiB.
	maxBody = 256 << 10
	// maxHeader bounds the header of any answer.
	maxHeader = 64 << 10
	// maxRedirects is the runtime's (core/remotes/docker/resolver.go).
	maxRedirects = 10
)

// asideKey marks the context of what is not said to the endpoint itself: the
// requests to a token server.
type asideKey struct{}

func withAside(ctx context.Context) context.Context { return context.WithValue(ctx, asideKey{}, true) }

func isAside(ctx context.Context) bool { return ctx.Value(asideKey{}) != nil }

// newTransport is the endpoint's transport, as containerd configures it, for
// one conversation.
func newTransport(e Endpoint, d *dialer) *http.Transport {
	t := e.transport.Clone()
	t.DialContext = d.dial
	t.Proxy = d.notes.watchProxy(e.opts.Proxy)
	t.TLSHandshakeTimeout = e.opts.Timeouts.TLS
	t.ResponseHeaderTimeout = e.opts.Timeouts.Response
	t.MaxResponseHeaderBytes = maxHeader
	t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
		if resp.StatusCode != http.StatusOK {
			return proxyRefused{status: resp.StatusCode}
		}
		return nil
	}
	return t
}

// guard bounds every body and notes what token servers answer: containerd's
// token client reads to the end, and drops the headers.
type guard struct {
	next  http.RoundTripper
	notes *notes
}

// RoundTrip implements http.RoundTripper. It returns errors as they are,
// because http.Client compares the type of a TLS error.
func (g guard) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := g.next.RoundTrip(req)
	if err != nil {
		return resp, err
	}
	if isAside(req.Context()) {
		g.notes.tokenAnswered(resp, time.Now())
	}
	resp.Body = &bounded{body: resp.Body, left: maxBody}
	return resp, nil
}

// bounded is a body that fails when it is too large.
type bounded struct {
	body io.ReadCloser
	left int
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, ErrBodyTooLarge
	}
	n, err := b.body.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// Close implements io.Closer.
func (b *bounded) Close() error { return b.body.Close() }

// registryClient follows redirects as the runtime does, but takes nothing but
// the plain request to another place: the runtime would carry headers of
// hosts.toml there, and Go the credential to a subdomain or to http.
func registryClient(e Endpoint, g guard) *http.Client {
	client := &http.Client{
		Transport: g,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) >= maxRedirects {
				return ErrTooManyRedirects
			}
			if !sameOrigin(req.URL, via[0].URL) {
				req.Header = plainHeader(req.Header) //nolint:gosec // without the credential, that is
			}
			return nil
		},
	}
	if e.HTTPFallback {
		client.Transport = docker.NewHTTPFallback(g)
	}
	return client
}

// tokenClient follows no redirect, and does not fall back to http.
func tokenClient(g guard) *http.Client {
	return &http.Client{
		Transport:     g,
		CheckRedirect: func(*http.Request, []*http.Request) error { return ErrTokenRedirected },
	}
}

func sameOrigin(a, b *url.URL) bool { return a.Scheme == b.Scheme && a.Host == b.Host }

func plainHeader(h http.Header) http.Header {
	plain := http.Header{}
	for _, key := range []string{"Accept", "User-Agent"} {
		if v := h.Values(key); len(v) > 0 {
			plain[key] = v
		}
	}
	return plain
}
