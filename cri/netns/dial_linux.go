package netns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errZone is returned for an address with a zone.
var errZone = errors.New("addresses with a zone are not supported: the zone is an interface of the other namespace")

// DialContext connects from inside the namespace. The network is tcp or udp;
// the address is an IP address and port. Names are refused, because they would
// be resolved in the process's own namespace, and so are IPv6 zones.
//
// Errors are *net.OpError like those of net.Dialer: they wrap the system call's
// errno, and Timeout returns true if the deadline of the context or the kernel
// has passed. Without permission to enter, the error wraps ErrNotPermitted.
func (n *Namespace) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	to, kind, err := target(network, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: to.addr, Err: err}
	}
	conn, err := n.dial(ctx, to, kind)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: to.addr, Err: err}
	}
	return conn, nil
}

// remote is the destination in the forms that callees need.
type remote struct {
	addr   net.Addr
	family int
	sock   unix.Sockaddr
}

// target parses a network and an address.
func target(network, address string) (to remote, kind int, err error) {
	if network != "tcp" && network != "udp" {
		return remote{}, 0, net.UnknownNetworkError(network)
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return remote{}, 0, &net.AddrError{Err: "want an IP address and port", Addr: address}
	}
	ap = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	to, kind = remote{addr: net.TCPAddrFromAddrPort(ap)}, unix.SOCK_STREAM
	if network == "udp" {
		to.addr, kind = net.UDPAddrFromAddrPort(ap), unix.SOCK_DGRAM
	}
	if ap.Addr().Zone() != "" {
		return to, 0, errZone
	}
	if ap.Addr().Is4() {
		to.family, to.sock = unix.AF_INET, &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
	} else {
		to.family, to.sock = unix.AF_INET6, &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
	}
	return to, kind, nil
}

func (n *Namespace) dial(ctx context.Context, to remote, kind int) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fd, err := n.socket(to.family, kind)
	if err != nil {
		return nil, err
	}
	// The file is non-blocking, so that waiting for it blocks no thread.
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close() //nolint:errcheck // the connection has a duplicate
	if err := connect(ctx, file, to.sock); err != nil {
		return nil, err
	}
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	if selfConnected(conn) {
		_ = conn.Close()
		return nil, os.NewSyscallError("connect", unix.ECONNREFUSED)
	}
	return conn, nil
}

// connect connects, and waits for the result or the end of the context.
func connect(ctx context.Context, file *os.File, to unix.Sockaddr) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = file.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	var connected error
	started := false
	waited := raw.Write(func(fd uintptr) (over bool) {
		if !started {
			started = true
			over, connected = begun(unix.Connect(int(fd), to))
			return over
		}
		over, connected = outcome(int(fd))
		return over
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	if connected != nil {
		return connected
	}
	return waited
}

// begun interprets the result of a non-blocking connect.
func begun(err error) (over bool, failed error) {
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EINPROGRESS), errors.Is(err, unix.EALREADY), errors.Is(err, unix.EINTR):
		return false, nil
	default:
		return true, os.NewSyscallError("connect", err)
	}
}

// outcome returns the result of a pending connect. A socket may become writable
// before the result is known, so only having a peer counts.
func outcome(fd int) (over bool, failed error) {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return true, os.NewSyscallError("getsockopt", err)
	}
	if code != 0 {
		return begun(unix.Errno(code))
	}
	_, err = unix.Getpeername(fd)
	return err == nil, nil
}

// selfConnected reports whether a TCP socket is connected to itself. The kernel
// does that if nothing listens on the port and it picks that very port as the
// source, so it means that the connection is refused.
func selfConnected(conn net.Conn) bool {
	tcp, ok := conn.(*net.TCPConn)
	return ok && tcp.LocalAddr().String() == tcp.RemoteAddr().String()
}
