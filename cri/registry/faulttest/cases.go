package faulttest

import (
	"fmt"
	"maps"
	"net"
	"net/http"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// describe makes the tables of cases.
func (w *World) describe() error {
	for _, table := range []func() []spec{
		w.networkCases, w.credentialCases, w.scopeCases, w.tokenCases, w.refusalCases, w.redirectCases, w.blobCases, w.cdnCases,
		w.mirrorCases, w.configCases, w.proxyCases,
	} {
		w.specs = append(w.specs, table()...)
	}
	contents, err := w.contentCases()
	if err != nil {
		return err
	}
	w.specs = append(w.specs, contents...)
	transfers, err := w.transferCases()
	if err != nil {
		return err
	}
	w.specs = append(w.specs, transfers...)
	w.inProcess = w.proxyDownCases()
	w.specs = w.heal(onCRIO(w.specs))
	return w.fill()
}

// fill gives a good image to all that have none of their own, and refuses two
// cases of the same name.
func (w *World) fill() error {
	seen := map[string]bool{}
	for _, s := range append(w.specs, w.inProcess...) {
		if seen[s.Name] {
			return fmt.Errorf("there are two cases %s", s.Name)
		}
		seen[s.Name] = true
		good, err := goodImage(s.Name, w.config.Platform)
		if err != nil {
			return err
		}
		for _, repo := range []*repository{s.repo, s.mirror} {
			if repo != nil && repo.content.top.body == nil {
				repo.content = good
			}
		}
	}
	return nil
}

// simple is a case of which all is said by its registry and its repository.
func simple(name, host string, truth Truth, repo *repository) spec {
	return spec{Case: Case{Name: name, Truth: truth}, host: host, repo: repo}
}

func (s spec) slowly() spec {
	s.Slow = true
	return s
}

// as gives the pod credentials.
func (s spec) as(credentials ...credential.Credential) spec {
	s.credentials = credentials
	return s
}

// on gives a runtime another truth.
func (s spec) on(runtime string, truth Truth) spec {
	on := map[string]Truth{runtime: truth}
	maps.Copy(on, s.TruthOn)
	s.TruthOn = on
	return s
}

// networkCases are about the way to the registry.
func (w *World) networkCases() []spec {
	at := func(name, host string, truth Truth) spec { return simple(name, host, truth, &repository{}) }
	slow := spec.slowly
	specs := []spec{
		at("works", hostGood, Works),
		at("dns-nxdomain", hostNXDOMAIN, RegistryNameNotFound),
		at("dns-nodata", hostNoData, RegistryNameNotFound),
		at("dns-servfail", hostServfail, DNSFailure),
		at("dns-refused", hostDNSRefused, DNSFailure),
		slow(at("dns-timeout", hostDNSSilent, DNSFailure)),
		at("connect-refused", hostRefused, ConnectionRefused),
		slow(at("connect-timeout", hostBlackhole, ConnectionTimeout)),
		slow(at("tls-hangs", hostHangTLS, ConnectionTimeout)),
		// containerd 1.x has no limit here but the caller's own.
		slow(at("http-hangs", hostHangHTTP, ConnectionTimeout)),
		at("connection-reset", hostReset, NetworkUnreachable),
		at("connection-closed", hostEOF, NetworkUnreachable),
		at("tls-untrusted", hostUntrusted, TLSUntrusted),
		at("tls-expired", hostExpired, TLSExpired),
		at("tls-not-yet-valid", hostNotYet, TLSExpired),
		at("tls-wrong-name", hostWrongName, TLSHostnameMismatch),
		at("tls-client-certificate", hostMTLS, TLSHandshakeFailed),
		at("tls-old-version", hostOldTLS, TLSHandshakeFailed),
		at("plain-http", hostPlain, HTTPSMismatch),
	}
	if !routed(unreachable6) {
		specs = append(specs, at("no-route", hostOnly6, NetworkUnreachable))
	}
	return specs
}

// routed reports whether this machine has a route to an address. Nothing is sent.
func routed(address string) bool {
	conn, err := net.Dial("udp", net.JoinHostPort(address, "9")) //nolint:noctx // sends nothing, waits for nobody
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// hubStranger answers for repositories that the hub does not have, as for those
// that it does not show.
func (w *World) hubStranger(rw http.ResponseWriter, r *http.Request, _, _ string) {
	name, _, _ := registrytest.Split(r.URL.Path)
	if w.bearerFrom("https://"+w.hostport(hostHub)+"/token/any", name, "insufficient_scope")(rw, r) {
		refusal(http.StatusNotFound, "NAME_UNKNOWN")(rw, r)
	}
}

// cdn answers for the blobs to which a case's registry redirects.
func (w *World) cdn(s spec) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case s.repo == nil:
			answer(http.StatusNotFound)(rw, r)
		case s.repo.cdn != nil:
			s.repo.cdn(rw, r)
		default:
			layer := s.repo.content.layer
			give(rw, r, document{"application/octet-stream", layer.body}, layer.digest())
		}
	}
}
