package netns

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/whypull/whypull/cri/asserttest"
	"github.com/whypull/whypull/cri/sockettest"
)

// here and there are the names that the listeners of the two namespaces send.
const (
	here  = "host"
	there = "inside"
)

// testNamespace is a network namespace other than the process's own. Both have TCP and
// UDP listeners at the same address, which send the name of their namespace.
type testNamespace struct {
	path     string // the namespace file
	both     string // address of listeners in both namespaces
	hostOnly string // address of a TCP listener in the process's namespace only
	only     string // address of an IPv6 TCP listener in this namespace only
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("making a network namespace takes root")
	}
}

// newTestNamespace creates a namespace on a thread that exits, and mounts it on a file,
// like runtimes do.
func newTestNamespace(t testing.TB) *testNamespace {
	t.Helper()
	needRoot(t)
	w := &testNamespace{path: mountPoint(t, "ns")}
	w.both = serveTCP(t, here, "127.0.0.1:0")
	serveUDP(t, here, w.both)
	w.hostOnly = serveTCP(t, here, "127.0.0.1:0")
	onNewThread(t, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Mount(threadNetNS, w.path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		if err := loopbackUp(); err != nil {
			return err
		}
		serveTCP(t, there, w.both)
		serveUDP(t, there, w.both)
		w.only = serveTCP(t, there, "[::1]:0")
		return nil
	})
	return w
}

func (w *testNamespace) open(t testing.TB) *Namespace {
	t.Helper()
	n, err := Open("/", w.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// mountPoint creates an empty file that is unmounted and removed with the test.
func mountPoint(t testing.TB, name string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(file, unix.MNT_DETACH) })
	return file
}

// onNewThread runs f on a thread that exits with it. A listener for a literal
// address is created by the calling goroutine.
func onNewThread(t testing.TB, f func() error) {
	t.Helper()
	done, tid := make(chan error, 1), make(chan int, 1)
	go runAndExitThread(f, done, tid)
	id := <-tid
	if err := <-done; errors.Is(err, unix.EPERM) {
		t.Skipf("no network namespace may be made here: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the thread is gone", func() bool { return !exists(threadDir(id)) })
}

// runAndExitThread sends the thread's ID. It avoids the main thread, which cannot
// exit.
func runAndExitThread(f func() error, done chan<- error, tid chan<- int) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		inner := make(chan error, 1)
		go runAndExitThread(f, inner, tid)
		done <- <-inner
		runtime.UnlockOSThread()
		return
	}
	tid <- unix.Gettid()
	done <- f()
}

func threadDir(id int) string { return fmt.Sprintf("/proc/self/task/%d", id) }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // a test
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// serveTCP sends its name on each connection and closes it.
func serveTCP(t testing.TB, name, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Errorf("listener: %v", err)
		return address
	}
	t.Cleanup(sockettest.Serve(l, func(conn net.Conn) { sendName(conn, name) }))
	return l.Addr().String()
}

func sendName(conn net.Conn, name string) {
	_, _ = io.WriteString(conn, name)
	_, _ = io.Copy(io.Discard, conn) // until the client has closed
}

// serveUDP answers each packet with its name and the packet.
func serveUDP(t testing.TB, name, address string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Errorf("listener: %v", err)
		return
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buffer := make([]byte, 64)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(append([]byte(name+":"), buffer[:n]...), from)
		}
	}()
}

// readName reads a TCP listener's name and closes the connection.
func readName(conn net.Conn) (string, error) {
	defer conn.Close() //nolint:errcheck // a test
	buffer := make([]byte, 64)
	n, err := conn.Read(buffer)
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // no TIME_WAIT: there are thousands of connections
	}
	return string(buffer[:n]), err
}

// echo sends a packet and reads the response.
func echo(conn net.Conn) (string, error) {
	defer conn.Close() //nolint:errcheck // a test
	if _, err := conn.Write([]byte("x")); err != nil {
		return "", err
	}
	buffer := make([]byte, 64)
	n, err := conn.Read(buffer)
	return string(buffer[:n]), err
}

var eventually = asserttest.Eventually

// threads returns the network namespace of each thread of the process.
func threads(t testing.TB) map[string]string {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, task := range tasks {
		ns, err := os.Readlink(filepath.Join("/proc/self/task", task.Name(), "ns/net"))
		if err == nil { // else it has exited in the meantime
			all[task.Name()] = ns
		}
	}
	return all
}

// outside returns the threads that are not in the namespace home.
func outside(t testing.TB, home string) []string {
	t.Helper()
	var out []string
	for thread, ns := range threads(t) {
		if ns != home {
			out = append(out, thread+" "+ns)
		}
	}
	return out
}

// ownNetNS returns the main thread's namespace, which is the process's.
func ownNetNS(t testing.TB) string {
	t.Helper()
	ns, err := os.Readlink("/proc/self/ns/net")
	if err != nil || !strings.HasPrefix(ns, "net:[") {
		t.Fatalf("own namespace %q, %v", ns, err)
	}
	return ns
}

// openFiles counts the process's open files.
func openFiles(t testing.TB) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}
