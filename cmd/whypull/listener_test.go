//go:build linux

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

// boundedServer is a server behind a fairListener. Connections from 127.0.0.1 count
// as loopback, those from other addresses of 127.0.0.0/8 as from other machines.
type boundedServer struct {
	address  string
	listener *fairListener
}

// probeAddress is the address that the kubelet's probes come from.
const probeAddress = "127.0.0.1"

func serveBounded(t *testing.T, h http.Handler) boundedServer {
	t.Helper()
	inner, err := net.Listen("tcp", probeAddress+":0")
	if err != nil {
		t.Fatal(err)
	}
	l := newFairListener(inner)
	l.source = func(a net.Addr) netip.Addr {
		ip := netip.MustParseAddrPort(a.String()).Addr()
		if ip.String() == probeAddress {
			return source(a)
		}
		return ip
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	server := newServer("", h, slog.New(slog.DiscardHandler))
	server.ReadHeaderTimeout, server.ReadTimeout = long, long // a slow machine closes no connection
	go func() { ended <- serve(ctx, server, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	return boundedServer{inner.Addr().String(), l}
}

// connect opens a connection from an address; the test's cleanup closes it.
func (n boundedServer) connect(t *testing.T, from string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: long}
	conn, err := dialer.DialContext(t.Context(), "tcp", n.address)
	if err != nil {
		t.Fatalf("connection from %s: %v", from, err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// ask sends a request on a connection and returns the response's status; "" if the
// server has closed the connection.
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

// held returns the number of open connections from other addresses and from loopback.
func (n boundedServer) held() (others, loopback int) {
	n.listener.mu.Lock()
	defer n.listener.mu.Unlock()
	for _, c := range n.listener.open {
		if c.from == thisNode() {
			loopback++
		} else {
			others++
		}
	}
	return others, loopback
}

// footprint returns the memory in use and the number of goroutines.
func footprint() (bytes uint64, goroutines int) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse, runtime.NumGoroutine()
}

// Thousands of idle connections take little memory and do not lock out the kubelet
// or Prometheus.
func TestIdleConnections(t *testing.T) {
	s := newServed()
	n := serveBounded(t, s.handler)
	before, goroutines := footprint()
	for i := range 4000 {
		_ = n.connect(t, fmt.Sprintf("127.0.1.%d", i%10))
	}
	eventually(t, "as many connections as allowed", func() bool { others, _ := n.held(); return others == connectionLimit })
	eventually(t, "the end of the replaced connections", func() bool { return runtime.NumGoroutine() < goroutines+4*connectionLimit })
	if after, _ := footprint(); after > before+16<<20 {
		t.Errorf("%d KiB more are in use", (after-before)>>10)
	}
	for range 3 {
		if got := ask(t, n.connect(t, probeAddress), "/healthz"); got != "200 OK" {
			t.Errorf("the kubelet gets %q", got)
		}
		if got := ask(t, n.connect(t, "127.0.0.9"), "/metrics"); got != "200 OK" {
			t.Errorf("Prometheus gets %q", got)
		}
	}
}

// A client that keeps its connections busy is limited to addressLimit, and does not
// lock out others.
func TestBusyConnections(t *testing.T) {
	asked, release := make(chan struct{}, 100), make(chan struct{})
	n := serveBounded(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
		t.Errorf("one more connection of the busy address gets %q", got)
	}
	if got := ask(t, n.connect(t, "127.0.0.3"), "/"); got != "200 OK" {
		t.Errorf("another address gets %q", got)
	}
	for i := range connectionLimit/addressLimit - 1 {
		busy(fmt.Sprintf("127.0.0.%d", 10+i), addressLimit)
	}
	if got := ask(t, n.connect(t, "127.0.0.3"), "/"); got != "" {
		t.Errorf("a connection beyond the limit gets %q", got)
	}
	if got := ask(t, n.connect(t, probeAddress), "/"); got != "200 OK" {
		t.Errorf("the kubelet gets %q", got)
	}
	if others, _ := n.held(); others != connectionLimit {
		t.Errorf("%d connections are open", others)
	}
}

// A connection that has sent part of a request can be replaced.
func TestPartialRequests(t *testing.T) {
	n := serveBounded(t, http.NotFoundHandler())
	for range 2 * addressLimit {
		_, _ = io.WriteString(n.connect(t, probeAddress), "GET /healthz HTTP/1.1\r\nHost:")
	}
	if got := ask(t, n.connect(t, probeAddress), "/"); got != "404 Not Found" {
		t.Errorf("the kubelet gets %q", got)
	}
	if _, loopback := n.held(); loopback > addressLimit {
		t.Errorf("%d connections are open", loopback)
	}
}

// The oldest connection of the address with the most connections is replaced, so a
// single connection from Prometheus is kept.
func TestWhichConnectionIsReplaced(t *testing.T) {
	n := serveBounded(t, http.NotFoundHandler())
	prometheus := n.connect(t, "127.0.0.9")
	var first net.Conn
	for i := range 2 * connectionLimit {
		conn := n.connect(t, fmt.Sprintf("127.0.0.%d", 20+i%5))
		if first == nil {
			first = conn
		}
	}
	eventually(t, "the end of the oldest connection", func() bool { return ask(t, first, "/") == "" })
	if got := ask(t, prometheus, "/"); got != "404 Not Found" {
		t.Errorf("Prometheus gets %q", got)
	}
}

// A closed connection no longer counts.
func TestClosedConnections(t *testing.T) {
	n := serveBounded(t, http.NotFoundHandler())
	var conns []net.Conn
	for i := range connectionLimit {
		conns = append(conns, n.connect(t, fmt.Sprintf("127.0.0.%d", 2+i/addressLimit)))
	}
	eventually(t, "all connections", func() bool { others, _ := n.held(); return others == connectionLimit })
	for _, c := range conns {
		_ = c.Close()
	}
	eventually(t, "no connection", func() bool { others, _ := n.held(); return others == 0 })
}

// Headers are bounded in size; a service account token fits.
func TestHeaderBounds(t *testing.T) {
	n := serveBounded(t, http.NotFoundHandler())
	for size, want := range map[int]string{4 << 10: "404 Not Found", 32 << 10: "431 Request Header Fields Too Large"} {
		conn := n.connect(t, probeAddress)
		_, _ = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", strings.Repeat("x", size))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.Status != want {
			t.Errorf("%d bytes: %v, %v, want %s", size, resp, err, want)
		}
	}
}

// Every wait for a client has a timeout.
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
		t.Error("a response may take longer than its connection allows")
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
