package kube

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptrace"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/watch"
)

const (
	// bookmarkSlack is added to what a watch without pings has received last: all
	// that comes while no pod changes is a bookmark a minute, and a little later.
	bookmarkSlack = 30 * time.Second
	// endSlack is how much longer than its timeout a watch is taken for an open
	// one. API servers end it then.
	endSlack = time.Minute
)

// liveness is what the connections to the API server say about the watch on
// pods. Over HTTP/2 the client pings a connection on which nothing has come for
// 30 seconds, and closes it 15 seconds later without an answer: so bytes keep
// coming from an API server that is alive, also while no pod changes, and from
// one that is frozen none do.
type liveness struct {
	now func() time.Time

	mu       sync.Mutex
	received time.Time  // the last bytes, on any connection
	heard    time.Time  // what the watches before this one have shown
	open     *openWatch // nil if there is none
}

// openWatch is a watch on pods until it is stopped, which its reader does when
// it has ended, too.
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

// LastHeard returns when the watch on pods was last heard of, given when it last
// delivered something: that time, or a later one at which its connection was
// seen to be alive. The zero time means that nothing was heard yet.
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

// watching notes that the API server has answered a request to watch with w, and
// for how long.
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
// the connection that served it is one that is pinged.
func pings(ctx context.Context) (context.Context, func() bool) {
	var mu sync.Mutex // a transport may race connections
	pinged := false
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		conn, ok := info.Conn.(*tls.Conn)
		mu.Lock()
		defer mu.Unlock()
		pinged = ok && conn.ConnectionState().NegotiatedProtocol == "h2"
	}}
	return httptrace.WithClientTrace(ctx, trace), func() bool {
		mu.Lock()
		defer mu.Unlock()
		return pinged
	}
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// listenOn returns a dialer whose connections say when bytes arrive.
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

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
