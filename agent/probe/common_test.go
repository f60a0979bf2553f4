package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/cri/asserttest"
	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/critest"
	"github.com/whypull/whypull/cri/dnstest"
	"github.com/whypull/whypull/cri/hostfs/hostfstest"
	"github.com/whypull/whypull/cri/leaktest"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry/registrytest"
	"github.com/whypull/whypull/cri/sockettest"
)

// user and password must not appear in any output of a check.
const (
	user     = "r0bot-jane"
	password = "s3cret-passw0rd"
)

// long is the time limit for what must happen, also on a slow machine; no passing test
// waits that long.
const long = 30 * time.Second

// dockerConfig is the content of a pull secret with one credential for each key.
func dockerConfig(user, password string, keys ...string) string {
	var entries []string
	for _, k := range keys {
		entries = append(entries, fmt.Sprintf("%q:{%q:%q,%q:%q}", k, "username", user, "password", password))
	}
	return `{"auths":{` + strings.Join(entries, ",") + `}}`
}

// pullSecret is a secret with such a content.
func pullSecret(content string) kube.Secret {
	return kube.Secret{Type: keyring.TypeDockerConfigJSON, Data: credential.Redact(map[string][]byte{keyring.DataDockerConfigJSON: []byte(content)})}
}

func secretFor(keys ...string) kube.Secret { return pullSecret(dockerConfig(user, password, keys...)) }

// fakeSecrets is an API server's secrets by name, in namespace "team".
type fakeSecrets struct {
	byName map[string]kube.Secret
	errs   map[string]error

	mu    sync.Mutex
	reads []string
}

func (s *fakeSecrets) Secret(ctx context.Context, namespace, name string) (kube.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads = append(s.reads, namespace+"/"+name)
	if ctx.Err() != nil {
		return kube.Secret{}, ctx.Err()
	}
	if err := s.errs[name]; err != nil {
		return kube.Secret{}, err
	}
	secret, ok := s.byName[name]
	if !ok {
		return kube.Secret{}, kube.ErrNotFound
	}
	return secret, nil
}

// fakeMetrics records its calls.
type fakeMetrics struct {
	mu      sync.Mutex
	checked []string
	phases  []diagnosis.Phase
	up      []bool
	secrets []string
	expires map[string]time.Time
	limits  []string
}

func (m *fakeMetrics) CertificateExpires(registry string, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.expires == nil {
		m.expires = map[string]time.Time{}
	}
	m.expires[registry] = at
}

func (m *fakeMetrics) RateLimit(registry string, remaining int, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limits = append(m.limits, fmt.Sprint(registry, " ", remaining, " ", known))
}

func (m *fakeMetrics) Checked(check diagnosis.Check, outcome diagnosis.Outcome, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d < 0 {
		outcome = "negative duration"
	}
	m.checked = append(m.checked, string(check)+" "+string(outcome))
}

func (m *fakeMetrics) Phase(phase diagnosis.Phase, _ time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.phases = append(m.phases, phase)
}

func (m *fakeMetrics) RuntimeUp(up bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.up = append(m.up, up)
}

func (m *fakeMetrics) SecretRead(result string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.secrets = append(m.secrets, result)
}

func (m *fakeMetrics) sorted() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(slices.Values(m.checked))
}

// writeFiles makes a node's file system. Hosts file and resolv.conf are always
// there: without them the machine's own would be read.
func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	all := map[string]string{"etc/hosts": "", "etc/resolv.conf": "nameserver 127.0.0.1\n"}
	maps.Copy(all, files)
	return hostfstest.New(t, all)
}

// node is the environment of a collector: a runtime, an API server's secrets, DNS
// servers, and the node's files.
type node struct {
	t         *testing.T
	runtime   *critest.Runtime
	secrets   *fakeSecrets
	metrics   *fakeMetrics
	dns       *dnstest.Server
	options   nodeconfig.Options
	resolver  NodeResolver
	collector *Collector
}

// newNode returns a node that trusts ca, resolves registry.test, and has the given files
// in addition.
func newNode(t *testing.T, ca *catest.CA, files map[string]string) *node {
	t.Helper()
	all := map[string]string{}
	if ca != nil {
		all["etc/ssl/certs/ca-certificates.crt"] = string(ca.PEM())
	}
	maps.Copy(all, files)
	n := &node{t: t, runtime: critest.New(t), metrics: &fakeMetrics{}, dns: dnstest.New(t, "127.0.0.1")}
	n.secrets = &fakeSecrets{byName: map[string]kube.Secret{}, errs: map[string]error{}}
	n.dns.Set(registrytest.Name, dnstest.Zone{Addresses: []string{"127.0.0.1"}})
	n.options = nodeconfig.Options{
		Root: writeFiles(t, all), CertsDir: "/certs.d", TempDir: t.TempDir(), Version: "test",
		Proxy: func(*http.Request) (*url.URL, error) { return nil, nil },
	}
	n.resolver = NodeResolver{Root: n.options.Root, port: n.dns.Port, patience: long}
	images, err := cri.Dial(n.runtime.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = images.Close() })
	n.collector = New(Options{Images: images, Secrets: n.secrets, Metrics: n.metrics, Registries: n.options, Resolver: n.resolver})
	return n
}

// again creates a collector with changed options.
func (n *node) again(change func(*nodeconfig.Options)) {
	change(&n.options)
	n.collector = New(Options{Images: n.collector.Images, Secrets: n.secrets, Metrics: n.metrics, Registries: n.options, Resolver: n.resolver})
}

// failure returns a failing container with the image and the named pull secrets.
func failure(image string, secrets ...string) diagnosis.Failure {
	f := diagnosis.Failure{
		Namespace: "team", Pod: "web", UID: "u-1", Node: "worker-3", Container: "app", Kind: diagnosis.KindContainer,
		PullPolicy: "Always", Reason: "ErrImagePull", PullSecrets: secrets,
		Message: "failed to resolve image: " + image + ": not found",
	}
	f.SetImage(parsed(image))
	return f
}

// parsed returns an image as package podwatch parses it.
func parsed(written string) diagnosis.Image {
	image, _ := podwatch.ParseImage(written)
	return image
}

// collect returns all of the evidence about a failure.
func (n *node) collect(f diagnosis.Failure) []diagnosis.Evidence {
	n.t.Helper()
	return n.collectFresh(f, false)
}

func (n *node) collectFresh(f diagnosis.Failure, fresh bool) []diagnosis.Evidence {
	n.t.Helper()
	_, all := n.collector.Collect(n.t.Context(), f, fresh)
	select {
	case out := <-all:
		wellFormed(n.t, f, out)
		return out
	case <-time.After(long):
		n.t.Fatal("no evidence")
		return nil
	}
}

// wellFormed asserts the invariants of all evidence.
func wellFormed(t *testing.T, f diagnosis.Failure, all []diagnosis.Evidence) {
	t.Helper()
	outcomes := []diagnosis.Outcome{diagnosis.Passed, diagnosis.Failed, diagnosis.Inconclusive, diagnosis.NotRun}
	for _, e := range diagnosis.Findings(f, all) {
		switch {
		case !slices.Contains(outcomes, e.Outcome):
			t.Errorf("outcome %q is none: %+v", e.Outcome, e)
		case !slices.Contains(diagnosis.Checks(), e.Check):
			t.Errorf("check %q is none: %+v", e.Check, e)
		case e.Detail == "" || strings.Contains(e.Detail, "%!") || strings.ContainsAny(e.Detail, "\n\r"):
			t.Errorf("detail %q: %+v", e.Detail, e)
		case e.Outcome == diagnosis.Passed && e.Fault != "":
			t.Errorf("passed with fault %s: %+v", e.Fault, e)
		case e.Outcome == diagnosis.Failed && e.Fault == "":
			t.Errorf("failed without a fault: %+v", e)
		}
		discreet(t, e.Detail+whole(e.Evidence))
	}
}

// whole returns evidence as a text, including the targets of pointers.
func whole(e diagnosis.Evidence) string {
	body, err := json.Marshal(e.Body)
	if err != nil {
		return err.Error()
	}
	e.Body = nil
	return fmt.Sprintf("%+v %s", e, body)
}

// detail returns the sentence of a piece of evidence.
func detail(f diagnosis.Failure, e diagnosis.Evidence) string { return diagnosis.Detail(f, &e) }

// discreet asserts that a text contains nothing of the credential.
func discreet(t *testing.T, text string) {
	t.Helper()
	for _, taboo := range []string{user, password, "registry's own words"} {
		if strings.Contains(text, taboo) {
			t.Errorf("%q is in %s", taboo, text)
		}
	}
}

// of returns the lines of one check: outcome, fault and sentence.
func of(f diagnosis.Failure, all []diagnosis.Evidence, check diagnosis.Check) []string {
	var out []string
	for _, e := range diagnosis.Findings(f, all) {
		if e.Check == check {
			out = append(out, strings.Join(slices.DeleteFunc([]string{string(e.Outcome), string(e.Fault), e.Detail},
				func(s string) bool { return s == "" }), " | "))
		}
	}
	return out
}

var wantLines = asserttest.Lines

// wantAsked asserts which requests a registry got, by method and path.
func wantAsked(t *testing.T, s *registrytest.Server, want ...string) {
	t.Helper()
	wantLines(t, "requests", s.Lines(), want...)
}

// heads returns the number of manifest requests to a registry.
func heads(s *registrytest.Server) int {
	return len(slices.DeleteFunc(s.Lines(), func(l string) bool { return !strings.HasPrefix(l, "HEAD ") }))
}

// noGoroutinesLeft fails the test if it ends with more goroutines of this package or of
// net/http's client than it began with. Call it first and not in a parallel test.
func noGoroutinesLeft(t *testing.T) {
	t.Helper()
	leaktest.Check(t, leaktest.With("whypull/agent/probe.(*", "net/http.(*Transport)"))
}

// dead is an endpoint that accepts connections, counts them, and closes them at once.
type dead struct {
	host string // registry.test:port

	mu    sync.Mutex
	conns int
}

func newDead(t *testing.T) *dead {
	t.Helper()
	d := &dead{}
	address := sockettest.Listen(t, func(net.Conn) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.conns++
	})
	d.host = net.JoinHostPort(registrytest.Name, sockettest.Port(address))
	return d
}

func (d *dead) connections() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conns
}

// clock is a manual clock.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// clocked sets a manual clock in the node's collector.
func (n *node) clocked() *clock {
	c := newClock()
	n.collector.asker.now = c.Now
	return c
}
