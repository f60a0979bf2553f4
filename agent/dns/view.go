package dns

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/whypull/whypull/agent/diagnosis"
)

// The default limits of time.
const (
	serverTimeout = 2 * time.Second
	lookupTimeout = 5 * time.Second
	attempts      = 2 // as the C library and Go
	dnsPort       = 53
)

// DialFunc opens a socket. The network is "udp" or "tcp", the address an IP
// address and port, an IPv6 address in brackets and with its zone. As for
// net.Resolver.Dial, a connection that is a net.PacketConn is spoken to in
// packets, any other as a stream. Trouble of the network is to be a
// *net.OpError, as of net.Dialer: any other error means that nothing was asked.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// View is a place that names are asked from.
type View struct {
	Config
	// Style is whose rules it resolves by.
	Style Style
	// Hosts are asked before any server.
	Hosts Hosts
	// Dial opens all sockets; nil: net.Dialer in this process's network.
	Dial DialFunc
	// Port of the servers; 0: 53.
	Port uint16
	// Upstream are the servers that systemd-resolved's stub, one of Servers,
	// passes questions on to; empty where there is none or that is not known.
	Upstream []netip.Addr
	// Notes say what about the view is not as it should be; sorted.
	Notes []Note
	// ServerTimeout bounds what is spent on one server for one name, the
	// configuration's own timeout does too; 0: 2 s.
	ServerTimeout time.Duration
	// LookupTimeout bounds a lookup; 0: 5 s.
	LookupTimeout time.Duration
}

// Lookup resolves a host name: an address is its own answer, then the hosts
// file, then the servers by the view's style. Where the configuration has no
// servers, the machine itself is asked, as the C library and Go do. It answers
// in the time of LookupTimeout, and leaves nothing behind that still runs.
func (v View) Lookup(ctx context.Context, host string) Answer {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(v.LookupTimeout, lookupTimeout))
	defer cancel()
	if addr, err := netip.ParseAddr(host); err == nil {
		return Answer{Addresses: []netip.Addr{addr}, Code: IsAddress, Why: "it is an address"}
	}
	if addrs := v.Hosts.Addresses(host); len(addrs) > 0 {
		return Answer{Addresses: addrs, Code: HostsFile, Name: strings.TrimSuffix(host, "."), Why: "the hosts file"}
	}
	if slices.Contains(v.Notes, NoteNoConfig) { // others may well be able to
		return Answer{Code: Unconfigured, Why: "whypull cannot read resolv.conf", Unknown: true}
	}
	names := v.candidates(host)
	if !isName(host) || len(names) == 0 {
		return Answer{Fault: diagnosis.FaultNameNotFound, Code: InvalidName, Why: "it is no name that can be asked for"}
	}
	q := v.inquiry()
	a := q.search(ctx, names)
	a.Asked = q.asked
	if server, err := netip.ParseAddrPort(a.Server); err == nil && isStub(server.Addr()) {
		a.Upstream = v.Upstream
	}
	return a
}

func (v View) inquiry() *inquiry {
	q := &inquiry{style: v.Style, dial: v.Dial, tcp: v.TCP, kinds: []uint16{dns.TypeA, dns.TypeAAAA}}
	if q.dial == nil {
		q.dial = new(net.Dialer).DialContext
	}
	if v.NoAAAA && v.Style == C {
		q.kinds = q.kinds[:1]
	}
	q.attempts = cmp.Or(v.Attempts, attempts)
	q.timeout = cmp.Or(v.ServerTimeout, serverTimeout)
	if v.Timeout > 0 {
		q.timeout = min(q.timeout, v.Timeout)
	}
	for _, addr := range v.servers() {
		q.servers = append(q.servers, server{addr: netip.AddrPortFrom(addr, cmp.Or(v.Port, dnsPort)).String()})
	}
	return q
}

// servers are those to ask: Go's defaultNS has IPv6 too.
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
