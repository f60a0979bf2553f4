package box

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// namespaces returns the namespaces in the order in which a thread enters them: mounts
// last, because afterward the paths of the others are gone.
func namespaces() []string { return []string{"cgroup", "ipc", "uts", "net", "pid", "mnt"} }

// Run runs a command inside the box. It looks up the command's path there.
func (b *Box) Run(ctx context.Context, cmd *exec.Cmd) error {
	started := make(chan error, 1)
	go func() {
		// Never unlocked: the thread, with the namespaces that it has entered, ends
		// with the goroutine.
		runtime.LockOSThread()
		started <- b.startHere(cmd)
	}()
	if err := <-started; err != nil {
		return err
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-ctx.Done():
			_ = cmd.Process.Kill()
		case <-done:
		}
	}()
	return errors.Join(cmd.Wait(), ctx.Err())
}

// startHere moves the calling thread into the box and starts cmd from it.
func (b *Box) startHere(cmd *exec.Cmd) error {
	if err := b.enter(namespaces()...); err != nil {
		return err
	}
	path, err := lookPath(cmd.Args[0], cmd.Environ())
	if err != nil {
		return fmt.Errorf("inside the lab: %w", err)
	}
	cmd.Path, cmd.Err = path, nil
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("inside the lab: %w", err)
	}
	return nil
}

// enter moves the calling thread, which must be locked, into the given namespaces of
// the box.
func (b *Box) enter(kinds ...string) error {
	files := map[string]*os.File{}
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	for _, kind := range kinds {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", b.PID, kind))
		if err != nil {
			return fmt.Errorf("namespace of the box: %w", err)
		}
		files[kind] = f
	}
	// A thread that shares its root directory with others cannot enter a mount
	// namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("leaving the shared root: %w", err)
	}
	for _, kind := range kinds {
		if err := unix.Setns(int(files[kind].Fd()), 0); err != nil { // #nosec G115 -- a descriptor is a small number
			return fmt.Errorf("entering the %s namespace: %w", kind, err)
		}
	}
	return nil
}

// Dial connects to a literal address inside the box.
func (b *Box) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return inNetwork(b, func() (net.Conn, error) {
		// With a single literal address, the dialer creates the socket on this thread.
		return (&net.Dialer{Timeout: time.Minute}).DialContext(ctx, network, address)
	})
}

// Listen listens on a literal address inside the box.
func (b *Box) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return inNetwork(b, func() (net.Listener, error) { return (&net.ListenConfig{}).Listen(ctx, network, address) })
}

// ListenPacket listens for packets on a literal address inside the box.
func (b *Box) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	return inNetwork(b, func() (net.PacketConn, error) { return (&net.ListenConfig{}).ListenPacket(ctx, network, address) })
}

// inNetwork opens a socket inside the box. A socket stays in the network namespace in
// which it was created, so it can be used from anywhere.
func inNetwork[T any](b *Box, open func() (T, error)) (T, error) {
	type result struct {
		socket T
		err    error
	}
	done := make(chan result, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		if err := b.enter("net"); err != nil {
			done <- result{err: err}
			return
		}
		socket, err := open()
		done <- result{socket, err}
	}()
	r := <-done
	if r.err != nil {
		return r.socket, fmt.Errorf("inside the lab: %w", r.err)
	}
	return r.socket, nil
}

// lookPath finds a program in the PATH of the given environment, not of this process.
func lookPath(program string, environment []string) (string, error) {
	if strings.Contains(program, "/") {
		return program, nil
	}
	for _, dir := range filepath.SplitList(variable(environment, "PATH")) {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", program, exec.ErrNotFound)
}

// variable returns the last value of a variable, which is the one that a started
// program sees.
func variable(environment []string, name string) string {
	value := ""
	for _, v := range environment {
		if after, ok := strings.CutPrefix(v, name+"="); ok {
			value = after
		}
	}
	return value
}
