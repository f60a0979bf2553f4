package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// made is what the thread inside brought back.
type made struct {
	fd  int
	err error
}

// socket makes a socket in the namespace: close-on-exec and non-blocking.
func (n *Namespace) socket(family, kind int) (int, error) {
	done := make(chan made, 1)
	go n.onOwnThread(family, kind, done)
	m := <-done
	return m.fd, m.err
}

// onOwnThread runs on a thread that is taken for it alone. Go's runtime ends a
// thread whose goroutine ends locked to it, so one that could not return to the
// process's namespace serves nobody again. While it is locked, the runtime makes
// new threads from another one, which never leaves (see startTemplateThread
// there).
//
// The main thread cannot end, and to the rest of the system its namespace is the
// process's. Another one is found by holding on to it.
func (n *Namespace) onOwnThread(family, kind int, done chan<- made) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		other := make(chan made, 1)
		go n.onOwnThread(family, kind, other)
		done <- <-other
		runtime.UnlockOSThread()
		return
	}
	m := made{fd: -1}
	home := true
	if err := n.control(func(fd int) { m, home = n.visit(fd, family, kind) }); err != nil {
		m = made{fd: -1, err: err}
	}
	if home {
		runtime.UnlockOSThread()
	}
	done <- m
}

// visit enters the namespace, makes a socket and returns. home tells that the
// thread is where it was before.
func (n *Namespace) visit(target, family, kind int) (m made, home bool) {
	back, err := unix.Open(threadNetNS, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return made{-1, fmt.Errorf("open %s: %w", threadNetNS, err)}, true
	}
	defer unix.Close(back) //nolint:errcheck // only read from
	if err := n.setns(target, unix.CLONE_NEWNET); err != nil {
		return made{-1, enterError(err)}, true
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		fd, err = -1, os.NewSyscallError("socket", err)
	}
	if lost := n.setns(back, unix.CLONE_NEWNET); lost != nil {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		return made{-1, fmt.Errorf("leaving the network namespace: %w", lost)}, false
	}
	return made{fd, err}, true
}

// enterError keeps a missing right apart from what a firewall says to a connect,
// which can be EPERM too.
func enterError(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: setns: %w", ErrNotPermitted, err)
	}
	return os.NewSyscallError("setns", err)
}
