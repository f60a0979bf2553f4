package registry_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
	"github.com/whypull/whypull/cri/sockettest"
)

func app(t *testing.T, opts nodeconfig.Options, host string, cred *credential.Credential) registry.Answer {
	t.Helper()
	return endpoint(t, opts, host).Probe(t.Context(), ref(t, host+"/team/app:1.0"), cred)
}

func check(t *testing.T, a registry.Answer, f registry.Fault, phase registry.Phase) {
	t.Helper()
	checkErr(t, a)
	if a.Fault != f || a.Phase != phase {
		t.Errorf("fault %q in phase %q, want %q in %q: %v", a.Fault, a.Phase, f, phase, a.Err)
	}
}

func repositories() []registrytest.Repository {
	return []registrytest.Repository{{Name: "team/app", Tags: []string{"1.0"}}}
}

func TestNameNotFound(t *testing.T) {
	a := app(t, options(node(t, nil)), "nowhere.test", nil)
	check(t, a, registry.FaultNameNotFound, registry.PhaseDNS)
	var dns *net.DNSError
	if !errors.As(a.Err, &dns) || dns.Server != "192.0.2.53:53" || a.Connection.Addresses != nil || a.Endpoint != "https://nowhere.test" {
		t.Errorf("answer %+v", a)
	}
}

func TestResolverFails(t *testing.T) {
	for name, err := range map[string]error{
		"refused":    &net.OpError{Op: "read", Net: "udp", Err: syscall.ECONNREFUSED},
		"server":     &net.DNSError{Err: "server misbehaving", IsTemporary: true},
		"timeout":    &net.DNSError{Err: "i/o timeout", IsTimeout: true},
		"in a chain": fmt.Errorf("node view: %w", &net.DNSError{Err: "read", UnwrapErr: syscall.ECONNREFUSED}),
	} {
		t.Run(name, func(t *testing.T) {
			opts := options(node(t, nil))
			opts.Resolve = func(context.Context, string) ([]netip.Addr, error) { return nil, err }
			check(t, app(t, opts, "hub.test", nil), registry.FaultDNSFailure, registry.PhaseDNS)
		})
	}
}

func TestResolverHangs(t *testing.T) {
	noGoroutinesLeft(t)
	for name, timeouts := range map[string]registry.Timeouts{
		"its own timeout":   {DNS: 50 * time.Millisecond},
		"the total timeout": {Total: 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			opts := options(node(t, nil))
			opts.Timeouts = timeouts
			opts.Resolve = func(ctx context.Context, _ string) ([]netip.Addr, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			check(t, app(t, opts, "hub.test", nil), registry.FaultDNSFailure, registry.PhaseDNS)
		})
	}
}

func TestGoResolver(t *testing.T) {
	opts := options(node(t, nil))
	opts.Resolve = nil
	// RFC 6761: no resolver knows it; without a network it is a failure.
	a := app(t, opts, "nowhere.invalid", nil)
	if a.Phase != registry.PhaseDNS || a.Fault != registry.FaultNameNotFound && a.Fault != registry.FaultDNSFailure {
		t.Errorf("answer %+v", a)
	}
}

func TestConnectionRefused(t *testing.T) {
	a := app(t, options(node(t, nil)), registrytest.Name+":"+sockettest.ClosedPort(t), nil)
	check(t, a, registry.FaultConnectionRefused, registry.PhaseConnect)
	if _, ok := errors.AsType[syscall.Errno](a.Err); !ok || !slices.Equal(a.Connection.Addresses, []netip.Addr{loopback()}) {
		t.Errorf("answer %+v", a)
	}
}

func TestSecondAddress(t *testing.T) {
	s := registrytest.New(t, registrytest.Config{Repositories: repositories()})
	opts := options(trusting(t, s))
	opts.Resolve = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.2"), loopback()}, nil
	}
	a := app(t, opts, s.Host, nil)
	checkErr(t, a)
	if !a.Found || a.Connection.Remote.String() != s.Address || len(a.Connection.Addresses) != 2 {
		t.Errorf("answer %+v", a)
	}
}

// tarpit accepts connections and says nothing.
func tarpit(t *testing.T) string { return sockettest.Port(sockettest.Listen(t, sockettest.KeepSilent)) }

func TestTimeouts(t *testing.T) {
	noGoroutinesLeft(t)
	// A slow machine needs longer to get there.
	timesOut := func(t *testing.T, phase registry.Phase, ask func(limit time.Duration) registry.Answer) {
		t.Helper()
		limit := 50 * time.Millisecond
		a := ask(limit)
		for ; a.Phase != phase && limit < time.Minute; a = ask(limit) {
			limit *= 2
		}
		check(t, a, registry.FaultConnectionTimeout, phase)
	}
	silent := registrytest.Name + ":" + tarpit(t)
	t.Run("handshake", func(t *testing.T) {
		timesOut(t, registry.PhaseTLS, func(limit time.Duration) registry.Answer {
			opts := options(node(t, nil))
			opts.Timeouts.TLS = limit
			return app(t, opts, silent, nil)
		})
	})
	t.Run("handshake, total", func(t *testing.T) {
		timesOut(t, registry.PhaseTLS, func(limit time.Duration) registry.Answer {
			opts := options(node(t, nil))
			opts.Timeouts.Total = limit
			return app(t, opts, silent, nil)
		})
	})
	for name, tc := range map[string]struct {
		auth  registrytest.Auth
		phase registry.Phase
	}{
		"response":                 {registrytest.Open, registry.PhasePing},
		"response after the token": {registrytest.Bearer, registry.PhaseManifest},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{
				{Name: "team/app", Behaviour: registrytest.Hang, Auth: tc.auth},
			}})
			opts := options(trusting(t, s))
			timesOut(t, tc.phase, func(limit time.Duration) registry.Answer {
				opts.Timeouts.Response = limit
				return app(t, opts, s.Host, nil)
			})
		})
	}
}

// A caller who gives up has learnt nothing, and is not told otherwise.
func TestCallerGivesUp(t *testing.T) {
	noGoroutinesLeft(t)
	s := registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{{Name: "team/app", Behaviour: registrytest.Hang}}})
	e := endpoint(t, options(trusting(t, s)), s.Host)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	a := e.Probe(ctx, ref(t, s.Host+"/team/app:1.0"), nil)
	if a.Found || a.Fault != "" || !errors.Is(a.Err, context.Canceled) {
		t.Errorf("answer %+v", a)
	}
}

func TestForbiddenAddresses(t *testing.T) {
	for _, addr := range []string{
		"169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "fd00:ec2::254", "0.0.0.0", "::", "0.1.2.3",
		"224.0.0.1", "ff02::1", "100.100.100.200", "168.63.129.16", "::ffff:0.0.0.0",
		"64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1", "::169.254.169.254", "fd00:ec2::23",
	} {
		opts := options(node(t, nil))
		opts.Resolve = func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr(addr)}, nil
		}
		a := app(t, opts, "metadata.test", nil)
		want, why := registry.FaultAddressForbidden, registry.ErrAddressForbidden
		if addr == "0.0.0.0" || addr == "::" || addr == "::ffff:0.0.0.0" {
			want, why = registry.FaultAddressUnspecified, registry.ErrAddressUnspecified
		}
		check(t, a, want, registry.PhaseConnect)
		if !errors.Is(a.Err, why) {
			t.Errorf("%s: error %v", addr, a.Err)
		}
	}
}

func redirecting(to string) registrytest.Config {
	return registrytest.Config{
		Passwords:    known(),
		Repositories: []registrytest.Repository{{Name: "team/app", Auth: registrytest.Basic, Behaviour: registrytest.Redirect, Location: to}},
	}
}

func TestRedirectToForbiddenAddress(t *testing.T) {
	s := registrytest.New(t, redirecting("http://169.254.169.254/latest/meta-data"))
	a := app(t, options(trusting(t, s)), s.Host, good())
	check(t, a, registry.FaultAddressForbidden, registry.PhaseConnect)
	if want := []string{head, head + " Basic"}; !slices.Equal(s.Lines(), want) {
		t.Errorf("requests %q, want %q", s.Lines(), want)
	}
}

// The header of a redirect has room for 64 KiB, of which an answer, that may be kept for
// long, keeps nothing.
func TestLongRedirects(t *testing.T) {
	long := strings.Repeat("a", 50<<10)
	for name, location := range map[string]string{"scheme": long + "://hub.test/", "host": "https://" + long + ".test/", "port": "https://hub.test:" + strings.Repeat("0", 50<<10) + "1/"} {
		s := registrytest.New(t, redirecting(location))
		a := app(t, options(trusting(t, s)), s.Host, good())
		if kept := len(fmt.Sprintf("%+v %v", a, a.Err)); a.Found || a.Fault == "" || kept > 4<<10 {
			t.Errorf("%s: fault %q, %d bytes", name, a.Fault, kept)
		}
		var dns *net.DNSError
		if errors.As(a.Err, &dns) && len(dns.Error()) > 1<<10 {
			t.Errorf("%s: an error of %d bytes", name, len(dns.Error()))
		}
	}
}

// Thousands of headers without a challenge are none that is kept.
func TestManyChallenges(t *testing.T) {
	s := registrytest.New(t, registrytest.Config{Others: &registrytest.Repository{Serve: func(w http.ResponseWriter, _ *http.Request, _, _ string) {
		w.Header().Set("Www-Authenticate", `Basic realm="x"`)
		for range 2500 {
			w.Header().Add("Www-Authenticate", "")
		}
		w.WriteHeader(http.StatusUnauthorized)
	}}})
	a := app(t, options(trusting(t, s)), s.Host, nil)
	check(t, a, registry.FaultUnauthorized, registry.PhasePing)
	if kept := len(fmt.Sprintf("%+v", a.Auth.Required)); a.Auth.Required == nil || kept > 4<<10 {
		t.Errorf("%d bytes are kept", kept)
	}
}

// A redirect is followed as the runtime follows it, but the credential and
// the headers of hosts.toml stay behind, and so it does when asked for.
func TestRedirectToOtherHost(t *testing.T) {
	ca := catest.New(t)
	for _, auth := range []registrytest.Auth{registrytest.Open, registrytest.Basic} {
		target := registrytest.New(t, registrytest.Config{CA: ca, Passwords: known(), Repositories: []registrytest.Repository{
			{Name: "team/app", Tags: []string{"1.0"}, Auth: auth},
		}})
		config := redirecting("https://" + target.Host + "/v2/team/app/manifests/1.0")
		config.CA = ca
		s := registrytest.New(t, config)
		root := node(t, map[string]string{
			"etc/ssl/certs/ca-certificates.crt": string(ca.PEM()),
			"certs.d/_default/hosts.toml":       "server = \"https://" + s.Host + "\"\n[header]\nX-Api-Key = \"" + secret + "\"\n",
		})
		opts := options(root)
		opts.CertsDir = "/certs.d"
		a := app(t, opts, s.Host, good())
		checkErr(t, a)
		if wantFound := auth == registrytest.Open; a.Found != wantFound {
			t.Errorf("found %t, want %t: %v", a.Found, wantFound, a.Err)
		}
		for _, r := range s.Requests() {
			if r.Header.Get("X-Api-Key") != secret {
				t.Error("the registry did not get the header of hosts.toml")
			}
		}
		requests := target.Requests()
		if len(requests) != 1 || requests[0].Auth != "" || requests[0].Header.Get("X-Api-Key") != "" {
			t.Errorf("requests of the other host: %+v", requests)
		}
	}
}

func TestTLS(t *testing.T) {
	noGoroutinesLeft(t)
	ca := catest.New(t)
	now := time.Now()
	for name, tc := range map[string]struct {
		leaf catest.Request
		ca   *catest.CA
		want registry.Fault
	}{
		"expired":           {catest.Request{NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)}, ca, registry.FaultTLSExpired},
		"not yet valid":     {catest.Request{NotBefore: now.Add(time.Hour)}, ca, registry.FaultTLSExpired},
		"other name":        {catest.Request{Names: []string{"other.test\n<b>"}}, ca, registry.FaultTLSHostnameMismatch},
		"unknown authority": {catest.Request{}, catest.New(t), registry.FaultTLSUntrusted},
	} {
		t.Run(name, func(t *testing.T) {
			cert := tc.ca.Issue(tc.leaf)
			s := registrytest.New(t, registrytest.Config{CA: ca, Certificate: cert, Repositories: repositories()})
			a := app(t, options(trusting(t, s)), s.Host, good())
			check(t, a, tc.want, registry.PhaseTLS)
			var asked []string // for the time, without the credential
			if tc.want == registry.FaultTLSExpired {
				asked = []string{"HEAD /v2/"}
			}
			if !slices.Equal(s.Lines(), asked) || (a.TLS.Clock != nil) != (len(asked) > 0) || a.TLS.Clock != nil && *a.TLS.Clock != 0 {
				t.Errorf("requests %q, clock %v", s.Lines(), a.TLS.Clock)
			}
			c := a.TLS.Certificate
			if c == nil || !c.NotAfter.Equal(cert.Certificate.NotAfter) || !c.NotBefore.Equal(cert.Certificate.NotBefore) || c.Issuer != "Test Authority" {
				t.Fatalf("certificate %+v", c)
			}
			if strings.ContainsAny(strings.Join(c.Names, ""), "<>\n") {
				t.Errorf("certificate %+v is not cleaned", c)
			}
		})
	}
}

func TestClientCertificateWanted(t *testing.T) {
	ca := catest.New(t)
	s := registrytest.New(t, registrytest.Config{CA: ca, ClientCA: ca, Repositories: repositories()})
	a := app(t, options(trusting(t, s)), s.Host, nil)
	checkErr(t, a)
	if a.Fault != registry.FaultTLSHandshakeFailed {
		t.Errorf("answer %+v", a)
	}
	pair := ca.Issue(catest.Request{Names: []string{"node"}})
	root := node(t, map[string]string{
		"etc/ssl/certs/ca-certificates.crt":         string(ca.PEM()),
		"etc/containerd/certs.d/_default/x.toml":    "",
		"etc/pki/node.pem":                          string(pair.PEM()) + string(pair.KeyPEM()),
		"certs.d/" + folder(s.Host) + "/hosts.toml": "server = \"https://" + s.Host + "\"\nclient = \"/etc/pki/node.pem\"\n",
		"certs.d/unused.example.com/hosts.toml":     "",
		"etc/ssl/certs/unreadable-but-harmless.0":   "",
	})
	opts := options(root)
	opts.CertsDir = "/certs.d"
	if a := app(t, opts, s.Host, nil); !a.Found {
		t.Errorf("with the client certificate of hosts.toml: %v", a.Err)
	}
}

func TestHTTPOnTLSPort(t *testing.T) {
	s := registrytest.New(t, registrytest.Config{Plain: true, Repositories: repositories()})
	a := app(t, options(node(t, nil)), s.Host, good())
	check(t, a, registry.FaultHTTPSMismatch, registry.PhaseTLS)
	if a.Endpoint != "https://"+s.Host || a.TLS.Certificate != nil {
		t.Errorf("answer %+v", a)
	}
}

func plainHosts(t *testing.T, host string) nodeconfig.Options {
	t.Helper()
	opts := options(node(t, map[string]string{"certs.d/_default/hosts.toml": "server = \"http://" + host + "\"\n"}))
	opts.CertsDir = "/certs.d"
	return opts
}

func TestTLSOnHTTPPort(t *testing.T) {
	noGoroutinesLeft(t)
	s := registrytest.New(t, registrytest.Config{Repositories: repositories()})
	a := app(t, plainHosts(t, s.Host), s.Host, good())
	check(t, a, registry.FaultHTTPSMismatch, registry.PhaseManifest)
	if a.Status != 400 || a.Endpoint != "http://"+s.Host || len(s.Requests()) != 0 {
		t.Errorf("answer %+v, requests %q", a, s.Lines())
	}
}

// Many servers answer plain HTTP with a TLS alert.
func TestTLSAlertOnHTTPPort(t *testing.T) {
	s := registrytest.New(t, registrytest.Config{})
	cert := s.CA.Issue(catest.Request{})
	address := sockettest.Listen(t, func(conn net.Conn) {
		first := make([]byte, 1)
		_, _ = conn.Read(first)
		if first[0] == 0x16 {
			_ = tls.Server(&again{conn, first}, &tls.Config{Certificates: []tls.Certificate{cert.TLS()}}).Handshake()
		} else {
			_, _ = conn.Write([]byte{0x15, 3, 1, 0, 2, 2, 10})
		}
	})
	host := registrytest.Name + ":" + sockettest.Port(address)
	check(t, app(t, plainHosts(t, host), host, nil), registry.FaultHTTPSMismatch, registry.PhasePing)
}

// again is a connection whose first bytes were read already.
type again struct {
	net.Conn
	first []byte
}

func (a *again) Read(p []byte) (int, error) {
	if len(a.first) > 0 {
		n := copy(p, a.first)
		a.first = a.first[n:]
		return n, nil
	}
	return a.Conn.Read(p)
}

func TestPlainRegistry(t *testing.T) {
	s := registrytest.New(t, registrytest.Config{Plain: true, Passwords: known(), Repositories: []registrytest.Repository{
		{Name: "team/app", Tags: []string{"1.0"}, Auth: registrytest.Bearer},
	}})
	a := app(t, plainHosts(t, s.Host), s.Host, good())
	checkErr(t, a)
	// A realm without TLS is fine for a registry without TLS.
	if !a.Found || a.Endpoint != "http://"+s.Host || !a.Auth.TokenIssued {
		t.Errorf("answer %+v", a)
	}
}

// Localhost is tried over TLS, unverified, and then over http.
func TestLocalhost(t *testing.T) {
	for _, plain := range []bool{true, false} {
		s := registrytest.New(t, registrytest.Config{Plain: plain, Repositories: repositories()})
		e := endpoint(t, options(node(t, nil)), s.Address)
		if !e.HTTPFallback || !e.SkipVerify || e.Mirror || e.Scheme != "https" {
			t.Errorf("endpoint %+v", e)
		}
		a := e.Probe(t.Context(), ref(t, s.Address+"/team/app:1.0"), nil)
		checkErr(t, a)
		scheme := map[bool]string{true: "http://", false: "https://"}[plain]
		if !a.Found || a.Endpoint != scheme+s.Address || !slices.Equal(s.Lines(), []string{head}) {
			t.Errorf("answer %+v, requests %q", a, s.Lines())
		}
	}
}

// The token server's troubles are told apart from the registry's.
func TestTokenServerUnreachable(t *testing.T) {
	for realm, want := range map[string]registry.Fault{
		"https://auth.nowhere.test/token?service=" + secret:                        registry.FaultNameNotFound,
		"https://" + registrytest.Name + ":" + sockettest.ClosedPort(t) + "/token": registry.FaultConnectionRefused,
		"https://user:" + secret + "@169.254.169.254/latest/api/token":             registry.FaultAddressForbidden,
		"https://" + registrytest.Name + ":" + plainPort(t) + "/token":             registry.FaultHTTPSMismatch,
		"https://" + untrusted(t) + "/token":                                       registry.FaultTLSUntrusted,
		"https://" + hangingUp(t) + "/token":                                       registry.FaultNetworkUnreachable,
		"http://" + registrytest.Name + "/token":                                   registry.FaultUnexpectedAnswer, // refused by us
	} {
		s := registrytest.New(t, registrytest.Config{Realm: realm, Repositories: []registrytest.Repository{
			{Name: "team/app", Tags: []string{"1.0"}, Auth: registrytest.Bearer},
		}})
		a := app(t, options(trusting(t, s)), s.Host, good())
		check(t, a, want, registry.PhaseToken)
		u, err := url.Parse(realm)
		host := u.Host
		if u.Scheme == "http" {
			host += ":80"
		}
		if err != nil || a.Auth.TokenHost != host || a.Auth.TokenIssued || !slices.Equal(a.Connection.Addresses, []netip.Addr{loopback()}) {
			t.Errorf("answer %+v", a)
		}
	}
}

func plainPort(t *testing.T) string {
	_, port, _ := net.SplitHostPort(registrytest.New(t, registrytest.Config{Plain: true}).Host)
	return port
}

func untrusted(t *testing.T) string { return registrytest.New(t, registrytest.Config{}).Host }

func TestLargeBodies(t *testing.T) {
	huge := strings.Repeat(`{"token":"`, 1<<17)
	s := registrytest.New(t, registrytest.Config{TokenBody: `{"token":"` + huge, Repositories: []registrytest.Repository{
		{Name: "team/app", Auth: registrytest.Bearer},
	}})
	a := app(t, options(trusting(t, s)), s.Host, nil)
	check(t, a, registry.FaultUnexpectedAnswer, registry.PhaseToken)

	s = registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{
		{Name: "team/app", Header: http.Header{"X-Huge": {strings.Repeat("x", 1<<17)}}, Tags: []string{"1.0"}},
	}})
	check(t, app(t, options(trusting(t, s)), s.Host, nil), registry.FaultUnexpectedAnswer, registry.PhasePing)

	many := make([]string, 500)
	for i := range many {
		many[i] = fmt.Sprintf("v%03d", i)
	}
	s = registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{{Name: "team/app", Tags: many}}})
	if a := app(t, options(trusting(t, s)), s.Host, nil); a.Fault != registry.FaultTagNotFound || len(a.Content.Tags) != 100 {
		t.Errorf("fault %q with %d tags", a.Fault, len(a.Content.Tags))
	}
}

// The page of the list that has the neighbors is asked for, and no other.
func TestTagsNearTheMissing(t *testing.T) {
	many := []string{"1.27", "1.27.0", "1.27.1"}
	for i := range 500 {
		many = append(many, fmt.Sprintf("0.%03d", i), fmt.Sprintf("v%03d", i))
	}
	s := registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{{Name: "team/app", Tags: many}}})
	e := endpoint(t, options(trusting(t, s)), s.Host)
	a := e.Probe(t.Context(), ref(t, s.Host+"/team/app:1.27.3"), nil)
	check(t, a, registry.FaultTagNotFound, registry.PhaseManifest)
	if len(a.Content.Tags) != 100 || !slices.Equal(a.Content.Tags[:2], []string{"1.27.0", "1.27.1"}) {
		t.Errorf("tags %q", a.Content.Tags)
	}
	var queries []string
	for _, r := range s.Requests()[1:] {
		queries = append(queries, r.Query)
	}
	if want := []string{"n=100", "n=100&last=1.27"}; !slices.Equal(queries, want) {
		t.Errorf("queries %q, want %q", queries, want)
	}
	// Behind the last page there is nothing, and the first one is better.
	if a = e.Probe(t.Context(), ref(t, s.Host+"/team/app:zzz.1"), nil); a.Fault != registry.FaultTagNotFound || len(a.Content.Tags) != 100 {
		t.Errorf("fault %q with %d tags", a.Fault, len(a.Content.Tags))
	}
}

// A runtime before containerd 2 takes the first schema.
func TestSchema1OfOldRuntimes(t *testing.T) {
	for version, want := range map[string]registry.Fault{
		"1.7.35": "", "v1.6.8": "", "2.4.2": registry.FaultUnsupportedFormat, "": registry.FaultUnsupportedFormat,
	} {
		s := registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{
			{Name: "team/app", Tags: []string{"1.0"}, Header: http.Header{"Content-Type": {schema1}}},
		}})
		opts := options(trusting(t, s))
		opts.RuntimeVersion = version
		check(t, app(t, opts, s.Host, nil), want, registry.PhaseManifest)
	}
}

// proxy is an HTTP proxy that connects every name to the loopback address.
func proxy(t *testing.T, status int) *url.URL {
	t.Helper()
	u := proxyBy(t, func(w http.ResponseWriter, r *http.Request) {
		if status != http.StatusOK {
			w.WriteHeader(status)
			return
		}
		_, port, _ := net.SplitHostPort(r.Host)
		to, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer to.Close() //nolint:errcheck // a test
		from, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
		sockettest.Relay(from, buffered, to)
	})
	u.User = url.UserPassword("proxy", secret)
	return u
}

// proxyBy is an HTTP proxy that answers with a handler.
func proxyBy(t *testing.T, answer http.HandlerFunc) *url.URL {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return &url.URL{Scheme: "http", Host: s.Listener.Addr().String()}
}

func TestProxy(t *testing.T) {
	s := registrytest.New(t, registrytest.Config{Repositories: repositories()})
	through := func(u *url.URL) registry.Answer {
		opts := options(trusting(t, s))
		opts.Proxy = func(*http.Request) (*url.URL, error) { return u, nil }
		a := app(t, opts, s.Host, nil)
		checkErr(t, a)
		want := u.Host
		if u.Scheme != "http" {
			want = u.Scheme + "://" + u.Host
		}
		if a.Proxy.Address != want {
			t.Errorf("proxy %q, want %q", a.Proxy.Address, want)
		}
		return a
	}
	if a := through(proxy(t, http.StatusOK)); !a.Found {
		t.Errorf("through a proxy: %v", a.Err)
	}
	for _, status := range []int{403, 407, 502} {
		a := through(proxy(t, status))
		if a.Fault != registry.FaultProxyFailed || a.Status != status || a.Proxy.Status != status || a.TLS.Certificate != nil {
			t.Errorf("proxy with status %d: answer %+v", status, a)
		}
	}
	if len(s.Requests()) != 1 {
		t.Errorf("requests %q, want one", s.Lines())
	}
	for name, tc := range map[string]struct {
		scheme, host string
		why          registry.Fault
	}{
		"nobody listens": {"http", "127.0.0.1:" + sockettest.ClosedPort(t), registry.FaultConnectionRefused},
		"no address":     {"http", "proxy.nowhere.test:3128", registry.FaultNameNotFound},
		"untrusted":      {"https", registrytest.New(t, registrytest.Config{}).Host, ""},
		"hangs up":       {"http", hangingUp(t), ""},
	} {
		a := through(&url.URL{Scheme: tc.scheme, Host: tc.host})
		if a.Fault != registry.FaultProxyFailed || a.Proxy.Status != 0 || a.Proxy.Fault != tc.why {
			t.Errorf("%s: answer %+v", name, a)
		}
	}
}

// hangingUp reads and closes.
func hangingUp(t *testing.T) string {
	t.Helper()
	return sockettest.Listen(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 4096)) })
}

// A CONNECT that is never answered is the proxy's, though net/http does not say so.
func TestProxyNeverAnswers(t *testing.T) {
	noGoroutinesLeft(t)
	opts := options(node(t, nil))
	opts.Proxy = func(*http.Request) (*url.URL, error) {
		return &url.URL{Scheme: "http", Host: "127.0.0.1:" + tarpit(t)}, nil
	}
	opts.Timeouts.Total = 100 * time.Millisecond
	check(t, app(t, opts, "hub.test", nil), registry.FaultProxyFailed, registry.PhaseConnect)
}

// What is wrong behind the proxy is not the proxy's.
func TestBehindProxy(t *testing.T) {
	s := registrytest.New(t, registrytest.Config{Repositories: repositories()})
	u := proxy(t, http.StatusOK)
	opts := options(node(t, nil)) // does not trust the registry
	opts.Proxy = func(*http.Request) (*url.URL, error) { return u, nil }
	a := app(t, opts, s.Host, nil)
	check(t, a, registry.FaultTLSUntrusted, registry.PhaseTLS)
	if a.TLS.Certificate == nil || a.Proxy.Status != 0 || a.Proxy.Address != u.Host {
		t.Errorf("answer %+v", a)
	}
}

// The token server's proxy is another matter than the registry's.
func TestProxyOfTokenServer(t *testing.T) {
	gone := &url.URL{Scheme: "http", Host: "127.0.0.1:" + sockettest.ClosedPort(t)}
	s := registrytest.New(t, registrytest.Config{Realm: "https://auth.test/token", Repositories: []registrytest.Repository{
		{Name: "team/app", Tags: []string{"1.0"}, Auth: registrytest.Bearer},
	}})
	opts := options(trusting(t, s))
	for name, tc := range map[string]struct {
		proxy  *url.URL
		status int
	}{"gone": {gone, 0}, "refuses": {proxy(t, 403), 403}, "hangs up": {&url.URL{Scheme: "http", Host: hangingUp(t)}, 0}} {
		opts.Proxy = func(req *http.Request) (*url.URL, error) {
			if req.URL.Host == "auth.test" {
				return tc.proxy, nil
			}
			return nil, nil
		}
		a := app(t, opts, s.Host, good())
		check(t, a, registry.FaultProxyFailed, registry.PhaseToken)
		if a.Proxy.Address != tc.proxy.Host || a.Auth.TokenHost != "auth.test" || a.Proxy.Status != tc.status {
			t.Errorf("%s: answer %+v", name, a)
		}
	}
}

// A proxy of plain requests answers in the registry's place.
func TestProxyOfPlainRegistry(t *testing.T) {
	for name, tc := range map[string]struct {
		header string
		want   registry.Fault
	}{
		"proxy":    {"Via", registry.FaultProxyFailed},
		"squid":    {"X-Squid-Error", registry.FaultProxyFailed},
		"registry": {"Server", registry.FaultServerError},
	} {
		u := proxyBy(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(tc.header, "1.1 proxy")
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		opts := plainHosts(t, "hub.test")
		opts.Proxy = func(*http.Request) (*url.URL, error) { return u, nil }
		a := app(t, opts, "hub.test", nil)
		check(t, a, tc.want, registry.PhaseManifest)
		if wantStatus := map[bool]int{true: 503}[tc.want == registry.FaultProxyFailed]; a.Status != 503 || a.Proxy.Status != wantStatus {
			t.Errorf("%s: answer %+v", name, a)
		}
	}
}

// It answers in the place of the token server, too.
func TestProxyOfPlainTokenServer(t *testing.T) {
	u := proxyBy(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Via", "1.1 proxy")
		w.WriteHeader(http.StatusBadGateway)
	})
	s := registrytest.New(t, registrytest.Config{Plain: true, Realm: "http://auth.test/token", Repositories: []registrytest.Repository{
		{Name: "team/app", Auth: registrytest.Bearer},
	}})
	opts := plainHosts(t, s.Host)
	opts.Proxy = func(req *http.Request) (*url.URL, error) {
		if req.URL.Host == "auth.test" {
			return u, nil
		}
		return nil, nil
	}
	a := app(t, opts, s.Host, nil)
	check(t, a, registry.FaultProxyFailed, registry.PhaseToken)
	if a.Proxy.Status != 502 || a.Proxy.Address != u.Host || a.Auth.TokenHost != "auth.test:80" {
		t.Errorf("answer %+v", a)
	}
}

// Without a proxy nobody but the registry answers.
func TestViaWithoutProxy(t *testing.T) {
	s := registrytest.New(t, registrytest.Config{Plain: true, Repositories: []registrytest.Repository{
		{Name: "team/app", Status: 502, Header: http.Header{"Via": {"1.1 front"}}},
	}})
	check(t, app(t, plainHosts(t, s.Host), s.Host, nil), registry.FaultServerError, registry.PhaseManifest)
}

func TestMirrorIsAskedWithNamespace(t *testing.T) {
	s := registrytest.New(t, registrytest.Config{Repositories: repositories()})
	opts := options(node(t, map[string]string{
		"etc/ssl/certs/ca-certificates.crt":                  string(s.CA.PEM()),
		"certs.d/" + folder("hub.test:5000") + "/hosts.toml": "[host.'https://" + s.Host + "']\n",
	}))
	opts.CertsDir = "/certs.d"
	eps, _ := endpoints(t, opts, "hub.test:5000")
	a := eps[0].Probe(t.Context(), ref(t, "hub.test:5000/team/app:2.0"), nil)
	checkErr(t, a)
	if a.Fault != registry.FaultTagNotFound || !eps[0].Mirror || eps[1].Mirror {
		t.Errorf("answer %+v", a)
	}
	for i, want := range []string{"ns=hub.test%3A5000", "n=100&ns=hub.test%3A5000"} {
		if got := s.Requests()[i].Query; got != want {
			t.Errorf("query %q, want %q", got, want)
		}
	}
}

// downgrading is a registry that sends from https to plain http at the same
// port, where it asks for a credential. It remembers what is sent in the clear.
func downgrading(t *testing.T, challenge func(host string) string) (host string, ca *catest.CA, clear func() []string) {
	t.Helper()
	ca = catest.New(t)
	cert := ca.Issue(catest.Request{Names: []string{registrytest.Name}}).TLS()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	host = registrytest.Name + ":" + port
	var mu sync.Mutex
	var heard []string
	server := &http.Server{
		ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm()
			if said := r.Header.Get("Authorization") + r.Form.Encode(); said != "" && r.TLS == nil {
				mu.Lock()
				heard = append(heard, said)
				mu.Unlock()
			}
			switch {
			case r.URL.Path == "/token":
				_, _ = io.WriteString(w, `{"token":"t","access_token":"t"}`)
			case r.TLS != nil:
				http.Redirect(w, r, "http://"+host+r.URL.Path, http.StatusTemporaryRedirect)
			default:
				w.Header().Set("Www-Authenticate", challenge(host))
				w.WriteHeader(http.StatusUnauthorized)
			}
		}),
	}
	go func() { _ = server.Serve(&either{l, &tls.Config{Certificates: []tls.Certificate{cert}}}) }()
	t.Cleanup(func() { _ = server.Close() })
	return host, ca, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(heard)
	}
}

// either is a listener whose connections speak TLS if the client does.
type either struct {
	net.Listener
	config *tls.Config
}

func (e *either) Accept() (net.Conn, error) {
	conn, err := e.Listener.Accept()
	if err != nil {
		return nil, err
	}
	first := make([]byte, 1)
	if _, err := conn.Read(first); err != nil {
		return conn, nil // whoever reads it sees the same
	}
	if first[0] == 0x16 {
		return tls.Server(&again{conn, first}, e.config), nil
	}
	return &again{conn, first}, nil
}

// A credential for an https registry is not sent in the clear, and not to a
// token server that somebody in the clear names.
func TestDowngradedChallenge(t *testing.T) {
	for name, tc := range map[string]struct {
		challenge func(host string) string
		want      registry.Refusal
		phase     registry.Phase
	}{
		"http realm":  {func(host string) string { return `Bearer realm="http://` + host + `/token",service="s"` }, registry.ErrRealmInsecure, registry.PhaseToken},
		"https realm": {func(host string) string { return `Bearer realm="https://` + host + `/token",service="s"` }, registry.ErrChallengeInsecure, registry.PhaseToken},
		"basic":       {func(string) string { return `Basic realm="r"` }, registry.ErrChallengeInsecure, registry.PhasePing},
	} {
		t.Run(name, func(t *testing.T) {
			host, ca, clear := downgrading(t, tc.challenge)
			opts := options(node(t, map[string]string{"etc/ssl/certs/ca-certificates.crt": string(ca.PEM())}))
			a := app(t, opts, host, good())
			check(t, a, registry.FaultUnexpectedAnswer, tc.phase)
			if !errors.Is(a.Err, tc.want) || a.Auth.CredentialSent || a.Auth.TokenIssued {
				t.Errorf("answer %+v", a)
			}
			if got := clear(); len(got) > 0 {
				t.Errorf("sent in the clear: %q", got)
			}
		})
	}
}

// A realm on another https host is what Docker Hub has.
func TestRealmOnAnotherHost(t *testing.T) {
	ca := catest.New(t)
	repositories := []registrytest.Repository{{Name: "team/app", Tags: []string{"1.0"}, Auth: registrytest.Bearer}}
	tokens := registrytest.New(t, registrytest.Config{CA: ca, Passwords: known(), Repositories: repositories})
	s := registrytest.New(t, registrytest.Config{CA: ca, Realm: "https://" + tokens.Host + "/token", Repositories: repositories})
	if a := app(t, options(trusting(t, s)), s.Host, good()); !a.Found || !a.Auth.CredentialSent || a.Auth.TokenHost != tokens.Host {
		t.Errorf("answer %+v", a)
	}
}

// The runtime asks a token server without TLS, whatever the registry has. whypull does the
// same where nothing secret is sent.
func TestRealmWithoutTLS(t *testing.T) {
	repositories := []registrytest.Repository{{Name: "team/app", Tags: []string{"1.0"}, Auth: registrytest.Bearer}}
	tokens := registrytest.New(t, registrytest.Config{Plain: true, Repositories: repositories})
	realm := "http://" + tokens.Host + "/token"
	secure := registrytest.New(t, registrytest.Config{CA: catest.New(t), Realm: realm, Repositories: repositories})
	if a := app(t, options(trusting(t, secure)), secure.Host, nil); !a.Found || !a.Auth.TokenIssued || a.Auth.TokenHost != tokens.Host || !a.Auth.TokenPlain {
		t.Errorf("anonymous: %+v", a)
	}
	before := len(tokens.Requests())
	a := app(t, options(trusting(t, secure)), secure.Host, good())
	check(t, a, registry.FaultUnexpectedAnswer, registry.PhaseToken)
	if !errors.Is(a.Err, registry.ErrRealmInsecure) || a.Auth.CredentialSent || len(tokens.Requests()) != before {
		t.Errorf("with a credential: %+v", a)
	}
}
