package faulttest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/whypull/whypull/cri/credential/credentialtest"
	"github.com/whypull/whypull/cri/leaktest"
	"github.com/whypull/whypull/cri/sockettest"
)

func start(t *testing.T) *World {
	t.Helper()
	w, err := Start(Config{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// Only the hosts behind proxies have one.
func TestProxy(t *testing.T) {
	t.Parallel()
	w := start(t)
	for host, want := range map[string]string{
		"proxy-403." + proxiedDomain:     w.proxy,
		"good." + domain:                 "",
		"example.com":                    "",
		"proxy-refused." + downDomain:    w.addresses[hostRefused],
		"proxy-unknown." + downDomain:    "nxdomain.fault.example:3128",
		proxiedDomain + ".example.other": "",
	} {
		r, err := http.NewRequest(http.MethodGet, "https://"+host+":443/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		u, err := w.Proxy(r)
		got := ""
		if u != nil {
			got = u.Host
		}
		if err != nil || got != want {
			t.Errorf("proxy for %s: %q, %v; want %q", host, got, err, want)
		}
	}
}

func TestCasesAreWellFormed(t *testing.T) {
	t.Parallel()
	w := start(t)
	cases := w.Cases()
	if !slices.IsSortedFunc(cases, byName) {
		t.Error("the cases are not sorted")
	}
	truths := map[Truth]int{}
	for _, c := range append(cases, w.InProcess()...) {
		truths[c.Truth]++
		host, rest, _ := strings.Cut(c.Image, "/")
		if name, _, _ := strings.Cut(rest, ":"); strings.TrimSuffix(name, "@sha256") != c.Name {
			t.Errorf("%s has image %s", c.Name, c.Image)
		}
		if _, port, err := net.SplitHostPort(host); err != nil || port == "0" {
			t.Errorf("%s has no port: %v", c.Image, err)
		}
		for _, l := range c.Credentials {
			username, password := l.Reveal()
			if l.Key != host || l.Source == "" || username == "" || password == "" {
				t.Errorf("%s has a credential for %s in %q", c.Name, l.Key, l.Source)
			}
			credentialtest.NeverShows(t, l, username, password)
		}
		if c.Policy == "" {
			t.Errorf("%s has no policy", c.Name)
		}
	}
	for _, truth := range append(Truths(), Works) {
		if truths[truth] == 0 {
			t.Errorf("no case has the truth %q", truth)
		}
	}
}

func TestTruthDependsOnTheRuntime(t *testing.T) {
	t.Parallel()
	c := Case{Truth: MirrorFailed, TruthOn: map[string]Truth{Containerd16: Works, Containerd17: TagNotFound}}
	for runtime, want := range map[string]Truth{
		Containerd16: Works, Containerd17: TagNotFound, Containerd24: MirrorFailed, "": MirrorFailed,
	} {
		if got := c.On(runtime); got != want {
			t.Errorf("on %q: %q, want %q", runtime, got, want)
		}
	}
}

// containerd 2.4 shows the error that came furthest, 1.x the first that is not
// a 404.
func TestMirrorTruth(t *testing.T) {
	t.Parallel()
	failed, unknown := MirrorFailed, RegistryNameNotFound
	for _, tc := range []struct {
		mirror, origin   string
		newest, before20 Truth
	}{
		{"404", "good", Works, Works},
		{"works", "404", Works, Works},
		{"404", "404", RepositoryNotFound, RepositoryNotFound},
		{"404", "401", failed, AuthenticationRequired},
		{"404", hostNXDOMAIN, failed, unknown},
		{"500", "404", failed, failed},
		{hostRefused, "404", RepositoryNotFound, failed},
		{hostRefused, hostNXDOMAIN, failed, failed},
		{hostNXDOMAIN, hostNXDOMAIN, unknown, unknown},
		{"corrupt", "good", failed, failed},
	} {
		var s spec
		mirrorTruth(&s, tc.mirror, tc.origin)
		if s.On(Containerd24) != tc.newest || s.On(Containerd17) != tc.before20 || s.On(Containerd16) != tc.before20 {
			t.Errorf("mirror %s, origin %s: %+v", tc.mirror, tc.origin, s.Case)
		}
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	w := start(t)
	for host, want := range map[string]string{
		"good": sockettest.Loopback, "cdn-refused": sockettest.Loopback, "anything-else": sockettest.Loopback, "below.untrusted": sockettest.Loopback, "only6": unreachable6,
		"nxdomain": "not found", "cdn-nxdomain": "not found", "below.nxdomain": "not found", "nodata": "not found",
		"servfail": "temporary", "dnsrefused": "temporary",
	} {
		got, err := w.Resolve(t.Context(), host+"."+domain)
		if text := resolved(got, err); text != want {
			t.Errorf("%s resolves to %s, want %s", host, text, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if got, err := w.Resolve(ctx, "dnssilent."+domain); resolved(got, err) != "timeout" {
		t.Errorf("the silent server says %s", resolved(got, err))
	}
	for _, host := range []string{"good." + proxiedDomain, "registry.example.com"} {
		if got, err := w.Resolve(t.Context(), host); resolved(got, err) != "not found" {
			t.Errorf("%s: %s", host, resolved(got, err))
		}
	}
}

func resolved(addrs []netip.Addr, err error) string {
	var failed *net.DNSError
	switch {
	case err == nil && len(addrs) == 1:
		return addrs[0].String()
	case !errors.As(err, &failed) || failed.Name == "" || failed.Server == "":
		return fmt.Sprint(addrs, err)
	case failed.IsNotFound:
		return "not found"
	case failed.IsTimeout:
		return "timeout"
	case failed.IsTemporary:
		return "temporary"
	}
	return err.Error()
}

// Names that do not exist and names without addresses are two things.
func TestNameServerAnswers(t *testing.T) {
	t.Parallel()
	w := start(t)
	for host, rcode := range map[string]int{
		"nxdomain": dns.RcodeNameError, "nodata": dns.RcodeSuccess, "servfail": dns.RcodeServerFailure, "dnsrefused": dns.RcodeRefused,
	} {
		for _, network := range []string{"udp", "tcp"} {
			client := &dns.Client{Net: network, Timeout: time.Minute}
			r, _, err := client.ExchangeContext(t.Context(), new(dns.Msg).SetQuestion(host+"."+domain+".", dns.TypeA), w.NameServer())
			if err != nil || r.Rcode != rcode || len(r.Answer) != 0 {
				t.Errorf("%s over %s: %v, %v", host, network, r, err)
			}
		}
	}
}

// What the silent hosts do, without waiting for anybody's limits.
func TestSilentHosts(t *testing.T) {
	t.Parallel()
	w := start(t)
	const moment = 300 * time.Millisecond
	if conn, err := net.DialTimeout("tcp", w.addresses[hostBlackhole], moment); err == nil || !isTimeout(err) {
		t.Errorf("the black hole: %v, %v", conn, err)
	}
	conn, err := net.Dial("tcp", w.addresses[hostHangTLS])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	silent(t, conn, "ClientHello", moment)
	secure, err := tls.Dial("tcp", w.addresses[hostHangHTTP], &tls.Config{RootCAs: w.authority.Pool(), ServerName: "hang-http." + domain})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = secure.Close() }()
	silent(t, secure, "GET /v2/ HTTP/1.1\r\nHost: it\r\n\r\n", moment)
	proxy, err := net.Dial("tcp", w.proxy)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = proxy.Close() }()
	silent(t, proxy, "CONNECT proxy-hang.proxied.example:443 HTTP/1.1\r\nHost: proxy-hang.proxied.example:443\r\n\r\n", moment)
}

func silent(t *testing.T, conn net.Conn, say string, moment time.Duration) {
	t.Helper()
	if _, err := io.WriteString(conn, say); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(moment)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || !isTimeout(err) {
		t.Errorf("after %q: %d bytes, %v", say, n, err)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// Those whose silence comes after a redirect or a challenge are where the
// registry sends the client.
func TestRegistrySendsElsewhere(t *testing.T) {
	t.Parallel()
	w := start(t)
	client := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.authority.Pool(), ServerName: "good." + domain}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	for name, host := range map[string]string{
		"cdn-dns-timeout": "cdn-dnssilent.", "cdn-timeout": "cdn-blackhole.", "cdn-tls-hangs": "cdn-hang-tls.",
		"cdn-http-hangs": "cdn-hang-http.", "token-timeout": "blackhole.", "token-hangs": "hang-http.",
	} {
		i := slices.IndexFunc(w.specs, func(s spec) bool { return s.Name == name })
		path := "/v2/" + name + "/blobs/" + w.specs[i].repo.content.layer.digest().String()
		resp, err := client.Get("https://" + w.addresses[hostGood] + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if to := resp.Header.Get("Location") + resp.Header.Get("Www-Authenticate"); !strings.Contains(to, "https://"+host+domain) {
			t.Errorf("%s sends to %s", name, to)
		}
	}
}

// The environment says for a whole runtime what Proxy says in process.
func TestProxyEnv(t *testing.T) {
	t.Parallel()
	w := start(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxyOfThisEnvironment$", "-test.v")
	cmd.Env = append(w.ProxyEnv(), "SHOW_PROXIES=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for _, want := range []string{
		"https://proxy-403.proxied.example:1 by http://" + w.proxy, "http://proxy-403.proxied.example:1 by http://" + w.proxy,
		"https://good.fault.example:1 by none", "https://below.untrusted.fault.example:1 by none",
	} {
		if !bytes.Contains(out, []byte(want+"\n")) {
			t.Errorf("want %q in:\n%s", want, out)
		}
	}
}

// TestProxyOfThisEnvironment is run by TestProxyEnv in a process of its own:
// Go reads the environment once.
func TestProxyOfThisEnvironment(t *testing.T) {
	if os.Getenv("SHOW_PROXIES") == "" {
		t.Skip("only shows something to TestProxyEnv")
	}
	for _, target := range []string{
		"https://proxy-403.proxied.example:1", "http://proxy-403.proxied.example:1", "https://good.fault.example:1",
		"https://below.untrusted.fault.example:1",
	} {
		r, err := http.NewRequest(http.MethodGet, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		u, err := http.ProxyFromEnvironment(r)
		if err != nil {
			t.Fatal(err)
		}
		by := "none"
		if u != nil {
			by = u.String()
		}
		t.Logf("%s by %s", target, by)
	}
}

// The files are those of a node, and are gone afterwards.
func TestFiles(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	w, err := Start(Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	server, _, _ := net.SplitHostPort(w.NameServer())
	bundle, mirror := filepath.Join(root, "etc/ssl/certs/faulttest.pem"), w.certsDir(w.hostport("mirror-404-origin-good"))
	for name, want := range map[string]string{
		bundle: string(w.Authority()), filepath.Join(root, "etc/resolv.conf"): "nameserver " + server + "\n",
		filepath.Join(mirror, "hosts.toml"): "server = ",
	} {
		got, err := os.ReadFile(name)
		if err != nil || !strings.Contains(string(got), want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if block, rest := pem.Decode(w.Authority()); block == nil || block.Type != "CERTIFICATE" || len(rest) != 0 {
		t.Error("the authority is no certificate")
	}
	w.Close()
	w.Close() // once more is once too many, and no harm
	for _, name := range []string{bundle, mirror} {
		if _, err := os.Stat(name); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	taken := start(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, config := range map[string]Config{
		"the name server's port is taken": {Root: t.TempDir(), DNS: taken.NameServer()},
		"the root is a file":              {Root: file},
	} {
		if w, err := Start(config); err == nil {
			w.Close()
			t.Errorf("%s, and the world starts", what)
		}
	}
}

// Not parallel: it counts what runs.
func TestCloseLeavesNothingRunning(t *testing.T) {
	leaktest.Check(t, leaktest.With("faulttest.(*World)", "dnstest.(*Server)", "sockettest.Serve"))
	w, err := Start(Config{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	held, err := net.Dial("tcp", w.addresses[hostHangTLS])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close() }()
	w.Close()
	if conn, err := net.Dial("tcp", w.addresses[hostGood]); err == nil {
		_ = conn.Close()
		t.Error("the registry still answers")
	}
}

// No two images share a part, so that what is stored of one answers for no
// other.
func TestImagesAreDistinct(t *testing.T) {
	t.Parallel()
	w := start(t)
	seen := map[string]string{}
	for _, s := range w.specs {
		if s.repo == nil {
			continue
		}
		for d := range s.repo.content.documents() {
			if other, there := seen[d.String()]; there {
				t.Errorf("%s and %s share %s", s.Name, other, d)
			}
			seen[d.String()] = s.Name
		}
	}
	if len(seen) < 3*len(w.specs)/2 {
		t.Errorf("only %d parts in %d cases", len(seen), len(w.specs))
	}
}

// A signed manifest of schema 1 is the signed text with the signature put in.
func TestSchema1CanBeStripped(t *testing.T) {
	t.Parallel()
	i, payload, err := schema1(content{name: "old", platform: "linux/amd64"})
	if err != nil {
		t.Fatal(err)
	}
	signed, _, found := bytes.Cut(i.top.body, []byte(`,"signatures":`))
	if !found {
		t.Fatalf("no signatures in %s", i.top.body)
	}
	if got := (document{body: append(bytes.Clone(signed), '}')}).digest(); got != payload {
		t.Errorf("digest %s, want %s", got, payload)
	}
}
