package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/dnstest"
)

const notFound, failed = diagnosis.FaultNameNotFound, diagnosis.FaultDNSFailure

// pack modifies a successful response to a query and packs it.
func pack(change func(*dns.Msg)) func(*dns.Msg) []byte {
	return func(q *dns.Msg) []byte {
		r := dnstest.Zone{Addresses: []string{"192.0.2.1", "2001:db8::1"}}.Reply(q, "udp")
		change(r)
		out, _ := r.Pack()
		return out
	}
}

type lookupCase struct {
	zone  dnstest.Zone
	fault diagnosis.Fault
	addrs string
	why   string
	code  Code
}

func lookupCases() map[string]lookupCase {
	type zone = dnstest.Zone
	many := make([]string, 30)
	for i := range many {
		many[i] = fmt.Sprintf("10.0.0.%d", 99-i)
	}
	one := []string{"192.0.2.1"}
	return map[string]lookupCase{
		"a.hub.test":         {zone: zone{Addresses: []string{"192.0.2.9", "192.0.2.1"}}, addrs: "192.0.2.1 192.0.2.9", code: Success},
		"aaaa.hub.test":      {zone: zone{Addresses: []string{"2001:db8::1"}}, addrs: "2001:db8::1", code: Success},
		"both.hub.test":      {zone: zone{Addresses: []string{"2001:db8::1", "192.0.2.1"}}, addrs: "192.0.2.1 2001:db8::1", code: Success},
		"twice.hub.test":     {zone: zone{Addresses: []string{"192.0.2.1", "192.0.2.1"}}, addrs: "192.0.2.1", code: Success},
		"alias.hub.test":     {zone: zone{CNAME: "real.hub.test", Addresses: one}, addrs: "192.0.2.1", code: Success},
		"many.hub.test":      {zone: zone{Addresses: many}, addrs: "10.0.0.70 10.0.0.71 10.0.0.72 10.0.0.73 10.0.0.74 10.0.0.75 10.0.0.76 10.0.0.77", code: Success},
		"large.hub.test":     {zone: zone{Truncated: true, Addresses: one}, addrs: "192.0.2.1", code: Success},
		"mixed.hub.test":     {zone: zone{Addresses: one, Rcode6: dns.RcodeServerFailure}, addrs: "192.0.2.1", code: Success},
		"old.hub.test":       {zone: zone{NoEDNS: true, Addresses: one}, addrs: "192.0.2.1", code: Success},
		"lost.hub.test":      {zone: zone{Deaf: 1, Addresses: one}, addrs: "192.0.2.1", code: Success},
		"nowhere.hub.test":   {zone: zone{CNAME: "gone.hub.test"}, fault: notFound, why: "it has no addresses", code: NoData},
		"dangling.hub.test":  {zone: zone{CNAME: "gone.hub.test", Rcode: dns.RcodeNameError}, fault: notFound, why: "no such name (NXDOMAIN)", code: NameError},
		"empty.hub.test":     {zone: zone{}, fault: notFound, why: "it has no addresses", code: NoData},
		"nxdomain.hub.test":  {zone: zone{Rcode: dns.RcodeNameError}, fault: notFound, why: "no such name (NXDOMAIN)", code: NameError},
		"nx4.hub.test":       {zone: zone{Rcode: dns.RcodeNameError, Rcode6: dns.RcodeServerFailure}, fault: notFound, why: "no such name (NXDOMAIN)", code: NameError},
		"nx6.hub.test":       {zone: zone{Rcode: dns.RcodeServerFailure, Rcode6: dns.RcodeNameError}, fault: notFound, why: "no such name (NXDOMAIN)", code: NameError},
		"servfail.hub.test":  {zone: zone{Rcode: dns.RcodeServerFailure}, fault: failed, why: "it answered SERVFAIL", code: ServerFailure},
		"servfail6.hub.test": {zone: zone{Rcode6: dns.RcodeServerFailure}, fault: failed, why: "it answered SERVFAIL", code: ServerFailure},
		"refused.hub.test":   {zone: zone{Rcode: dns.RcodeRefused}, fault: failed, why: "it answered REFUSED", code: OtherRcode},
		"notimp.hub.test":    {zone: zone{Rcode: dns.RcodeNotImplemented}, fault: failed, why: "it answered NOTIMP", code: OtherRcode},
		"formerr.hub.test":   {zone: zone{Rcode: dns.RcodeFormatError}, fault: failed, why: "it answered FORMERR", code: OtherRcode},
		"odd.hub.test":       {zone: zone{Rcode: 14}, fault: failed, why: "it answered code 14", code: OtherRcode},
		"lame.hub.test":      {zone: zone{Lame: true}, fault: failed, why: "it does not know the name and does not ask other servers", code: Lame},
		// With any other record in it, Go and the C library both treat it as an
		// empty response.
		"empty2.hub.test":  {zone: zone{Raw: emptyWithEDNS}, fault: notFound, why: "it has no addresses", code: NoData},
		"class.hub.test":   {zone: zone{Raw: pack(otherClass)}, fault: notFound, why: "it has no addresses", code: NoData},
		"crossed.hub.test": {zone: zone{Raw: crossed}, fault: notFound, why: "it has no addresses", code: NoData},
		"cut.hub.test":     {zone: zone{Truncated: true, Broken: true}, fault: failed, why: "its answer is too long for UDP, and TCP failed", code: Truncated},
		"bad.hub.test":     {zone: zone{Raw: func(q *dns.Msg) []byte { return broken(q) }}, fault: failed, why: "its answer is malformed", code: Malformed},
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	s := dnstest.New(t, "127.0.0.1")
	for name, tc := range lookupCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.Set(name, tc.zone)
			v := asking(s, "")
			if tc.zone.Deaf > 0 { // the query is sent again after a fifth of it
				v.ServerTimeout, v.Attempts = 5*time.Second, 5
			}
			got := v.Lookup(t.Context(), name)
			wantAnswer(t, got, tc.fault, tc.addrs, tc.why)
			if got.Code != tc.code || got.Name != name {
				t.Errorf("code %s, name %s", got.Code, got.Name)
			}
			if want := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), s.Port).String(); got.Server != want {
				t.Errorf("server %q, want %q", got.Server, want)
			}
		})
	}
}

// emptyWithEDNS returns an empty response, neither authoritative nor recursive,
// that shows EDNS0 support.
func emptyWithEDNS(q *dns.Msg) []byte {
	out, _ := new(dns.Msg).SetReply(q).SetEdns0(1232, false).Pack()
	return out
}

func otherClass(m *dns.Msg) {
	for _, rr := range m.Answer {
		rr.Header().Class = dns.ClassCHAOS
	}
}

// crossed returns a response with addresses of the other record type.
func crossed(q *dns.Msg) []byte {
	other := q.Copy()
	other.Question[0].Qtype = dns.TypeA + dns.TypeAAAA - q.Question[0].Qtype
	return pack(func(m *dns.Msg) { m.Question = q.Question })(other)
}

// broken returns a response with a record that extends past the end of the
// packet.
func broken(q *dns.Msg) []byte {
	out := pack(func(*dns.Msg) {})(q)
	return out[:len(out)-2]
}

// Packets that do not answer the query may be forged and are ignored.
func TestForgedPackets(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]func(*dns.Msg) []byte{
		"another id":       pack(func(m *dns.Msg) { m.Id++ }),
		"another name":     pack(func(m *dns.Msg) { m.Question[0].Name = "other.test." }),
		"another type":     pack(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeTXT }),
		"another class":    pack(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }),
		"a question":       pack(func(m *dns.Msg) { m.Response = false }),
		"without question": pack(func(m *dns.Msg) { m.Question = nil }),
		"short":            func(*dns.Msg) []byte { return []byte("short") },
		"noise":            func(*dns.Msg) []byte { return []byte(strings.Repeat("noise", 100)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := dnstest.New(t, "127.0.0.1")
			s.Set("hub.test", dnstest.Zone{Raw: raw})
			got := patient(t, asking(s, ""), func(a Answer) bool { return a.Code == Malformed })
			wantAnswer(t, got, failed, "", "its answer is malformed")
			got = asking(s, "options use-vc\n").Lookup(t.Context(), "hub.test")
			wantAnswer(t, got, failed, "", "its answer is malformed")
		})
	}
}

func TestTransport(t *testing.T) {
	t.Parallel()
	one := []string{"192.0.2.1"}
	for name, tc := range map[string]struct {
		zone  dnstest.Zone
		conf  string
		asked []string
	}{
		"UDP":               {zone: dnstest.Zone{Addresses: one}, asked: []string{"udp A", "udp AAAA"}},
		"truncated":         {zone: dnstest.Zone{Addresses: one, Truncated: true}, asked: []string{"tcp A", "tcp AAAA", "udp A", "udp AAAA"}},
		"use-vc":            {zone: dnstest.Zone{Addresses: one}, conf: "options use-vc\n", asked: []string{"tcp A", "tcp AAAA"}},
		"no EDNS0":          {zone: dnstest.Zone{Addresses: one, NoEDNS: true}, asked: []string{"udp A", "udp A", "udp AAAA", "udp AAAA"}},
		"no-aaaa, not Go's": {zone: dnstest.Zone{Addresses: one}, conf: "options no-aaaa\n", asked: []string{"udp A", "udp AAAA"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := dnstest.New(t, "127.0.0.1")
			s.Set("hub.test", tc.zone)
			got := asking(s, tc.conf).Lookup(t.Context(), "hub.test")
			wantAnswer(t, got, "", "192.0.2.1", "")
			for i, q := range s.Queries() {
				if i >= len(tc.asked) || q != tc.asked[i]+" hub.test." {
					t.Errorf("questions %q", s.Queries())
				}
			}
		})
	}
	t.Run("no-aaaa, the C library's", func(t *testing.T) {
		s := dnstest.New(t, "127.0.0.1")
		v := asking(s, "options no-aaaa\n")
		v.Style = C
		v.Lookup(t.Context(), "hub.test")
		wantLines(t, "questions", s.Queries(), "udp A hub.test.")
	})
}

// What a server sends is never repeated, except for valid names.
func TestCanonical(t *testing.T) {
	t.Parallel()
	s := dnstest.New(t, "127.0.0.1")
	for target, want := range map[string]struct {
		rcode    int
		end      string
		dangling bool
	}{
		"Real.Hub.Test":   {end: "real.hub.test"},
		"gone.hub.test":   {rcode: dns.RcodeNameError, end: "gone.hub.test", dangling: true},
		`bad\032one.test`: {}, "self.hub.test": {}, "<b>.test": {},
	} {
		s.Set("self.hub.test", dnstest.Zone{CNAME: target, Rcode: want.rcode})
		got := asking(s, "").Lookup(t.Context(), "self.hub.test")
		if got.Canonical != want.end || got.Dangling != want.dangling {
			t.Errorf("%s: %q, dangling %t", target, got.Canonical, got.Dangling)
		}
		wellFormed(t, got)
	}
	alias := func(name, target string) dnsmessage.Resource {
		return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name)}, Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(target)}}
	}
	loop := []dnsmessage.Resource{alias("a.test.", "b.test."), alias("b.test.", "c.test."), alias("c.test.", "b.test.")}
	if got := chainEnd("A.test.", loop[:2]); got != "c.test" {
		t.Errorf("end %q", got)
	}
	chainEnd("a.test.", loop) // ends
}

func TestLookupWithoutDNS(t *testing.T) {
	t.Parallel()
	s := dnstest.New(t, "127.0.0.1")
	v := asking(s, "")
	v.Hosts = ParseHosts([]byte("" +
		"# 10.0.0.1 comment.hub.test\n" +
		"10.0.0.2 HUB.test alias.hub.test # 10.0.0.3 behind.hub.test\n" +
		"fd00::2\thub.test.\n" +
		"not-an-address wrong.hub.test\n" +
		"10.0.0.4\n" +
		"10.0.0.2 hub.test"))
	for host, tc := range map[string]struct {
		addrs string
		code  Code
	}{
		"hub.test":       {"10.0.0.2 fd00::2", HostsFile},
		"Hub.TEST":       {"10.0.0.2 fd00::2", HostsFile},
		"hub.test.":      {"10.0.0.2 fd00::2", HostsFile},
		"alias.hub.test": {"10.0.0.2", HostsFile},
		"192.0.2.7":      {"192.0.2.7", IsAddress},
		"2001:db8::7":    {"2001:db8::7", IsAddress},
		"10.0.0.2":       {"10.0.0.2", IsAddress},
		"":               {"", InvalidName}, ".": {"", InvalidName}, "1.2.3": {"", InvalidName}, "a..b": {"", InvalidName},
		"a b.test": {"", InvalidName}, "-a.test": {"", InvalidName}, strings.Repeat("a", 64) + ".test": {"", InvalidName},
		strings.Repeat("a.", 128): {"", InvalidName}, "x.onion": {"", InvalidName}, "x.ONION.": {"", InvalidName},
	} {
		t.Run(host, func(t *testing.T) {
			got := v.Lookup(t.Context(), host)
			wellFormed(t, got)
			if texts(got.Addresses) != tc.addrs || got.Code != tc.code || got.Server != "" || (got.Fault == notFound) != (tc.addrs == "") {
				t.Errorf("answer %+v", got)
			}
		})
	}
	wantLines(t, "questions", s.Queries())
	for _, host := range []string{"comment.hub.test", "behind.hub.test", "wrong.hub.test"} {
		wantAnswer(t, v.Lookup(t.Context(), host), notFound, "", "no such name (NXDOMAIN)")
	}
}

func TestSeveralServers(t *testing.T) {
	t.Parallel()
	const three = "nameserver 127.0.0.2\nnameserver 127.0.0.3\nnameserver 127.0.0.4\n"
	type zone = dnstest.Zone
	good := zone{Addresses: []string{"192.0.2.1"}}
	for name, tc := range map[string]struct {
		zones  []zone // on 127.0.0.1, 127.0.0.2, …
		addrs  string
		fault  diagnosis.Fault
		why    string
		server string
	}{
		"the first knows":           {zones: []zone{good, {}}, addrs: "192.0.2.1", server: "127.0.0.1"},
		"the first is silent":       {zones: []zone{{Silent: true}, good}, addrs: "192.0.2.1", server: "127.0.0.2"},
		"the first fails":           {zones: []zone{{Rcode: dns.RcodeServerFailure}, good}, addrs: "192.0.2.1", server: "127.0.0.2"},
		"the first refuses":         {zones: []zone{{Rcode: dns.RcodeRefused}, good}, addrs: "192.0.2.1", server: "127.0.0.2"},
		"the first is lame":         {zones: []zone{{Lame: true}, good}, addrs: "192.0.2.1", server: "127.0.0.2"},
		"the first is cut":          {zones: []zone{{Truncated: true, Broken: true}, good}, addrs: "192.0.2.1", server: "127.0.0.2"},
		"the first: NXDOMAIN":       {zones: []zone{{Rcode: dns.RcodeNameError}, good}, fault: notFound, why: "no such name (NXDOMAIN)", server: "127.0.0.1"},
		"the second: NXDOMAIN":      {zones: []zone{{Silent: true}, {Rcode: dns.RcodeNameError}}, fault: notFound, why: "no such name (NXDOMAIN)", server: "127.0.0.2"},
		"the third knows":           {zones: []zone{{Silent: true}, {Rcode: dns.RcodeRefused}, good}, addrs: "192.0.2.1", server: "127.0.0.3"},
		"a fourth is never asked":   {zones: []zone{{Rcode: 2}, {Rcode: 2}, {Rcode: 2}, good}, fault: failed, why: "it answered SERVFAIL", server: "127.0.0.3"},
		"the others' ports, closed": {zones: []zone{{Rcode: 2}}, fault: failed, why: "its port is closed", server: "127.0.0.3"},
		"silence, AAAA only":        {zones: []zone{{Addresses: []string{"192.0.2.6"}, Silent6: true}}, addrs: "192.0.2.6", server: "127.0.0.1"},
		"NXDOMAIN and silence":      {zones: []zone{{Rcode: dns.RcodeNameError, Silent6: true}}, fault: notFound, why: "no such name (NXDOMAIN)", server: "127.0.0.1"},
		"each knows one kind":       {zones: []zone{{Rcode6: 2}, {Addresses: []string{"192.0.2.6", "2001:db8::6"}}}, addrs: "2001:db8::6", server: "127.0.0.2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := dnstest.New(t, "127.0.0.1")
			first.Set("hub.test", tc.zones[0])
			for i, z := range tc.zones[1:] {
				first.OnSamePort(t, fmt.Sprintf("127.0.0.%d", i+2)).Set("hub.test", z)
			}
			server := tc.server + fmt.Sprintf(":%d", first.Port)
			got := patient(t, asking(first, three), func(a Answer) bool { return a.Why == tc.why && a.Server == server })
			wantAnswer(t, got, tc.fault, tc.addrs, tc.why)
			if got.Server != server {
				t.Errorf("server %q, want %q", got.Server, server)
			}
		})
	}
}

// patient looks up hub.test with ever longer server timeouts until the answer
// is the expected one: honest servers may be slow on a busy machine.
func patient(t *testing.T, v View, good func(Answer) bool) Answer {
	t.Helper()
	for timeout := 200 * time.Millisecond; ; timeout *= 5 {
		v.ServerTimeout, v.LookupTimeout = timeout, long
		if a := v.Lookup(t.Context(), "hub.test"); good(a) || timeout > long {
			return a
		}
	}
}

// An unresponsive server is asked once, not once for each name of the search
// list; a server with a closed port is never asked again.
func TestDeadServerOnce(t *testing.T) {
	t.Parallel()
	silent := dnstest.New(t, "127.0.0.1")
	silent.Set("*", dnstest.Zone{Silent: true})
	good := silent.OnSamePort(t, "127.0.0.3")
	good.Set("hub.test.three.test", dnstest.Zone{Addresses: []string{"192.0.2.1"}})
	const conf = "nameserver 127.0.0.2\nnameserver 127.0.0.3\nsearch one.test two.test three.test\n"
	v := asking(silent, conf)
	dials := counting(&v)
	want := []string{"127.0.0.1 2", "127.0.0.2 2", "127.0.0.3 8"} // of each name two record types
	var dialled []string
	got := patient(t, v, func(Answer) bool { dialled = dials(); return slices.Equal(dialled, want) })
	wantAnswer(t, got, "", "192.0.2.1", "")
	wantLines(t, "dials", dialled, want...)
	if got.Name != "hub.test.three.test" {
		t.Errorf("name %s", got.Name)
	}
}

// A server that times out for two names is not asked for a third.
func TestTwoStrikes(t *testing.T) {
	t.Parallel()
	s := dnstest.New(t, "127.0.0.1")
	s.Set("*", dnstest.Zone{Silent: true})
	v := hasty(asking(s, "search one.test two.test\noptions attempts:1\n"))
	v.ServerTimeout = 20 * time.Millisecond
	dials := counting(&v)
	got := v.Lookup(t.Context(), "hub.test")
	wantAnswer(t, got, failed, "", "it did not answer in time")
	wantLines(t, "dials", dials(), "127.0.0.1 4") // for two record types of two names
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	s := dnstest.New(t, "127.0.0.1")
	s.Set("hub.test", dnstest.Zone{Silent: true})
	v := asking(s, "")
	t.Run("of a server", func(t *testing.T) {
		v := v
		v.ServerTimeout = 5 * time.Millisecond
		wantAnswer(t, v.Lookup(t.Context(), "hub.test"), failed, "", "it did not answer in time")
	})
	t.Run("of the lookup", func(t *testing.T) {
		wantAnswer(t, inTime(t, func(d time.Duration) Answer {
			v := v
			v.ServerTimeout, v.LookupTimeout = time.Hour, d
			return v.Lookup(t.Context(), "hub.test")
		}), failed, "", "it did not answer in time")
	})
	t.Run("of the caller", func(t *testing.T) {
		wantAnswer(t, inTime(t, func(d time.Duration) Answer {
			v := v
			v.ServerTimeout, v.LookupTimeout = time.Hour, time.Hour
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			return v.Lookup(ctx, "hub.test")
		}), failed, "", "it did not answer in time")
	})
	t.Run("of a lookup with a long search list", func(t *testing.T) {
		v := asking(s, "search"+strings.Repeat(" x.test", 5000)+"\noptions ndots:15\n")
		v.ServerTimeout, v.LookupTimeout = time.Hour, 20*time.Millisecond
		got := v.Lookup(t.Context(), "hub.test")
		if wellFormed(t, got); got.Fault == notFound { // no server has said that about hub.test
			t.Errorf("answer %+v", got)
		}
	})
	t.Run("of the configuration", func(t *testing.T) {
		v := View{Config: Config{Timeout: time.Second}}
		if got := v.lookup().timeout; got != time.Second {
			t.Errorf("%s with timeout:1", got)
		}
		v.Timeout = 30 * time.Second
		if got := v.lookup().timeout; got != 2*time.Second {
			t.Errorf("%s with timeout:30", got)
		}
	})
	t.Run("only server", func(t *testing.T) {
		for conf, want := range map[string]time.Duration{
			"nameserver 127.0.0.1\n":                       4 * time.Second,
			"nameserver 127.0.0.1\noptions timeout:1\n":    time.Second,
			"nameserver 127.0.0.1\nnameserver 127.0.0.2\n": 2 * time.Second,
		} {
			if got := (View{Config: ParseConfig([]byte(conf))}).lookup().timeout; got != want {
				t.Errorf("%q: %s, want %s", conf, got, want)
			}
		}
	})
	t.Run("defaults", func(t *testing.T) {
		if serverTimeout*2 > lookupTimeout || lookupTimeout > 5*time.Second {
			t.Errorf("a server may take %s, a lookup %s", serverTimeout, lookupTimeout)
		}
	})
}

// inTime runs a lookup with ever longer timeouts until there is enough time to
// ask a server at all.
func inTime(t *testing.T, lookup func(time.Duration) Answer) Answer {
	t.Helper()
	for d := 10 * time.Millisecond; ; d *= 4 {
		if a := lookup(d); !a.Unknown || d > long {
			return a
		}
	}
}

// A canceled lookup returns at once, without a fault, and leaves nothing
// running.
func TestCanceled(t *testing.T) {
	noGoroutinesLeft(t)
	for _, conf := range []string{"", "options use-vc\n"} {
		s := dnstest.New(t, "127.0.0.1")
		s.Set("hub.test", dnstest.Zone{Silent: true})
		v := asking(s, conf)
		v.ServerTimeout, v.LookupTimeout = time.Hour, time.Hour
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			wantAnswer(t, v.Lookup(ctx, "hub.test"), "", "", "the check was cut short")
		})
		for deadline := time.Now().Add(long); len(s.Asked()) < 2 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		cancel()
		wg.Wait()
		before := len(s.Asked())
		wantAnswer(t, v.Lookup(ctx, "hub.test"), "", "", "the check was cut short")
		if n := len(s.Asked()); n != before {
			t.Errorf("%d questions for one who had given up", n-before)
		}
	}
}

func TestSilentServerLeavesNothing(t *testing.T) {
	noGoroutinesLeft(t)
	s := dnstest.New(t, "127.0.0.1")
	s.Set("*", dnstest.Zone{Silent: true})
	v := asking(s, "search a.test b.test\n")
	v.ServerTimeout = 5 * time.Millisecond
	for range 20 {
		wellFormed(t, v.Lookup(t.Context(), "hub.test"))
	}
}

// The caller opens all sockets and gets IP addresses only.
func TestDial(t *testing.T) {
	t.Parallel()
	s := dnstest.New(t, "127.0.0.1")
	s.Set("hub.test", dnstest.Zone{Truncated: true, Addresses: []string{"192.0.2.1"}})
	for addr, want := range map[string]string{"10.0.0.53": "10.0.0.53:53", "2001:db8::53": "[2001:db8::53]:53", "fe80::1%eth0": "[fe80::1%eth0]:53"} {
		var mu sync.Mutex
		var dialled []string
		v := View{Config: NewConfig([]string{addr}, nil, nil), ServerTimeout: long, LookupTimeout: long}
		v.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			dialled = append(dialled, network+" "+address)
			return new(net.Dialer).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", s.Port))
		}
		got := v.Lookup(t.Context(), "hub.test")
		wantAnswer(t, got, "", "192.0.2.1", "")
		if got.Server != want {
			t.Errorf("server %s, want %s", got.Server, want)
		}
		slices.Sort(dialled)
		wantLines(t, "dialled", dialled, "tcp "+want, "tcp "+want, "udp "+want, "udp "+want)
	}
}

func TestDialErrors(t *testing.T) {
	t.Parallel()
	for want, err := range map[Code]error{
		PortClosed:  &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED},
		Unreachable: &net.OpError{Op: "dial", Err: syscall.ENETUNREACH},
		Timeout:     &net.OpError{Op: "dial", Err: context.DeadlineExceeded},
		NotAsked:    errors.New("the namespace is gone"),
	} {
		v := View{Config: NewConfig([]string{"10.0.0.53"}, []string{"one.test"}, nil)}
		v.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, err }
		got := v.Lookup(t.Context(), "hub.test")
		wellFormed(t, got)
		if got.Code != want || got.Unknown != (want == NotAsked) {
			t.Errorf("%v: %+v", err, got)
		}
	}
}

// The machine itself is asked if no server is configured.
func TestDefaultServers(t *testing.T) {
	t.Parallel()
	if got := texts(View{}.servers()); got != "127.0.0.1 ::1" {
		t.Errorf("Go's: %s", got)
	}
	if got := texts(View{Style: C}.servers()); got != "127.0.0.1" {
		t.Errorf("the C library's: %s", got)
	}
}

func TestSearchIsBounded(t *testing.T) {
	t.Parallel()
	s := dnstest.New(t, "127.0.0.1")
	s.Set("*", dnstest.Zone{Rcode: dns.RcodeServerFailure})
	s.OnSamePort(t, "127.0.0.2").Set("*", dnstest.Zone{Rcode: dns.RcodeServerFailure})
	s.OnSamePort(t, "127.0.0.3").Set("*", dnstest.Zone{Rcode: dns.RcodeServerFailure})
	wellFormed(t, asking(s, "nameserver 127.0.0.2\nnameserver 127.0.0.3\nsearch"+strings.Repeat(" x.test", 40)).Lookup(t.Context(), "hub.test"))
	if n := len(s.Names()); n != 1+maxSearch {
		t.Errorf("%d names asked for", n)
	}
}

// Whatever the replies are, the answer is exactly one of success, fault and
// unknown.
func TestMerge(t *testing.T) {
	t.Parallel()
	all := []Code{Success, NoData, NameError, ServerFailure, Lame, Timeout, PortClosed, Unreachable, Truncated, Malformed, OtherRcode, NotAsked}
	for _, a := range all {
		for _, b := range all {
			replies := []reply{{Server: "10.0.0.53:53", Code: a}, {Server: "10.0.0.53:53", Code: b}}
			for i, c := range []Code{a, b} {
				if c == Success {
					replies[i].Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
				}
			}
			got := merge(replies)
			wellFormed(t, got)
			if (got.Server == "") != got.Unknown {
				t.Errorf("%s and %s: %+v", a, b, got)
			}
		}
	}
}
