package nameserver

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// long is how long a test waits for what must happen.
const long = 30 * time.Second

func addresses(all ...string) Answer {
	var a Answer
	for _, text := range all {
		a.Addresses = append(a.Addresses, netip.MustParseAddr(text))
	}
	return a
}

// running is a server with the views "a" and "b", each at its own address.
type running struct {
	t    *testing.T
	file string
	at   map[string]string
	log  *safeBuffer
}

type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func start(t *testing.T, table Table) *running {
	t.Helper()
	r := &running{t: t, file: filepath.Join(t.TempDir(), "names.json"), at: map[string]string{}, log: &safeBuffer{}}
	r.write(table)
	server, err := New(r.file, r.log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	for _, view := range []string{"a", "b"} {
		conn, listener := listen(t)
		r.at[view] = conn.LocalAddr().String()
		go func() { ended <- server.Serve(ctx, view, conn, listener) }()
	}
	t.Cleanup(func() {
		cancel()
		for range r.at {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	return r
}

// listen finds a port that is free for both UDP and TCP.
func listen(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 50 {
		if conn, listener, err := Listen(t.Context(), "127.0.0.1:0"); err == nil {
			return conn, listener
		}
	}
	t.Fatal("no port is free for UDP and TCP")
	return nil, nil
}

func (r *running) write(table Table) {
	r.t.Helper()
	data, err := table.Write()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(r.file, data, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// ask returns the answer as one line.
func (r *running) ask(view, network, name string, kind uint16) string {
	r.t.Helper()
	client := &dns.Client{Net: network, Timeout: long}
	m, _, err := client.ExchangeContext(r.t.Context(), new(dns.Msg).SetQuestion(dns.Fqdn(name), kind), r.at[view])
	if err != nil {
		r.t.Fatal(err)
	}
	words := []string{dns.RcodeToString[m.Rcode]}
	if m.Truncated {
		words = append(words, "TC")
	}
	for _, rr := range m.Answer {
		fields := strings.Fields(rr.String())
		words = append(words, strings.Join(fields[3:], " "))
	}
	if !m.Authoritative || !m.RecursionAvailable {
		r.t.Errorf("%s: a lame referral", name)
	}
	return strings.Join(words, ", ")
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	r := start(t, Table{
		{Name: "split.test", View: "a", Answer: addresses("192.0.2.1")},
		{Name: "split.test", View: "b", Answer: addresses("192.0.2.2", "2001:db8::2")},
		{Name: "all.test", Answer: addresses("192.0.2.3")},
		{Name: "all.test", View: "b", Answer: Answer{Rcode: "REFUSED"}},
		{Name: "only-b.test", View: "b", Answer: addresses("192.0.2.4")},
		{Name: "fails.test", Answer: Answer{Rcode: "SERVFAIL"}},
		{Name: "empty.test"},
		{Name: "alias.test", Answer: Answer{Alias: "split.test"}},
		{Name: "dangling.test", Answer: Answer{Alias: "gone.test"}},
		{Name: "loop.test", Answer: Answer{Alias: "loop.test"}},
		{Name: "*.wild.test", Answer: addresses("192.0.2.5")},
		{Name: "not.wild.test", Answer: Answer{Rcode: "NXDOMAIN"}},
		{Name: "long.test", Answer: Answer{Addresses: addresses("192.0.2.6").Addresses, Truncated: true}},
		{Name: "alias-long.test", Answer: Answer{Alias: "long.test"}},
		{Name: "slow.test", Answer: Answer{Addresses: addresses("192.0.2.7").Addresses, Delay: time.Millisecond}},
	})
	for _, c := range []struct {
		view, network, name string
		kind                uint16
		want                string
	}{
		{"a", "udp", "split.test", dns.TypeA, "NOERROR, A 192.0.2.1"},
		{"a", "udp", "SPLIT.Test", dns.TypeA, "NOERROR, A 192.0.2.1"},
		{"a", "udp", "split.test", dns.TypeAAAA, "NOERROR"},
		{"b", "udp", "split.test", dns.TypeA, "NOERROR, A 192.0.2.2"},
		{"b", "tcp", "split.test", dns.TypeAAAA, "NOERROR, AAAA 2001:db8::2"},
		{"b", "udp", "split.test", dns.TypeTXT, "NOERROR"},
		{"a", "udp", "all.test", dns.TypeA, "NOERROR, A 192.0.2.3"},
		{"b", "udp", "all.test", dns.TypeA, "REFUSED"},
		{"a", "udp", "only-b.test", dns.TypeA, "NXDOMAIN"},
		{"b", "udp", "only-b.test", dns.TypeA, "NOERROR, A 192.0.2.4"},
		{"a", "udp", "unknown.test", dns.TypeA, "NXDOMAIN"},
		{"a", "udp", "fails.test", dns.TypeA, "SERVFAIL"},
		{"a", "udp", "empty.test", dns.TypeA, "NOERROR"},
		{"a", "udp", "alias.test", dns.TypeA, "NOERROR, CNAME split.test., A 192.0.2.1"},
		{"a", "udp", "dangling.test", dns.TypeA, "NXDOMAIN, CNAME gone.test."},
		{"a", "udp", "loop.test", dns.TypeA, "SERVFAIL"},
		{"a", "udp", "deep.and.wild.test", dns.TypeA, "NOERROR, A 192.0.2.5"},
		{"a", "udp", "split.test.wild.test", dns.TypeA, "NOERROR, A 192.0.2.5"},
		{"a", "udp", "not.wild.test", dns.TypeA, "NXDOMAIN"},
		{"a", "udp", "wild.test", dns.TypeA, "NXDOMAIN"},
		{"a", "udp", "long.test", dns.TypeA, "NOERROR, TC"},
		{"a", "tcp", "long.test", dns.TypeA, "NOERROR, A 192.0.2.6"},
		{"a", "udp", "alias-long.test", dns.TypeA, "NOERROR, TC"},
		{"a", "tcp", "alias-long.test", dns.TypeA, "NOERROR, CNAME long.test., A 192.0.2.6"},
		{"a", "udp", "slow.test", dns.TypeA, "NOERROR, A 192.0.2.7"},
	} {
		if got := r.ask(c.view, c.network, c.name, c.kind); got != c.want {
			t.Errorf("%s of %s over %s in view %s: %s, want %s", dns.TypeToString[c.kind], c.name, c.network, c.view, got, c.want)
		}
	}
}

// A silent name gets no answer, while another name is answered on the same socket.
func TestSilence(t *testing.T) {
	t.Parallel()
	r := start(t, Table{{Name: "silent.test", Answer: Answer{Silent: true}}, {Name: "loud.test", Answer: addresses("192.0.2.1")}})
	conn, err := dns.DialTimeout("udp", r.at["a"], long)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for _, name := range []string{"silent.test.", "loud.test."} {
		if err := conn.WriteMsg(new(dns.Msg).SetQuestion(name, dns.TypeA)); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.SetReadDeadline(time.Now().Add(long)); err != nil {
		t.Fatal(err)
	}
	m, err := conn.ReadMsg()
	if err != nil || m.Question[0].Name != "loud.test." {
		t.Fatalf("%v, %v", m, err)
	}
	want := []string{"a udp A loud.test.", "a udp A silent.test."}
	// They are answered concurrently: the silent one may reach the log last.
	for end := time.Now().Add(long); strings.Count(r.log.String(), "\n") < len(want) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	var got []string
	for line := range strings.Lines(r.log.String()) {
		question, client := line[:strings.LastIndexByte(line, ' ')], strings.TrimSpace(line[strings.LastIndexByte(line, ' '):])
		if client != conn.LocalAddr().String() {
			t.Errorf("asked by %s: %s", conn.LocalAddr(), line)
		}
		got = append(got, question)
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("log %q, want %q", got, want)
	}
}

// The table may change at any time. While it is being written, the last one is used.
func TestChanges(t *testing.T) {
	t.Parallel()
	r := start(t, Table{{Name: "x.test", Answer: addresses("192.0.2.1")}})
	if got := r.ask("a", "udp", "x.test", dns.TypeA); got != "NOERROR, A 192.0.2.1" {
		t.Error(got)
	}
	r.write(Table{{Name: "x.test", Answer: Answer{Rcode: "SERVFAIL"}}})
	if got := r.ask("a", "udp", "x.test", dns.TypeA); got != "SERVFAIL" {
		t.Error(got)
	}
	if err := os.WriteFile(r.file, []byte(`[{"name":"x.te`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := r.ask("b", "tcp", "x.test", dns.TypeA); got != "SERVFAIL" {
		t.Error(got)
	}
}

func TestServeViews(t *testing.T) {
	t.Parallel()
	if _, err := New(filepath.Join(t.TempDir(), "missing"), &safeBuffer{}); err == nil {
		t.Error("no error for a missing table")
	}
	r := start(t, nil)
	server, err := New(r.file, &safeBuffer{})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.ServeViews(t.Context(), map[string]string{r.at["a"]: "a"}); err == nil {
		t.Error("no error for a second server on the same address")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := server.ServeViews(ctx, map[string]string{"127.0.0.1:0": "a"}); err != nil {
		t.Errorf("error after cancellation: %v", err)
	}
}
