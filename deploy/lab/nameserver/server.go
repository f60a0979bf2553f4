package nameserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// maxAliases is the maximum number of aliases to follow from one name.
const maxAliases = 8

// ttl is the time to live of an answer, in seconds.
const ttl = 1

// Server is a DNS server that answers from a table in a file. It reads the file for
// each query.
type Server struct {
	file string
	mu   sync.Mutex // guards log and last
	log  io.Writer
	last Table
}

// New returns a server for the table in file. It writes one line per query to log:
// view, transport, type, name, client.
func New(file string, log io.Writer) (*Server, error) {
	table, err := ReadTable(file)
	if err != nil {
		return nil, err
	}
	return &Server{file: file, log: log, last: table}, nil
}

// Listen listens on an address, host:port, for UDP and TCP.
func Listen(ctx context.Context, address string) (net.PacketConn, net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, nil, fmt.Errorf("listening: %w", err)
	}
	conn, err := config.ListenPacket(ctx, "udp", listener.Addr().String())
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("listening: %w", err), listener.Close())
	}
	return conn, listener, nil
}

// Serve answers queries with the answers of a view until ctx is done.
func (s *Server) Serve(ctx context.Context, view string, conn net.PacketConn, listener net.Listener) error {
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { s.answer(ctx, view, w, q) })
	servers := []*dns.Server{{PacketConn: conn, Handler: handler}, {Listener: listener, Handler: handler}}
	// Closing the sockets always ends the servers; Shutdown only works once they have
	// started.
	defer context.AfterFunc(ctx, func() { _, _ = conn.Close(), listener.Close() })()
	ended := make(chan error, len(servers))
	for _, server := range servers {
		go func() { ended <- server.ActivateAndServe() }()
	}
	for range servers {
		if err := <-ended; err != nil && ctx.Err() == nil {
			return fmt.Errorf("view %s: %w", view, err)
		}
	}
	return nil
}

// ServeViews serves each address with its view, until ctx is done.
func (s *Server) ServeViews(ctx context.Context, views map[string]string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(views))
	for address, view := range views {
		conn, listener, err := Listen(ctx, address)
		if err != nil {
			return err
		}
		go func() { ended <- s.Serve(ctx, view, conn, listener) }()
	}
	var all error
	for range views {
		all = errors.Join(all, <-ended)
		cancel() // if one fails, all stop
	}
	return all
}

func (s *Server) answer(ctx context.Context, view string, w dns.ResponseWriter, q *dns.Msg) {
	if len(q.Question) != 1 {
		return
	}
	question := q.Question[0]
	network := w.LocalAddr().Network()
	table := s.record(view, network, question, w.RemoteAddr())
	answer := table.Find(view, question.Name)
	if !wait(ctx, answer.Delay) || answer.Silent {
		return
	}
	_ = w.WriteMsg(table.reply(view, q, network == "udp"))
}

// record logs a query and returns the current table. While the file is being written it
// may not parse; the last table is used until then.
func (s *Server) record(view, network string, q dns.Question, client net.Addr) Table {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprintf(s.log, "%s %s %s %s %s\n", view, network, dns.TypeToString[q.Qtype], q.Name, client)
	if table, err := ReadTable(s.file); err == nil {
		s.last = table
	}
	return s.last
}

// reply returns the response to a query.
func (t Table) reply(view string, q *dns.Msg, udp bool) *dns.Msg {
	name := q.Question[0].Name
	m := new(dns.Msg).SetReply(q)
	// Without one of them, Go treats an answer without records as a lame referral
	// (net.errLameReferral).
	m.Authoritative, m.RecursionAvailable = true, true
	for range maxAliases {
		answer := t.Find(view, name)
		if answer.Truncated && udp {
			m.Truncated, m.Answer = true, nil
			return m
		}
		if answer.Alias == "" {
			m.Rcode = dns.StringToRcode[answer.Rcode]
			if answer.Rcode == "" {
				m.Rcode = dns.RcodeSuccess
			}
			m.Answer = append(m.Answer, records(name, q.Question[0].Qtype, answer.Addresses)...)
			return m
		}
		target := dns.Fqdn(answer.Alias)
		m.Answer = append(m.Answer, &dns.CNAME{Hdr: header(name, dns.TypeCNAME), Target: target})
		name = target
	}
	m.Rcode, m.Answer = dns.RcodeServerFailure, nil
	return m
}

// records returns the addresses of the requested type as resource records.
func records(name string, kind uint16, addresses []netip.Addr) []dns.RR {
	var all []dns.RR
	for _, a := range addresses {
		switch {
		case kind == dns.TypeA && a.Is4():
			all = append(all, &dns.A{Hdr: header(name, kind), A: a.AsSlice()})
		case kind == dns.TypeAAAA && a.Is6():
			all = append(all, &dns.AAAA{Hdr: header(name, kind), AAAA: a.AsSlice()})
		}
	}
	return all
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

// wait reports whether d has passed before ctx was done.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
