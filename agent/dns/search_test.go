package dns

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/dnstest"
	"github.com/whypull/whypull/cri/hostfs/hostfstest"
)

const (
	list      = "search one.test two.test\n"
	servfail  = 2
	refused   = 5
	elsewhere = "192.0.2.1"
)

// searchCase is a lookup through the search list; the C fields default to the
// Go ones.
type searchCase struct {
	Conf, Host string
	Zones      map[string]dnstest.Zone

	Asked, AskedC []string // the names in order; AskedC nil: the same
	Addrs, AddrsC bool     // whether there are addresses
	code, codeC   Code     // codeC empty: the same
}

// searchCases follow the sources named at Go and C.
func searchCases() map[string]searchCase {
	found := dnstest.Zone{Addresses: []string{elsewhere}}
	only6 := dnstest.Zone{Addresses: []string{"2001:db8::1"}}
	ill, no := dnstest.Zone{Rcode: servfail}, dnstest.Zone{Rcode: refused}
	type zones = map[string]dnstest.Zone
	return map[string]searchCase{
		"as it is": {Conf: list, Host: "hub.test", Zones: zones{"hub.test": found}, Addrs: true, AddrsC: true,
			Asked: []string{"hub.test."}, code: Success},
		"as it is, IPv6": {Conf: list, Host: "hub.test", Zones: zones{"hub.test": only6}, Addrs: true, AddrsC: true,
			Asked: []string{"hub.test."}, code: Success},
		"with a suffix": {Conf: list, Host: "hub.x", Zones: zones{"hub.x.two.test": found}, Addrs: true, AddrsC: true,
			Asked: []string{"hub.x.", "hub.x.one.test.", "hub.x.two.test."}, code: Success},
		"a wildcard answers": {Conf: "search one.test\noptions ndots:5\n", Host: "hub.test", Zones: zones{"hub.test": found, "hub.test.one.test": found}, Addrs: true, AddrsC: true,
			Asked: []string{"hub.test.one.test."}, code: Success},
		"without a dot": {Conf: list, Host: "hub", Zones: zones{"hub.one.test": found}, Addrs: true, AddrsC: true,
			Asked: []string{"hub.one.test."}, code: Success},
		"ndots 0": {Conf: list + "options ndots:0\n", Host: "hub", Zones: zones{"hub": found}, Addrs: true, AddrsC: true,
			Asked: []string{"hub."}, code: Success},
		"ndots 5": {Conf: list + "options ndots:5\n", Host: "hub.test", Zones: zones{"hub.test": found}, Addrs: true, AddrsC: true,
			Asked: []string{"hub.test.one.test.", "hub.test.two.test.", "hub.test."}, code: Success},
		"rooted":  {Conf: list, Host: "hub.test.", Asked: []string{"hub.test."}, code: NameError},
		"no list": {Host: "hub.test", Asked: []string{"hub.test."}, code: NameError},
		"nowhere": {Conf: list, Host: "hub.test", Zones: zones{"hub.test": {}},
			Asked: []string{"hub.test.", "hub.test.one.test.", "hub.test.two.test."}, code: NoData},
		"NODATA goes on": {Conf: list + "options ndots:2\n", Host: "hub.test", Zones: zones{"hub.test.one.test": {}, "hub.test.two.test": found}, Addrs: true, AddrsC: true,
			Asked: []string{"hub.test.one.test.", "hub.test.two.test."}, code: Success},
		"NODATA on the way": {Conf: list + "options ndots:2\n", Host: "hub.test", Zones: zones{"hub.test.one.test": {}},
			Asked: []string{"hub.test.one.test.", "hub.test.two.test.", "hub.test."}, code: NameError, codeC: NoData},
		"SERVFAIL goes on": {Conf: list, Host: "hub", Zones: zones{"hub.one.test": ill, "hub.two.test": found}, Addrs: true, AddrsC: true,
			Asked: []string{"hub.one.test.", "hub.two.test."}, code: Success},
		"SERVFAIL decides": {Conf: list, Host: "hub", Zones: zones{"hub.one.test": ill},
			Asked: []string{"hub.one.test.", "hub.two.test.", "hub."}, code: ServerFailure},
		"SERVFAIL after the name itself": {Conf: list, Host: "hub.x", Zones: zones{"hub.x.one.test": ill},
			Asked: []string{"hub.x.", "hub.x.one.test.", "hub.x.two.test."}, code: ServerFailure, codeC: NameError},
		"the name itself fails": {Conf: list, Host: "hub.x", Zones: zones{"hub.x": ill, "hub.x.one.test": found}, Addrs: true, AddrsC: true,
			Asked: []string{"hub.x.", "hub.x.one.test."}, code: Success},
		"REFUSED ends the C library's list": {Conf: list, Host: "hub", Zones: zones{"hub.one.test": no, "hub.two.test": found}, Addrs: true,
			Asked: []string{"hub.one.test.", "hub.two.test."}, AskedC: []string{"hub.one.test.", "hub."}, code: Success, codeC: NameError},
		"REFUSED, then the name itself": {Conf: list + "options ndots:2\n", Host: "hub.x", Zones: zones{"hub.x.one.test": no, "hub.x": found}, Addrs: true, AddrsC: true,
			Asked: []string{"hub.x.one.test.", "hub.x.two.test.", "hub.x."}, AskedC: []string{"hub.x.one.test.", "hub.x."}, code: Success},
		"the root on the list": {Conf: "search . one.test\noptions ndots:2\n", Host: "hub.x", Zones: zones{"hub.x.one.test": found}, Addrs: true, AddrsC: true,
			Asked: []string{"hub.x.one.test."}, AskedC: []string{"hub.x.", "hub.x.one.test."}, code: Success},
		"the root last, and no name": {Conf: "search one.test .\noptions ndots:2\n", Host: "hub.x",
			Asked: []string{"hub.x.one.test.", "hub.x."}, code: NameError},
		"onion": {Conf: "options ndots:1\n", Host: "hub.onion", Zones: zones{"hub.onion": found}, AddrsC: true,
			AskedC: []string{"hub.onion."}, code: InvalidName, codeC: Success},
		"domain": {Conf: "search one.test\ndomain two.test\n", Host: "hub", Zones: zones{"hub.two.test": found}, Addrs: true, AddrsC: true,
			Asked: []string{"hub.two.test."}, code: Success},
	}
}

// want returns what the case expects of a style.
func (c searchCase) want(style Style) (asked []string, addrs bool, code Code) {
	if style == Go {
		return c.Asked, c.Addrs, c.code
	}
	asked, code = c.Asked, c.code
	if c.AskedC != nil {
		asked = c.AskedC
	}
	if c.codeC != "" {
		code = c.codeC
	}
	return asked, c.AddrsC, code
}

func TestSearchList(t *testing.T) {
	t.Parallel()
	for name, tc := range searchCases() {
		for style, title := range map[Style]string{Go: "Go", C: "C"} {
			t.Run(name+"/"+title, func(t *testing.T) {
				t.Parallel()
				s := dnstest.New(t, "127.0.0.1")
				for n, z := range tc.Zones {
					s.Set(n, z)
				}
				v := asking(s, tc.Conf)
				v.Style = style
				got := v.Lookup(t.Context(), tc.Host)
				wellFormed(t, got)
				asked, addrs, code := tc.want(style)
				wantLines(t, "names asked for", s.Names(), asked...)
				if (len(got.Addresses) > 0) != addrs || got.Code != code {
					t.Errorf("answer %+v, want code %s", got, code)
				}
				if addrs && got.Name+"." != asked[len(asked)-1] {
					t.Errorf("the answer is for %s", got.Name)
				}
			})
		}
	}
}

// Codes that one responding server cannot show.
func TestSearchListOfC(t *testing.T) {
	t.Parallel()
	for code, want := range map[Code]bool{
		NameError: false, NoData: false, ServerFailure: false,
		OtherRcode: true, Timeout: true, PortClosed: true, Unreachable: true,
	} {
		if endsSearch(code) != want {
			t.Errorf("%s ends the list: %t", code, !want)
		}
	}
	s := dnstest.New(t, "127.0.0.1")
	v := asking(s, list+"nameserver 127.0.0.9\n")
	v.Servers, v.Style = v.Servers[1:], C // nothing listens there
	got := v.Lookup(t.Context(), "hub")
	wantAnswer(t, got, failed, "", "its port is closed")
	if got.Name != "hub.one.test" {
		t.Errorf("the answer is for %s", got.Name)
	}
}

// insideVariable marks the child process of the test below, which runs in
// namespaces of its own.
const insideVariable = "NAMESERVICE_TEST_CASE"

// seen is what a resolver did.
type seen struct {
	Names []string
	Addrs bool
}

// Go's own resolver and this machine's C library query the same names in the
// same order, and find the same, as the views with their styles. Each case runs
// in its own namespaces, where the test controls resolv.conf and port 53.
func TestSearchListMatchesOtherResolvers(t *testing.T) {
	for _, tool := range []string{"unshare", "mount", "ip", "getent"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	if err := exec.CommandContext(t.Context(), "unshare", "-Urmn", "true").Run(); err != nil {
		t.Skip("no namespaces here: ", err)
	}
	for name := range searchCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), "unshare", "-Urmn", os.Args[0], "-test.run=^TestInsideNamespaces$", "-test.v")
			cmd.Env = append(os.Environ(), insideVariable+"="+name)
			if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestInsideNamespaces")) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func TestInsideNamespaces(t *testing.T) {
	tc, ok := searchCases()[os.Getenv(insideVariable)]
	if !ok {
		t.Skip("is run by TestSearchListMatchesOtherResolvers")
	}
	dir := hostfstest.New(t, map[string]string{
		"resolv.conf": "nameserver 127.0.0.1\n" + tc.Conf, "hosts": "127.0.0.1 localhost\n", "nsswitch.conf": "hosts: files dns\n",
	})
	for _, f := range []string{"resolv.conf", "hosts", "nsswitch.conf"} {
		run(t, "mount", "--bind", filepath.Join(dir, f), "/etc/"+f)
	}
	run(t, "ip", "link", "set", "lo", "up")
	run(t, "ip", "address", "add", "10.9.9.9/32", "dev", "lo") // getent needs an address that is not on the loopback
	run(t, "ip", "address", "add", "fd00::9/128", "dev", "lo")
	s := dnstest.Try(t, "127.0.0.1", 53)
	if s == nil {
		t.Fatal("port 53 is taken")
	}
	for n, z := range tc.Zones {
		s.Set(n, z)
	}
	for style, original := range map[Style]func(*testing.T, string) bool{Go: byGo, C: byC} {
		ours, theirs := seen{}, seen{}
		before := len(s.Names())
		v := FromFiles("/")
		v.Style, v.ServerTimeout, v.LookupTimeout = style, long, 2*long
		ours.Addrs = len(v.Lookup(t.Context(), tc.Host).Addresses) > 0
		ours.Names = once(s.Names()[before:])
		before = len(s.Names())
		theirs.Addrs = original(t, tc.Host)
		theirs.Names = once(s.Names()[before:])
		a, _ := json.Marshal(ours)
		b, _ := json.Marshal(theirs)
		if !bytes.Equal(a, b) {
			t.Errorf("style %d: %s, the original: %s", style, a, b)
		}
	}
}

// once drops repeated queries, for example after a SERVFAIL.
func once(names []string) []string {
	var out []string
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return append([]string{}, out...)
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Skipf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

func byGo(t *testing.T, host string) bool {
	addrs, _ := (&net.Resolver{PreferGo: true}).LookupNetIP(t.Context(), "ip", host)
	return len(addrs) > 0
}

func byC(t *testing.T, host string) bool {
	out, _ := exec.CommandContext(t.Context(), "getent", "ahosts", host).Output()
	return len(out) > 0
}

// Rules of nameList in Go's resolver that the cases above do not cover.
func TestCandidates(t *testing.T) {
	t.Parallel()
	long63 := strings.Repeat("a", 63)
	for name, tc := range map[string]struct {
		search []string
		ndots  int
		host   string
		want   []string
	}{
		"too long with a domain": {[]string{"one.test", strings.Join([]string{long63, long63, long63, long63[:50]}, ".")}, 1, "hub.example.com",
			[]string{"hub.example.com.", "hub.example.com.one.test."}},
		"exactly ndots dots": {[]string{"one.test"}, 2, "a.b.c", []string{"a.b.c.", "a.b.c.one.test."}},
		"one dot too few":    {[]string{"one.test"}, 3, "a.b.c", []string{"a.b.c.one.test.", "a.b.c."}},
		"an .onion domain":   {[]string{"x.onion", "one.test"}, 1, "hub", []string{"hub.one.test.", "hub."}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, c := range (View{Config: Config{Search: tc.search, Ndots: tc.ndots}}).candidates(tc.host) {
				got = append(got, c.name)
			}
			wantLines(t, "candidates", got, tc.want...)
		})
	}
}

// A lookup that runs out of time with names left says nothing about the host,
// unless a failing server used up the time.
func TestIncomplete(t *testing.T) {
	t.Parallel()
	missing := outcome{Answer: Answer{Fault: notFound, Code: NameError}}
	slow := outcome{Answer: Answer{Fault: diagnosis.FaultDNSFailure, Code: Timeout}}
	for want, all := range map[Code][]outcome{NotAsked: {missing, missing}, Timeout: {missing, slow, missing}} {
		if got := incomplete(all); got.Code != want || got.Unknown != (want == NotAsked) {
			t.Errorf("%+v, want %s", got, want)
		}
	}
	s := dnstest.New(t, "127.0.0.1")
	ctx, cancel := context.WithCancel(t.Context())
	v := asking(s, list)
	v.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if len(s.Asked()) >= 2 {
			cancel()
		}
		return new(net.Dialer).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", s.Port))
	}
	wantAnswer(t, v.Lookup(ctx, "hub.test"), "", "", "the check was cut short")
}
