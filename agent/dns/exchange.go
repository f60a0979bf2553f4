package dns

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

const (
	// packetSize is the UDP payload size that passes every network (DNS flag
	// day 2020); Go's resolver uses the same.
	packetSize = 1232
	// maxChain limits the length of a CNAME chain.
	maxChain = 16
)

var (
	errTruncated = errors.New("truncated response, and TCP failed")
	errMalformed = errors.New("malformed response")
)

// exchange sends one query to one server.
func (q *lookup) exchange(ctx context.Context, server, name string, kind uint16) result {
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	r := result{Reply: Reply{Server: server, Name: strings.TrimSuffix(name, "."), Type: dns.TypeToString[kind]}}
	m := new(dns.Msg).SetQuestion(name, kind).SetEdns0(packetSize, false)
	resp, err := q.send(ctx, server, m)
	if err == nil && resp.Rcode == dns.RcodeFormatError { // RFC 6891, section 7
		m.Extra = nil // Go's resolver does not ask again
		resp, err = q.send(ctx, server, m)
	}
	if err != nil {
		r.Code = codeOf(ctx, err)
		return r
	}
	r.read(resp, name, kind)
	return r
}

// codeOf classifies why there is no response.
func codeOf(ctx context.Context, err error) Code {
	var network net.Error
	var op *net.OpError
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return NotAsked
	case errors.Is(err, errTruncated):
		return Truncated
	case errors.Is(err, errMalformed):
		return Malformed
	case errors.As(err, &network) && network.Timeout():
		return Timeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return PortClosed
	case errors.As(err, &op), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Unreachable
	}
	return NotAsked
}

// read takes the addresses and the code from a response.
func (r *result) read(resp *dns.Msg, name string, kind uint16) {
	r.Rcode = resp.Rcode
	r.canonical = chainEnd(name, resp.Answer)
	if resp.Rcode != dns.RcodeSuccess {
		r.Code = rcode(resp.Rcode)
		return
	}
	for _, rr := range resp.Answer {
		if a, ok := address(rr, kind); ok {
			r.addrs = append(r.addrs, a)
		}
	}
	switch {
	case len(r.addrs) > 0:
		r.Code = Success
	case len(resp.Answer) == 0 && len(resp.Extra) == 0 && !resp.Authoritative && !resp.RecursionAvailable:
		r.Code = Lame // like checkHeader of Go's resolver and send_dg of the C library
	default:
		r.Code = NoData
	}
}

func rcode(n int) Code {
	if c := Code(dns.RcodeToString[n]); slices.Contains([]Code{NameError, ServerFailure, Refused, NotImplemented, FormatError}, c) {
		return c
	}
	return OtherRcode
}

func address(rr dns.RR, kind uint16) (netip.Addr, bool) {
	var ip net.IP
	switch rr := rr.(type) {
	case *dns.A:
		ip = rr.A
	case *dns.AAAA:
		ip = rr.AAAA
	}
	a, ok := netip.AddrFromSlice(ip)
	return a.Unmap(), ok && rr.Header().Rrtype == kind && rr.Header().Class == dns.ClassINET
}

// chainEnd returns the last name of the CNAME chain that starts at name, or ""
// if name is not an alias or the chain ends in an invalid name.
func chainEnd(name string, records []dns.RR) string {
	targets := map[string]string{}
	for _, rr := range records {
		if c, ok := rr.(*dns.CNAME); ok {
			targets[strings.ToLower(c.Hdr.Name)] = strings.ToLower(c.Target)
		}
	}
	end := strings.ToLower(name)
	for range maxChain {
		next, ok := targets[end]
		if !ok {
			break
		}
		end = next
	}
	if sameName(end, name) || !isName(end) {
		return ""
	}
	return strings.TrimSuffix(end, ".")
}

// send sends the query over UDP, and over TCP if the response is truncated or
// the configuration demands TCP.
func (q *lookup) send(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
	if !q.tcp {
		resp, err := q.sendOver(ctx, "udp", server, m)
		if err != nil || !resp.Truncated {
			return resp, err
		}
	}
	resp, err := q.sendOver(ctx, "tcp", server, m)
	if err != nil && !q.tcp {
		return nil, errors.Join(errTruncated, err)
	}
	return resp, err
}

func (q *lookup) sendOver(ctx context.Context, network, server string, m *dns.Msg) (*dns.Msg, error) {
	conn, err := q.dial(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing is left to be written
	// A context that ends early must wake up a pending read.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	t := &query{conn: &dns.Conn{Conn: conn, UDPSize: packetSize}, question: m}
	if _, t.packets = conn.(net.PacketConn); t.packets {
		return t.retry(ctx, q.attempts)
	}
	return t.roundTrip(ctx, 1)
}

// query is a query on one socket.
type query struct {
	conn     *dns.Conn
	question *dns.Msg
	packets  bool
	junk     bool // invalid packets have arrived
}

// retry repeats the query within the time limit, because a packet may be lost.
func (t *query) retry(ctx context.Context, attempts int) (*dns.Msg, error) {
	for left := attempts; ; left-- {
		resp, err := t.roundTrip(ctx, left)
		var network net.Error
		timeout := errors.As(err, &network) && network.Timeout()
		switch {
		case !timeout:
			return resp, err
		case left > 1 && ctx.Err() == nil:
			continue
		case t.junk:
			return nil, errMalformed
		}
		return nil, err
	}
}

// roundTrip sends the query and waits for its share of the remaining time.
func (t *query) roundTrip(ctx context.Context, parts int) (*dns.Msg, error) {
	now := time.Now()
	deadline, _ := ctx.Deadline()
	if err := t.conn.SetDeadline(now.Add(deadline.Sub(now) / time.Duration(parts))); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil { // it may have ended before the deadline was set
		return nil, err
	}
	if err := t.conn.WriteMsg(t.question); err != nil {
		return nil, err
	}
	return t.receive()
}

// receive waits for the response. Packets that do not answer the query may be
// forged, so it ignores them, like Go's resolver (dnsPacketRoundTrip).
func (t *query) receive() (*dns.Msg, error) {
	for {
		resp, err := t.conn.ReadMsg()
		switch {
		case resp == nil && !isParseError(err):
			return nil, err
		case isAnswer(resp, t.question) && (err == nil || resp.Truncated):
			return resp, nil
		case !t.packets || isAnswer(resp, t.question):
			return nil, errMalformed
		}
		t.junk = true
	}
}

// isParseError reports whether an error comes from the DNS parser and not from
// the socket.
func isParseError(err error) bool {
	var parse *dns.Error
	return errors.As(err, &parse)
}

// isAnswer reports whether a message answers the query. A server that did not
// understand the query may send only the header.
func isAnswer(resp, question *dns.Msg) bool {
	if resp == nil || !resp.Response || resp.Id != question.Id {
		return false
	}
	if len(resp.Question) == 0 {
		return resp.Rcode != dns.RcodeSuccess
	}
	got, want := resp.Question[0], question.Question[0]
	return got.Qtype == want.Qtype && got.Qclass == want.Qclass && strings.EqualFold(got.Name, want.Name)
}
