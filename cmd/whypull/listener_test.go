package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"
)

// neighbor is a listener's server in this process. Requests from 127.0.0.1 are the
// node's own; those from other loopback addresses stand for other machines.
type neighbor struct {
	address  string
	listener *fairListener
}

const self = "127.0.0.1"

func serveNeighbors(t *testing.T, h http.Handler) neighbor {
	t.Helper()
	inner, err := net.Listen("tcp", self+":0")
	if err != nil {
		t.Fatal(err)
	}
	l := newFairListener(inner)
	l.source = func(a net.Addr) netip.Addr {
		ip := netip.MustParseAddrPort(a.String()).Addr()
		if ip.String() == self {
			return source(a)
		}
		return ip
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- serve(ctx, newServer("", h, slog.New(slog.DiscardHandler)), l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	return neighbor{inner.Addr().String(), l}
}

// connect opens a connection from an address. It ends with the test.
func (n neighbor) connect(t *testing.T, from string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: long}
	conn, err := dialer.DialContext(t.Context(), "tcp", n.address)
	if err != nil {
		t.Fatalf("connection from %s: %v", from, err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// ask sends a request on a connection and returns the status, "" if the server
// has closed it.
func ask(t *testing.T, conn net.Conn, path string) string {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(long))
	_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return ""
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.Status
}

func (n neighbor) held() (strangers, own int) {
	n.listener.mu.Lock()
	defer n.listener.mu.Unlock()
	for _, c := range n.listener.open {
		if c.from == thisNode() {
			own++
		} else {
			strangers++
		}
	}
	return strangers, own
}

// footprint is the memory in use, and the number of goroutines.
func footprint() (bytes uint64, goroutines int) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse, runtime.NumGoroutine()
}

// Whoever opens thousands of connections and says nothing takes no memory of the
// agent, and keeps neither the kubelet nor Prometheus from it.
func TestIdleConnections(t *testing.T) {
	s := newServed()
	n := serveNeighbors(t, s.handler)
	before, goroutines := footprint()
	for i := range 4000 {
		_ = n.connect(t, fmt.Sprintf("127.0.1.%d", i%10))
	}
	eventually(t, "the last connection's place", func() bool { strangers, _ := n.held(); return strangers == connectionLimit })
	eventually(t, "the end of the others", func() bool { return runtime.NumGoroutine() < goroutines+4*connectionLimit })
	if after, _ := footprint(); after > before+16<<20 {
		t.Errorf("%d KiB more are in use", (after-before)>>10)
	}
	for range 3 {
		if got := ask(t, n.connect(t, self), "/healthz"); got != "200 OK" {
			t.Errorf("the kubelet gets %q", got)
		}
		if got := ask(t, n.connect(t, "127.0.0.9"), "/metrics"); got != "200 OK" {
			t.Errorf("Prometheus gets %q", got)
		}
	}
}

// Who sends requests as fast as they are answered, or a part of one, has its own
// places only.
func TestBusyConnections(t *testing.T) {
	asked, release := make(chan struct{}, 100), make(chan struct{})
	n := serveNeighbors(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			asked <- struct{}{}
			<-release
		}
	}))
	defer close(release)
	busy := func(from string, count int) {
		for range count {
			_, _ = io.WriteString(n.connect(t, from), "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
			<-asked
		}
	}
	busy("127.0.0.2", addressLimit)
	if got := ask(t, n.connect(t, "127.0.0.2"), "/"); got != "" {
		t.Errorf("one more of the busy address gets %q", got)
	}
	if got := ask(t, n.connect(t, "127.0.0.3"), "/"); got != "200 OK" {
		t.Errorf("another address gets %q", got)
	}
	for i := range connectionLimit/addressLimit - 1 {
		busy(fmt.Sprintf("127.0.0.%d", 10+i), addressLimit)
	}
	if got := ask(t, n.connect(t, "127.0.0.3"), "/"); got != "" {
		t.Errorf("one more than the limit gets %q", got)
	}
	if got := ask(t, n.connect(t, self), "/"); got != "200 OK" {
		t.Errorf("the kubelet gets %q", got)
	}
	if strangers, _ := n.held(); strangers != connectionLimit {
		t.Errorf("%d connections are open", strangers)
	}
}

// Half a request keeps no place: it has not begun.
func TestHalfRequests(t *testing.T) {
	n := serveNeighbors(t, http.NotFoundHandler())
	for range 2 * addressLimit {
		_, _ = io.WriteString(n.connect(t, self), "GET /healthz HTTP/1.1\r\nHost:")
	}
	if got := ask(t, n.connect(t, self), "/"); got != "404 Not Found" {
		t.Errorf("the kubelet gets %q", got)
	}
	if _, own := n.held(); own > addressLimit {
		t.Errorf("%d connections are open", own)
	}
}

// The one who gives way is the oldest of the address that holds the most; one
// connection of Prometheus outlives any number of somebody else's.
func TestWhoGivesWay(t *testing.T) {
	n := serveNeighbors(t, http.NotFoundHandler())
	prometheus := n.connect(t, "127.0.0.9")
	var first net.Conn
	for i := range 2 * connectionLimit {
		conn := n.connect(t, fmt.Sprintf("127.0.0.%d", 20+i%5))
		if first == nil {
			first = conn
		}
	}
	if got := ask(t, first, "/"); got != "" {
		t.Errorf("the oldest gets %q", got)
	}
	if got := ask(t, prometheus, "/"); got != "404 Not Found" {
		t.Errorf("Prometheus gets %q", got)
	}
}

// A place is free again when its connection ends.
func TestPlacesAreFreed(t *testing.T) {
	n := serveNeighbors(t, http.NotFoundHandler())
	var conns []net.Conn
	for i := range connectionLimit {
		conns = append(conns, n.connect(t, fmt.Sprintf("127.0.0.%d", 2+i/addressLimit)))
	}
	eventually(t, "all connections", func() bool { strangers, _ := n.held(); return strangers == connectionLimit })
	for _, c := range conns {
		_ = c.Close()
	}
	eventually(t, "no connection", func() bool { strangers, _ := n.held(); return strangers == 0 })
}

// Headers are bounded in size; a service account's token fits.
func TestHeaderBounds(t *testing.T) {
	n := serveNeighbors(t, http.NotFoundHandler())
	for size, want := range map[int]string{4 << 10: "404 Not Found", 32 << 10: "431 Request Header Fields Too Large"} {
		conn := n.connect(t, self)
		_, _ = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", strings.Repeat("x", size))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.Status != want {
			t.Errorf("%d bytes: %v, %v, want %s", size, resp, err, want)
		}
	}
}

// Nothing that a client does or leaves undone is waited for without end.
func TestServerBounds(t *testing.T) {
	t.Parallel()
	s := newServer(":1", http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	for name, d := range map[string]time.Duration{
		"header": s.ReadHeaderTimeout, "request": s.ReadTimeout, "answer": s.WriteTimeout, "idle": s.IdleTimeout,
	} {
		if d <= 0 || d > 5*time.Minute {
			t.Errorf("%s: %s", name, d)
		}
	}
	if s.WriteTimeout <= metricsTimeout || metricsTimeout <= readinessTimeout {
		t.Error("an answer may take longer than its connection allows")
	}
}

func TestSource(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]netip.Addr{
		"127.0.0.1:5":          thisNode(),
		"127.8.0.1:5":          thisNode(),
		"[::1]:5":              thisNode(),
		"[::ffff:127.0.0.1]:5": thisNode(),
		"10.0.0.1:5":           netip.MustParseAddr("10.0.0.1"),
		"[::ffff:10.0.0.1]:5":  netip.MustParseAddr("10.0.0.1"),
		"[fe80::1%eth0]:5":     netip.MustParseAddr("fe80::1"),
	} {
		if got := source(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	if got := source(&net.UnixAddr{}); got.IsValid() {
		t.Errorf("a socket: %s", got)
	}
}
