package dns

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

const (
	// packetSize is the size that DNS packets pass everywhere in, DNS flag day
	// 2020; Go's resolver has the same.
	packetSize = 1232
	// maxChain bounds a chain of aliases.
	maxChain = 16
)

var (
	errTruncated = errors.New("truncated, and no answer over TCP")
	errMalformed = errors.New("malformed answer")
)

// exchange puts one question to one server.
func (q *inquiry) exchange(ctx context.Context, server, name string, kind uint16) result {
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	r := result{Reply: Reply{Server: server, Name: strings.TrimSuffix(name, "."), Type: dns.TypeToString[kind]}}
	start := time.Now()
	m := new(dns.Msg).SetQuestion(name, kind).SetEdns0(packetSize, false)
	resp, err := q.send(ctx, &r.Reply, m)
	if err == nil && resp.Rcode == dns.RcodeFormatError { // RFC 6891, 7
		m.Extra, r.WithoutEDNS = nil, true
		resp, err = q.send(ctx, &r.Reply, m)
	}
	r.Took = time.Since(start)
	if err != nil {
		r.Code = codeOf(ctx, err)
		return r
	}
	r.read(resp, name, kind)
	return r
}

// codeOf says why there is no answer.
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

// read takes what is of use from an answer.
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
		r.Code = Lame // checkHeader of Go's resolver, send_dg of the C library's
	default:
		r.Code = NoData
	}
}

func rcode(n int) Code {
	switch n {
	case dns.RcodeNameError:
		return NameError
	case dns.RcodeServerFailure:
		return ServerFailure
	case dns.RcodeRefused:
		return Refused
	case dns.RcodeNotImplemented:
		return NotImplemented
	case dns.RcodeFormatError:
		return FormatError
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

// chainEnd follows the aliases from a name; "" where it is none, or where they
// lead to what is no name.
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
	if same(end, name) || !isName(end) {
		return ""
	}
	return strings.TrimSuffix(end, ".")
}

// send asks over UDP, and over TCP where the answer is too long for that or
// the configuration says so.
func (q *inquiry) send(ctx context.Context, r *Reply, m *dns.Msg) (*dns.Msg, error) {
	if !q.tcp {
		resp, err := q.over(ctx, "udp", r.Server, m)
		if err != nil || !resp.Truncated {
			return resp, err
		}
	}
	r.TCP = true
	resp, err := q.over(ctx, "tcp", r.Server, m)
	if err != nil && !q.tcp {
		return nil, errors.Join(errTruncated, err)
	}
	return resp, err
}

func (q *inquiry) over(ctx context.Context, network, server string, m *dns.Msg) (*dns.Msg, error) {
	conn, err := q.dial(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing is left to be written
	// A context that ends early has to wake up who waits on the socket.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	t := &talk{conn: &dns.Conn{Conn: conn, UDPSize: packetSize}, question: m}
	if _, t.packets = conn.(net.PacketConn); t.packets {
		return t.resend(ctx, q.attempts)
	}
	return t.once(ctx, 1)
}

// talk is a question on a socket.
type talk struct {
	conn     *dns.Conn
	question *dns.Msg
	packets  bool
	junk     bool // packets came that are no answer
}

// resend sends the question again in the time there is: a packet may be lost.
func (t *talk) resend(ctx context.Context, attempts int) (*dns.Msg, error) {
	for left := attempts; ; left-- {
		resp, err := t.once(ctx, left)
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

// once sends the question and waits for its part of the time that is left.
func (t *talk) once(ctx context.Context, parts int) (*dns.Msg, error) {
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

// receive waits for the answer. Packets that are no answer to the question may
// be forged: as in Go's resolver (dnsPacketRoundTrip) they are passed over.
func (t *talk) receive() (*dns.Msg, error) {
	for {
		resp, err := t.conn.ReadMsg()
		switch {
		case resp == nil && !isParse(err):
			return nil, err
		case answers(resp, t.question) && (err == nil || resp.Truncated):
			return resp, nil
		case !t.packets || answers(resp, t.question):
			return nil, errMalformed
		}
		t.junk = true
	}
}

// isParse tells an error of the parser from one of the socket.
func isParse(err error) bool {
	var parse *dns.Error
	return errors.As(err, &parse)
}

// answers tells that a message is an answer to the question; that of a server
// that did not understand it may have the header alone.
func answers(resp, question *dns.Msg) bool {
	if resp == nil || !resp.Response || resp.Id != question.Id {
		return false
	}
	if len(resp.Question) == 0 {
		return resp.Rcode != dns.RcodeSuccess
	}
	got, want := resp.Question[0], question.Question[0]
	return got.Qtype == want.Qtype && got.Qclass == want.Qclass && strings.EqualFold(got.Name, want.Name)
}
