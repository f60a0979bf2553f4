//go:build linux

package check

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
	"github.com/whypull/whypull/cri/sockettest"
	"github.com/whypull/whypull/report"
)

// machine is a machine without a runtime, whose registries are on loopback ports
// under names of their own.
type machine struct {
	t     *testing.T
	root  string
	ca    *catest.CA
	hosts string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, root: t.TempDir(), ca: catest.New(t), hosts: "127.0.0.1 localhost\n"}
	m.file("etc/ssl/certs/ca-certificates.crt", string(m.ca.PEM()))
	return m
}

func (m *machine) file(name, text string) { write(m.t, filepath.Join(m.root, name), text) }

// names gives a name the loopback address.
func (m *machine) names(name, address string) { m.hosts += address + " " + name + "\n" }

// serve starts a registry of that name, and returns its host:port.
func (m *machine) serve(name string, config registrytest.Config) string {
	m.t.Helper()
	if config.Certificate == nil {
		config.Certificate = m.ca.Issue(catest.Request{Names: []string{name}})
	}
	return m.named(name, registrytest.New(m.t, config).Address)
}

// named gives a loopback address a name.
func (m *machine) named(name, address string) string {
	m.t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		m.t.Fatal(err)
	}
	m.names(name, "127.0.0.1")
	return net.JoinHostPort(name, port)
}

// hostsFile configures a registry.
func (m *machine) hostsFile(registry, text string) {
	m.file("etc/containerd/certs.d/"+registry+"/hosts.toml", text)
}

// check runs the command for an image.
func (m *machine) check(image string, change ...func(*Options)) diagnosed {
	m.t.Helper()
	return m.run("", append([]func(*Options){func(o *Options) { o.Image = image }}, change...)...)
}

// pod runs the command for a pod of an image, with secrets that it names.
func (m *machine) pod(image string, secrets []string, change ...func(*Options)) diagnosed {
	m.t.Helper()
	var names []map[string]string
	for _, secret := range secrets {
		_, after, _ := strings.Cut(secret, "metadata: {name: ")
		name, _, _ := strings.Cut(after, ",")
		names = append(names, map[string]string{"name": name})
	}
	manifest := "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nspec: " + asJSON(m.t, map[string]any{
		"imagePullSecrets": names, "containers": []map[string]string{{"name": "app", "image": image}},
	})
	return m.run(strings.Join(append([]string{manifest}, secrets...), "\n---\n"), append([]func(*Options){fromStdin}, change...)...)
}

// fromStdin reads manifests from standard input.
func fromStdin(o *Options) { o.Files = []string{"-"} }

// run runs the command for the one image that it is given.
func (m *machine) run(stdin string, change ...func(*Options)) diagnosed {
	m.t.Helper()
	m.file("etc/hosts", m.hosts)
	direct := func(*http.Request) (*url.URL, error) { return nil, nil }
	o := Options{
		Output: "json", Kubelet: kubelet.Options{Dir: "/var/lib/kubelet"},
		Registries: nodeconfig.Options{
			Root: m.root, CertsDir: "/etc/containerd/certs.d", Version: "test", Proxy: direct,
			Timeouts: registry.Timeouts{DNS: long, Connect: long, TLS: long, Response: long, Total: long},
		},
		Platform: "linux/amd64", node: "ci-1", now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		getenv: environment("LANG=C.UTF-8"), Report: reportOf,
	}
	for _, c := range change {
		c(&o)
	}
	got := do(m.t, o, stdin)
	if got.err != nil {
		m.t.Fatal(got.err)
	}
	d := got.parsed(m.t)
	if len(d.Pods) != 1 || len(d.Pods[0].Report.Containers) != 1 {
		m.t.Fatalf("%+v", d)
	}
	return diagnosed{m.t, got.pullable, d.Pods[0].Report.Containers[0]}
}

// diagnosed is the verdict of one image.
type diagnosed struct {
	t        *testing.T
	pullable bool
	report.Container
}

// mentions asserts that words are in the summary, the remedy or the evidence.
func (d diagnosed) mentions(words ...string) {
	d.t.Helper()
	everything := fmt.Sprint(d.Summary, "\n", strings.Join(d.Remedy, "\n"))
	for _, e := range d.Evidence {
		everything += fmt.Sprintf("\n%+v", e)
	}
	for _, w := range words {
		if !strings.Contains(everything, w) {
			d.t.Errorf("no %q in\n%s", w, everything)
		}
	}
}

// is holds the verdict against the expert's; words have to be in the summary or the
// remedy.
func (d diagnosed) is(cause diagnosis.Cause, confidence diagnosis.Confidence, words ...string) {
	d.t.Helper()
	everything := fmt.Sprint(d.Summary, "\n", strings.Join(d.Remedy, "\n"))
	if string(d.Cause) != string(cause) || string(d.Confidence) != string(confidence) || d.pullable != (cause == diagnosis.NotReproducible) {
		d.t.Errorf("%s (%s), pullable %t, want %s (%s)\n%s\n%+v", d.Cause, d.Confidence, d.pullable, cause, confidence, everything, d.Evidence)
	}
	for _, w := range words {
		if !strings.Contains(everything, w) {
			d.t.Errorf("no %q in\n%s", w, everything)
		}
	}
}

// image is a registry's repository with an image of one layer.
func image(t *testing.T, name string) (registrytest.Repository, *registrytest.Content) {
	t.Helper()
	content := registrytest.NewContent(t)
	content.Tag("v1", content.Image(ocispec.Platform{OS: "linux", Architecture: "amd64"}, content.Layer(50)))
	return registrytest.Repository{Name: name, Content: content}, content
}

// only is a registry with one repository.
func only(r registrytest.Repository) registrytest.Config {
	return registrytest.Config{Repositories: []registrytest.Repository{r}}
}

// answering answers each request of a repository in the same way.
func answering(name string, answer http.HandlerFunc) registrytest.Config {
	return only(registrytest.Repository{Name: name, Serve: func(w http.ResponseWriter, r *http.Request, _, _ string) { answer(w, r) }})
}

func page(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = w.Write([]byte("<html><body>blocked</body></html>"))
	}
}

// R01: the registry redirects the question for the manifest to a host that the
// node does not come through to. The fault, the host and the remedy are of that
// host.
func TestR01ManifestRedirected(t *testing.T) {
	t.Parallel()
	redirected := func(t *testing.T, target func(m *machine) string) (diagnosed, string) {
		m := newMachine(t)
		to := target(m)
		at := m.serve("registry.test", only(registrytest.Repository{
			Name: "pause", Behaviour: registrytest.Redirect, Location: "https://" + to + "/v2/k8s/pause/manifests/3.9",
		}))
		return m.check(at + "/pause:3.9"), to
	}
	block := func(status int) func(m *machine) string {
		return func(m *machine) string { return m.serve("fw.test", answering("k8s/pause", page(status))) }
	}
	for name, c := range map[string]struct {
		target     func(m *machine) string
		cause      diagnosis.Cause
		confidence diagnosis.Confidence
	}{
		"refused": {func(m *machine) string { return m.named("refused.test", "127.0.0.1:"+sockettest.ClosedPort(t)) }, diagnosis.ConnectionRefused, diagnosis.Confirmed},
		"untrusted": {func(m *machine) string {
			return m.serve("inspected.test", registrytest.Config{Certificate: catest.New(m.t).Issue(catest.Request{Names: []string{"inspected.test"}})})
		}, diagnosis.TLSUntrusted, diagnosis.Confirmed},
		"wrong name": {func(m *machine) string {
			return m.serve("wrong.test", registrytest.Config{Certificate: m.ca.Issue(catest.Request{Names: []string{"other.test"}})})
		}, diagnosis.TLSHostnameMismatch, diagnosis.Confirmed},
		"block page":             {block(http.StatusForbidden), diagnosis.AccessDenied, diagnosis.Likely},
		"block page, status 200": {block(http.StatusOK), diagnosis.AccessDenied, diagnosis.Likely},
		"block page, status 401": {block(http.StatusUnauthorized), diagnosis.AccessDenied, diagnosis.Likely},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, to := redirected(t, c.target)
			d.is(c.cause, c.confidence, to, "redirect", "# Pulls from", "curl")
			if !slices.Contains(d.Hosts, to) || len(d.Hosts) != 2 {
				t.Errorf("hosts %q, want the registry and %s", d.Hosts, to)
			}
		})
	}
}

// R47: the same for blobs.
func TestR47BlobRedirected(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	to := m.serve("fw.test", answering("cdn", page(http.StatusOK)))
	r, content := image(t, "pause")
	layer := content.Layer(50)
	content.Break(layer, func(o *registrytest.Object) { o.Location = "https://" + to + "/v2/cdn/blobs/" + layer.Digest.String() })
	m.check(m.serve("registry.test", only(r))+"/pause:v1").is(diagnosis.AccessDenied, diagnosis.Likely, to, "redirects there")
}

// What a pull needs beside the registry is in the evidence where it succeeds.
func TestHostsOfAPull(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	r, _ := image(t, "k8s/pause")
	to := m.serve("region.test", only(r))
	at := m.serve("registry.test", answering("pause", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+to+strings.Replace(r.URL.Path, "/v2/", "/v2/k8s/", 1), http.StatusTemporaryRedirect)
	}))
	d := m.check(at + "/pause:v1")
	d.is(diagnosis.NotReproducible, diagnosis.Confirmed)
	if all := fmt.Sprint(d.Evidence); !strings.Contains(all, "a pull also needs "+to) {
		t.Errorf("no %s in %s", to, all)
	}
	d.needs(to, at)
}

// needs holds the hosts of the report against those that the pull needs.
func (d diagnosed) needs(hosts ...string) {
	d.t.Helper()
	slices.Sort(hosts)
	if !slices.Equal(d.Hosts, hosts) {
		d.t.Errorf("hosts %q, want %q", d.Hosts, hosts)
	}
}

// R11: a server that does not speak TLS at all.
func TestR11NoTLS(t *testing.T) {
	t.Parallel()
	for name, banner := range map[string]string{
		"ssh": "SSH-2.0-OpenSSH_9.6\r\n", "smtp": "220 mail.test ESMTP\r\n", "page": "<!DOCTYPE HTML><html>", "http": "HTTP/1.0 400 Bad Request\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			at := m.named(name+".test", banners(t, banner))
			m.check(at+"/team/app:v1").is(diagnosis.HTTPSMismatch, diagnosis.Confirmed, at)
		})
	}
}

// banners is a server that answers whatever comes with the same bytes.
func banners(t *testing.T, banner string) (address string) {
	t.Helper()
	return sockettest.Listen(t, func(conn net.Conn) {
		_, _ = conn.Write([]byte(banner))
		_, _ = conn.Read(make([]byte, 1024))
	})
}

// R17: an index without an image for any platform.
func TestR17NoPlatform(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	r, content := image(t, "team/app")
	content.Tag("none", content.Index())
	m.check(m.serve("registry.test", only(r))+"/team/app:none").is(diagnosis.PlatformMismatch, diagnosis.Confirmed, "is an index that names no platform")
}

// R57: containerd fetches no layer of an image whose config has the type of 2015.
func TestR57OldConfig(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	r, content := image(t, "team/app")
	layer := content.Layer(50)
	config := content.Config(ocispec.Platform{OS: "linux", Architecture: "amd64"}, content.Unpacked(layer))
	config = content.Blob("application/octet-stream", content.Body(config))
	content.Tag("old", content.Artifact(config, layer))
	m.check(m.serve("registry.test", only(r))+"/team/app:old").is(diagnosis.UnsupportedFormat, diagnosis.Confirmed)
}

// R18: a registry that takes longer than whypull waits need not take longer than the
// runtime does.
func TestR18SlowRegistry(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	at := m.serve("slow.test", only(registrytest.Repository{Name: "team/app", Behaviour: registrytest.Hang}))
	hurry := func(o *Options) { o.Registries.Timeouts.Response = time.Second }
	m.check(at+"/team/app:v1", hurry).is(diagnosis.ConnectionTimeout, diagnosis.Likely, "the runtime waits longer")
}

// mirrored is a registry with an image, and a mirror of it that answers requests
// for what follows the tag in a way of its own.
func mirrored(t *testing.T, capabilities string, ways map[string]http.HandlerFunc) (m *machine, ref, mirror string) {
	t.Helper()
	m = newMachine(t)
	r, _ := image(t, "team/app")
	at := m.serve("registry.test", only(r))
	served := registrytest.New(t, registrytest.Config{CA: m.ca, Repositories: []registrytest.Repository{r}})
	mirror = m.serve("mirror.test", only(registrytest.Repository{Name: "team/app", Serve: func(w http.ResponseWriter, r *http.Request, kind, object string) {
		if kind == "manifests" && object != "v1" {
			kind = "digests"
		}
		if way := ways[kind]; way != nil {
			way(w, r)
			return
		}
		served.ServeHTTP(w, r)
	}}))
	m.hostsFile(at, "server = \"https://"+at+"\"\n[host.\"https://"+mirror+"\"]\n  capabilities = ["+capabilities+"]\n")
	return m, at + "/team/app:v1", mirror
}

// R02: containerd asks the next host when a manifest by digest or a blob cannot be
// opened at a mirror.
func TestR02NextHost(t *testing.T) {
	t.Parallel()
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	reset := func(w http.ResponseWriter, _ *http.Request) { registrytest.BreakOff(w) }
	closed := "https://127.0.0.1:" + sockettest.ClosedPort(t) + "/x"
	nowhere := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, closed, http.StatusTemporaryRedirect)
	}
	for name, way := range map[string]http.HandlerFunc{
		"404": status(404), "403": status(403), "401": status(401), "500": status(500), "429": status(429), "reset": reset, "redirect": nowhere, "page 404": page(404),
	} {
		for _, kind := range []string{"blobs", "digests"} {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				m, ref, _ := mirrored(t, `"pull", "resolve"`, map[string]http.HandlerFunc{kind: way})
				m.check(ref).is(diagnosis.NotReproducible, diagnosis.Confirmed)
				m, ref, _ = mirrored(t, `"pull"`, map[string]http.HandlerFunc{kind: way})
				m.check(ref).is(diagnosis.NotReproducible, diagnosis.Confirmed)
			})
		}
	}
}

// R03: a mirror that only serves content ends the pull with other bytes or a page.
func TestR03OtherBytes(t *testing.T) {
	t.Parallel()
	other := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"something":"else"}`)) }
	for name, ways := range map[string]map[string]http.HandlerFunc{
		"a page in place of everything":   {"blobs": page(200), "digests": page(200), "manifests": page(200)},
		"a page in place of blobs":        {"blobs": page(200)},
		"a page in place of the manifest": {"digests": page(200)},
		"other blobs":                     {"blobs": other},
		"another manifest": {"digests": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			_, _ = w.Write([]byte(`{"schemaVersion":2,"config":{},"layers":[]}`))
		}},
		"no manifest, other blobs": {"digests": http.NotFound, "blobs": other},
	} {
		for _, capabilities := range []string{`"pull"`, `"pull", "resolve"`} {
			if ways["manifests"] != nil && capabilities != `"pull"` {
				continue // it is the mirror that resolves the tag then
			}
			t.Run(name+" "+capabilities, func(t *testing.T) {
				t.Parallel()
				m, ref, mirror := mirrored(t, capabilities, ways)
				m.check(ref).is(diagnosis.MirrorFailed, diagnosis.Confirmed, mirror)
			})
		}
	}
}

// What no host has is no fault of the mirror's.
func TestNoHostHasIt(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	r, content := image(t, "team/app")
	content.Break(content.Layer(50), func(o *registrytest.Object) { o.Status = http.StatusNotFound })
	at, mirror := m.serve("registry.test", only(r)), m.serve("mirror.test", only(r))
	m.hostsFile(at, "server = \"https://"+at+"\"\n[host.\"https://"+mirror+"\"]\n")
	m.check(at+"/team/app:v1").is(diagnosis.ContentCorrupt, diagnosis.Confirmed, "https://"+at+" does not have")
}

// R05: a path that begins with /v2/ gets another /v2 without override_path. R04, for
// docker.io, is in package nodeconfig: its names have no ports.
func TestR05PathDoubled(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	r, _ := image(t, "proj-a/team/app")
	mirror := m.serve("mirror.test", only(r))
	at := m.named("registry.test", "127.0.0.1:"+sockettest.ClosedPort(t))
	file := func(more string) {
		m.hostsFile(at, "server = \"https://"+at+"\"\n\n[host.\"https://"+mirror+"/v2/proj-a\"]\n  capabilities = [\"pull\", \"resolve\"]\n"+more)
	}
	file("")
	m.check(at+"/team/app:v1").is(diagnosis.RegistryConfigInvalid, diagnosis.Likely, "hosts.toml (line 3)", "override_path = true is missing")
	file("  override_path = true\n")
	m.check(at+"/team/app:v1").is(diagnosis.NotReproducible, diagnosis.Confirmed)
}

// R06: the containerd of k3s and RKE2 rewrites repositories for a mirror.
func TestR06Rewrite(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	r, _ := image(t, "hmirror/team/app")
	mirror := m.serve("mirror.test", only(r))
	at := m.named("registry.test", "127.0.0.1:"+sockettest.ClosedPort(t))
	m.hostsFile(at, "[host.\"https://"+mirror+"/v2\"]\n  capabilities = [\"pull\", \"resolve\"]\n  [host.\"https://"+mirror+"/v2\".rewrite]\n    \"(.*)\" = \"hmirror/$1\"\n")
	m.check(at+"/team/app:v1").is(diagnosis.NotReproducible, diagnosis.Confirmed)
}

// A token server that answers 403 says by a request without a scope whether it
// refuses the credential or the repository.
func TestTokenForbidden(t *testing.T) {
	t.Parallel()
	const key = "user"
	for name, c := range map[string]struct {
		password  string
		anonymous int // of a request without a credential and without a scope
		given     bool
		cause     diagnosis.Cause
	}{
		"credential refused":           {"old", http.StatusOK, true, diagnosis.CredentialsRejected},
		"repository refused":           {password, http.StatusOK, true, diagnosis.DeniedOrNotFound},
		"everything refused":           {"old", http.StatusForbidden, true, diagnosis.DeniedOrNotFound},
		"repository refused to anyone": {password, http.StatusOK, false, diagnosis.DeniedOrNotFound},
		"anyone refused":               {password, http.StatusForbidden, false, diagnosis.AuthenticationRequired},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			tokens := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				user, pass, _ := r.BasicAuth()
				if r.Method == http.MethodPost {
					user, pass = r.FormValue("username"), r.FormValue("password")
				}
				status := http.StatusForbidden
				switch {
				case r.FormValue("scope") != "":
				case user == "":
					status = c.anonymous
				case user == key && pass == password:
					status = http.StatusOK
				}
				w.WriteHeader(status)
				_, _ = w.Write([]byte(`{"token":"t"}`))
			}))
			cert := m.ca.Issue(catest.Request{Names: []string{"tokens.test"}}).TLS()
			tokens.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
			tokens.StartTLS()
			t.Cleanup(tokens.Close)
			config := only(registrytest.Repository{Name: "team/app", Auth: registrytest.Bearer})
			config.Realm = "https://" + m.named("tokens.test", tokens.Listener.Addr().String()) + "/token"
			at := m.serve("registry.test", config)
			confidence := diagnosis.Confirmed
			if c.anonymous == http.StatusForbidden && c.given {
				confidence = diagnosis.Likely
			}
			m.check(at+"/team/app:v1", func(o *Options) {
				if c.given {
					o.DockerConfig = write(t, filepath.Join(t.TempDir(), "config.json"), `{"auths":{"`+at+`":{"auth":"`+basic(key, c.password)+`"}}}`)
				}
			}).is(c.cause, confidence)
		})
	}
}

// R19: a name that resolves to 0.0.0.0.
func TestR19Sinkhole(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.names("zero.test", "0.0.0.0")
	m.check("zero.test/team/app:v1").is(diagnosis.RegistryNameNotFound, diagnosis.Confirmed, "DNS sinkhole", "the node's hosts file")
}

// Every report of the collection, which lies beside the repository, has its test.
func TestEveryReport(t *testing.T) {
	t.Parallel()
	collection, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "testdata", "reports.jsonl"))
	if err != nil {
		t.Skip("the collection is not here")
	}
	var tests strings.Builder
	for _, dir := range []string{".", "../probe", "../diagnosis/message", "../../cri/nodeconfig"} {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(filepath.Clean(file))
			if err != nil {
				t.Fatal(err)
			}
			tests.Write(text)
		}
	}
	for line := range strings.Lines(string(collection)) {
		var report struct{ ID, Gist string }
		if err := json.Unmarshal([]byte(line), &report); err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`\b(Test)?` + report.ID + `(\b|[A-Z])`).MatchString(tests.String()) {
			t.Errorf("no test of %s: %s", report.ID, report.Gist)
		}
	}
}

// A list of tags, which no pull asks for, is redirected to a host that is not reached:
// the registry has still said that it does not have the tag.
func TestTagsRedirected(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	to := m.named("tags.test", "127.0.0.1:"+sockettest.ClosedPort(t))
	at := m.serve("registry.test", only(registrytest.Repository{Name: "team/app", Serve: func(w http.ResponseWriter, r *http.Request, kind, _ string) {
		if kind == "tags" || strings.HasSuffix(r.URL.Path, "/tags/list") {
			http.Redirect(w, r, "https://"+to+r.URL.Path, http.StatusTemporaryRedirect)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`))
	}}))
	d := m.check(at + "/team/app:v1")
	d.is(diagnosis.TagNotFound, diagnosis.Likely, at)
	d.needs(at)
}
