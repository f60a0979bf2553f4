package registry

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// notes records what is observed during a conversation, also by the goroutines of net/http.
// Side requests, to the token server and for blobs, count as PhaseToken and PhaseBlob as a
// whole.
type notes struct {
	mu sync.Mutex
	noted
	started   map[Phase]time.Time
	durations map[Phase]time.Duration
	addrs     []netip.Addr
	tunnels   map[string]bool // opened so far, by target
	// targets are the places that any request was redirected to.
	targets []string
	// noRoom: a response was not read for lack of memory.
	noRoom atomic.Bool
}

// noted is what has been observed last.
type noted struct {
	phase Phase
	inner Phase // of side requests: dns, connect, tls or ""
	proxy string
	// own is what was seen of the endpoint, and away of the last place that it
	// has redirected to.
	own, away peer
	// lastProxy and target are of the last request, including side requests: the proxy and
	// the host:port to which it must open a tunnel; "" if none is needed.
	lastProxy, target string
	speaksHTTP        bool // the last proxy does, so it can send its own responses
	// hops are the places that the last request was redirected to, in order, as
	// scheme://host[:port]; home is the place that it was made to.
	home string
	hops []string
	// token is the last response of the token server.
	token tokenAnswer
}

// tokenAnswer holds what containerd's token client does not return.
type tokenAnswer struct {
	wait    time.Duration
	status  int
	page    bool // HTML
	proxys  bool // the proxy's own response to a plain request
	expired bool // says that the credential has expired
	policy  bool // refuses by a policy
	// ahead is how far the server's clock is ahead of the node's; nil if it has not said.
	ahead *time.Duration
}

// peer is what was seen of whoever is at the other end.
type peer struct {
	remote netip.AddrPort
	cert   *x509.Certificate
	alone  bool // it came without others
	// namesake: another authority of its issuer's name is trusted.
	namesake bool
	expiry   time.Time // of what was verified or was expired
}

func newNotes() *notes {
	return &notes{
		noted:     noted{phase: PhaseConnect},
		started:   map[Phase]time.Time{},
		durations: map[Phase]time.Duration{},
		tunnels:   map[string]bool{},
	}
}

// enter starts a phase; the returned function ends it.
func (n *notes) enter(phase Phase, aside bool) (leave func()) {
	if aside {
		n.setInner(phase)
		return func() {}
	}
	n.start(phase)
	return func() { n.measure(phase) }
}

// now returns what has been observed so far.
func (n *notes) now() noted {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.noted
}

// step returns the phase that decides if an error has no type: for side requests, that of the
// connection being made.
func (n noted) step() Phase { return cmp.Or(n.inner, n.phase) }

// reached reports whether the last request has come to the registry.
func (n noted) reached() bool {
	step := n.step()
	return step == PhasePing || step == PhaseManifest || step == PhaseBlob
}

func (n *notes) setInner(phase Phase) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.inner = phase
}

func (n *notes) resolved(addrs []netip.Addr, aside bool) {
	if aside {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.addrs == nil {
		n.addrs = addrs
	}
}

func (n *notes) connected(conn net.Conn, aside bool) {
	remote, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil || aside {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.peer().remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
}

// handshake records the certificates of a handshake, and until when the verified chains are
// valid. Go rejects a chain when any of its certificates has expired, including the root, and
// then uses another one if there is one (crypto/x509, Certificate.Verify).
func (n *notes) handshake(state tls.ConnectionState) {
	var longest time.Time
	for _, chain := range state.VerifiedChains {
		first := slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
		if first.NotAfter.After(longest) {
			longest = first.NotAfter
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.peer().present(state.PeerCertificates...)
	n.peer().expiry = longest
}

// blame records the certificate that an error is about.
func (n *notes) blame(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.peer()
	if verification, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		p.present(verification.UnverifiedCertificates...)
	}
	p.namesake = p.namesake || trustsNamesake(err)
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Cert != nil {
		p.present(invalid.Cert)
		if invalid.Reason == x509.Expired {
			p.expiry = invalid.Cert.NotAfter
		}
	}
}

func (p *peer) present(certs ...*x509.Certificate) {
	if len(certs) > 0 {
		p.cert, p.alone = certs[0], len(certs) == 1
	}
}

// trace traces one request to the registry; what is the phase under which waiting for the
// response counts.
func (n *notes) trace(ctx context.Context, what Phase) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeStart: func() { n.start(PhaseTLS) },
		TLSHandshakeDone: func(state tls.ConnectionState, _ error) {
			n.measure(PhaseTLS)
			n.handshake(state)
		},
		GotConn: func(httptrace.GotConnInfo) { n.start(what) },
	})
}

// traceAside traces side requests, whose durations are counted elsewhere.
func (n *notes) traceAside(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeStart: func() { n.setInner(PhaseTLS) },
		GotConn:           func(httptrace.GotConnInfo) { n.setInner("") },
	})
}

// start and measure enclose a phase that may begin and end in different goroutines.
func (n *notes) start(phase Phase) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.phase, n.inner = phase, ""
	n.started[phase] = time.Now()
}

func (n *notes) measure(phase Phase) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if start, ok := n.started[phase]; ok {
		n.durations[phase] += time.Since(start)
		delete(n.started, phase)
	}
}

func (n *notes) setPhase(phase Phase) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.phase = phase
}

// watchProxy wraps the choice of the proxy and records it, without its password. A proxy makes
// connections outside of our dialer, so it must not get an address that we refuse. net/http
// reports tunnels only of HTTP proxies (OnProxyConnectResponse).
func (n *notes) watchProxy(choose ProxyFunc) ProxyFunc {
	return func(req *http.Request) (*url.URL, error) {
		proxy, err := choose(req)
		n.mu.Lock()
		defer n.mu.Unlock()
		n.lastProxy, n.target, n.speaksHTTP = "", "", false
		if proxy == nil {
			return proxy, err
		}
		if forbiddenHost(req.URL.Hostname()) {
			return nil, ErrAddressForbidden
		}
		n.lastProxy = ProxyAddress(proxy)
		n.speaksHTTP = proxy.Scheme == "http" || proxy.Scheme == "https"
		if req.URL.Scheme == "https" && n.speaksHTTP {
			n.target = withPort(req.URL.Host, "443")
		}
		if !isAside(req.Context()) {
			n.proxy = n.lastProxy
		}
		return proxy, err
	}
}

// ProxyAddress returns a proxy's host[:port], with the scheme in front where that is not
// plain HTTP: a proxy with https:// is spoken to over TLS, which few proxies do.
func ProxyAddress(proxy *url.URL) string {
	if proxy.Scheme == "" || proxy.Scheme == "http" {
		return proxy.Host
	}
	return proxy.Scheme + "://" + proxy.Host
}

// tunnelled records that a proxy has opened a tunnel.
func (n *notes) tunnelled(target string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tunnels[target] = true
}

// atProxy reports whether the last request failed at its proxy. net/http marks errors before
// the CONNECT, but not a CONNECT without a response.
func (n *notes) atProxy() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.target != "" && !n.tunnels[n.target]
}

// begin forgets what the last request was redirected to, and where it ended.
func (n *notes) begin() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.home, n.hops, n.inner = "", nil, ""
}

// redirected notes the way of a request from home so far.
func (n *notes) redirected(home string, hops []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	last := n.last()
	n.home, n.hops = home, hops
	n.addTargets(hops...)
	if n.last() != last {
		n.away = peer{}
	}
}

// addTargets adds places that requests were redirected to.
func (n *notes) addTargets(places ...string) {
	for _, place := range places {
		if len(n.targets) < maxTargets && !slices.Contains(n.targets, place) {
			n.targets = append(n.targets, place)
		}
	}
}

// keepTargets returns a function that forgets the targets of requests in between.
func (n *notes) keepTargets() (restore func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := slices.Clone(n.targets)
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.targets = before
	}
}

// joins adds the targets of another conversation.
func (n *notes) joins(other *notes) {
	other.mu.Lock()
	targets := slices.Clone(other.targets)
	other.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addTargets(targets...)
}

// last is the place that the last request was redirected to.
func (n *noted) last() string {
	if len(n.hops) == 0 {
		return ""
	}
	return n.hops[len(n.hops)-1]
}

// peer is whoever the last request is with.
func (n *noted) peer() *peer {
	if last := n.last(); last != "" && last != n.home {
		return &n.away
	}
	return &n.own
}

func (n *notes) tokenAnswered(answer tokenAnswer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	// A GET follows a refused POST, and its refusal adds nothing.
	answer.expired = answer.expired || n.token.expired && answer.status >= http.StatusBadRequest
	n.token = answer
}

// fill copies the notes to an answer.
func (n *notes) fill(a *Answer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	a.Durations = n.durations
	n.durations = map[Phase]time.Duration{} // late goroutines must not change the answer
	a.Connection.Addresses = n.addrs
	a.Redirects.Targets = slices.Sorted(slices.Values(n.targets))
	with := n.own
	if a.Redirects.Via != "" {
		with = n.away
	}
	a.Connection.Remote = with.remote
	a.Proxy.Address = n.proxy
	atProxy := a.Fault == FaultProxyFailed
	if atProxy || (a.Phase == PhaseBlob || a.Redirects.Via != "") && !a.Found {
		a.Proxy.Address = n.lastProxy
	}
	if with.cert != nil && !atProxy {
		a.TLS.Certificate = describe(with.cert)
		a.TLS.Certificate.Alone, a.TLS.Certificate.Namesake = with.alone, with.namesake
		a.TLS.Expiry = with.expiry
	}
}

// throughProxy reports whether the last request went through a proxy that may have sent the
// response itself.
func (n noted) throughProxy() bool { return n.lastProxy != "" && n.speaksHTTP }
