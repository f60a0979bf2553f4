package netns

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDialReachesTheNamespace(t *testing.T) {
	w := newTestNamespace(t)
	n := w.open(t)
	for name, tc := range map[string]struct {
		address string
		want    string
	}{
		"both":        {w.both, there},
		"IPv4 in 6":   {strings.Replace(w.both, "127.0.0.1", "[::ffff:127.0.0.1]", 1), there},
		"IPv6":        {w.only, there},
		"not outside": {w.hostOnly, ""},
	} {
		conn, err := n.DialContext(t.Context(), "tcp", tc.address)
		if tc.want == "" {
			if !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s: error %v, want refused", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, ok := conn.(*net.TCPConn); !ok {
			t.Errorf("%s: a %T", name, conn)
		}
		if got, err := readName(conn); got != tc.want || err != nil {
			t.Errorf("%s: reached %q, %v; want %q", name, got, err, tc.want)
		}
	}
	// The process itself has not moved.
	conn, err := net.Dial("tcp", w.both)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readName(conn); got != here {
		t.Errorf("a plain dial reached %q, %v", got, err)
	}
	if conn, err := net.Dial("tcp", w.only); err == nil {
		_ = conn.Close()
		t.Error("a listener of the namespace is reached from outside")
	}
}

func TestDialUDP(t *testing.T) {
	w := newTestNamespace(t)
	conn, err := w.open(t).DialContext(t.Context(), "udp", w.both)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := conn.(*net.UDPConn); !ok {
		t.Errorf("a %T", conn)
	}
	if got, err := echo(conn); got != there+":x" {
		t.Errorf("answer %q, %v", got, err)
	}
	// Nothing listens there: the connected socket reports it.
	conn, err = w.open(t).DialContext(t.Context(), "udp", w.hostOnly)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := echo(conn); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("answer %q, %v; want refused", got, err)
	}
}

// Errors look like those of net.Dialer.
func TestErrorsMatchNetDialer(t *testing.T) {
	n := newTestNamespace(t).open(t)
	for _, network := range []string{"tcp", "udp"} {
		const refused = "127.0.0.1:1"
		_, ours := n.DialContext(t.Context(), network, refused)
		_, theirs := (&net.Dialer{}).DialContext(t.Context(), network, refused)
		if network == "udp" {
			if ours != nil || theirs != nil {
				t.Errorf("udp: %v, %v", ours, theirs)
			}
			continue
		}
		var op *net.OpError
		if !errors.As(ours, &op) || op.Timeout() || ours.Error() != theirs.Error() {
			t.Errorf("got %v, net.Dialer says %v", ours, theirs)
		}
	}
	// It has a loopback only.
	for _, address := range []string{"192.0.2.1:53", "[2001:db8::1]:53"} {
		for _, network := range []string{"tcp", "udp"} {
			if _, err := n.DialContext(t.Context(), network, address); !errors.Is(err, syscall.ENETUNREACH) && !errors.Is(err, syscall.EADDRNOTAVAIL) {
				t.Errorf("%s %s: error %v, want that there is no way", network, address, err)
			}
		}
	}
}

func TestDialRejectsUnsupported(t *testing.T) {
	n := newTestNamespace(t).open(t)
	for _, tc := range []struct{ network, address, want string }{
		{"tcp", "localhost:80", "want an IP address and port"},
		{"tcp", "127.0.0.1", "want an IP address and port"},
		{"tcp", "127.0.0.1:http", "want an IP address and port"},
		{"udp", ":53", "want an IP address and port"},
		{"udp", "[fe80::1%lo]:53", "zone"},
		{"unix", "/run/x.sock", "unknown network"},
		{"tcp4", "127.0.0.1:80", "unknown network"},
	} {
		conn, err := n.DialContext(t.Context(), tc.network, tc.address)
		var op *net.OpError
		if conn != nil || !errors.As(err, &op) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s %s: %v, error %v; want %q", tc.network, tc.address, conn, err, tc.want)
		}
	}
}

// silent returns the address of a listener in the namespace whose accept queue
// is full.
func silent(t *testing.T, n *Namespace) string {
	t.Helper()
	fd, err := n.socket(unix.AF_INET, unix.SOCK_STREAM)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: at.(*unix.SockaddrInet4).Port}).String()
	for !full(t, fd) { // a connection that takes long does not show it
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		conn, err := n.DialContext(ctx, "tcp", address)
		cancel()
		if err == nil {
			t.Cleanup(func() { _ = conn.Close() })
		}
	}
	return address
}

// full reports whether the accept queue of a listener is full.
func full(t *testing.T, fd int) bool {
	t.Helper()
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		t.Fatal(err)
	}
	return info.Unacked > info.Sacked // of a listener: the connections in its queue, and its limit (tcp_get_info)
}

func TestDialContext(t *testing.T) {
	n := newTestNamespace(t).open(t)
	address := silent(t, n)
	ended := func(name string, ctx context.Context, want error, timeout bool) {
		t.Helper()
		conn, err := n.DialContext(ctx, "tcp", address)
		var op *net.OpError
		if conn != nil || want != nil && !errors.Is(err, want) || !errors.As(err, &op) || op.Timeout() != timeout {
			t.Errorf("%s: %v, error %v; want %v", name, conn, err, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	ended("deadline", ctx, nil, true) // whether the context or the socket reports it first
	ended("deadline that is over", ctx, context.DeadlineExceeded, true)

	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	ended("canceled", ctx, context.Canceled, false)
	ended("canceled before", ctx, context.Canceled, false)
}

func TestConnectionsOutliveTheNamespacesFile(t *testing.T) {
	w := newTestNamespace(t)
	n, err := Open("/", w.path)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := n.DialContext(t.Context(), "udp", w.both)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := echo(conn); got != there+":x" {
		t.Errorf("answer %q, %v", got, err)
	}
	if _, err := n.DialContext(t.Context(), "udp", w.both); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: error %v", err)
	}
	if err := n.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed again: error %v", err)
	}
}

// Close during dials: each dial gets a connection into the namespace or an
// error.
func TestCloseWhileDialing(t *testing.T) {
	w := newTestNamespace(t)
	for range 20 {
		n, err := Open("/", w.path)
		if err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				conn, err := n.DialContext(t.Context(), "tcp", w.both)
				if errors.Is(err, os.ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := readName(conn); got != there {
					t.Errorf("reached %q, %v", got, err)
				}
			})
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		group.Wait()
	}
}

// A process that is root in a user namespace of its own may open the file but
// has no capabilities over the namespace.
func TestDialNotPermitted(t *testing.T) {
	const variable = "NETNS_TEST_WITHOUT_RIGHT"
	if path := os.Getenv(variable); path != "" {
		n, err := Open("/", path)
		if err != nil {
			t.Fatal(err)
		}
		for _, network := range []string{"tcp", "udp"} {
			var op *net.OpError
			if _, err := n.DialContext(t.Context(), network, "127.0.0.1:1"); !errors.Is(err, ErrNotPermitted) || !errors.Is(err, syscall.EPERM) || !errors.As(err, &op) {
				t.Errorf("%s: error %v, want not permitted", network, err)
			}
		}
		if others := outside(t, ownNetNS(t)); len(others) > 0 {
			t.Errorf("threads elsewhere: %q", others)
		}
		return
	}
	w := newTestNamespace(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDialNotPermitted$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"="+w.path)
	root := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: root, GidMappings: root}
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Skipf("no user namespace can be made here: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestDialNotPermitted") {
		t.Errorf("%v\n%s", err, out)
	}
}
