package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// notes is what is observed during a conversation, also by the goroutines of
// net/http. What goes on aside, with the token server, counts as PhaseToken
// altogether.
type notes struct {
	mu        sync.Mutex
	phase     diagnosis.Phase
	started   map[diagnosis.Phase]time.Time
	durations map[diagnosis.Phase]time.Duration
	addrs     []netip.Addr
	remote    netip.AddrPort
	cert      *x509.Certificate
	proxy     string
	// tokenRetryAfter is from the last answer of the token server.
	tokenRetryAfter time.Duration
}

func newNotes() *notes {
	return &notes{
		phase:     diagnosis.PhaseConnect,
		started:   map[diagnosis.Phase]time.Time{},
		durations: map[diagnosis.Phase]time.Duration{},
	}
}

// enter starts a phase; the function that it returns ends it.
func (n *notes) enter(phase diagnosis.Phase, aside bool) (leave func()) {
	if aside {
		return func() {}
	}
	n.setPhase(phase)
	n.mark(phase)
	return func() { n.measure(phase) }
}

func (n *notes) current() diagnosis.Phase {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.phase
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
	n.remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
}

func (n *notes) presented(certs []*x509.Certificate) {
	if len(certs) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cert = certs[0]
}

// trace watches one request to the registry; what is the phase that waiting
// for its answer counts as.
func (n *notes) trace(ctx context.Context, what diagnosis.Phase) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeStart: func() {
			n.setPhase(diagnosis.PhaseTLS)
			n.mark(diagnosis.PhaseTLS)
		},
		TLSHandshakeDone: func(state tls.ConnectionState, _ error) {
			n.measure(diagnosis.PhaseTLS)
			n.presented(state.PeerCertificates)
		},
		GotConn: func(httptrace.GotConnInfo) {
			n.setPhase(what)
			n.mark(what)
		},
	})
}

// mark and measure bracket a part of a conversation whose begin and end are in
// different goroutines.
func (n *notes) mark(phase diagnosis.Phase) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.started[phase] = time.Now()
}

func (n *notes) measure(phase diagnosis.Phase) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if start, ok := n.started[phase]; ok {
		n.durations[phase] += time.Since(start)
		delete(n.started, phase)
	}
}

func (n *notes) setPhase(phase diagnosis.Phase) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.phase = phase
}

// watchProxy wraps the choice of the proxy to note it, without its password.
func (n *notes) watchProxy(choose ProxyFunc) ProxyFunc {
	return func(req *http.Request) (*url.URL, error) {
		proxy, err := choose(req)
		if proxy != nil && !isAside(req.Context()) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.proxy = proxy.Host
		}
		return proxy, err
	}
}

func (n *notes) tokenAnswered(resp *http.Response, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tokenRetryAfter = retryAfter(resp.Header, now)
}

// fill copies the notes into an answer.
func (n *notes) fill(a *Answer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	a.Durations = n.durations
	n.durations = map[diagnosis.Phase]time.Duration{} // a straggler keeps off the answer
	a.Addresses = n.addrs
	a.Remote = n.remote
	a.Proxy = n.proxy
	if n.cert != nil {
		a.Certificate = describe(n.cert)
	}
}

func (n *notes) usesProxy() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proxy != ""
}

func (n *notes) tokenWait() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.tokenRetryAfter
}
