package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/kube/apitest"
	"github.com/whypull/whypull/cri/asserttest"
	"github.com/whypull/whypull/cri/leaktest"
)

// long is how long a test waits for something that must happen; a passing test
// never waits that long.
const long = 30 * time.Second

// captured runs the program and returns its exit status and output. The
// standard streams are the process's, so tests that use it are not parallel.
func captured(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	out, errs := redirect(t, &os.Stdout), redirect(t, &os.Stderr)
	status = run(args)
	return status, out(), errs()
}

// redirect sends a standard stream to a file until text is called.
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

// freePort returns a loopback address on which nothing listens.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // of a test
	return l.Addr().String()
}

// kubeconfig returns a file that points to an API server that does not exist.
func kubeconfig(t *testing.T) string {
	t.Helper()
	return apitest.Kubeconfig(t, "http://"+freePort(t), nil)
}

var eventually = asserttest.Eventually

// noGoroutinesLeft fails the test if it ends with more goroutines than it began
// with, except for klog's, which the process starts once.
func noGoroutinesLeft(t *testing.T) {
	t.Helper()
	leaktest.Check(t, leaktest.Without("testing.", "klog/v2.(*flushDaemon)", "os/signal."))
}
