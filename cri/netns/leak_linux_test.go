package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// check does what a diagnosis does: open, query over UDP, connect, be refused,
// close.
func (w *testNamespace) check(ctx context.Context) error {
	n, err := Open("/", w.path)
	if err != nil {
		return err
	}
	udp, err := n.DialContext(ctx, "udp", w.both)
	if err != nil {
		return err
	}
	if got, err := echo(udp); got != there+":x" {
		return fmt.Errorf("over UDP: %q, %w", got, err)
	}
	tcp, err := n.DialContext(ctx, "tcp", w.both)
	if err != nil {
		return err
	}
	if got, err := readName(tcp); got != there {
		return fmt.Errorf("over TCP: %q, %w", got, err)
	}
	if conn, err := n.DialContext(ctx, "tcp", "127.0.0.1:1"); !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%v, %w; want refused", conn, err)
	}
	return n.Close()
}

// checks runs a number of checks, some concurrently.
func (w *testNamespace) checks(t *testing.T, number int) {
	t.Helper()
	var group sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(number))
	for range 8 {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				if err := w.check(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}

// connect connects like the rest of the process.
func (w *testNamespace) connect() error {
	conn, err := net.Dial("tcp", w.both)
	if err != nil {
		return err
	}
	if got, err := readName(conn); got != here {
		return fmt.Errorf("a plain connection reached %q, %w", got, err)
	}
	return nil
}

// connectConcurrently makes many plain connections concurrently, so that all threads
// have work.
func (w *testNamespace) connectConcurrently(t *testing.T) {
	t.Helper()
	var group sync.WaitGroup
	for range 200 {
		group.Go(func() {
			if err := w.connect(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// connectInBackground makes plain connections until stop is called, which returns how many.
func (w *testNamespace) connectInBackground(t *testing.T) (stop func() int64) {
	var group sync.WaitGroup
	var over atomic.Bool
	var number atomic.Int64
	for range 2 {
		group.Go(func() {
			for !over.Load() && !t.Failed() {
				if err := w.connect(); err != nil {
					t.Error(err)
				}
				number.Add(1)
				time.Sleep(time.Millisecond) // the checks should be the load
			}
		})
	}
	return func() int64 {
		over.Store(true)
		group.Wait()
		return number.Load()
	}
}

// After thousands of checks the process has the same threads and files as
// before, all threads are in its own namespace, and none of the plain
// connections made during or after the checks came from another namespace.
func TestNoLeaks(t *testing.T) {
	number := 10_000
	if testing.Short() {
		number = 500
	}
	w := newTestNamespace(t)
	home := ownNetNS(t)
	stop := w.connectInBackground(t)
	w.checks(t, 200) // the threads that the load needs in any case
	w.connectConcurrently(t)
	stop()
	settled := func() bool { return len(outside(t, home)) == 0 }
	eventually(t, "all threads are home", settled)
	threadsBefore, filesBefore := len(threads(t)), openFiles(t)

	stop = w.connectInBackground(t)
	w.checks(t, number)
	plain := stop()
	w.connectConcurrently(t)
	if plain == 0 {
		t.Error("no plain connection was made meanwhile")
	}
	if others := outside(t, home); len(others) > 0 {
		t.Errorf("threads in another namespace: %q", others)
	}
	// The scheduler creates a few more threads at will, and keeps them.
	if after := len(threads(t)); after > threadsBefore+32 {
		t.Errorf("%d threads before, %d after", threadsBefore, after)
	}
	eventually(t, fmt.Sprintf("no more open files than %d", filesBefore), func() bool { return openFiles(t) <= filesBefore })
	t.Logf("%d checks, %d plain connections meanwhile; threads %d → %d", number, plain, threadsBefore, len(threads(t)))
}

// A thread that cannot return exits and is never reused.
func TestThreadThatCannotReturn(t *testing.T) {
	w := newTestNamespace(t)
	home := ownNetNS(t)
	n := w.open(t)
	if err := w.check(t.Context()); err != nil {
		t.Fatal(err)
	}
	files := openFiles(t)
	var mu sync.Mutex
	calls := map[int]int{}
	n.setns = func(fd, kind int) error {
		mu.Lock()
		defer mu.Unlock()
		// A thread's second setns is the return.
		if calls[unix.Gettid()]++; calls[unix.Gettid()] == 2 {
			return unix.EPERM
		}
		return unix.Setns(fd, kind)
	}
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			conn, err := n.DialContext(t.Context(), "tcp", w.both)
			if conn != nil || !errors.Is(err, syscall.EPERM) || errors.Is(err, ErrNotPermitted) {
				t.Errorf("%v, error %v; want that there is no way back", conn, err)
			}
			if err := w.connect(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	w.connectConcurrently(t)
	if len(calls) != 50 {
		t.Errorf("%d threads could not return; want one for each of 50 dials", len(calls))
	}
	for id := range calls {
		if id == unix.Getpid() {
			t.Error("the main thread was sent away")
		}
		eventually(t, "the thread is gone", func() bool { return !exists(threadDir(id)) })
	}
	if others := outside(t, home); len(others) > 0 {
		t.Errorf("threads in another namespace: %q", others)
	}
	eventually(t, "the files are closed", func() bool { return openFiles(t) <= files })
	w.connectConcurrently(t)
}

// A socket that cannot be created leaves nothing behind either.
func TestNoSocket(t *testing.T) {
	w := newTestNamespace(t)
	n := w.open(t)
	if fd, err := n.socket(unix.AF_MAX, unix.SOCK_STREAM); fd != -1 || !errors.Is(err, unix.EAFNOSUPPORT) {
		t.Errorf("%d, error %v; want no such family", fd, err)
	}
	if others := outside(t, ownNetNS(t)); len(others) > 0 {
		t.Errorf("threads in another namespace: %q", others)
	}
	w.connectConcurrently(t)
}
