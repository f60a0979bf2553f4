package registry_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
	"github.com/whypull/whypull/cri/sockettest"
)

// socks is a SOCKS5 proxy (RFC 1928) without authentication that connects every
// name to the loopback address, or answers with an error.
func socks(t *testing.T, code byte) *url.URL {
	t.Helper()
	address := sockettest.Listen(t, func(conn net.Conn) { serveSocks(conn, code) })
	return &url.URL{Scheme: "socks5", Host: address}
}

func serveSocks(conn net.Conn, code byte) {
	head := make([]byte, 3)
	if _, err := io.ReadFull(conn, head); err != nil {
		return
	}
	_, _ = conn.Write([]byte{5, 0})
	request := make([]byte, 5) // version, command, reserved, type, length of the name
	if _, err := io.ReadFull(conn, request); err != nil {
		return
	}
	name := make([]byte, int(request[4])+2)
	if _, err := io.ReadFull(conn, name); err != nil {
		return
	}
	_, _ = conn.Write([]byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0})
	if code != 0 {
		return
	}
	port := name[len(name)-2:]
	to, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port[0])<<8 | int(port[1])})
	if err != nil {
		return
	}
	sockettest.Relay(conn, conn, to)
}

// What is wrong behind a SOCKS proxy is not the proxy's, and what it answers is.
func TestSocksProxy(t *testing.T) {
	s := registrytest.New(t, registrytest.Config{Repositories: repositories()})
	silent := registrytest.New(t, registrytest.Config{CA: s.CA, Repositories: []registrytest.Repository{{Name: "team/app", Behaviour: registrytest.Hang}}})
	plain := registrytest.New(t, registrytest.Config{Plain: true, Repositories: []registrytest.Repository{
		{Name: "team/app", Status: 502, Header: http.Header{"Via": {"1.1 front"}}},
	}})
	for name, tc := range map[string]struct {
		opts  nodeconfig.Options
		host  string
		code  byte
		fault registry.Fault
		phase registry.Phase
	}{
		"good":          {opts: options(trusting(t, s)), host: s.Host, phase: registry.PhaseManifest},
		"untrusted":     {opts: options(node(t, nil)), host: s.Host, fault: registry.FaultTLSUntrusted, phase: registry.PhaseTLS},
		"silent":        {opts: options(trusting(t, s)), host: silent.Host, fault: registry.FaultConnectionTimeout, phase: registry.PhasePing},
		"a front's own": {opts: plainHosts(t, plain.Host), host: plain.Host, fault: registry.FaultServerError, phase: registry.PhaseManifest},
		"refuses":       {opts: options(trusting(t, s)), host: s.Host, code: 2, fault: registry.FaultProxyFailed, phase: registry.PhaseConnect},
	} {
		t.Run(name, func(t *testing.T) {
			u := socks(t, tc.code)
			tc.opts.Proxy = func(*http.Request) (*url.URL, error) { return u, nil }
			if name == "silent" {
				tc.opts.Timeouts.Response = 50 * time.Millisecond
			}
			a := app(t, tc.opts, tc.host, nil)
			check(t, a, tc.fault, tc.phase)
			if a.Proxy.Address != u.Scheme+"://"+u.Host {
				t.Errorf("proxy %q", a.Proxy.Address)
			}
		})
	}
}

// A proxy is not told addresses that we refuse: it would connect to them.
func TestProxyIsNotToldForbiddenHosts(t *testing.T) {
	var asked []string
	u := proxyBy(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Host)
		w.WriteHeader(http.StatusForbidden)
	})
	var s *registrytest.Server
	elsewhere := func(req *http.Request) (*url.URL, error) {
		if req.URL.Host == s.Host {
			return nil, nil
		}
		return u, nil
	}
	for _, host := range []string{
		"169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "0.0.0.0:80", "metadata.google.internal",
		"METADATA.google.internal.", "metadata", "2852039166", "0xa9fea9fe", "169.254.43518", "0251.0376.0251.0376",
	} {
		s = registrytest.New(t, redirecting("http://"+host+"/latest/meta-data"))
		opts := options(trusting(t, s))
		opts.Proxy = elsewhere
		a := app(t, opts, s.Host, good())
		if a.Fault != registry.FaultAddressForbidden || !errors.Is(a.Err, registry.ErrAddressForbidden) {
			t.Errorf("redirect to %s: answer %+v", host, a)
		}
		s = registrytest.New(t, registrytest.Config{Passwords: known(), Realm: "https://" + host + "/token", Repositories: []registrytest.Repository{
			{Name: "team/app", Tags: []string{"1.0"}, Auth: registrytest.Bearer},
		}})
		opts = options(trusting(t, s))
		opts.Proxy = elsewhere
		check(t, app(t, opts, s.Host, good()), registry.FaultAddressForbidden, registry.PhaseToken)
	}
	if len(asked) > 0 {
		t.Errorf("the proxy was asked for %q", asked)
	}
	s = registrytest.New(t, redirecting("http://cdn7.example2.test/x")) // a name with digits is a name
	opts := options(trusting(t, s))
	opts.Proxy = elsewhere
	app(t, opts, s.Host, good())
	if len(asked) == 0 {
		t.Errorf("the proxy was asked for %q", asked)
	}
}
