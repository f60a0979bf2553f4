package registry

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// dialer opens the connections of one conversation and closes them at its end: a dial or
// handshake in the background of net/http must not outlive the conversation.
type dialer struct {
	ctx      context.Context //nolint:containedctx // of the conversation; net/http detaches the one it hands over
	settings *Settings
	notes    *notes

	mu     sync.Mutex
	conns  []net.Conn
	closed bool
}

// dial is an http.Transport's DialContext. It uses only the values of the context, which say
// what the connection is for.
func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	aside := isAside(ctx)
	addrs, err := d.lookup(host, aside)
	if err != nil {
		return nil, err
	}
	conn, err := d.connect(network, addrs, uint16(number), aside)
	if err != nil {
		return nil, err
	}
	return conn, d.keep(conn)
}

func (d *dialer) lookup(host string, aside bool) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		d.notes.resolved([]netip.Addr{addr}, aside)
		return []netip.Addr{addr}, nil
	}
	defer d.notes.enter(PhaseDNS, aside)()
	if len(strings.TrimSuffix(host, ".")) > maxHostName { // as long as a header of a redirect; nobody keeps it
		return nil, &net.DNSError{Err: "name too long", IsNotFound: true}
	}
	ctx, cancel := context.WithTimeout(d.ctx, d.settings.Timeouts.DNS)
	defer cancel()
	addrs, err := d.resolve(ctx, host)
	if err != nil {
		return nil, asDNSError(err, host)
	}
	d.notes.resolved(addrs, aside)
	return addrs, nil
}

func (d *dialer) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if d.settings.Resolve != nil {
		return d.settings.Resolve(ctx, host)
	}
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// asDNSError wraps a resolver's error so that, for example, its "connection refused" is not
// mistaken for the registry's.
func asDNSError(err error, host string) error {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return err
	}
	var timeout net.Error
	return &net.DNSError{
		UnwrapErr: err,
		Err:       "lookup failed",
		Name:      host,
		IsTimeout: errors.As(err, &timeout) && timeout.Timeout(),
	}
}

// connect tries the addresses in turn and divides the timeout among them, as package net
// does, so that the first cannot use up all of it. It returns the first error.
func (d *dialer) connect(network string, addrs []netip.Addr, port uint16, aside bool) (net.Conn, error) {
	defer d.notes.enter(PhaseConnect, aside)()
	deadline := time.Now().Add(d.settings.Timeouts.Connect)
	firstErr := error(&net.DNSError{Err: "no addresses", IsNotFound: true})
	for i, addr := range addrs {
		share := time.Until(deadline) / time.Duration(len(addrs)-i)
		// A Control of the dialer would be too late: on Windows it gets a loopback address in
		// place of the unspecified one.
		conn, err := net.Conn(nil), refuseForbidden(addr)
		if err == nil {
			conn, err = (&net.Dialer{Timeout: share}).DialContext(d.ctx, network, netip.AddrPortFrom(addr, port).String())
		}
		if err == nil {
			d.notes.connected(conn, aside)
			return conn, nil
		}
		if i == 0 {
			firstErr = err
		}
	}
	return nil, firstErr
}

// keep registers the connection, or closes it if the conversation is over.
func (d *dialer) keep(conn net.Conn) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errors.Join(net.ErrClosed, conn.Close())
	}
	d.conns = append(d.conns, conn)
	return nil
}

func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, conn := range d.conns {
		_ = conn.Close() // usually closed already
	}
}
