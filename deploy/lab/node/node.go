// Package node runs a Kubernetes node and its control plane: the table of its
// components, their configuration, and the process that supervises them.
package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/whypull/whypull/deploy/lab/box"
	"github.com/whypull/whypull/deploy/lab/nameserver"
	"github.com/whypull/whypull/deploy/lab/registry"
	"github.com/whypull/whypull/deploy/lab/supervise"
)

// Roles that a program can have inside the lab (see box.RoleVariable).
const (
	RoleSupervise = "supervise"
	RoleTokens    = "tokens"
	RoleExpired   = "expired"
	RoleLimited   = "limited"
	RoleNames     = "names"
)

// ControlSocket is the supervisor's control socket.
const ControlSocket = "/run/lab/control.sock"

// forwardsFile holds the number of inherited sockets that lead to the API server.
const forwardsFile = "/etc/lab/forwards"

// ForwardsFile returns the path and content of the file with the number of listening
// sockets that the supervisor inherits.
func ForwardsFile(n int) (path, content string) { return forwardsFile, strconv.Itoa(n) + "\n" }

// Reexec runs one of the lab's roles if this process was started for one.
func Reexec() (played bool, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	switch os.Getenv(box.RoleVariable) {
	case RoleSupervise:
		return true, run(ctx)
	case RoleTokens:
		return true, registry.ServeTokens(ctx)
	case RoleExpired:
		return true, registry.ServeExpired(ctx)
	case RoleLimited:
		return true, registry.ServeLimited(ctx)
	case RoleNames:
		return true, serveNames(ctx)
	default:
		return false, nil
	}
}

// serveNames serves the zone whose answers depend on the client.
func serveNames(ctx context.Context) error {
	server, err := nameserver.New(NamesFile, os.Stdout)
	if err != nil {
		return err
	}
	return server.ServeViews(ctx, registry.Views())
}

// run supervises the node until it gets a signal to stop.
func run(ctx context.Context) error {
	// Components inherit the node's environment, but no role.
	if err := os.Unsetenv(box.RoleVariable); err != nil {
		return fmt.Errorf("environment: %w", err)
	}
	api, err := newAPIClient()
	if err != nil {
		return err
	}
	all := components(api)
	for i := range all {
		if all[i].Env == nil {
			all[i].Env = box.Environment()
		}
	}
	supervisor, err := supervise.New(LogDir, all)
	if err != nil {
		return err
	}
	listeners, err := forwardedListeners(ctx)
	if err != nil {
		return err
	}
	for _, l := range listeners {
		go Forward(ctx, l, func() (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "tcp", APIAddress) })
	}
	go supervisor.Run(ctx)
	return supervisor.Serve(ctx, ControlSocket)
}

// forwardedListeners returns the sockets that the supervisor has inherited from the
// machine, and a listener for the Service address, because there is no kube-proxy.
func forwardedListeners(ctx context.Context) ([]net.Listener, error) {
	service, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ServiceAddress+":443")
	if err != nil {
		return nil, fmt.Errorf("service address: %w", err)
	}
	all := []net.Listener{service}
	data, err := os.ReadFile(forwardsFile)
	if err != nil {
		return nil, fmt.Errorf("number of sockets: %w", err)
	}
	n, err := strconv.Atoi(string(data[:max(0, len(data)-1)]))
	if err != nil {
		return nil, fmt.Errorf("number of sockets: %w", err)
	}
	for i := range n {
		file := os.NewFile(uintptr(3+i), "listener")
		listener, err := net.FileListener(file)
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, fmt.Errorf("inherited socket: %w", err)
		}
		all = append(all, listener)
	}
	return all, nil
}

// Forward forwards every connection to one from dial, until ctx is done.
func Forward(ctx context.Context, listener net.Listener, dial func() (net.Conn, error)) {
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			if upstream, err := dial(); err == nil {
				splice(conn, upstream)
			}
		}()
	}
}

// splice copies in both directions until both sides are closed.
func splice(a, b net.Conn) {
	defer func() { _ = b.Close() }()
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			if half, ok := pair[0].(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			}
		})
	}
	both.Wait()
}
