package faulttest

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/registry/registrytest"
	"github.com/whypull/whypull/cri/sockettest"
)

// The hosts, by the first label of their names. The name server and the
// listeners go by them.
const (
	hostGood      = "good"      // a registry without a fault of its own
	hostHub       = "hub"       // a registry that gives tokens to all, and says of no repository whether it is there
	hostTokens    = "tokens"    // the token server
	hostMirror    = "mirror"    // a registry that stands in for others
	hostUntrusted = "untrusted" // certificates of another authority
	hostExpired   = "expired"
	hostNotYet    = "notyet"
	hostWrongName = "wrongname"
	hostMTLS      = "mtls"   // wants a certificate of the client
	hostOldTLS    = "oldtls" // speaks no version of TLS later than 1.1
	hostPlain     = "plainhttp"
	hostRefused   = "refused"
	hostBlackhole = "blackhole"
	hostHangTLS   = "hang-tls"
	hostHangHTTP  = "hang-http"
	hostReset     = "reset"
	hostEOF       = "eof"

	hostNXDOMAIN   = "nxdomain"
	hostNoData     = "nodata"
	hostServfail   = "servfail"
	hostDNSRefused = "dnsrefused"
	hostDNSSilent  = "dnssilent"
	hostOnly6      = "only6"
)

// hostport is where a host of the world is: its name, and the port of the
// server that the last label of host stands for, or of the good one.
func (w *World) hostport(host string) string {
	if host == "" {
		host = hostGood
	}
	return w.at(w.reachable(host))
}

// at is where a host is, with its faults.
func (w *World) at(host string) string {
	address, ok := w.addresses[strings.TrimPrefix(host[strings.LastIndex(host, ".")+1:], "cdn-")]
	if !ok {
		address = w.addresses[hostGood]
	}
	_, port, _ := net.SplitHostPort(address)
	if !strings.HasSuffix(host, ".example") {
		host += "." + domain
	}
	return net.JoinHostPort(host, port)
}

// names are those that the good certificates are for.
func names() []string {
	return []string{"*." + domain, "*." + hostUntrusted + "." + domain, "*." + hostHub + "." + domain, "*." + hostExpired + "." + domain, "*." + proxiedDomain, "*." + downDomain}
}

// certificate is what a host presents; nil: it has no TLS.
func (w *World) certificate(host string) (*tls.Config, error) {
	const day = 24 * time.Hour
	now, issuer, request := time.Now(), w.authority, catest.Request{Names: names()}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	switch host {
	case hostPlain, hostReset, hostEOF, hostHangTLS:
		return nil, nil //nolint:nilnil // no TLS
	case hostUntrusted:
		issuer = w.stranger
	case hostExpired:
		request.NotBefore, request.NotAfter = now.Add(-day), now.Add(-time.Hour)
	case hostNotYet:
		request.NotBefore = now.Add(time.Hour)
	case hostWrongName:
		request.Names = []string{"another.example"}
	case hostMTLS:
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, w.authority.Pool()
	case hostOldTLS:
		c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	}
	cert, err := issuer.Issue(request)
	if err != nil {
		return nil, err
	}
	c.Certificates = []tls.Certificate{cert.TLS()}
	return c, nil
}

// listen opens a port for each server.
func (w *World) listen() (map[string]net.Listener, error) {
	out := map[string]net.Listener{}
	for _, host := range []string{
		hostGood, hostHub, hostMirror, hostUntrusted, hostExpired, hostNotYet, hostWrongName, hostMTLS, hostOldTLS,
		hostPlain, hostHangTLS, hostHangHTTP, hostReset, hostEOF, "proxy",
	} {
		l, err := net.Listen("tcp", net.JoinHostPort(sockettest.Loopback, "0")) //nolint:noctx // at once
		if err != nil {
			return nil, err
		}
		w.closers = append(w.closers, func() { _ = l.Close() })
		out[host], w.addresses[host] = l, l.Addr().String()
	}
	w.proxy = w.addresses["proxy"]
	return out, nil
}

// silentPorts are those behind which there is nobody.
func (w *World) silentPorts() error {
	for host, open := range map[string]func() (string, func(), error){hostRefused: sockettest.Closed, hostBlackhole: sockettest.Full} {
		address, free, err := open()
		if err != nil {
			return err
		}
		w.addresses[host] = address
		w.closers = append(w.closers, free)
	}
	return nil
}

func (w *World) serve(listeners map[string]net.Listener) error {
	for host, l := range listeners {
		switch host {
		case hostHangTLS:
			w.closers = append(w.closers, sockettest.Serve(l, sockettest.KeepSilent))
			continue
		case hostReset:
			w.closers = append(w.closers, sockettest.Serve(l, sockettest.BreakOff))
			continue
		case hostEOF:
			w.closers = append(w.closers, sockettest.Serve(l, sockettest.HangUp))
			continue
		}
		if err := w.serveHTTP(host, l); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) serveHTTP(host string, l net.Listener) error {
	server := &http.Server{
		Handler: w.handler(host), ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0),
	}
	if host != "proxy" {
		config, err := w.certificate(host)
		if err != nil {
			return err
		}
		if config != nil {
			l = tls.NewListener(l, config)
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(l) })
	w.closers = append(w.closers, func() {
		_ = server.Close()
		wg.Wait()
	})
	return nil
}

// handler is what answers at a host.
func (w *World) handler(host string) http.Handler {
	switch host {
	case "proxy":
		return &proxy{target: w.addresses[hostGood], done: w.done, repaired: w.repairedPorts}
	case hostHangHTTP:
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			select {
			case <-w.done:
			case <-r.Context().Done():
			}
			registrytest.BreakOff(rw)
		})
	}
	if len(w.plans) > 0 && host != "proxy" {
		return w.generatedHandler()
	}
	var p registrytest.Server
	mux := http.NewServeMux()
	for _, s := range append(w.specs, w.inProcess...) {
		repo := s.repo
		if host == hostMirror {
			repo = s.mirror
		} else if s.repo != nil && s.repo.token != nil {
			mux.HandleFunc("/token/"+s.Name, s.repo.token)
		}
		if repo != nil && (host == hostHub) == (s.host == hostHub) {
			p.Repositories = append(p.Repositories, registrytest.Repository{Name: s.Name, Serve: repo.serve})
		}
		mux.HandleFunc("/cdn/"+s.Name+"/", w.cdn(s))
	}
	if host == hostHub {
		p.Others = &registrytest.Repository{Serve: w.hubStranger}
		mux.HandleFunc("/token/", issue(registrytest.TokenFor("nothing")))
	}
	mux.HandleFunc("/v2/{$}", w.ping(&p))
	mux.Handle("/", &p)
	return mux
}
