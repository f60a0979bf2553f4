package dns

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// packetSize is the UDP payload size that passes every network (DNS flag
	// day 2020); Go's resolver uses the same.
	packetSize = 1232
	headerSize = 12
	// maxChain limits the length of a CNAME chain.
	maxChain = 16
)

var (
	errTruncated = errors.New("truncated response, and TCP failed")
	errMalformed = errors.New("malformed response")
)

// exchange sends one query to one server.
func (q *lookup) exchange(ctx context.Context, server, name string, kind dnsmessage.Type) reply {
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	r := reply{Server: server, Name: strings.TrimSuffix(name, ".")}
	m := newQuestion(name, kind)
	resp, err := q.send(ctx, server, m)
	if err == nil && resp.RCode == dnsmessage.RCodeFormatError { // RFC 6891, section 7
		m.Additionals = nil // Go's resolver does not ask again
		resp, err = q.send(ctx, server, m)
	}
	if err != nil {
		r.Code = codeOf(ctx, err)
		return r
	}
	r.read(resp, name, kind)
	return r
}

// newQuestion returns a query with EDNS0. One for a name that is too long cannot be sent.
func newQuestion(name string, kind dnsmessage.Type) *dnsmessage.Message {
	var id [2]byte
	_, _ = rand.Read(id[:])              // never fails
	asked, _ := dnsmessage.NewName(name) // without a name it cannot be packed
	edns := dnsmessage.Resource{Body: &dnsmessage.OPTResource{}}
	_ = edns.Header.SetEDNS0(packetSize, dnsmessage.RCodeSuccess, false) // never fails
	return &dnsmessage.Message{
		Header:      dnsmessage.Header{ID: binary.BigEndian.Uint16(id[:]), RecursionDesired: true},
		Questions:   []dnsmessage.Question{{Name: asked, Type: kind, Class: dnsmessage.ClassINET}},
		Additionals: []dnsmessage.Resource{edns},
	}
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
func (r *reply) read(resp *dnsmessage.Message, name string, kind dnsmessage.Type) {
	r.Rcode = int(resp.RCode)
	r.Canonical = chainEnd(name, resp.Answers)
	if resp.RCode != dnsmessage.RCodeSuccess {
		r.Code = rcode(r.Rcode)
		return
	}
	for _, rr := range resp.Answers {
		if a, ok := address(rr, kind); ok {
			r.Addresses = append(r.Addresses, a)
		}
	}
	switch {
	case len(r.Addresses) > 0:
		r.Code = Success
	case len(resp.Answers) == 0 && len(resp.Additionals) == 0 && !resp.Authoritative && !resp.RecursionAvailable:
		r.Code = Lame // like checkHeader of Go's resolver and send_dg of the C library
	default:
		r.Code = NoData
	}
}

func rcode(n int) Code {
	if c := Code(rcodeName(n)); c == NameError || c == ServerFailure {
		return c
	}
	return OtherRcode
}

func address(rr dnsmessage.Resource, kind dnsmessage.Type) (a netip.Addr, ok bool) {
	switch body := rr.Body.(type) {
	case *dnsmessage.AResource:
		a = netip.AddrFrom4(body.A)
	case *dnsmessage.AAAAResource:
		a = netip.AddrFrom16(body.AAAA)
	}
	return a.Unmap(), a.IsValid() && rr.Header.Type == kind && rr.Header.Class == dnsmessage.ClassINET
}

// chainEnd returns the last name of the CNAME chain that starts at name, or ""
// if name is not an alias or the chain ends in an invalid name.
func chainEnd(name string, records []dnsmessage.Resource) string {
	targets := map[string]string{}
	for _, rr := range records {
		if c, ok := rr.Body.(*dnsmessage.CNAMEResource); ok {
			targets[strings.ToLower(rr.Header.Name.String())] = strings.ToLower(c.CNAME.String())
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
func (q *lookup) send(ctx context.Context, server string, m *dnsmessage.Message) (*dnsmessage.Message, error) {
	if !q.TCP {
		resp, err := q.sendOver(ctx, "udp", server, m)
		if err != nil || !resp.Truncated {
			return resp, err
		}
	}
	resp, err := q.sendOver(ctx, "tcp", server, m)
	if err != nil && !q.TCP {
		return nil, errors.Join(errTruncated, err)
	}
	return resp, err
}

func (q *lookup) sendOver(ctx context.Context, network, server string, m *dnsmessage.Message) (*dnsmessage.Message, error) {
	conn, err := q.Dial(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing is left to be written
	// A context that ends early must wake up a pending read.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	t := &query{conn: conn, question: m}
	if _, t.packets = conn.(net.PacketConn); t.packets {
		return t.retry(ctx, q.Attempts)
	}
	return t.roundTrip(ctx, 1)
}

// query is a query on one socket.
type query struct {
	conn     net.Conn
	question *dnsmessage.Message
	packets  bool
	junk     bool // invalid packets have arrived
}

// retry repeats the query within the time limit, because a packet may be lost.
func (t *query) retry(ctx context.Context, attempts int) (*dnsmessage.Message, error) {
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
func (t *query) roundTrip(ctx context.Context, parts int) (*dnsmessage.Message, error) {
	now := time.Now()
	deadline, _ := ctx.Deadline()
	if err := t.conn.SetDeadline(now.Add(deadline.Sub(now) / time.Duration(parts))); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil { // it may have ended before the deadline was set
		return nil, err
	}
	if err := t.write(); err != nil {
		return nil, err
	}
	return t.receive()
}

// write sends the query; over a stream, its length comes first (RFC 1035, 4.2.2).
func (t *query) write() error {
	text, err := t.question.AppendPack([]byte{0, 0})
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint16(text, uint16(len(text)-2)) //nolint:gosec // a name has 255 bytes at most
	if t.packets {
		text = text[2:]
	}
	_, err = t.conn.Write(text)
	return err
}

// read reads a message.
func (t *query) read() ([]byte, error) {
	if t.packets {
		text := make([]byte, packetSize)
		n, err := t.conn.Read(text)
		return text[:n], err
	}
	size := make([]byte, 2)
	if _, err := io.ReadFull(t.conn, size); err != nil {
		return nil, err
	}
	text := make([]byte, binary.BigEndian.Uint16(size))
	_, err := io.ReadFull(t.conn, text)
	return text, err
}

// receive waits for the response. Packets that do not answer the query may be
// forged, so it ignores them, like Go's resolver (dnsPacketRoundTrip).
func (t *query) receive() (*dnsmessage.Message, error) {
	for {
		text, err := t.read()
		if err != nil {
			return nil, err
		}
		resp, err := parse(text)
		switch {
		case isAnswer(resp, t.question) && (err == nil || resp.Truncated):
			return resp, nil
		case !t.packets || isAnswer(resp, t.question):
			return nil, errMalformed
		}
		t.junk = true
	}
}

// parse parses a message; of one that is not valid, it returns the valid part too.
func parse(text []byte) (*dnsmessage.Message, error) {
	m := &dnsmessage.Message{}
	err := m.Unpack(text)
	if len(text) == headerSize { // whatever it announces
		err = nil
	}
	for _, rr := range m.Additionals {
		if rr.Header.Type == dnsmessage.TypeOPT {
			m.RCode = rr.Header.ExtendedRCode(m.RCode)
		}
	}
	return m, err
}

// isAnswer reports whether a message answers the query. A server that did not
// understand the query may send only the header.
func isAnswer(resp, question *dnsmessage.Message) bool {
	if !resp.Response || resp.ID != question.ID {
		return false
	}
	if len(resp.Questions) == 0 {
		return resp.RCode != dnsmessage.RCodeSuccess
	}
	got, want := resp.Questions[0], question.Questions[0]
	return got.Type == want.Type && got.Class == want.Class && strings.EqualFold(got.Name.String(), want.Name.String())
}
