//go:build linux

package check

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/registry/registrytest"
	"github.com/whypull/whypull/cri/sockettest"
)

// impatient has whypull give up long before the servers here answer, which answer in
// the runtime's time.
func impatient(o *Options) {
	o.Registries.Timeouts.DNS, o.Registries.Timeouts.Connect, o.Registries.Timeouts.TLS, o.Registries.Timeouts.Response, o.Registries.Timeouts.Total = time.Second, time.Second, time.Second, time.Second, 3*time.Second
}

// never answers until the test is over.
func never(t *testing.T) http.HandlerFunc {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	return func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-over:
		case <-r.Context().Done():
		}
	}
}

// trickle sends a byte and no more.
func trickle(t *testing.T) http.HandlerFunc {
	wait := never(t)
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		_, _ = w.Write([]byte("{"))
		_ = http.NewResponseController(w).Flush()
		wait(w, r)
	}
}

// slowly serves an image, in which some requests do not end.
func slowly(t *testing.T, m *machine, name string, way http.HandlerFunc, slow func(r *http.Request, kind, object string) bool) string {
	t.Helper()
	r, _ := image(t, "team/app")
	served := registrytest.New(t, registrytest.Config{CA: m.ca, Repositories: []registrytest.Repository{r}})
	return m.serve(name, only(registrytest.Repository{Name: "team/app", Serve: func(w http.ResponseWriter, r *http.Request, kind, object string) {
		if slow(r, kind, object) {
			way(w, r)
			return
		}
		served.ServeHTTP(w, r)
	}}))
}

// notConfirmed holds that a failure is not sure, since the runtime may wait longer.
func (d diagnosed) notConfirmed() {
	d.t.Helper()
	if string(d.Confidence) == string(diagnosis.Confirmed) {
		d.t.Errorf("%s (%s): %s\n%+v", d.Cause, d.Confidence, d.Summary, d.Evidence)
	}
}

// A server that is slower than whypull waits need not be slower than the runtime waits,
// whatever it is asked.
func TestSlowServers(t *testing.T) {
	t.Parallel()
	all := func(*http.Request, string, string) bool { return true }
	method := func(method string) func(*http.Request, string, string) bool {
		return func(r *http.Request, kind, _ string) bool { return kind == "manifests" && r.Method == method }
	}
	of := func(kind string) func(*http.Request, string, string) bool {
		return func(_ *http.Request, k, _ string) bool { return k == kind }
	}
	byDigest := func(_ *http.Request, kind, object string) bool {
		return kind == "manifests" && strings.HasPrefix(object, "sha256:")
	}
	for name, image := range map[string]func(t *testing.T, m *machine) string{
		"every answer":       func(t *testing.T, m *machine) string { return slowly(t, m, "slow.test", never(t), all) },
		"the body of a page": func(t *testing.T, m *machine) string { return slowly(t, m, "slow.test", trickle(t), all) },
		"HEAD": func(t *testing.T, m *machine) string {
			return slowly(t, m, "slow.test", never(t), method(http.MethodHead))
		},
		"GET": func(t *testing.T, m *machine) string {
			return slowly(t, m, "slow.test", never(t), method(http.MethodGet))
		},
		"the body of GET": func(t *testing.T, m *machine) string {
			return slowly(t, m, "slow.test", trickle(t), method(http.MethodGet))
		},
		"manifest by digest":  func(t *testing.T, m *machine) string { return slowly(t, m, "slow.test", never(t), byDigest) },
		"blobs":               func(t *testing.T, m *machine) string { return slowly(t, m, "slow.test", never(t), of("blobs")) },
		"the bodies of blobs": func(t *testing.T, m *machine) string { return slowly(t, m, "slow.test", trickle(t), of("blobs")) },
		"handshake":           func(t *testing.T, m *machine) string { return m.named("slow.test", mute(t, "")) },
		"half of a handshake": func(t *testing.T, m *machine) string {
			return m.named("slow.test", mute(t, "\x16\x03\x03\x00\x7a\x02"))
		},
		"redirect target": func(t *testing.T, m *machine) string {
			to := slowly(t, m, "target.test", never(t), all)
			return m.serve("registry.test", answering("team/app", func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://"+to+r.URL.Path, http.StatusTemporaryRedirect)
			}))
		},
		"token server": func(t *testing.T, m *machine) string {
			tokens := httptest.NewUnstartedServer(never(t))
			return bearer(t, m, tokens)
		},
		"the body of a token": func(t *testing.T, m *machine) string {
			tokens := httptest.NewUnstartedServer(trickle(t))
			return bearer(t, m, tokens)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			at := image(t, m)
			m.check(at+"/team/app:v1", impatient).notConfirmed()
		})
	}
}

// mute accepts connections, says at most a few bytes, and holds them open.
func mute(t *testing.T, say string) (address string) {
	t.Helper()
	return sockettest.Listen(t, func(conn net.Conn) {
		_, _ = io.WriteString(conn, say)
		sockettest.KeepSilent(conn)
	})
}

// bearer is a registry whose tokens come from a server.
func bearer(t *testing.T, m *machine, tokens *httptest.Server) string {
	t.Helper()
	cert := m.ca.Issue(catest.Request{Names: []string{"tokens.test"}}).TLS()
	tokens.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	tokens.StartTLS()
	t.Cleanup(tokens.Close)
	config := only(registrytest.Repository{Name: "team/app", Auth: registrytest.Bearer})
	config.Realm = "https://" + m.named("tokens.test", tokens.Listener.Addr().String()) + "/token"
	return m.serve("registry.test", config)
}

// The same of a mirror, behind which the registry fails at once: with the mirror's answer
// the runtime does not come to it.
func TestSlowMirrors(t *testing.T) {
	t.Parallel()
	all := func(*http.Request, string, string) bool { return true }
	refused := func(t *testing.T, m *machine) string {
		return m.named("registry.test", "127.0.0.1:"+sockettest.ClosedPort(t))
	}
	for name, registry := range map[string]func(t *testing.T, m *machine) string{
		"fine": func(t *testing.T, m *machine) string {
			r, _ := image(t, "team/app")
			return m.serve("registry.test", only(r))
		},
		"refused": refused,
		"missing": func(t *testing.T, m *machine) string {
			return m.serve("registry.test", answering("team/app", http.NotFound))
		},
		"forbidden": func(t *testing.T, m *machine) string {
			return m.serve("registry.test", answering("team/app", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
		},
		"unauthorized": func(t *testing.T, m *machine) string {
			return m.serve("registry.test", only(registrytest.Repository{Name: "team/app", Auth: registrytest.Basic}))
		},
		"unknown": func(_ *testing.T, _ *machine) string { return "nowhere.test" },
		"untrusted": func(t *testing.T, m *machine) string {
			return m.serve("registry.test", registrytest.Config{Certificate: catest.New(t).Issue(catest.Request{Names: []string{"registry.test"}})})
		},
		"error": func(t *testing.T, m *machine) string {
			return m.serve("registry.test", answering("team/app", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			at := registry(t, m)
			mirror := slowly(t, m, "mirror.test", never(t), all)
			m.hostsFile(at, "server = \"https://"+at+"\"\n[host.\"https://"+mirror+"\"]\n")
			m.check(at+"/team/app:v1", impatient).notConfirmed()
		})
	}
}

// A proxy that takes its time for a connection, which the runtime gives it.
func TestSlowProxy(t *testing.T) {
	t.Parallel()
	for name, say := range map[string]string{"nothing": "", "half": "HTTP/1.1 200 Conn"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			r, _ := image(t, "team/app")
			at := m.serve("registry.test", only(r))
			by := mute(t, say)
			m.check(at+"/team/app:v1", impatient, func(o *Options) {
				o.Registries.Proxy = func(*http.Request) (*url.URL, error) { return &url.URL{Scheme: "http", Host: by}, nil }
			}).notConfirmed()
		})
	}
}
