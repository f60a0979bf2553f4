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

// Limits on open connections. Each costs some 32 KiB, and whoever reaches the
// node's address may open them.
const (
	connectionLimit = 32 // of all other machines and pods
	addressLimit    = 8  // of one address; the node itself counts as one
)

// fairListener is a listener with a bounded number of open connections. It never
// stops accepting, since the kubelet's probes would then wait behind whoever came
// first: a new connection takes the place of the one that has waited longest for
// a request, of its own address if that has reached its limit, otherwise of the
// address that holds the most. Connections from the node itself, which are the
// kubelet's, have places of their own.
type fairListener struct {
	net.Listener
	source func(net.Addr) netip.Addr

	mu   sync.Mutex
	open []*fairConn // oldest first
}

// fairConn is an open connection of a fairListener.
type fairConn struct {
	net.Conn
	listener *fairListener
	from     netip.Addr
	busy     atomic.Bool // a request of it is being answered
}

func newFairListener(l net.Listener) *fairListener { return &fairListener{Listener: l, source: source} }

// thisNode is the source of all connections from the node itself.
func thisNode() netip.Addr { return netip.IPv6Loopback() }

// source returns whom a connection from an address is counted for.
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

// admit returns the connection with a place, or nil if none can be made.
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
		_ = victim.Conn.Close() // the server's read of it fails, and it lets go
	}
	l.open = append(l.open, c)
	return c
}

// room reports whether there is a place for one more connection, and which open
// one has to be closed for it, if any.
func (l *fairListener) room(from netip.Addr) (victim *fairConn, ok bool) {
	counts, strangers := map[netip.Addr]int{}, 0
	for _, c := range l.open {
		counts[c.from]++
		if c.from != thisNode() {
			strangers++
		}
	}
	switch {
	case counts[from] >= addressLimit:
		victim = l.longestWaiting(counts, func(c *fairConn) bool { return c.from == from })
	case from != thisNode() && strangers >= connectionLimit:
		victim = l.longestWaiting(counts, func(c *fairConn) bool { return c.from != thisNode() })
	default:
		return nil, true
	}
	return victim, victim != nil
}

// longestWaiting returns the oldest connection without a request of the address
// that holds the most, among those that count; nil if all of them are busy.
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

// withConn is an http.Server's ConnContext.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// marksBusy keeps the connection of a request from being closed while the request
// is being answered. One that has sent a part of a request still waits.
func marksBusy(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*fairConn); ok {
			c.busy.Store(true)
			defer c.busy.Store(false)
		}
		h.ServeHTTP(w, r)
	})
}
