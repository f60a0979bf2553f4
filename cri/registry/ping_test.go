package registry_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/nodeconfig/nodeconfigtest"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// ofCRIO is a registry's endpoint as CRI-O has it.
func ofCRIO(t *testing.T, s *registrytest.Server, insecure bool) registry.Endpoint {
	t.Helper()
	files := map[string]string{"etc/ssl/certs/ca-certificates.crt": string(s.CA.PEM())}
	if insecure {
		files[nodeconfigtest.Registries] = "[[registry]]\nlocation = '" + s.Host + "'\ninsecure = true\n"
	}
	eps, _, err := nodeconfigtest.Sources(t, nodeconfigtest.CRIO(t, files), s.Host+"/team/app:1.0")
	if err != nil || len(eps) != 1 {
		t.Fatalf("%d endpoints, %v", len(eps), err)
	}
	return eps[0]
}

// getOnly has a manifest for GET. It answers HEAD with the status, or breaks off if
// that is 0.
func getOnly(status int) registrytest.Repository {
	return registrytest.Repository{Serve: func(w http.ResponseWriter, r *http.Request, _, _ string) {
		switch {
		case r.Method != http.MethodHead:
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			_, _ = w.Write([]byte("{}"))
		case status == 0:
			registrytest.BreakOff(w)
		default:
			w.WriteHeader(status)
		}
	}}
}

// CRI-O asks /v2/ first, and goes by its answer alone.
func TestCRIOPing(t *testing.T) {
	const ping = "GET /v2/"
	open := registrytest.Repository{Tags: []string{"1.0"}}
	basic := registrytest.Repository{Tags: []string{"1.0"}, Auth: registrytest.Basic}
	bearer := registrytest.Repository{Tags: []string{"1.0"}, Auth: registrytest.Bearer}
	for name, tc := range map[string]struct {
		repo   registrytest.Repository
		status int
		cred   *credential.Credential
		fault  registry.Fault
		phase  registry.Phase
		lines  []string
	}{
		"open":                     {repo: open, cred: good(), phase: registry.PhaseManifest, lines: []string{ping, head}},
		"basic":                    {repo: basic, cred: good(), phase: registry.PhaseManifest, lines: []string{ping, head + " Basic"}},
		"basic, no login":          {repo: basic, fault: registry.FaultUnauthorized, phase: registry.PhaseManifest, lines: []string{ping, head, get}},
		"bearer":                   {repo: bearer, cred: good(), phase: registry.PhaseManifest, lines: []string{ping, post, head + " Bearer"}},
		"a challenge that is late": {repo: basic, status: 200, cred: good(), fault: registry.FaultUnauthorized, phase: registry.PhaseManifest, lines: []string{ping, head, get}},
		"401 without a challenge":  {repo: open, status: 401, cred: good(), phase: registry.PhaseManifest, lines: []string{ping, head}},
		"no API at /v2/":           {repo: open, status: 404, cred: good(), fault: registry.FaultUnexpectedAnswer, phase: registry.PhasePing, lines: []string{ping}},
		"forbidden":                {repo: open, status: 403, fault: registry.FaultForbidden, phase: registry.PhasePing, lines: []string{ping}},
		"out of order":             {repo: open, status: 503, fault: registry.FaultServerError, phase: registry.PhasePing, lines: []string{ping}},
		"HEAD fails, GET works":    {repo: getOnly(http.StatusNotFound), phase: registry.PhaseManifest, lines: []string{ping, head, get}},
		"HEAD is forbidden":        {repo: getOnly(http.StatusForbidden), phase: registry.PhaseManifest, lines: []string{ping, head, get}},
		"HEAD is unauthorized":     {repo: getOnly(http.StatusUnauthorized), cred: good(), phase: registry.PhaseManifest, lines: []string{ping, head, get}},
		// net/http itself asks again where it has used the connection before.
		"HEAD is broken off":         {repo: getOnly(0), phase: registry.PhaseManifest, lines: []string{ping, head, head, get}},
		"HEAD, too many requests":    {repo: getOnly(http.StatusTooManyRequests), fault: registry.FaultRateLimited, phase: registry.PhaseManifest, lines: []string{ping, head}},
		"another status of success":  {repo: open, status: 204, fault: registry.FaultUnexpectedAnswer, phase: registry.PhasePing, lines: []string{ping}},
		"too many requests":          {repo: open, status: 429, fault: registry.FaultRateLimited, phase: registry.PhasePing, lines: []string{ping}},
		"a scheme that is not known": {repo: registrytest.Repository{Tags: []string{"1.0"}, Auth: registrytest.Basic, Challenge: "Negotiate"}, cred: good(), fault: registry.FaultUnauthorized, phase: registry.PhaseManifest, lines: []string{ping, head, get}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.repo.Name = "team/app"
			s := registrytest.New(t, registrytest.Config{Passwords: known(), PingStatus: tc.status, Repositories: []registrytest.Repository{tc.repo}})
			a := ofCRIO(t, s, false).Probe(t.Context(), ref(t, s.Host+"/team/app:1.0"), tc.cred)
			check(t, a, tc.fault, tc.phase)
			if !slices.Equal(s.Lines(), tc.lines) || s.Requests()[0].Query != "" || s.Requests()[0].Auth != "" {
				t.Errorf("requests %q, want %q", s.Lines(), tc.lines)
			}
		})
	}
}

// Any failure of the https ping is followed by one over http, where that is
// allowed; what explains is the first, unless the server speaks no TLS.
func TestCRIOPingFallsBack(t *testing.T) {
	for name, tc := range map[string]struct {
		plain    bool
		status   int
		insecure bool
		fault    registry.Fault
		scheme   string
	}{
		"plain":                {plain: true, insecure: true, scheme: "http"},
		"plain, not allowed":   {plain: true, fault: registry.FaultHTTPSMismatch, scheme: "https"},
		"plain, out of order":  {plain: true, insecure: true, status: 503, fault: registry.FaultServerError, scheme: "http"},
		"TLS, out of order":    {insecure: true, status: 503, fault: registry.FaultServerError, scheme: "https"},
		"TLS, as it should be": {insecure: true, scheme: "https"},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t, registrytest.Config{Plain: tc.plain, PingStatus: tc.status, Repositories: repositories()})
			a := ofCRIO(t, s, tc.insecure).Probe(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil)
			checkErr(t, a)
			if a.Fault != tc.fault || a.Endpoint != tc.scheme+"://"+s.Host {
				t.Errorf("answer %+v", a)
			}
		})
	}
}

// Inspect and Control ask as Probe does; a 401 for a blob changes nothing.
func TestCRIOPingOfOthers(t *testing.T) {
	content := registrytest.NewContent(t)
	content.Tag("1.0", content.Image(amd64(), content.Layer(1)))
	s := registrytest.New(t, registrytest.Config{Passwords: known(), Repositories: []registrytest.Repository{
		{Name: "team/app", Content: content, BlobAuth: new(registrytest.Basic)},
	}})
	e := ofCRIO(t, s, false)
	a := e.Inspect(t.Context(), ref(t, s.Host+"/team/app:1.0"), good(), registry.InspectOptions{}.On(amd64()))
	if a.Fault != registry.FaultUnauthorized || a.Phase != registry.PhaseBlob || a.Auth.CredentialSent {
		t.Errorf("answer %+v", a)
	}
	before := len(s.Requests())
	if got := e.Control(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil); !got || s.Lines()[before] != "GET /v2/" {
		t.Errorf("exists %t, requests %q", got, s.Lines()[before:])
	}
}
