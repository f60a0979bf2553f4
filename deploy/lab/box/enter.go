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

// namespaces in the order in which a thread enters them: the mounts last,
// because the paths of the others are then gone.
func namespaces() []string { return []string{"cgroup", "ipc", "uts", "net", "pid", "mnt"} }

// Run runs a command inside the box. Its path is looked up there.
func (b *Box) Run(ctx context.Context, cmd *exec.Cmd) error {
	started := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine and takes the
		// namespaces that it has entered with it.
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

// enter moves the calling thread, which must be locked, into namespaces of the box.
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
	// A thread that shares its root folder with others may not change mounts.
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

// Dial connects to a literal address inside the box. A socket stays in the
// network it was made in, so the connection can be used from anywhere.
func (b *Box) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		if err := b.enter("net"); err != nil {
			done <- result{err: err}
			return
		}
		// With one literal address the dialer makes the socket on this thread.
		dialer := &net.Dialer{Timeout: time.Minute}
		conn, err := dialer.DialContext(ctx, network, address)
		done <- result{conn, err}
	}()
	r := <-done
	if r.err != nil {
		return nil, fmt.Errorf("inside the lab: %w", r.err)
	}
	return r.conn, nil
}

// lookPath finds a program by the PATH that it will run with, which is not
// that of this process.
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

// variable returns the last value of a variable, as a started program sees it.
func variable(environment []string, name string) string {
	value := ""
	for _, v := range environment {
		if after, ok := strings.CutPrefix(v, name+"="); ok {
			value = after
		}
	}
	return value
}
