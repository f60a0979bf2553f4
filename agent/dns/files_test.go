package dns

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/whypull/whypull/cri/dnstest"
	"github.com/whypull/whypull/cri/hostfs"
	"github.com/whypull/whypull/cri/hostfs/hostfstest"
)

func TestParseConfig(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ text, want string }{
		"empty":          {"", "servers= search=[] ndots=1"},
		"all":            {"nameserver 10.0.0.2\nnameserver fe80::1%eth0\nsearch a.test b.test.\noptions ndots:5 timeout:1 attempts:3 use-vc no-aaaa rotate edns0\n", "servers=10.0.0.2 fe80::1%eth0 search=[a.test b.test] ndots=5 1s 3 tcp no-aaaa"},
		"comments":       {"# nameserver 192.0.2.53\n; nameserver 192.0.2.53\n#options ndots:3\nnameserver 127.0.0.1", "servers=127.0.0.1 search=[] ndots=1"},
		"no name":        {"nameserver\nnameserver dns.test\nnameserver 10.0.0.2:53\nnameserver 127.0.0.1 10.0.0.3\n", "servers=127.0.0.1 search=[] ndots=1"},
		"four servers":   {"nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n", "servers=10.0.0.1 10.0.0.2 10.0.0.3 search=[] ndots=1"},
		"last list wins": {"search a.test\ndomain b.test\nsearch c.test d.test\n", "servers= search=[c.test d.test] ndots=1"},
		"odd domains":    {"search a..test <b> . c.test\n", "servers= search=[ c.test] ndots=1"},
		"bounds":         {"options ndots:99 timeout:99999999999999999999 attempts:77\n", "servers= search=[] ndots=15 30s 5"},
		"not numbers":    {"options ndots:x timeout:-3 attempts:\n", "servers= search=[] ndots=0 1s 1"},
		"half numbers":   {"options ndots:3x\n", "servers= search=[] ndots=3"},
		"no values":      {"options ndots timeout attempts tcp:1\n", "servers= search=[] ndots=1"},
		"line breaks":    {"nameserver 10.0.0.1\r\n\n  search\ta.test \r\n", "servers=10.0.0.1 search=[a.test] ndots=1"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := show(ParseConfig([]byte(tc.text))); got != tc.want {
				t.Errorf("%s\nwant %s", got, tc.want)
			}
		})
	}
	got := show(NewConfig([]string{"10.96.0.10", "not one"}, []string{"team.svc.cluster.local", "svc.cluster.local"}, []string{"ndots:5", "edns0"}))
	if want := "servers=10.96.0.10 search=[team.svc.cluster.local svc.cluster.local] ndots=5"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func show(c Config) string {
	out := fmt.Sprintf("servers=%s search=%v ndots=%d", texts(c.Servers), c.Search, c.Ndots)
	for _, s := range []struct {
		is   bool
		text string
	}{
		{c.Timeout > 0, c.Timeout.String()}, {c.Attempts > 0, fmt.Sprint(c.Attempts)}, {c.TCP, "tcp"}, {c.NoAAAA, "no-aaaa"},
	} {
		if s.is {
			out += " " + s.text
		}
	}
	return out
}

// A node's files are often symbolic links. Absolute links, also in the middle
// of a path, resolve inside the node's root, and none escapes it.
func TestFromFiles(t *testing.T) {
	t.Parallel()
	const conf = "nameserver 10.0.0.53\n"
	for name, tc := range map[string]struct {
		files    map[string]string
		server   string
		upstream string
		none     bool
	}{
		"plain":              {files: map[string]string{"etc/resolv.conf": conf}, server: "10.0.0.53"},
		"relative link":      {files: map[string]string{"etc/resolv.conf": "-> ../run/r.conf", "run/r.conf": conf}, server: "10.0.0.53"},
		"absolute link":      {files: map[string]string{"etc/resolv.conf": "-> /run/r.conf", "run/r.conf": conf}, server: "10.0.0.53"},
		"over two":           {files: map[string]string{"etc/resolv.conf": "-> /etc/second", "etc/second": "-> /run/r.conf", "run/r.conf": conf}, server: "10.0.0.53"},
		"a linked directory": {files: map[string]string{"etc/resolv.conf": "-> /var/run/r.conf", "var/run": "-> /run", "run/r.conf": conf}, server: "10.0.0.53"},
		"all of etc linked":  {files: map[string]string{"etc": "-> /system/etc", "system/etc/resolv.conf": conf}, server: "10.0.0.53"},
		"a way out":          {files: map[string]string{"etc/resolv.conf": "-> ../../../../../../r.conf", "r.conf": conf}, server: "10.0.0.53"},
		"stub": {files: map[string]string{"etc/resolv.conf": "-> ../run/systemd/resolve/stub-resolv.conf",
			"run/systemd/resolve/stub-resolv.conf": "nameserver 127.0.0.53\n", "run/systemd/resolve/resolv.conf": "nameserver 10.0.0.2\nnameserver fd00::2\n"},
			server: "127.0.0.53", upstream: "10.0.0.2 fd00::2"},
		"stub, copied": {files: map[string]string{"etc/resolv.conf": "nameserver 127.0.0.54\n", "run/systemd/resolve/resolv.conf": "nameserver 10.0.0.2\n"},
			server: "127.0.0.54", upstream: "10.0.0.2"},
		"stub, not mounted":  {files: map[string]string{"etc/resolv.conf": "nameserver 127.0.0.53\n"}, server: "127.0.0.53"},
		"a cache of another": {files: map[string]string{"etc/resolv.conf": "nameserver 169.254.20.10\n", "run/systemd/resolve/resolv.conf": "nameserver 10.0.0.2\n"}, server: "169.254.20.10"},
		"a directory":        {files: map[string]string{"etc/resolv.conf/x": ""}, none: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.files["etc/hosts"] = "10.0.0.7 table.test\n"
			if name == "all of etc linked" {
				delete(tc.files, "etc/hosts")
				tc.files["system/etc/hosts"] = "10.0.0.7 table.test\n"
			}
			v := FromFiles(hostfstest.New(t, tc.files))
			if texts(v.Servers) != tc.server || texts(v.Upstream) != tc.upstream || v.Unconfigured != tc.none {
				t.Errorf("servers %v, upstream %v, unconfigured %t", v.Servers, v.Upstream, v.Unconfigured)
			}
			if got := v.Lookup(t.Context(), "table.test"); texts(got.Addresses) != "10.0.0.7" {
				t.Errorf("answer %+v", got)
			}
		})
	}
}

// No server is asked if resolv.conf cannot be read.
func TestUnconfigured(t *testing.T) {
	t.Parallel()
	got := FromFiles(hostfstest.New(t, map[string]string{"etc/resolv.conf/x": ""})).Lookup(t.Context(), "hub.test")
	wantAnswer(t, got, "", "", "whypull cannot read resolv.conf")
	if got.Code != Unconfigured {
		t.Errorf("answer %+v", got)
	}
}

// This machine's own files are read if the node's cannot be opened.
func TestOwnFiles(t *testing.T) {
	t.Parallel()
	own, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Skip("this machine has no resolv.conf")
	}
	if _, err := os.Stat("/etc/hosts"); err != nil {
		t.Skip("this machine has no hosts file")
	}
	want := show(ParseConfig(own))
	loop := map[string]string{"etc/resolv.conf": "-> /etc/loop", "etc/loop": "-> /etc/loop"}
	for _, root := range []string{
		"", "/", t.TempDir(), hostfstest.New(t, loop),
		hostfstest.New(t, map[string]string{"etc/hosts": "", "etc/resolv.conf": "-> /run/systemd/resolve/stub-resolv.conf"}),
	} {
		if v := FromFiles(root); show(v.Config) != want || v.Unconfigured {
			t.Errorf("root %q: %s, unconfigured %t", root, show(v.Config), v.Unconfigured)
		}
	}
	if _, _, err := (files{host: hostfs.New(t.TempDir())}).read("/etc/no-such-file", 10); err == nil {
		t.Error("a file that is nowhere was read")
	}
}

// Pipes and endless files do not block a lookup.
func TestHostileFiles(t *testing.T) {
	t.Parallel()
	root := hostfstest.New(t, map[string]string{
		"etc/hosts": "10.0.0.1 early.test\n" + strings.Repeat("10.0.0.2 x.test\n", 1<<17) + "10.0.0.3 late.test\n",
	})
	if err := syscall.Mkfifo(filepath.Join(root, "etc/resolv.conf"), 0o600); err != nil {
		t.Fatal(err)
	}
	v := FromFiles(root)
	if !v.Unconfigured {
		t.Error("a pipe was read")
	}
	for host, want := range map[string]string{"early.test": "10.0.0.1", "x.test": "10.0.0.2", "late.test": ""} {
		if got := texts(v.Hosts.Addresses(host)); got != want {
			t.Errorf("%s: %s", host, got)
		}
	}
	cut := hostfstest.New(t, map[string]string{"etc/resolv.conf": strings.Repeat("#", maxConfig-20) + "\nnameserver 10.0.0.123\n"})
	if got := FromFiles(cut); len(got.Servers) > 0 {
		t.Errorf("servers %v of half a line", got.Servers)
	}
}

// An answer from the stub lists the servers that the stub forwards to.
func TestUpstreamOfAnswer(t *testing.T) {
	t.Parallel()
	s := dnstest.New(t, "127.0.0.53")
	s.Set("hub.test", dnstest.Zone{Addresses: []string{"192.0.2.1"}})
	v := FromFiles(hostfstest.New(t, map[string]string{"etc/resolv.conf": "nameserver 127.0.0.53\n", "run/systemd/resolve/resolv.conf": "nameserver 10.0.0.2\n"}))
	v.Port, v.ServerTimeout, v.LookupTimeout = s.Port, long, long
	if got := v.Lookup(t.Context(), "hub.test"); texts(got.Upstream) != "10.0.0.2" || texts(got.Addresses) != "192.0.2.1" {
		t.Errorf("answer %+v", got)
	}
	v.Hosts = ParseHosts([]byte("192.0.2.2 hub.test"))
	if got := v.Lookup(t.Context(), "hub.test"); len(got.Upstream) > 0 {
		t.Errorf("answer %+v", got)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte("nameserver 10.0.0.1\nsearch a.test\noptions ndots:5 timeout:1\n"))
	f.Add([]byte("nameserver fe80::1%eth0\r\ndomain .\noptions ndots:99999999999999999999"))
	f.Add([]byte("search " + strings.Repeat("x.test ", 99)))
	f.Fuzz(func(t *testing.T, text []byte) {
		c := ParseConfig(text)
		if len(c.Servers) > maxServers || len(c.Search) > maxSearch || c.Ndots < 0 || c.Ndots > maxNdots || c.Attempts > maxRetries || c.Timeout > maxTimeout*time.Second {
			t.Errorf("%+v", c)
		}
		for _, style := range []Style{Go, C} {
			for _, candidate := range (View{Config: c, Style: style}).candidates("hub.test") {
				if !isName(candidate.name) || !strings.HasPrefix(candidate.name, "hub.test.") {
					t.Errorf("candidate %q", candidate.name)
				}
			}
		}
		ParseHosts(text).Addresses("hub.test")
	})
}

// Whatever a server sends, the answer is well-formed and repeats only addresses
// and valid names.
func FuzzAnswer(f *testing.F) {
	question := newQuestion("hub.test.", dnsmessage.TypeA)
	question.ID = 0
	asked := new(dns.Msg).SetQuestion("hub.test.", dns.TypeA)
	asked.Id = 0
	for _, z := range []dnstest.Zone{{}, {Rcode: 3}, {CNAME: "x.test", Addresses: []string{"192.0.2.1"}}, {Truncated: true}, {Lame: true}} {
		packed, err := z.Reply(asked, "udp").Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed[2:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		client, server := net.Pipe()
		defer client.Close() //nolint:errcheck // a pipe
		go serveRaw(server, body)
		q := &query{conn: client, question: question}
		if err := client.SetDeadline(time.Now().Add(long)); err != nil {
			t.Fatal(err)
		}
		resp, err := q.receive()
		r := reply{Server: "10.0.0.53:53", Name: "hub.test"}
		if err != nil {
			r.Code = codeOf(t.Context(), err)
		} else {
			r.read(resp, "hub.test.", dnsmessage.TypeA)
		}
		wellFormed(t, merge([]reply{r}))
	})
}

// serveRaw sends one message with the query's ID over a stream.
func serveRaw(conn net.Conn, body []byte) {
	defer conn.Close() //nolint:errcheck // a pipe
	body = body[:min(len(body), 4096)]
	size := len(body) + 2
	_, _ = conn.Write(append([]byte{byte(size >> 8), byte(size)}, append([]byte{0, 0}, body...)...))
}
