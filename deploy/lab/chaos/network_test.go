package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/whypull/whypull/deploy/lab/nameserver"
	labnode "github.com/whypull/whypull/deploy/lab/node"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// treatment forwards a client's connection to the registry, well or badly, until one of
// them ends. Both are closed afterward.
type treatment func(client, upstream *net.TCPConn)

// passOn forwards everything.
func passOn(client, upstream *net.TCPConn) {
	go request(upstream, client)
	_, _ = io.Copy(client, upstream)
}

// request forwards what the client sends.
func request(upstream, client *net.TCPConn) {
	_, _ = io.Copy(upstream, client)
	_ = upstream.CloseWrite()
}

// neverAnswer reads what the client sends.
func neverAnswer(client, _ *net.TCPConn) { _, _ = io.Copy(io.Discard, client) }

// resetAfter resets the connection after n bytes of the answers.
func resetAfter(n int64) treatment {
	return func(client, upstream *net.TCPConn) {
		if n > 0 {
			go request(upstream, client)
			_, _ = io.CopyN(client, upstream, n)
		}
		_ = client.SetLinger(0)
	}
}

// silentAfter sends nothing more after n bytes of the answers.
func silentAfter(n int64) treatment {
	return func(client, upstream *net.TCPConn) {
		go func() { _, _ = io.CopyN(client, upstream, n) }()
		request(upstream, client)
	}
}

// creepAfter sends one byte a second after n bytes of the answers.
func creepAfter(n int64) treatment {
	return func(client, upstream *net.TCPConn) {
		go request(upstream, client)
		_, err := io.CopyN(client, upstream, n)
		for err == nil {
			time.Sleep(time.Second)
			_, err = io.CopyN(client, upstream, 1)
		}
	}
}

// intercepted leads the names of the registries to another address, and treats their
// connections there.
func intercepted(treat treatment) begin {
	return func(ctx context.Context) (end, error) {
		var all interceptor
		for port, upstream := range map[string]string{"443": registry.Resolve(registry.HubHost + ":443"), "5000": registry.Resolve(registry.PlainHost)} {
			listener, err := node.lab.Listen(ctx, "tcp", net.JoinHostPort(registry.ClosedAddress, port))
			if err != nil {
				return all.close, err
			}
			all.serve(listener, upstream, treat)
		}
		hosts := registry.Hosts()
		for _, name := range registryNames() {
			hosts[name] = registry.ClosedAddress
		}
		repair := func(ctx context.Context) error {
			return errors.Join(writeZone(ctx, registry.Hosts()), all.close(ctx))
		}
		return repair, writeZone(ctx, hosts)
	}
}

// registryNames returns the names of the registries that the pods use.
func registryNames() []string {
	plain, _, _ := net.SplitHostPort(registry.PlainHost)
	return []string{registry.HubHost, registry.UntrustedHost, registry.MirroredHost, plain}
}

// writeZone writes the zone of the node's DNS, and waits until it is in effect.
func writeZone(ctx context.Context, hosts map[string]string) error {
	if err := node.lab.WriteFile(labnode.ZoneFile, []byte(labnode.Zone(hosts))); err != nil {
		return err
	}
	late, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return node.lab.Dial(ctx, network, labnode.DNSAddress+":53")
	}}
	for {
		found, err := resolver.LookupHost(late, registry.HubHost+".")
		if err == nil && len(found) == 1 && found[0] == hosts[registry.HubHost] {
			return nil
		}
		if over := pause(late, 100*time.Millisecond); over != nil {
			return fmt.Errorf("the node's DNS resolves %s to %v: %w", registry.HubHost, found, errors.Join(over, err))
		}
	}
}

// interceptor accepts connections until it is closed.
type interceptor struct {
	mu     sync.Mutex
	closed bool
	open   []io.Closer
	ended  sync.WaitGroup
}

// keep notes what to close. It reports whether the interceptor is open.
func (i *interceptor) keep(all ...io.Closer) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.open = append(i.open, all...)
	return !i.closed
}

func (i *interceptor) serve(listener net.Listener, upstream string, treat treatment) {
	i.keep(listener)
	i.ended.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			i.ended.Go(func() {
				defer func() { _ = client.Close() }()
				server, err := node.lab.Dial(context.Background(), "tcp", upstream)
				if err != nil {
					return
				}
				defer func() { _ = server.Close() }()
				if i.keep(client, server) {
					treat(client.(*net.TCPConn), server.(*net.TCPConn))
				}
			})
		}
	})
}

// close ends all connections. Errors of closing one twice do not matter.
func (i *interceptor) close(context.Context) error {
	i.mu.Lock()
	i.closed = true
	for _, c := range i.open {
		_ = c.Close()
	}
	i.mu.Unlock()
	i.ended.Wait()
	return nil
}

// registryRecord is the DNS record of a registry's name.
type registryRecord struct{ answer nameserver.Answer }

// resolves replaces the node's DNS by one with other records of the registries' names.
// All other names do not exist.
func resolves(change func(*registryRecord)) begin {
	return func(ctx context.Context) (end, error) {
		var table nameserver.Table
		for name, address := range registry.Hosts() {
			r := registryRecord{nameserver.Answer{Addresses: []netip.Addr{netip.MustParseAddr(address)}}}
			change(&r)
			table = append(table, nameserver.Record{Name: name, Answer: r.answer})
		}
		missing := registryRecord{nameserver.Answer{Rcode: "NXDOMAIN"}}
		if change(&missing); len(missing.answer.Addresses) == 0 {
			table = append(table, nameserver.Record{Name: registry.MissingHost, Answer: missing.answer})
		}
		data, err := table.Write()
		if err != nil {
			return nil, err
		}
		dir, err := os.MkdirTemp("", "chaos")
		if err != nil {
			return nil, err
		}
		file := filepath.Join(dir, "table.json")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return nil, err
		}
		server, err := nameserver.New(file, io.Discard)
		if err != nil {
			return nil, err
		}
		serving, stop := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan error, 1)
		close(ended)
		repair := func(ctx context.Context) error {
			stop()
			return errors.Join(<-ended, node.lab.StartComponent(ctx, labnode.NodeDNS), os.RemoveAll(dir))
		}
		if err := node.lab.StopComponent(ctx, labnode.NodeDNS); err != nil {
			return repair, err
		}
		listener, err := node.lab.Listen(ctx, "tcp", labnode.DNSAddress+":53")
		if err != nil {
			return repair, err
		}
		packets, err := node.lab.ListenPacket(ctx, "udp", labnode.DNSAddress+":53")
		if err != nil {
			return repair, errors.Join(err, listener.Close())
		}
		ended = make(chan error, 1)
		go func() { ended <- server.Serve(serving, registry.NodeView, packets, listener) }()
		return repair, nil
	}
}
