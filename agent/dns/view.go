package dns

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/whypull/whypull/agent/diagnosis"
)

// Default time limits.
const (
	serverTimeout = 2 * time.Second
	// onlyServerTimeout is serverTimeout where there is no other server to ask. Go and the
	// C library wait even longer: an answer that comes late enough for them is no timeout.
	onlyServerTimeout = 4 * time.Second
	lookupTimeout     = 5 * time.Second
	attempts          = 2 // like the C library and Go
	dnsPort           = 53
)

// DialFunc opens a socket. The network is "udp" or "tcp"; the address is an IP
// address and port, with IPv6 addresses in brackets and with their zone. As
// with net.Resolver.Dial, a net.PacketConn carries packets and any other
// connection carries a stream. Network errors must be *net.OpError, as
// net.Dialer returns them; any other error means that no query was sent.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// View is a place from which names are resolved.
type View struct {
	Config
	// Style selects the resolver rules to follow.
	Style Style
	// Hosts are checked before any server is asked.
	Hosts Hosts
	// Dial opens all sockets; nil means net.Dialer in this process's network.
	Dial DialFunc
	// Port is the servers' port; 0 means 53.
	Port uint16
	// Upstream holds the servers that systemd-resolved forwards to when its
	// stub is one of Servers; empty if there is no stub or they are not known.
	Upstream []netip.Addr
	// Unconfigured reports whether resolv.conf cannot be read, so no server is known.
	Unconfigured bool
	// ServerTimeout limits the time spent on one server for one name, in
	// addition to the configuration's own timeout; 0 means 2 s, or 4 s if there is only one.
	ServerTimeout time.Duration
	// LookupTimeout limits a lookup; 0 means 5 s.
	LookupTimeout time.Duration
}

// Lookup resolves a host name: an IP address resolves to itself, then the hosts
// file is checked, then the servers are asked by the rules of the view's style.
// If the configuration has no servers, the machine itself is asked, like the C
// library and Go do. Lookup returns within LookupTimeout and leaves no
// goroutine running.
func (v View) Lookup(ctx context.Context, host string) Answer {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(v.LookupTimeout, lookupTimeout))
	defer cancel()
	if addr, err := netip.ParseAddr(host); err == nil {
		return Answer{Addresses: []netip.Addr{addr}, Code: IsAddress, Why: "it is an IP address"}
	}
	if addrs := v.Hosts.Addresses(host); len(addrs) > 0 {
		return Answer{Addresses: addrs, Code: HostsFile, Name: strings.TrimSuffix(host, "."), Why: "the hosts file"}
	}
	if v.Unconfigured { // the view's own resolver may still work
		return Answer{Code: Unconfigured, Why: "whypull cannot read resolv.conf", Unknown: true}
	}
	names := v.candidates(host)
	if !isName(host) || len(names) == 0 {
		return Answer{Fault: diagnosis.FaultNameNotFound, Code: InvalidName, Why: "it is not a valid host name"}
	}
	a := v.lookup().search(ctx, names)
	if server, err := netip.ParseAddrPort(a.Server); err == nil && isStub(server.Addr()) {
		a.Upstream = v.Upstream
	}
	return a
}

func (v View) lookup() *lookup {
	q := &lookup{View: v, kinds: []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA}}
	if q.Dial == nil {
		q.Dial = new(net.Dialer).DialContext
	}
	if v.NoAAAA && v.Style == C {
		q.kinds = q.kinds[:1]
	}
	q.Attempts = cmp.Or(v.Attempts, attempts)
	servers := v.servers()
	q.timeout = cmp.Or(v.ServerTimeout, serverTimeout)
	if v.ServerTimeout == 0 && len(servers) == 1 {
		q.timeout = onlyServerTimeout
	}
	if v.Timeout > 0 {
		q.timeout = min(q.timeout, v.Timeout)
	}
	for _, addr := range servers {
		q.left = append(q.left, server{addr: netip.AddrPortFrom(addr, cmp.Or(v.Port, dnsPort)).String()})
	}
	return q
}

// servers returns the servers to ask. Go's defaultNS also has the IPv6 loopback
// address.
func (v View) servers() []netip.Addr {
	local := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	switch {
	case len(v.Servers) > 0:
		return v.Servers[:min(len(v.Servers), maxServers)]
	case v.Style == C:
		return local[:1]
	}
	return local
}

// System resolves a host name as the programs of this machine do. It is for machines
// on which no node runs: macOS and Windows keep their servers elsewhere than in
// resolv.conf.
func System(ctx context.Context, resolver *net.Resolver, host string) Answer {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if addr, err := netip.ParseAddr(host); err == nil {
		return Answer{Addresses: []netip.Addr{addr}, Code: IsAddress, Why: "it is an IP address"}
	}
	found, err := resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return systemFailure(err)
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	return Answer{Addresses: sortAndLimit(found), Code: Success, System: true, Name: strings.TrimSuffix(host, ".")}
}

// systemFailure returns the answer for an error of a net.Resolver, which does not say
// what each server has answered.
func systemFailure(err error) Answer {
	problem, ok := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(err, context.Canceled):
		return Answer{Code: NotAsked, Why: "the check was cut short", Unknown: true}
	case ok && problem.IsNotFound:
		return Answer{Fault: diagnosis.FaultNameNotFound, Code: NameError, Server: problem.Server, Why: "no such name"}
	case ok && problem.IsTimeout, errors.Is(err, context.DeadlineExceeded):
		return Answer{Fault: diagnosis.FaultDNSFailure, Code: Timeout, Why: "it did not answer in time"}
	}
	return Answer{Fault: diagnosis.FaultDNSFailure, Code: ServerFailure, Why: "the system's resolver failed"}
}
