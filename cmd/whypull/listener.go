package main

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// Limits on open connections. Each costs about 32 KiB, and anyone who can reach
// the node's address can open them.
const (
	connectionLimit = 32 // from all addresses except loopback
	addressLimit    = 8  // from one address; loopback counts as one
)

// fairListener bounds the number of open connections. It never stops accepting,
// because the kubelet's probes would then queue behind idle connections. Instead a
// new connection replaces the oldest one that is not serving a request: one of the
// same address if that is at its limit, otherwise one of the address with the most
// connections. Loopback connections, which the kubelet's probes use, are not
// counted with the others.
type fairListener struct {
	net.Listener
	source func(net.Addr) netip.Addr

	mu   sync.Mutex
	open []*fairConn // oldest first
}

// fairConn is an open connection that a fairListener accepted.
type fairConn struct {
	net.Conn
	listener *fairListener
	from     netip.Addr
	busy     atomic.Bool // a request is being served
}

func newFairListener(l net.Listener) *fairListener { return &fairListener{Listener: l, source: source} }

// thisNode returns the source that all loopback connections count for.
func thisNode() netip.Addr { return netip.IPv6Loopback() }

// source returns the address that a connection from a counts for; the zero value
// if a is not a TCP address.
func source(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap()
	if ip.IsLoopback() {
		return thisNode()
	}
	return ip.WithZone("")
}

// Accept implements net.Listener.
func (l *fairListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.admit(conn); c != nil {
			return c, nil
		}
		_ = conn.Close()
	}
}

// admit adds a connection to the open ones and closes another to make room if
// necessary. It returns nil if there is no room.
func (l *fairListener) admit(conn net.Conn) *fairConn {
	c := &fairConn{Conn: conn, listener: l, from: l.source(conn.RemoteAddr())}
	l.mu.Lock()
	defer l.mu.Unlock()
	victim, ok := l.room(c.from)
	if !ok {
		return nil
	}
	if victim != nil {
		l.drop(victim)
		_ = victim.Conn.Close() // ends the server's read, and with it its goroutine
	}
	l.open = append(l.open, c)
	return c
}

// room reports whether one more connection from an address is allowed, and returns
// the open connection that must be closed for it, if any.
func (l *fairListener) room(from netip.Addr) (victim *fairConn, ok bool) {
	counts, others := map[netip.Addr]int{}, 0
	for _, c := range l.open {
		counts[c.from]++
		if c.from != thisNode() {
			others++
		}
	}
	switch {
	case counts[from] >= addressLimit:
		victim = l.longestWaiting(counts, func(c *fairConn) bool { return c.from == from })
	case from != thisNode() && others >= connectionLimit:
		victim = l.longestWaiting(counts, func(c *fairConn) bool { return c.from != thisNode() })
	default:
		return nil, true
	}
	return victim, victim != nil
}

// longestWaiting returns, of the connections that among selects, the oldest that
// is not busy of the address that holds the most; nil if all are busy.
func (l *fairListener) longestWaiting(held map[netip.Addr]int, among func(*fairConn) bool) *fairConn {
	var found *fairConn
	for _, c := range l.open {
		if among(c) && !c.busy.Load() && (found == nil || held[c.from] > held[found.from]) {
			found = c
		}
	}
	return found
}

func (l *fairListener) drop(c *fairConn) {
	l.open = slices.DeleteFunc(l.open, func(o *fairConn) bool { return o == c })
}

// Close implements net.Conn.
func (c *fairConn) Close() error {
	c.listener.mu.Lock()
	c.listener.drop(c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

type connKey struct{}

// withConn implements an http.Server's ConnContext; marksBusy needs it.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// marksBusy protects the connection of a request from being replaced while the
// request is served. A connection that has sent part of a request is not busy.
func marksBusy(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*fairConn); ok {
			c.busy.Store(true)
			defer c.busy.Store(false)
		}
		h.ServeHTTP(w, r)
	})
}
