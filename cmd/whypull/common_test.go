package main

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/kube/apitest"
)

// long is how long a test waits for what must happen; nothing waits that long
// when all is well.
const long = 30 * time.Second

// captured runs the program and gives its exit status and what it wrote. The
// standard streams are the process's, so tests that use it are not parallel.
func captured(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	out, errs := redirect(t, &os.Stdout), redirect(t, &os.Stderr)
	status = run(args)
	return status, out(), errs()
}

// redirect lets a standard stream go to a file until the text is taken.
func redirect(t *testing.T, stream **os.File) (text func() string) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stream"))
	if err != nil {
		t.Fatal(err)
	}
	old := *stream
	*stream = f
	restore := func() {
		*stream = old
		_ = f.Close()
	}
	t.Cleanup(restore)
	return func() string {
		restore()
		b, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}

// freePort is a loopback address on which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // of a test
	return l.Addr().String()
}

// kubeconfig is a file that points to an API server which is not there.
func kubeconfig(t *testing.T) string {
	t.Helper()
	return apitest.Kubeconfig(t, "http://"+freePort(t), nil)
}

// eventually waits for what must become true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(long); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s\n%s", what, strings.Join(goroutines(), "\n\n"))
		}
	}
}

// noGoroutinesLeft fails the test if it ends with more goroutines than it
// began with.
func noGoroutinesLeft(t *testing.T) {
	t.Helper()
	before := len(goroutines())
	t.Cleanup(func() {
		eventually(t, "the end of all goroutines", func() bool { return len(goroutines()) <= before })
	})
}

// goroutines are the stacks of those that the program may leave behind;
// klog's, which the process has once, is not among them.
func goroutines() []string {
	buf := make([]byte, 4<<20)
	all := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	return slices.DeleteFunc(all, func(s string) bool {
		return strings.Contains(s, "testing.") || strings.Contains(s, "klog/v2.(*flushDaemon)") || strings.Contains(s, "os/signal.")
	})
}
