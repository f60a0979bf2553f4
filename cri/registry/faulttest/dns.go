package faulttest

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/whypull/whypull/cri/dnstest"
	"github.com/whypull/whypull/cri/sockettest"
)

// The domains of the world.
const (
	// domain has the registries.
	domain = "fault.example"
	// proxiedDomain has registries that only the proxy can reach: the name
	// server has none of their names.
	proxiedDomain = "proxied.example"
	// downDomain has registries behind proxies that are down.
	downDomain = "proxydown.example"
)

// unreachable6 is an address of a network for documentation, which no route
// leads to.
const unreachable6 = "2001:db8::1"

// stateOf is the label that decides about a name; those of hosts for blobs
// begin with "cdn-". A name of another domain has none.
func stateOf(name string) (state string, ours bool) {
	rest, ours := strings.CutSuffix(strings.TrimSuffix(strings.ToLower(name), "."), "."+domain)
	labels := strings.Split(rest, ".")
	return strings.TrimPrefix(labels[len(labels)-1], "cdn-"), ours
}

// zoneOf is what the name server says of a name: it goes by the last label before
// the domain, so the names of nxdomain do not exist, and so on.
func zoneOf(name string) (zone dnstest.Zone, exists bool) {
	state, ours := stateOf(name)
	switch state {
	case hostNXDOMAIN:
		return zone, false
	case hostNoData:
	case hostServfail:
		zone.Rcode = dns.RcodeServerFailure
	case hostDNSRefused:
		zone.Rcode = dns.RcodeRefused
	case hostDNSSilent:
		zone.Silent = true
	case hostOnly6:
		zone.Addresses = []string{unreachable6}
	default:
		zone.Addresses = []string{sockettest.Loopback}
	}
	return zone, ours
}

// NameServer is the address of the world's name server, as host:port.
func (w *World) NameServer() string { return w.dns.Address }

// Resolve asks the world's name server for the addresses of a host. Its errors
// are *net.DNSError.
func (w *World) Resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		addrs, err := lookup(ctx, w.dns.Address, host, kind)
		if err != nil {
			return nil, err
		}
		out = append(out, addrs...)
	}
	if len(out) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, Server: w.dns.Address, IsNotFound: true}
	}
	slices.SortFunc(out, func(a, b netip.Addr) int { return cmp.Compare(a.String(), b.String()) })
	return out, nil
}

func lookup(ctx context.Context, server, host string, kind uint16) ([]netip.Addr, error) {
	failed := &net.DNSError{Name: host, Server: server}
	resp, _, err := new(dns.Client).ExchangeContext(ctx, new(dns.Msg).SetQuestion(dns.Fqdn(host), kind), server)
	var timeout net.Error
	switch {
	case err != nil:
		failed.Err, failed.UnwrapErr = "no answer", err
		failed.IsTimeout = errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
		return nil, failed
	case resp.Rcode == dns.RcodeNameError:
		failed.Err, failed.IsNotFound = "no such host", true
		return nil, failed
	case resp.Rcode != dns.RcodeSuccess:
		failed.Err, failed.IsTemporary = "server misbehaving", true
		return nil, failed
	}
	return addressesOf(resp.Answer), nil
}

func addressesOf(records []dns.RR) []netip.Addr {
	var out []netip.Addr
	for _, rr := range records {
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		}
		if addr, ok := netip.AddrFromSlice(ip); ok {
			out = append(out, addr.Unmap())
		}
	}
	return out
}
