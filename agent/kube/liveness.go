package kube

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptrace"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/watch"
)

const (
	// bookmarkSlack is how long a watch without pings counts as alive after the
	// last thing received: while no pod changes, only a bookmark arrives each
	// minute.
	bookmarkSlack = 30 * time.Second
	// endSlack is how long a watch counts as open after its timeout, by which
	// the API server should have ended it.
	endSlack = time.Minute
)

// liveness derives from the connections to the API server whether the watch on
// pods is alive. Over HTTP/2 the client pings a connection that has been idle
// for 30 seconds and closes it 15 seconds later without a response. So bytes
// keep arriving from an API server that is alive, even while no pod changes,
// and none from one that is frozen.
type liveness struct {
	now func() time.Time

	mu       sync.Mutex
	received time.Time  // when bytes last arrived, on any connection
	heard    time.Time  // the last sign of life of earlier watches
	open     *openWatch // nil if there is none
}

// openWatch is a watch on pods until it is stopped. Its reader also stops a
// watch that has ended.
type openWatch struct {
	watch.Interface
	liveness *liveness
	pinged   bool
	until    time.Time
}

// Stop implements watch.Interface.
func (w *openWatch) Stop() {
	w.liveness.closed(w)
	w.Interface.Stop()
}

// LastHeard returns the last sign of life of the watch on pods: delivered,
// which is when it last delivered something, or a later time at which its
// connection was alive. The zero time means that there was none yet.
func (c *Client) LastHeard(delivered time.Time) time.Time { return c.liveness.lastHeard(delivered) }

func (l *liveness) lastHeard(delivered time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := later(delivered, l.heard)
	switch w := l.open; {
	case w == nil:
	case w.pinged:
		at = later(at, earlier(l.received, w.until))
	default:
		at = later(at, earlier(earlier(at.Add(bookmarkSlack), l.now()), w.until))
	}
	return at
}

// watching records that the API server has accepted the watch w, with this
// timeout.
func (l *liveness) watching(w watch.Interface, pinged bool, timeout time.Duration) watch.Interface {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = l.now()
	l.open = &openWatch{Interface: w, liveness: l, pinged: pinged, until: l.heard.Add(timeout + endSlack)}
	return l.open
}

func (l *liveness) closed(w *openWatch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != w {
		return
	}
	if w.pinged {
		l.heard = later(l.heard, earlier(l.received, w.until))
	}
	l.open = nil
}

func (l *liveness) receive() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.received = l.now()
}

// pings returns a context for one request, and a function that reports whether
// the client pings the connection that served the request.
func pings(ctx context.Context) (context.Context, func() bool) {
	var pinged atomic.Bool // a transport may race connections
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		conn, ok := info.Conn.(*tls.Conn)
		pinged.Store(ok && conn.ConnectionState().NegotiatedProtocol == "h2")
	}}
	return httptrace.WithClientTrace(ctx, trace), pinged.Load
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// listenOn returns a dialer whose connections report when bytes arrive.
func (l *liveness) listenOn(dial dialer) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return heardConn{conn, l.receive}, nil
	}
}

type heardConn struct {
	net.Conn
	heard func()
}

// Read implements net.Conn.
func (c heardConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.heard()
	}
	return n, err
}

func later(a, b time.Time) time.Time { return slices.MaxFunc([]time.Time{a, b}, time.Time.Compare) }

func earlier(a, b time.Time) time.Time { return slices.MinFunc([]time.Time{a, b}, time.Time.Compare) }
