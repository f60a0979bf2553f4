package faulttest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
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

// nameServer answers by the last label before the domain: the names of nxdomain
// do not exist, and so on.
type nameServer struct {
	address string
	servers []*dns.Server
	wg      sync.WaitGroup
}

func newNameServer(address string) (*nameServer, error) {
	if address != "" {
		return openNameServer(address)
	}
	var failures []error
	for range 50 { // a port that is free for UDP may not be for TCP
		s, err := openNameServer(net.JoinHostPort(loopback, "0"))
		if err == nil {
			return s, nil
		}
		failures = append(failures, err)
	}
	return nil, errors.Join(failures...)
}

func openNameServer(address string) (*nameServer, error) {
	var config net.ListenConfig
	packets, err := config.ListenPacket(context.Background(), "udp", address)
	if err != nil {
		return nil, fmt.Errorf("name server: %w", err)
	}
	s := &nameServer{address: packets.LocalAddr().String()}
	stream, err := config.Listen(context.Background(), "tcp", s.address)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("name server: %w", err), packets.Close())
	}
	handler := dns.HandlerFunc(answerName)
	s.servers = []*dns.Server{{PacketConn: packets, Handler: handler}, {Listener: stream, Handler: handler}}
	for _, server := range s.servers {
		started := make(chan struct{})
		server.NotifyStartedFunc = sync.OnceFunc(func() { close(started) })
		s.wg.Go(func() { _ = server.ActivateAndServe() })
		<-started
	}
	return s, nil
}

func (s *nameServer) close() {
	for _, server := range s.servers {
		_ = server.Shutdown()
	}
	s.wg.Wait()
}

// stateOf is the label that decides about a name; those of hosts for blobs
// begin with "cdn-". A name of another domain has none.
func stateOf(name string) (state string, ours bool) {
	rest, ours := strings.CutSuffix(strings.TrimSuffix(strings.ToLower(name), "."), "."+domain)
	labels := strings.Split(rest, ".")
	return strings.TrimPrefix(labels[len(labels)-1], "cdn-"), ours
}

func answerName(w dns.ResponseWriter, q *dns.Msg) {
	r := new(dns.Msg).SetReply(q)
	r.Authoritative, r.RecursionAvailable = true, true
	name, kind := q.Question[0].Name, q.Question[0].Qtype
	state, ours := stateOf(name)
	switch {
	case !ours || state == hostNXDOMAIN:
		r.Rcode = dns.RcodeNameError
	case state == hostNoData:
	case state == hostServfail:
		r.Rcode = dns.RcodeServerFailure
	case state == hostDNSRefused:
		r.Rcode = dns.RcodeRefused
	case state == hostDNSSilent:
		return
	case state == hostOnly6 && kind == dns.TypeAAAA:
		r.Answer = []dns.RR{&dns.AAAA{Hdr: header(name, kind), AAAA: net.ParseIP(unreachable6)}}
	case state != hostOnly6 && kind == dns.TypeA:
		r.Answer = []dns.RR{&dns.A{Hdr: header(name, kind), A: net.ParseIP(loopback)}}
	}
	_ = w.WriteMsg(r)
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: 5}
}

// NameServer is the address of the world's name server, as host:port.
func (w *World) NameServer() string { return w.dns.address }

// Resolve asks the world's name server for the addresses of a host. Its errors
// are *net.DNSError.
func (w *World) Resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		addrs, err := w.dns.lookup(ctx, host, kind)
		if err != nil {
			return nil, err
		}
		out = append(out, addrs...)
	}
	if len(out) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, Server: w.dns.address, IsNotFound: true}
	}
	slices.SortFunc(out, func(a, b netip.Addr) int { return cmp.Compare(a.String(), b.String()) })
	return out, nil
}

func (s *nameServer) lookup(ctx context.Context, host string, kind uint16) ([]netip.Addr, error) {
	failed := &net.DNSError{Name: host, Server: s.address}
	resp, _, err := new(dns.Client).ExchangeContext(ctx, new(dns.Msg).SetQuestion(dns.Fqdn(host), kind), s.address)
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
