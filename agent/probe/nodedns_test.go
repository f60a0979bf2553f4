package probe

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/whypull/whypull/agent/diagnosis"
)

// resolver reads the given resolv.conf; its servers are asked on the server's
// port.
func resolver(t *testing.T, s *nameServer, conf string) NodeResolver {
	t.Helper()
	return NodeResolver{Root: writeFiles(t, map[string]string{"etc/resolv.conf": conf}), port: s.port}
}

func texts(addrs []netip.Addr) string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

func wantAnswer(t *testing.T, got Answer, fault diagnosis.Fault, addrs, why string) {
	t.Helper()
	if got.Fault != fault || texts(got.Addresses) != addrs || got.Why != why {
		t.Errorf("fault %q, addresses %q, why %q; want %q, %q, %q", got.Fault, texts(got.Addresses), got.Why, fault, addrs, why)
	}
	if (got.Fault == "" && !got.unknown) != (len(got.Addresses) > 0) {
		t.Errorf("fault %q with addresses %v", got.Fault, got.Addresses)
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	s := newNameServer(t, "127.0.0.1")
	many := make([]string, 30)
	for i := range many {
		many[i] = fmt.Sprintf("10.0.0.%d", 99-i)
	}
	const notFound, failed = diagnosis.FaultNameNotFound, diagnosis.FaultDNSFailure
	for name, tc := range map[string]struct {
		zone  zone
		fault diagnosis.Fault
		addrs string
		why   string
	}{
		"a.hub.test":         {zone: zone{addresses: []string{"192.0.2.9", "192.0.2.1"}}, addrs: "192.0.2.1 192.0.2.9"},
		"aaaa.hub.test":      {zone: zone{addresses: []string{"2001:db8::1"}}, addrs: "2001:db8::1"},
		"both.hub.test":      {zone: zone{addresses: []string{"2001:db8::1", "192.0.2.1"}}, addrs: "192.0.2.1 2001:db8::1"},
		"twice.hub.test":     {zone: zone{addresses: []string{"192.0.2.1", "192.0.2.1"}}, addrs: "192.0.2.1"},
		"alias.hub.test":     {zone: zone{cname: "real.hub.test", addresses: []string{"192.0.2.1"}}, addrs: "192.0.2.1"},
		"many.hub.test":      {zone: zone{addresses: many}, addrs: "10.0.0.70 10.0.0.71 10.0.0.72 10.0.0.73 10.0.0.74 10.0.0.75 10.0.0.76 10.0.0.77"},
		"large.hub.test":     {zone: zone{truncated: true, addresses: []string{"192.0.2.1"}}, addrs: "192.0.2.1"},
		"mixed.hub.test":     {zone: zone{addresses: []string{"192.0.2.1"}, rcode6: dns.RcodeServerFailure}, addrs: "192.0.2.1"},
		"nowhere.hub.test":   {zone: zone{cname: "gone.hub.test"}, fault: notFound, why: "it has no addresses"},
		"dangling.hub.test":  {zone: zone{cname: "gone.hub.test", rcode: dns.RcodeNameError}, fault: notFound, why: "no such name (NXDOMAIN)"},
		"empty.hub.test":     {zone: zone{}, fault: notFound, why: "it has no addresses"},
		"nxdomain.hub.test":  {zone: zone{rcode: dns.RcodeNameError}, fault: notFound, why: "no such name (NXDOMAIN)"},
		"nx4.hub.test":       {zone: zone{rcode: dns.RcodeNameError, rcode6: dns.RcodeServerFailure}, fault: notFound, why: "no such name (NXDOMAIN)"},
		"nx6.hub.test":       {zone: zone{rcode: dns.RcodeServerFailure, rcode6: dns.RcodeNameError}, fault: notFound, why: "no such name (NXDOMAIN)"},
		"servfail.hub.test":  {zone: zone{rcode: dns.RcodeServerFailure}, fault: failed, why: "it answered SERVFAIL"},
		"servfail6.hub.test": {zone: zone{rcode6: dns.RcodeServerFailure}, fault: failed, why: "it answered SERVFAIL"},
		"refused.hub.test":   {zone: zone{rcode: dns.RcodeRefused}, fault: failed, why: "it answered REFUSED"},
		"notimp.hub.test":    {zone: zone{rcode: dns.RcodeNotImplemented}, fault: failed, why: "it answered NOTIMP"},
		"odd.hub.test":       {zone: zone{rcode: 14}, fault: failed, why: "it answered code 14"},
		"lame.hub.test":      {zone: zone{lame: true}, fault: failed, why: "it neither knows the name nor asks other servers"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.set(name, tc.zone)
			got := resolver(t, s, "nameserver 127.0.0.1\n").Lookup(t.Context(), name)
			wantAnswer(t, got, tc.fault, tc.addrs, tc.why)
			if want := "127.0.0.1:" + s.port; got.Server != want {
				t.Errorf("server %q, want %q", got.Server, want)
			}
		})
	}
}

// A truncated answer is fetched anew over TCP, for each kind of address.
func TestLookupTruncated(t *testing.T) {
	t.Parallel()
	s := newNameServer(t, "127.0.0.1")
	s.set("large.hub.test", zone{truncated: true, addresses: []string{"192.0.2.1"}})
	resolver(t, s, "nameserver 127.0.0.1\n").Lookup(t.Context(), "large.hub.test")
	wantLines(t, "questions", s.queries(),
		"tcp A large.hub.test.", "tcp AAAA large.hub.test.", "udp A large.hub.test.", "udp AAAA large.hub.test.")
}

func TestLookupWithoutDNS(t *testing.T) {
	t.Parallel()
	s := newNameServer(t, "127.0.0.1")
	r := NodeResolver{port: s.port, Root: writeFiles(t, map[string]string{"etc/hosts": "" +
		"# 10.0.0.1 comment.hub.test\n" +
		"10.0.0.2 HUB.test alias.hub.test # 10.0.0.3 behind.hub.test\n" +
		"fd00::2\thub.test.\n" +
		"not-an-address wrong.hub.test\n" +
		"10.0.0.4\n" +
		"10.0.0.2 hub.test\n"})}
	for name, tc := range map[string]struct{ host, addrs, why string }{
		"name":             {"hub.test", "10.0.0.2 fd00::2", "the node's hosts file"},
		"upper case":       {"Hub.TEST", "10.0.0.2 fd00::2", "the node's hosts file"},
		"with a dot":       {"hub.test.", "10.0.0.2 fd00::2", "the node's hosts file"},
		"second name":      {"alias.hub.test", "10.0.0.2", "the node's hosts file"},
		"address":          {"192.0.2.7", "192.0.2.7", "it is an address"},
		"IPv6 address":     {"2001:db8::7", "2001:db8::7", "it is an address"},
		"address in table": {"10.0.0.2", "10.0.0.2", "it is an address"},
	} {
		t.Run(name, func(t *testing.T) {
			got := r.Lookup(t.Context(), tc.host)
			wantAnswer(t, got, "", tc.addrs, tc.why)
			if got.Server != "" {
				t.Errorf("server %q, want none", got.Server)
			}
		})
	}
	wantLines(t, "questions", s.queries())
	for _, host := range []string{"comment.hub.test", "behind.hub.test", "wrong.hub.test"} {
		wantAnswer(t, r.Lookup(t.Context(), host), diagnosis.FaultNameNotFound, "", "no such name (NXDOMAIN)")
	}
}

func TestLookupSearchList(t *testing.T) {
	t.Parallel()
	const list = "nameserver 127.0.0.1\nsearch one.test two.test\n"
	for name, tc := range map[string]struct {
		conf, host string
		zones      map[string]zone
		addrs, why string
		fault      diagnosis.Fault
		asked      []string
	}{
		"as it is": {
			conf: list, host: "hub.test", zones: map[string]zone{"hub.test": {addresses: []string{"192.0.2.1"}}},
			addrs: "192.0.2.1", asked: []string{"hub.test."},
		},
		"with a suffix": {
			conf: list, host: "hub.x", zones: map[string]zone{"hub.x.two.test": {addresses: []string{"192.0.2.2"}}},
			addrs: "192.0.2.2", asked: []string{"hub.x.", "hub.x.one.test.", "hub.x.two.test."},
		},
		"without a dot": {
			conf: list, host: "hub", zones: map[string]zone{"hub.one.test": {addresses: []string{"192.0.2.3"}}},
			addrs: "192.0.2.3", asked: []string{"hub.one.test."},
		},
		"many dots wanted": {
			conf: list + "options ndots:5\n", host: "hub.test", zones: map[string]zone{"hub.test": {addresses: []string{"192.0.2.4"}}},
			addrs: "192.0.2.4", asked: []string{"hub.test.", "hub.test.one.test.", "hub.test.two.test."},
		},
		"rooted": {
			conf: list, host: "hub.test.", fault: diagnosis.FaultNameNotFound, why: "no such name (NXDOMAIN)", asked: []string{"hub.test."},
		},
		"nowhere": {
			conf: list, host: "hub.test", zones: map[string]zone{"hub.test": {}},
			fault: diagnosis.FaultNameNotFound, why: "it has no addresses", // of the name itself
			asked: []string{"hub.test.", "hub.test.one.test.", "hub.test.two.test."},
		},
		"a failure on the way": {
			conf: list, host: "hub.test", zones: map[string]zone{"hub.test.one.test": {rcode: dns.RcodeServerFailure}, "hub.test.two.test": {addresses: []string{"192.0.2.5"}}},
			addrs: "192.0.2.5", asked: []string{"hub.test.", "hub.test.one.test.", "hub.test.two.test."},
		},
		"a failure decides": {
			conf: list, host: "hub", zones: map[string]zone{"hub.one.test": {rcode: dns.RcodeServerFailure}},
			fault: diagnosis.FaultDNSFailure, why: "it answered SERVFAIL", asked: []string{"hub.", "hub.one.test.", "hub.two.test."},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newNameServer(t, "127.0.0.1")
			for n, z := range tc.zones {
				s.set(n, z)
			}
			wantAnswer(t, resolver(t, s, tc.conf).Lookup(t.Context(), tc.host), tc.fault, tc.addrs, tc.why)
			var asked []string
			for _, q := range s.queries() {
				if n, ok := strings.CutPrefix(q, "udp A "); ok {
					asked = append(asked, n)
				}
			}
			wantLines(t, "names asked for", asked, tc.asked...)
		})
	}
}

func TestLookupSeveralServers(t *testing.T) {
	t.Parallel()
	const three = "nameserver 127.0.0.1\nnameserver 127.0.0.2\nnameserver 127.0.0.3\nnameserver 127.0.0.4\n"
	good := zone{addresses: []string{"192.0.2.1"}}
	for name, tc := range map[string]struct {
		zones  []zone // of 127.0.0.1, 127.0.0.2, …
		addrs  string
		fault  diagnosis.Fault
		why    string
		server string
	}{
		"the first knows":           {zones: []zone{good, {}}, addrs: "192.0.2.1", server: "127.0.0.1"},
		"the first is silent":       {zones: []zone{{silent: true}, good}, addrs: "192.0.2.1", server: "127.0.0.2"},
		"the first fails":           {zones: []zone{{rcode: dns.RcodeServerFailure}, good}, addrs: "192.0.2.1", server: "127.0.0.2"},
		"the first refuses":         {zones: []zone{{rcode: dns.RcodeRefused}, good}, addrs: "192.0.2.1", server: "127.0.0.2"},
		"the first is lame":         {zones: []zone{{lame: true}, good}, addrs: "192.0.2.1", server: "127.0.0.2"},
		"the first denies it":       {zones: []zone{{rcode: dns.RcodeNameError}, good}, fault: diagnosis.FaultNameNotFound, why: "no such name (NXDOMAIN)", server: "127.0.0.1"},
		"the second denies it":      {zones: []zone{{silent: true}, {rcode: dns.RcodeNameError}}, fault: diagnosis.FaultNameNotFound, why: "no such name (NXDOMAIN)", server: "127.0.0.2"},
		"the third knows":           {zones: []zone{{silent: true}, {rcode: dns.RcodeRefused}, good}, addrs: "192.0.2.1", server: "127.0.0.3"},
		"a fourth is never asked":   {zones: []zone{{rcode: 2}, {rcode: 2}, {rcode: 2}, good}, fault: diagnosis.FaultDNSFailure, why: "it answered SERVFAIL", server: "127.0.0.3"},
		"the others' ports, closed": {zones: []zone{{rcode: 2}}, fault: diagnosis.FaultDNSFailure, why: "its port is closed", server: "127.0.0.3"},
		"silence, AAAA only":        {zones: []zone{{addresses: []string{"192.0.2.6"}, silent6: true}}, addrs: "192.0.2.6", server: "127.0.0.1"},
		"NXDOMAIN and silence":      {zones: []zone{{rcode: dns.RcodeNameError, silent6: true}}, fault: diagnosis.FaultNameNotFound, why: "no such name (NXDOMAIN)", server: "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := newNameServer(t, "127.0.0.1")
			first.set("hub.test", tc.zones[0])
			for i, z := range tc.zones[1:] {
				first.beside(t, fmt.Sprintf("127.0.0.%d", i+2)).set("hub.test", z)
			}
			r := resolver(t, first, three)
			got := patient(t, r, func(a Answer) bool { return a.Why == tc.why && a.Server == tc.server+":"+first.port })
			wantAnswer(t, got, tc.fault, tc.addrs, tc.why)
			if want := tc.server + ":" + first.port; got.Server != want {
				t.Errorf("server %q, want %q", got.Server, want)
			}
		})
	}
}

// patient looks hub.test up with more and more time for each server, until the
// answer is as it should be: honest ones may take a while on a busy machine.
func patient(t *testing.T, r NodeResolver, good func(Answer) bool) Answer {
	t.Helper()
	for timeout := 200 * time.Millisecond; ; timeout *= 5 {
		r.bounds = bounds{server: timeout, lookup: long}
		if a := r.Lookup(t.Context(), "hub.test"); good(a) || timeout > long {
			return a
		}
	}
}

// A server that keeps silent is asked once, not once for each name of the
// search list.
func TestLookupDeadServerOnce(t *testing.T) {
	t.Parallel()
	silent := newNameServer(t, "127.0.0.1")
	for _, n := range []string{"hub.test", "hub.test.one.test", "hub.test.two.test", "hub.test.three.test"} {
		silent.set(n, zone{silent: true})
	}
	good := silent.beside(t, "127.0.0.2")
	good.set("hub.test.three.test", zone{addresses: []string{"192.0.2.1"}})
	r := resolver(t, silent, "nameserver 127.0.0.1\nnameserver 127.0.0.2\nsearch one.test two.test three.test\n")
	tries := 0
	got := patient(t, r, func(a Answer) bool { tries++; return len(a.Addresses) > 0 })
	wantAnswer(t, got, "", "192.0.2.1", "")
	if n := len(silent.queries()); n > 2*tries { // A and AAAA
		t.Errorf("%d questions to the silent server in %d lookups: %q", n, tries, silent.queries())
	}
}

func TestLookupTimeouts(t *testing.T) {
	t.Parallel()
	s := newNameServer(t, "127.0.0.1")
	s.set("hub.test", zone{silent: true})
	t.Run("of a server", func(t *testing.T) {
		r := resolver(t, s, "nameserver 127.0.0.1\n")
		r.bounds.server = time.Millisecond
		wantAnswer(t, r.Lookup(t.Context(), "hub.test"), diagnosis.FaultDNSFailure, "", "it did not answer in time")
	})
	t.Run("of the lookup", func(t *testing.T) {
		r := resolver(t, s, "nameserver 127.0.0.1\n")
		r.bounds = bounds{server: time.Hour, lookup: 5 * time.Millisecond}
		wantAnswer(t, r.Lookup(t.Context(), "hub.test"), diagnosis.FaultDNSFailure, "", "it did not answer in time")
	})
	t.Run("of a lookup with a long search list", func(t *testing.T) {
		r := resolver(t, s, "nameserver 127.0.0.1\nsearch"+strings.Repeat(" x.test", 5000)+"\noptions ndots:15\n")
		r.bounds = bounds{server: time.Hour, lookup: 5 * time.Millisecond}
		start := time.Now()
		if got := r.Lookup(t.Context(), "hub.test"); got.Fault == "" || len(got.Addresses) > 0 {
			t.Errorf("answer %+v", got)
		}
		if d := time.Since(start); d > long {
			t.Errorf("took %s", d)
		}
	})
	t.Run("defaults", func(t *testing.T) {
		if serverTimeout*2 > lookupTimeout || lookupTimeout > 5*time.Second {
			t.Errorf("a server may take %s, a lookup %s", serverTimeout, lookupTimeout)
		}
	})
}

func TestLookupConfiguration(t *testing.T) {
	t.Parallel()
	s := newNameServer(t, "127.0.0.1")
	s.set("hub.test", zone{addresses: []string{"192.0.2.1"}})
	for name, conf := range map[string]string{
		"empty":             "", // the default server of the C library and of Go
		"comments":          "# nameserver 192.0.2.53\n; nameserver 192.0.2.53\nnameserver 127.0.0.1\n",
		"no line break":     "nameserver 127.0.0.1",
		"oversized":         "nameserver 127.0.0.1\n" + strings.Repeat("# "+strings.Repeat("x", 100)+"\n", 10_000),
		"unknown options":   "nameserver 127.0.0.1\noptions edns0 trust-ad ndots:x timeout:-3\n",
		"nameserver, empty": "nameserver\nnameserver 127.0.0.1\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantAnswer(t, resolver(t, s, conf).Lookup(t.Context(), "hub.test"), "", "192.0.2.1", "")
		})
	}
}

// The node's resolv.conf is usually a link; an absolute one means a file of
// the node.
func TestLookupLinkedConfiguration(t *testing.T) {
	t.Parallel()
	s := newNameServer(t, "127.0.0.1")
	s.set("hub.test", zone{addresses: []string{"192.0.2.1"}})
	for name, target := range map[string]string{
		"relative": "../run/resolve/stub.conf", "absolute": "/run/resolve/stub.conf", "over two": "/etc/second.conf",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := writeFiles(t, map[string]string{"run/resolve/stub.conf": "nameserver 127.0.0.1\n"})
			link := filepath.Join(root, "etc/resolv.conf")
			if err := os.Remove(link); err != nil {
				t.Fatal(err)
			}
			for at, to := range map[string]string{link: target, filepath.Join(root, "etc/second.conf"): "/run/resolve/stub.conf"} {
				if err := os.Symlink(to, at); err != nil {
					t.Fatal(err)
				}
			}
			r := NodeResolver{Root: root, port: s.port}
			wantAnswer(t, r.Lookup(t.Context(), "hub.test"), "", "192.0.2.1", "")
			if got := inside(root, "/etc/resolv.conf"); got != filepath.Join(root, "run/resolve/stub.conf") {
				t.Errorf("the link leads to %s", got)
			}
		})
	}
}

// Links that go round and round end; the machine's own file is read then.
func TestInsideEndlessLink(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.Symlink("/loop", filepath.Join(root, "loop")); err != nil {
		t.Fatal(err)
	}
	if got := inside(root, "/loop"); got != filepath.Join(root, "loop") {
		t.Errorf("got %s", got)
	}
}

// A resolv.conf that whypull cannot read is no failure of the node's.
func TestLookupUnreadableConfiguration(t *testing.T) {
	t.Parallel()
	r := NodeResolver{Root: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(r.Root, "etc/resolv.conf"), 0o750); err != nil { // it opens, and does not read
		t.Fatal(err)
	}
	got := r.Lookup(t.Context(), "hub.test")
	wantAnswer(t, got, "", "", "whypull cannot read the node's resolv.conf")
	e := got.evidence("hub.test", "worker-3")
	wantLines(t, "evidence", of([]diagnosis.Evidence{e}, diagnosis.CheckNodeDNS),
		"Inconclusive | the registry's name hub.test could not be looked up on node worker-3: whypull cannot read the node's resolv.conf")
}

// The machine's own files serve where the node's are not mounted.
func TestLookupOwnFiles(t *testing.T) {
	t.Parallel()
	for _, root := range []string{"", "/", t.TempDir()} {
		f, err := NodeResolver{Root: root}.open("/etc/hosts")
		if err != nil {
			t.Skip("this machine has no hosts file")
		}
		_ = f.Close()
	}
	if _, err := (NodeResolver{Root: t.TempDir()}).open("/etc/no-such-file"); err == nil {
		t.Error("a file that is nowhere was opened")
	}
}

func TestAnswerEvidence(t *testing.T) {
	t.Parallel()
	one := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	for name, tc := range map[string]struct {
		answer Answer
		want   string
	}{
		"found": {Answer{Addresses: one, Server: "10.0.0.53:53"}, "Passed | hub.test resolves to 192.0.2.1, 2001:db8::1 (resolver 10.0.0.53:53)"},
		"hosts": {Answer{Addresses: one[:1], Why: "the node's hosts file"}, "Passed | hub.test resolves to 192.0.2.1 (the node's hosts file)"},
		"nxdomain": {Answer{Fault: diagnosis.FaultNameNotFound, Server: "10.0.0.53:53", Why: "no such name (NXDOMAIN)"},
			"Failed | NameNotFound | the registry's name hub.test does not resolve on node worker-3: no such name (NXDOMAIN), says resolver 10.0.0.53:53"},
		"failure": {Answer{Fault: diagnosis.FaultDNSFailure, Server: "10.0.0.53:53", Why: "it did not answer in time"},
			"Failed | DNSFailure | the registry's name hub.test cannot be resolved on node worker-3: resolver 10.0.0.53:53: it did not answer in time"},
		"cut short": {Answer{unknown: true, Why: "the check was cut short"},
			"Inconclusive | the registry's name hub.test could not be looked up on node worker-3: the check was cut short"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := tc.answer.evidence("hub.test", "worker-3")
			wellFormed(t, []diagnosis.Evidence{e})
			wantLines(t, "evidence", of([]diagnosis.Evidence{e}, diagnosis.CheckNodeDNS), tc.want)
			if e.Server != tc.answer.Server || len(e.Addresses) != len(tc.answer.Addresses) {
				t.Errorf("evidence %+v of %+v", e, tc.answer)
			}
		})
	}
}

func TestSilence(t *testing.T) {
	t.Parallel()
	if got := silence(context.DeadlineExceeded); got != "it did not answer in time" {
		t.Errorf("deadline: %s", got)
	}
	if got := silence(os.ErrPermission); got != "it could not be reached" {
		t.Errorf("permission: %s", got)
	}
}

func TestTidy(t *testing.T) {
	t.Parallel()
	if got := tidy(nil); len(got) != 0 {
		t.Errorf("of none: %v", got)
	}
	var all []netip.Addr
	for i := range 20 {
		all = append(all, netip.AddrFrom4([4]byte{10, 0, 0, byte(20 - i)}))
	}
	got := tidy(all)
	if len(got) != maxAddresses || !slices.IsSortedFunc(got, netip.Addr.Compare) {
		t.Errorf("got %v", got)
	}
}

// A hosts file without end is read in part, and names behind it are asked for.
func TestOversizedHostsFile(t *testing.T) {
	t.Parallel()
	s := newNameServer(t, "127.0.0.1")
	s.set("late.test", zone{addresses: []string{"192.0.2.1"}})
	r := NodeResolver{port: s.port, Root: writeFiles(t, map[string]string{
		"etc/hosts": "10.0.0.1 early.test\n" + strings.Repeat("10.0.0.2 x.test\n", 1<<17) + "10.0.0.3 late.test\n",
	})}
	wantAnswer(t, r.Lookup(t.Context(), "early.test"), "", "10.0.0.1", "the node's hosts file")
	wantAnswer(t, r.Lookup(t.Context(), "late.test"), "", "192.0.2.1", "")
	wantAnswer(t, r.Lookup(t.Context(), "x.test"), "", "10.0.0.2", "the node's hosts file")
}

// The caller's deadline is the lookup's.
func TestLookupDeadline(t *testing.T) {
	t.Parallel()
	s := newNameServer(t, "127.0.0.1")
	s.set("hub.test", zone{silent: true})
	r := resolver(t, s, "nameserver 127.0.0.1\n")
	r.bounds = bounds{server: time.Hour, lookup: time.Hour}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	wantAnswer(t, r.Lookup(ctx, "hub.test"), diagnosis.FaultDNSFailure, "", "it did not answer in time")
}

// Whatever the replies are, the answer names its server and is good or bad.
func TestMergeKeepsServer(t *testing.T) {
	t.Parallel()
	for _, replies := range [][]reply{nil, {{}}, {{err: os.ErrPermission}}, {{addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}} {
		if got := merge("10.0.0.53:53", replies); got.Server != "10.0.0.53:53" || (got.Fault == "") == (len(got.Addresses) == 0) {
			t.Errorf("%v: %+v", replies, got)
		}
	}
}

func TestPutLast(t *testing.T) {
	t.Parallel()
	q := inquiry{servers: []string{"a", "b", "c"}}
	q.putLast("a")
	wantLines(t, "servers", q.servers, "b", "c", "a")
	q.putLast("c")
	wantLines(t, "servers", q.servers, "b", "a", "c")
	q.putLast("c")
	wantLines(t, "servers", q.servers, "b", "a", "c")
}
