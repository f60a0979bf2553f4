package registry

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
)

const (
	// maxBody is the maximum size of a response body: a hundred tags of 128 bytes have 13
	// KiB, tokens of the large clouds up to 20 KiB. Manifests and blobs have their own
	// limits.
	maxBody = 256 << 10
	// maxWords is the number of bytes of a token server's response that are searched for phrases.
	maxWords = 4 << 10
	// maxHeader is the maximum size of a response header.
	maxHeader = 64 << 10
	// maxRedirects is the runtime's limit (core/remotes/docker/resolver.go).
	maxRedirects = 10
	// maxTargets bounds the places that are remembered of redirects.
	maxTargets = 16
)

// asideKey marks the context of side requests: those to a token server and for blobs. Its value
// is the phase.
type asideKey struct{}

func withAside(ctx context.Context, phase Phase) context.Context {
	return context.WithValue(ctx, asideKey{}, phase)
}

func isAside(ctx context.Context) bool { return ctx.Value(asideKey{}) != nil }

// limitKey is the context key of a body limit other than maxBody.
type limitKey struct{}

func withLimit(ctx context.Context, limit int64) context.Context {
	return context.WithValue(ctx, limitKey{}, limit)
}

// ResolveFunc resolves a hostname to addresses. A *net.DNSError in its error distinguishes a name
// that does not exist from a failed lookup.
type ResolveFunc func(ctx context.Context, host string) ([]netip.Addr, error)

// ProxyFunc returns the proxy for a request; nil for none.
type ProxyFunc func(*http.Request) (*url.URL, error)

// quiet suppresses containerd's log lines, which quote registries.
func quiet(ctx context.Context) context.Context {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	return log.WithLogger(ctx, logrus.NewEntry(logger))
}

// newTransport returns the endpoint's transport for one conversation, as configured by
// containerd.
func newTransport(e Endpoint, d *dialer) *http.Transport {
	t := e.Settings.Transport.Clone()
	t.DialContext = d.dial
	t.Proxy = d.notes.watchProxy(e.Settings.Proxy)
	t.TLSHandshakeTimeout = e.Settings.Timeouts.TLS
	t.ResponseHeaderTimeout = e.Settings.Timeouts.Response
	t.MaxResponseHeaderBytes = maxHeader
	t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, connect *http.Request, resp *http.Response) error {
		if resp.StatusCode != http.StatusOK {
			return proxyRefused{status: resp.StatusCode}
		}
		d.notes.tunnelled(connect.Host)
		return nil
	}
	return t
}

// guard limits every body and records responses of token servers: containerd's token client reads
// bodies to the end and drops the headers.
type guard struct {
	next  http.RoundTripper
	notes *notes
	room  *Room
}

// RoundTrip implements http.RoundTripper. It does not wrap errors, because http.Client compares the
// type of a TLS error.
func (g guard) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := g.next.RoundTrip(req)
	if err != nil {
		return resp, err
	}
	resp.Body = &bounded{body: resp.Body, left: limitFor(resp)}
	if req.Context().Value(asideKey{}) == PhaseToken {
		boundChallenges(resp.Header)
		resp.Body = &placed{ReadCloser: resp.Body, ctx: req.Context(), size: maxBody, place: place{room: g.room}, notes: g.notes}
		g.recordToken(req, resp)
	}
	return resp, nil
}

// limitFor returns the limit of a response's body. The limit of the requested content does not
// apply to error bodies.
func limitFor(resp *http.Response) int64 {
	limit, ok := resp.Request.Context().Value(limitKey{}).(int64)
	if !ok || resp.StatusCode >= http.StatusMultipleChoices {
		return maxBody
	}
	return limit
}

// recordToken records a token server's response and leaves its body unread. Phrases count only in an
// error; of a success, which has the token, only the first byte is read, to detect an HTML page.
func (g guard) recordToken(req *http.Request, resp *http.Response) {
	limit := 1
	if resp.StatusCode >= http.StatusBadRequest {
		limit = maxWords
	}
	body := bufio.NewReaderSize(resp.Body, maxWords)
	words, _ := body.Peek(limit) // an error is returned again when the body is read
	resp.Body = struct {
		io.Reader
		io.Closer
	}{body, resp.Body}
	refused := resp.StatusCode >= http.StatusBadRequest && resp.StatusCode < http.StatusInternalServerError
	g.notes.tokenAnswered(tokenAnswer{
		wait:    wait(resp.StatusCode, resp.Header, time.Now()),
		status:  resp.StatusCode,
		page:    isHTML(resp.Header) || startsPage(words) || limit == 1 && string(words) == "<",
		proxys:  req.URL.Scheme == "http" && g.notes.now().throughProxy() && proxyAnswered(resp.StatusCode, resp.Header),
		policy:  isPolicy(resp.StatusCode, words),
		expired: refused && (saysExpired(string(words)) || challengeSaysExpired(resp.Header)),
		ahead:   aheadOf(resp.Header, time.Now()),
	})
}

// bounded is a body that fails when it is too large.
type bounded struct {
	body io.ReadCloser
	left int64
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, ErrBodyTooLarge
	}
	n, err := b.body.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// Close implements io.Closer.
func (b *bounded) Close() error { return b.body.Close() }

// registryClient follows redirects like the runtime, but sends only the plain request to another
// origin: the runtime would send the headers of hosts.toml, and Go the credential to a subdomain or
// to http.
func registryClient(e Endpoint, g guard) *http.Client {
	client := &http.Client{
		Transport: g,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) >= maxRedirects {
				return ErrTooManyRedirects
			}
			g.notes.redirected(trailOf(req, via))
			if !sameOrigin(req.URL, via[0].URL) {
				req.Header = plainHeader(req.Header) //nolint:gosec // it has no credential
			}
			return nil
		},
	}
	if e.HTTPFallback && !e.Settings.Pings {
		client.Transport = docker.NewHTTPFallback(g)
	}
	return client
}

// tokenClient does not fall back to http, and follows a redirect only where no
// credential goes along.
func tokenClient(g guard) *http.Client {
	return &http.Client{
		Transport: g,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			g.notes.redirected(trailOf(req, via))
			switch {
			case via[0].Method != http.MethodGet || via[0].Header.Get("Authorization") != "":
				return ErrTokenRedirected
			case len(via) >= maxRedirects:
				return ErrTooManyRedirects
			case !sameOrigin(req.URL, via[0].URL):
				req.Header = plainHeader(req.Header) //nolint:gosec // it drops the sensitive ones
			}
			return nil
		},
	}
}

// trailOf is the way of a request: where it was made to, and the places that it
// was redirected to, as scheme://host[:port].
func trailOf(req *http.Request, via []*http.Request) (home string, hops []string) {
	home = origin(via[0].URL)
	last := home
	for _, r := range append(slices.Clone(via[1:]), req) {
		if o := origin(r.URL); o != last {
			hops, last = append(hops, o), o
		}
	}
	return home, hops
}

// origin returns the origin of a URL, as scheme://host[:port]. The header of a redirect
// has room for a scheme of 64 KiB.
func origin(u *url.URL) string {
	return clean(u.Scheme, maxScheme) + "://" + clean(u.Host, maxHostName)
}

func sameOrigin(a, b *url.URL) bool { return a.Scheme == b.Scheme && a.Host == b.Host }

func plainHeader(h http.Header) http.Header {
	plain := http.Header{}
	for _, key := range []string{"Accept", "Range", "User-Agent"} {
		if v := h.Values(key); len(v) > 0 {
			plain[key] = v
		}
	}
	return plain
}
