package registry_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
	"github.com/whypull/whypull/cri/sockettest"
)

// hop is a server that answers every request for team/app in one way.
func hop(t *testing.T, ca *catest.CA, answer http.HandlerFunc) *registrytest.Server {
	t.Helper()
	return registrytest.New(t, registrytest.Config{CA: ca, Repositories: []registrytest.Repository{
		{Name: "team/app", Serve: func(w http.ResponseWriter, r *http.Request, _, _ string) { answer(w, r) }},
	}})
}

func status(code int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func sendingTo(host string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+host+r.URL.Path, http.StatusTemporaryRedirect)
	}
}

// The fault of a redirected request is that of the place where it failed.
func TestHops(t *testing.T) {
	ca := catest.New(t)
	const html, json = "text/html", "application/json"
	answering := func(h http.HandlerFunc) func(t *testing.T) string {
		return func(t *testing.T) string { return hop(t, ca, h).Host }
	}
	for name, tc := range map[string]struct {
		target func(t *testing.T) string
		want   registry.Fault
		phase  registry.Phase
		status int
		own    bool // the answer counts as the registry's own
	}{
		"refuses":          {func(t *testing.T) string { return registrytest.Name + ":" + sockettest.ClosedPort(t) }, registry.FaultConnectionRefused, registry.PhaseConnect, 0, false},
		"has no name":      {func(*testing.T) string { return "region.nowhere.test" }, registry.FaultNameNotFound, registry.PhaseDNS, 0, false},
		"is untrusted":     {func(t *testing.T) string { return hop(t, catest.New(t), status(200, json, "{}")).Host }, registry.FaultTLSUntrusted, registry.PhaseTLS, 0, false},
		"blocks":           {answering(status(403, html, "<html>")), registry.FaultForbidden, registry.PhaseManifest, 403, false},
		"forbids":          {answering(status(403, json, "{}")), registry.FaultForbidden, registry.PhaseManifest, 403, false},
		"is a page":        {answering(status(200, html, "<html>")), registry.FaultWebPage, registry.PhaseManifest, 200, false},
		"is lost":          {answering(status(404, html, "<html>")), registry.FaultNotFound, registry.PhaseManifest, 404, false},
		"wants a login":    {answering(status(401, html, "<html>")), registry.FaultUnauthorized, registry.PhaseManifest, 401, false},
		"fails":            {answering(status(503, html, "<html>")), registry.FaultServerError, registry.PhaseManifest, 503, false},
		"does not have it": {answering(status(404, json, `{"errors":[{"code":"NAME_UNKNOWN"}]}`)), registry.FaultRepositoryNotFound, registry.PhaseManifest, 404, true},
	} {
		t.Run(name, func(t *testing.T) {
			to := tc.target(t)
			between := hop(t, ca, sendingTo(to))
			s := hop(t, ca, sendingTo(between.Host))
			a := app(t, options(trusting(t, s)), s.Host, nil)
			check(t, a, tc.want, tc.phase)
			home, end := "https://"+s.Host, "https://"+to
			hops := []string{"https://" + between.Host, end}
			if tc.own {
				if a.Endpoint != home || a.Redirects.Via != "" || a.Redirects.Hops != nil {
					t.Errorf("endpoint %s via %q, hops %q", a.Endpoint, a.Redirects.Via, a.Redirects.Hops)
				}
			} else if a.Endpoint != end || a.Redirects.Via != home || !slices.Equal(a.Redirects.Hops, hops) || a.Status != tc.status {
				t.Errorf("endpoint %s via %q, hops %q, status %d", a.Endpoint, a.Redirects.Via, a.Redirects.Hops, a.Status)
			}
			for _, h := range hops {
				if !slices.Contains(a.Redirects.Targets, h) {
					t.Errorf("targets %q, want %s among them", a.Redirects.Targets, h)
				}
			}
		})
	}
}

// The certificate and the address of an answer are the registry's, and those of the
// place that failed where another one did.
func TestHopCertificates(t *testing.T) {
	own, other := catest.New(t), catest.New(t)
	good := registrytest.New(t, registrytest.Config{CA: own, Repositories: repositories()})
	for name, to := range map[string]*registrytest.Server{"good": good, "bad": hop(t, other, status(200, "text/html", ""))} {
		t.Run(name, func(t *testing.T) {
			cert := own.Issue(catest.Request{Names: []string{registrytest.Name, "mark.test"}})
			s := registrytest.New(t, registrytest.Config{CA: own, Certificate: cert, Repositories: []registrytest.Repository{
				{Name: "team/app", Behaviour: registrytest.Redirect, Location: "https://" + to.Host + "/v2/team/app/manifests/1.0"},
			}})
			a := app(t, options(trusting(t, s)), s.Host, nil)
			if a.TLS.Certificate == nil || a.Found != (name == "good") {
				t.Fatalf("answer %+v", a)
			}
			if isOwn := slices.Contains(a.TLS.Certificate.Names, "mark.test"); isOwn != a.Found {
				t.Errorf("found %t, certificate for %q", a.Found, a.TLS.Certificate.Names)
			}
			address := to.Address
			if a.Found {
				address = s.Address
			}
			if a.Connection.Remote.String() != address {
				t.Errorf("remote %s, want %s", a.Connection.Remote, address)
			}
		})
	}
}

// A token server's redirect is followed by a pull without a login alone.
func TestTokenRedirected(t *testing.T) {
	ca := catest.New(t)
	tokens := registrytest.New(t, registrytest.Config{CA: ca, Passwords: known()})
	gone := registrytest.Name + ":" + sockettest.ClosedPort(t)
	for name, to := range map[string]string{"good": tokens.Host, "gone": gone} {
		s := registrytest.New(t, registrytest.Config{
			CA: ca, Passwords: known(), TokenStatus: http.StatusFound, TokenHeader: http.Header{"Location": {"https://" + to + "/token"}},
			Repositories: []registrytest.Repository{{Name: "team/app", Tags: []string{"1.0"}, Auth: registrytest.Bearer}},
		})
		a := app(t, options(trusting(t, s)), s.Host, nil)
		if a.Phase != registry.PhaseToken && name == "gone" || a.Auth.TokenIssued != (name == "good") {
			t.Errorf("%s: %+v", name, a)
		}
		if name == "gone" && (a.Fault != registry.FaultConnectionRefused || a.Auth.TokenHost != s.Host || !slices.Equal(a.Redirects.Hops, []string{"https://" + gone})) {
			t.Errorf("%s: fault %s, token server %s, hops %q", name, a.Fault, a.Auth.TokenHost, a.Redirects.Hops)
		}
		before := len(tokens.Requests())
		if a = app(t, options(trusting(t, s)), s.Host, good()); a.Auth.TokenIssued || len(tokens.Requests()) != before {
			t.Errorf("%s: with a login: %+v", name, a)
		}
		if strings.Contains(fmt.Sprint(a.Err), secret) {
			t.Error("the login is in the error")
		}
	}
}
