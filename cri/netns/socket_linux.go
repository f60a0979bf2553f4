package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// created is the result of the thread in the namespace.
type created struct {
	fd  int
	err error
}

// socket creates a close-on-exec, non-blocking socket in the namespace.
func (n *Namespace) socket(family, kind int) (int, error) {
	done := make(chan created, 1)
	go n.onOwnThread(family, kind, done)
	m := <-done
	return m.fd, m.err
}

// onOwnThread runs on a dedicated thread. Go's runtime ends a thread whose
// goroutine exits while locked to it, so a thread that could not return to the
// process's namespace is never reused. Meanwhile, the runtime creates new
// threads from another one, which never leaves (see startTemplateThread there).
//
// The main thread cannot exit, and to the rest of the system its namespace is
// the process's. Keeping it locked makes the scheduler pick another thread.
func (n *Namespace) onOwnThread(family, kind int, done chan<- created) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		other := make(chan created, 1)
		go n.onOwnThread(family, kind, other)
		done <- <-other
		runtime.UnlockOSThread()
		return
	}
	m := created{fd: -1}
	home := true
	if err := n.control(func(fd int) { m, home = n.visit(fd, family, kind) }); err != nil {
		m = created{fd: -1, err: err}
	}
	if home {
		runtime.UnlockOSThread()
	}
	done <- m
}

// visit enters the namespace, creates a socket and returns. home reports
// whether the thread is back in its original namespace.
func (n *Namespace) visit(target, family, kind int) (m created, home bool) {
	back, err := unix.Open(threadNetNS, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return created{-1, fmt.Errorf("open %s: %w", threadNetNS, err)}, true
	}
	defer unix.Close(back) //nolint:errcheck // only read from
	if err := n.setns(target, unix.CLONE_NEWNET); err != nil {
		if errors.Is(err, unix.EPERM) { // unlike that of a connect, which a firewall can reject: a capability is missing
			return created{-1, fmt.Errorf("%w: setns: %w", ErrNotPermitted, err)}, true
		}
		return created{-1, os.NewSyscallError("setns", err)}, true
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		fd, err = -1, os.NewSyscallError("socket", err)
	}
	if lost := n.setns(back, unix.CLONE_NEWNET); lost != nil {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		return created{-1, fmt.Errorf("leave the network namespace: %w", lost)}, false
	}
	return created{fd, err}, true
}
