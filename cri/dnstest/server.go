// Package dnstest has DNS servers for tests, on real sockets.
package dnstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// Zone is how a server responds for one name.
type Zone struct {
	Addresses []string // IPv4 and IPv6
	CNAME     string   // Addresses are then the target's
	Rcode     int
	Rcode6    int  // of the AAAA response, if it differs
	Silent    bool // no response at all
	Silent6   bool // no response to AAAA
	Deaf      int  // how many more queries of each type to ignore
	Truncated bool // over UDP
	Broken    bool // over TCP, close the connection without a response
	Lame      bool
	NoEDNS    bool // reject queries with EDNS0 as malformed
	// Raw, if set, returns the whole response.
	Raw func(q *dns.Msg) []byte
}

// Server is a DNS server on UDP and TCP. Unknown names do not exist.
type Server struct {
	// Address is the host:port of both sockets, Port its port.
	Address string
	Port    uint16

	find    func(name string) (Zone, bool)
	servers []*dns.Server
	running sync.WaitGroup

	mu    sync.Mutex
	zones map[string]Zone
	asked []string
	seen  map[string]int
}

// Listen starts a server on an address, host:port; port 0 selects one that is
// free for UDP and TCP. find may be nil; it returns the zone of names that Set
// was not called for.
func Listen(address string, find func(name string) (Zone, bool)) (*Server, error) {
	attempts := 1
	if _, port, _ := net.SplitHostPort(address); port == "0" {
		attempts = 50 // a port that is free for UDP may be taken for TCP
	}
	var failures []error
	for range attempts {
		s, err := listen(address, find)
		if err == nil {
			return s, nil
		}
		failures = append(failures, err)
	}
	return nil, fmt.Errorf("DNS server: %w", errors.Join(failures...))
}

func listen(address string, find func(string) (Zone, bool)) (*Server, error) {
	var config net.ListenConfig
	packets, err := config.ListenPacket(context.Background(), "udp", address)
	if err != nil {
		return nil, err
	}
	s := &Server{Address: packets.LocalAddr().String(), find: find, zones: map[string]Zone{}, seen: map[string]int{}}
	stream, err := config.Listen(context.Background(), "tcp", s.Address)
	if err != nil {
		return nil, errors.Join(err, packets.Close())
	}
	if udp, ok := packets.LocalAddr().(*net.UDPAddr); ok {
		s.Port = udp.AddrPort().Port()
	}
	s.serve(&dns.Server{PacketConn: packets, Handler: s.handler("udp")})
	s.serve(&dns.Server{Listener: stream, Handler: s.handler("tcp")})
	return s, nil
}

func (s *Server) serve(server *dns.Server) {
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	s.running.Go(func() { _ = server.ActivateAndServe() })
	<-started
	s.servers = append(s.servers, server)
}

// Close stops the server.
func (s *Server) Close() {
	for _, server := range s.servers {
		_ = server.Shutdown()
	}
	s.running.Wait()
}

// New starts a server on an address, on a port that it chooses. It stops with
// the test.
func New(t testing.TB, address string) *Server {
	t.Helper()
	s, err := Listen(net.JoinHostPort(address, "0"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// OnSamePort starts another server on the same port of another address.
func (s *Server) OnSamePort(t testing.TB, address string) *Server {
	t.Helper()
	other := Try(t, address, s.Port)
	if other == nil {
		t.Skip("the port is taken on " + address)
	}
	return other
}

// Try starts a server on an address and port; nil if the port is taken.
func Try(t testing.TB, address string, port uint16) *Server {
	t.Helper()
	s, err := Listen(net.JoinHostPort(address, strconv.Itoa(int(port))), nil)
	if err != nil {
		return nil
	}
	t.Cleanup(s.Close)
	return s
}

// Set sets the response for a name; for "*", for all unknown names.
func (s *Server) Set(name string, z Zone) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zones[dns.Fqdn(name)] = z
}

// Asked returns the queries so far in order, as "udp A name.".
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Queries returns the queries so far, sorted, because A and AAAA are queried
// concurrently.
func (s *Server) Queries() []string { return slices.Sorted(slices.Values(s.Asked())) }

// Names returns the names queried for A over UDP, in order.
func (s *Server) Names() []string {
	var out []string
	for _, q := range s.Asked() {
		if name, ok := strings.CutPrefix(q, "udp A "); ok {
			out = append(out, name)
		}
	}
	return out
}

func (s *Server) handler(network string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		z, deaf := s.take(network, q.Question[0])
		six := q.Question[0].Qtype == dns.TypeAAAA
		switch {
		case deaf || z.Silent || z.Silent6 && six:
		case z.Broken && network == "tcp":
			_ = w.Close()
		case z.Raw != nil:
			_, _ = w.Write(z.Raw(q))
		default:
			_ = w.WriteMsg(z.Reply(q, network))
		}
	}
}

// take records a query and finds its zone.
func (s *Server) take(network string, q dns.Question) (z Zone, deaf bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := network + " " + dns.TypeToString[q.Qtype] + " " + q.Name
	s.asked = append(s.asked, line)
	s.seen[line]++
	z, known := s.zones[strings.ToLower(q.Name)]
	if !known {
		z, known = s.zones["*."]
	}
	if !known && s.find != nil {
		z, known = s.find(q.Name)
	}
	if !known {
		z.Rcode = dns.RcodeNameError
	}
	return z, s.seen[line] <= z.Deaf
}

// Reply returns the response to a query that came over a network.
func (z Zone) Reply(q *dns.Msg, network string) *dns.Msg {
	name, kind := q.Question[0].Name, q.Question[0].Qtype
	r := new(dns.Msg).SetReply(q)
	r.RecursionAvailable = !z.Lame
	r.Rcode = z.Rcode
	if kind == dns.TypeAAAA && z.Rcode6 != 0 {
		r.Rcode = z.Rcode6
	}
	if z.NoEDNS && q.IsEdns0() != nil {
		r.Rcode, r.Question = dns.RcodeFormatError, nil
		return r
	}
	if z.Truncated && network == "udp" {
		r.Truncated = true
		return r
	}
	if z.CNAME != "" {
		r.Answer = append(r.Answer, &dns.CNAME{Hdr: header(name, dns.TypeCNAME), Target: dns.Fqdn(z.CNAME)})
		name = dns.Fqdn(z.CNAME)
	}
	r.Answer = append(r.Answer, z.records(name, kind)...)
	return r
}

func (z Zone) records(name string, kind uint16) []dns.RR {
	var out []dns.RR
	for _, a := range z.Addresses {
		ip := net.ParseIP(a)
		switch is4 := ip.To4() != nil; {
		case is4 && kind == dns.TypeA:
			out = append(out, &dns.A{Hdr: header(name, kind), A: ip})
		case !is4 && kind == dns.TypeAAAA:
			out = append(out, &dns.AAAA{Hdr: header(name, kind), AAAA: ip})
		}
	}
	return out
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: 5}
}
