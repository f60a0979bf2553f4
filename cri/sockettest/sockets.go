// Package sockettest has TCP servers for tests that misbehave: ports that
// refuse, drop or do not respond, and relays.
package sockettest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Loopback is the address of all of them.
const Loopback = "127.0.0.1"

// Closed reserves a port that refuses connections: it is bound, so that nothing
// else gets it, but does not listen. The address is host:port.
func Closed() (address string, free func(), err error) {
	return bound(-1)
}

// ClosedPort returns a port of Loopback that refuses connections while the test
// runs.
func ClosedPort(tb testing.TB) string {
	tb.Helper()
	address, free, err := Closed()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(free)
	return Port(address)
}

// Port returns the port of an address, host:port.
func Port(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// Full reserves a port that does not respond: its accept queue is full, so that
// the kernel drops the packets of further clients.
func Full() (address string, free func(), err error) {
	address, release, err := bound(0)
	if err != nil {
		return "", nil, err
	}
	var fillers []net.Conn
	closeAll := func() {
		for _, c := range fillers {
			_ = c.Close()
		}
		release()
	}
	const most = 8
	for range most {
		conn, err := (&net.Dialer{Timeout: 300 * time.Millisecond}).Dial("tcp", address)
		if err != nil {
			return address, closeAll, nil // which is the point
		}
		fillers = append(fillers, conn)
	}
	closeAll()
	return "", nil, errors.New("a full accept queue does not block connections on this machine")
}

// bound returns a socket that is bound to a port, and listens unless backlog is
// negative. Package net cannot set the backlog.
func bound(backlog int) (address string, free func(), err error) {
	syscall.ForkLock.RLock() // only Linux has SOCK_CLOEXEC
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return "", nil, os.NewSyscallError("socket", err)
	}
	free = sync.OnceFunc(func() { _ = syscall.Close(fd) })
	err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	if err == nil && backlog >= 0 {
		err = syscall.Listen(fd, backlog)
	}
	var name syscall.Sockaddr
	if err == nil {
		name, err = syscall.Getsockname(fd)
	}
	in, ok := name.(*syscall.SockaddrInet4)
	if err != nil || !ok {
		free()
		return "", nil, os.NewSyscallError("bind", err)
	}
	return net.JoinHostPort(Loopback, strconv.Itoa(in.Port)), free, nil
}

// Listen passes every connection to a port of Loopback to handle, and closes it
// afterwards. It stops with the test. The address is host:port.
func Listen(tb testing.TB, handle func(net.Conn)) (address string) {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", net.JoinHostPort(Loopback, "0"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(Serve(l, handle))
	return l.Addr().String()
}

// Serve passes every connection to handle, and closes it afterwards. stop ends
// it and closes all connections.
func Serve(l net.Listener, handle func(net.Conn)) (stop func()) {
	var wg sync.WaitGroup
	conns := newConnections()
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if !conns.add(conn) {
				continue
			}
			wg.Go(func() {
				handle(conn)
				conns.remove(conn)
			})
		}
	})
	return func() {
		_ = l.Close()
		conns.closeAll()
		wg.Wait()
	}
}

// connections holds the open connections.
type connections struct {
	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
}

func newConnections() *connections { return &connections{open: map[net.Conn]bool{}} }

func (c *connections) add(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = conn.Close()
		return false
	}
	c.open[conn] = true
	return true
}

func (c *connections) remove(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, conn)
	_ = conn.Close()
}

func (c *connections) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for conn := range c.open {
		_ = conn.Close()
	}
}

// KeepSilent reads and never responds.
func KeepSilent(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// BreakOff resets the connection once the client has sent something.
func BreakOff(conn net.Conn) {
	_, _ = bufio.NewReader(conn).Peek(1)
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

// HangUp closes the connection once the client has sent something.
func HangUp(conn net.Conn) {
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	_, _ = bufio.NewReaderSize(conn, 64<<10).Peek(1)
	drain(conn)
}

// drain reads what has arrived, so that closing does not send a reset.
func drain(conn net.Conn) {
	_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	_, _ = io.Copy(io.Discard, conn)
}

// Relay copies bytes both ways until one side ends, and closes both. from holds
// what was already read from a.
func Relay(a net.Conn, from io.Reader, b net.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(b, from)
		_, _ = a.Close(), b.Close()
	}()
	_, _ = io.Copy(a, b)
	_, _ = a.Close(), b.Close()
	<-done
}
