package probe

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/dns"
	"github.com/whypull/whypull/cri/dnstest"
)

// resolver reads the given resolv.conf; its servers are asked on the server's
// port.
func resolver(t *testing.T, s *dnstest.Server, conf string) NodeResolver {
	t.Helper()
	return NodeResolver{Root: writeFiles(t, map[string]string{"etc/resolv.conf": conf}), port: s.Port, patience: long}
}

func texts(addrs []netip.Addr) string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

func wantAnswer(t *testing.T, got dns.Answer, fault diagnosis.Fault, addrs, why string) {
	t.Helper()
	if got.Fault != fault || texts(got.Addresses) != addrs || got.Why != why {
		t.Errorf("fault %q, addresses %q, why %q; want %q, %q, %q", got.Fault, texts(got.Addresses), got.Why, fault, addrs, why)
	}
	if (got.Fault == "" && !got.Unknown) != (len(got.Addresses) > 0) {
		t.Errorf("fault %q with addresses %v", got.Fault, got.Addresses)
	}
}

// The node's files decide, by the rules of Go's resolver: a name with as many
// dots as the file wants is tried as it is first.
func TestNodeLookup(t *testing.T) {
	t.Parallel()
	s := dnstest.New(t, "127.0.0.1")
	s.Set("hub.test", dnstest.Zone{Addresses: []string{"192.0.2.9", "192.0.2.1"}})
	s.Set("short.one.test", dnstest.Zone{Addresses: []string{"192.0.2.2"}})
	r := resolver(t, s, "nameserver 127.0.0.1\nsearch one.test\n")
	if err := os.WriteFile(filepath.Join(r.Root, "etc/hosts"), []byte("10.0.0.2 table.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, r.Lookup(t.Context(), "hub.test"), "", "192.0.2.1 192.0.2.9", "")
	wantAnswer(t, r.Lookup(t.Context(), "short"), "", "192.0.2.2", "")
	wantAnswer(t, r.Lookup(t.Context(), "table.test"), "", "10.0.0.2", "the hosts file")
	wantAnswer(t, r.Lookup(t.Context(), "gone.test."), diagnosis.FaultNameNotFound, "", "no such name (NXDOMAIN)")
	wantLines(t, "questions", s.Queries(),
		"udp A gone.test.", "udp A hub.test.", "udp A short.one.test.", "udp AAAA gone.test.", "udp AAAA hub.test.", "udp AAAA short.one.test.")
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
	e := lookupEvidence(got, "hub.test")
	wantLines(t, "evidence", of(failure(image), []diagnosis.Evidence{e}, diagnosis.CheckNodeDNS),
		"Inconclusive | node worker-3 could not look up hub.test: whypull cannot read the node's resolv.conf")
}

func TestLookupEvidence(t *testing.T) {
	t.Parallel()
	type answer = dns.Answer
	one := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	for name, tc := range map[string]struct {
		answer answer
		want   string
	}{
		"found":              {answer{Addresses: one, Server: "10.0.0.53:53"}, "Passed | node worker-3 resolves hub.test to 192.0.2.1, 2001:db8::1 (resolver 10.0.0.53:53)"},
		"by the search list": {answer{Addresses: one[:1], Server: "10.0.0.53:53", Name: "hub.test.hidden.corp"}, "Passed | node worker-3 resolves hub.test to 192.0.2.1 (resolver 10.0.0.53:53)"},
		"by the search list, an alias": {answer{Fault: diagnosis.FaultNameNotFound, Server: "10.0.0.53:53", Name: "hub.test.hidden.corp", Canonical: "else.hidden.corp", Dangling: true, Why: "no such name (NXDOMAIN)"},
			"Failed | NameNotFound | node worker-3 cannot resolve hub.test: no such name (NXDOMAIN) from 10.0.0.53:53"},
		"hosts": {answer{Addresses: one[:1], Why: "the hosts file"}, "Passed | node worker-3 resolves hub.test to 192.0.2.1 (the node's hosts file)"},
		"nxdomain": {answer{Fault: diagnosis.FaultNameNotFound, Server: "10.0.0.53:53", Why: "no such name (NXDOMAIN)"},
			"Failed | NameNotFound | node worker-3 cannot resolve hub.test: no such name (NXDOMAIN) from 10.0.0.53:53"},
		"failure": {answer{Fault: diagnosis.FaultDNSFailure, Server: "10.0.0.53:53", Why: "it did not answer in time"},
			"Failed | DNSFailure | node worker-3 cannot resolve hub.test: resolver 10.0.0.53:53 did not answer in time"},
		"never asked for": {answer{Fault: diagnosis.FaultNameNotFound, Why: "it is no name that can be asked for"},
			"Failed | NameNotFound | node worker-3 cannot resolve hub.test: it is no name that can be asked for"},
		"cut short": {answer{Unknown: true, Why: "the check was cut short"},
			"Inconclusive | node worker-3 could not look up hub.test: the check was cut short"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := lookupEvidence(tc.answer, "hub.test")
			wellFormed(t, failure(image), []diagnosis.Evidence{e})
			wantLines(t, "evidence", of(failure(image), []diagnosis.Evidence{e}, diagnosis.CheckNodeDNS), tc.want)
			if e.DNS().Server != tc.answer.Server || len(e.DNS().Addresses) != len(tc.answer.Addresses) {
				t.Errorf("evidence %+v of %+v", e, tc.answer)
			}
		})
	}
}
