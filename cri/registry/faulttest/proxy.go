package faulttest

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/whypull/whypull/cri/registry/registrytest"
	"github.com/whypull/whypull/cri/sockettest"
)

// proxy is a proxy that behaves by the first label of the host that it is
// asked for. All hosts that it reaches are one, but for those of repaired cases.
type proxy struct {
	target string // host:port
	// repaired has the ports behind which no host has a fault.
	repaired *sync.Map
	done     <-chan struct{}
	dial     net.Dialer
}

// ServeHTTP implements http.Handler.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Via", "1.1 proxy")
	host, port := r.URL.Hostname(), r.URL.Port()
	if r.Method == http.MethodConnect {
		host, port, _ = net.SplitHostPort(r.Host)
	}
	label, _, _ := strings.Cut(host, ".")
	if _, repaired := p.repaired.Load(port); repaired {
		label = "" // the host of a case without its fault
	}
	switch label {
	case "proxy-403":
		answer(http.StatusForbidden)(w, r)
	case "proxy-407":
		w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
		answer(http.StatusProxyAuthRequired)(w, r)
	case "proxy-502", "proxy-plain-502":
		w.Header().Set("X-Squid-Error", "ERR_DNS_FAIL 0")
		answer(http.StatusBadGateway)(w, r)
	case "proxy-503":
		w.Header().Set("X-Squid-Error", "ERR_CONNECT_FAIL 111")
		answer(http.StatusServiceUnavailable)(w, r)
	case "proxy-hang":
		select {
		case <-p.done:
		case <-r.Context().Done():
		}
		registrytest.BreakOff(w)
	default:
		p.tunnel(w, r)
	}
}

// tunnel connects the client with the target and carries bytes both ways.
func (p *proxy) tunnel(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		answer(http.StatusMethodNotAllowed)(w, r)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	target := p.target
	if _, port, _ := net.SplitHostPort(r.Host); port != "" {
		if _, repaired := p.repaired.Load(port); repaired {
			target = net.JoinHostPort(sockettest.Loopback, port)
		}
	}
	up, err := p.dial.DialContext(ctx, "tcp", target)
	if err != nil {
		answer(http.StatusBadGateway)(w, r)
		return
	}
	defer up.Close() //nolint:errcheck // carried as far as it went
	down, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer down.Close() //nolint:errcheck // carried as far as it went
	if _, err := io.WriteString(down, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { _, _ = down.Close(), up.Close() })()
	go func() {
		select {
		case <-p.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	sockettest.Relay(down, buffered, up)
}

// ProxyEnv is the environment with which only the hosts of proxy cases go
// through the world's proxy.
func (w *World) ProxyEnv() []string {
	return []string{
		"HTTPS_PROXY=http://" + w.proxy,
		"HTTP_PROXY=http://" + w.proxy,
		"NO_PROXY=." + domain + "," + domain + ",localhost,127.0.0.0/8",
	}
}

// Proxy is the proxy of a request: the world's own for the hosts behind it, one
// that is down for the cases of InProcess, and none for others.
func (w *World) Proxy(r *http.Request) (*url.URL, error) {
	host := r.URL.Hostname()
	switch {
	case strings.HasSuffix(host, "."+proxiedDomain):
		return &url.URL{Scheme: "http", Host: w.proxy}, nil
	case host == "proxy-unknown."+downDomain:
		return &url.URL{Scheme: "http", Host: hostNXDOMAIN + "." + domain + ":3128"}, nil
	case strings.HasSuffix(host, "."+downDomain):
		return &url.URL{Scheme: "http", Host: w.addresses[hostRefused]}, nil
	}
	return nil, nil //nolint:nilnil // that is what http.Transport takes for "no proxy"
}
