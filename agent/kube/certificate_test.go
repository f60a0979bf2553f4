package kube

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/whypull/whypull/agent/kube/apitest"
	"github.com/whypull/whypull/cri/catest"
)

// cluster is an API server of one minor version over TLS, with authentication by
// certificates and tokens, the Node authorizer, and what roles grant to the agent. The
// pods of the node name the secrets "pull" only.
type cluster struct {
	*httptest.Server
	ca      *catest.CA
	version int // 1.x

	mu           sync.Mutex
	impersonates bool   // the agent's role allows it, where the version knows how
	direct       bool   // the agent's role allows it to read secrets
	watches      bool   // and to watch them
	hidesNames   bool   // a load balancer ends TLS, so no certificate arrives
	noNodes      bool   // --authorization-mode=RBAC
	redirects    string // where to send a reader
	revoked      []string
	lines        []string // identity and request
	certificates []string // serial numbers
}

const agentToken = "agent-token"

func newCluster(t *testing.T, version int) *cluster {
	t.Helper()
	c := &cluster{ca: catest.New(t), version: version, impersonates: true}
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(c.serve))
	c.TLS = &tls.Config{Certificates: []tls.Certificate{c.ca.Issue(catest.Request{}).TLS()}, ClientAuth: tls.RequestClientCert}
	c.EnableHTTP2 = true
	c.StartTLS()
	t.Cleanup(c.Close)
	return c
}

// user returns who makes a request, as an API server sees it.
func (c *cluster) user(r *http.Request) (string, bool) {
	if len(r.TLS.PeerCertificates) > 0 && !c.hidesNames {
		peer := r.TLS.PeerCertificates[0]
		c.certificates = append(c.certificates, peer.SerialNumber.String())
		_, err := peer.Verify(x509.VerifyOptions{Roots: c.ca.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if err != nil || slices.Contains(c.revoked, peer.SerialNumber.String()) {
			return "", false
		}
		return peer.Subject.CommonName, true
	}
	switch r.Header.Get("Authorization") {
	case "Bearer " + agentToken:
		return "agent", true
	case "":
		return "system:anonymous", true
	}
	return "", false
}

func (c *cluster) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	user, ok := c.user(r)
	line := r.Method + " " + r.URL.RequestURI()
	if as := r.Header.Get("Impersonate-User"); as != "" && ok {
		c.lines = append(c.lines, user+" as "+as+": "+line)
		if c.version < 36 || !c.impersonates || user != "agent" {
			apitest.Fail(w, 403, metav1.StatusReasonForbidden, fmt.Sprintf(`users %q is forbidden: User %q cannot impersonate resource "users" in API group "" at the cluster scope`, as, user))
			return
		}
		user = as
	} else {
		c.lines = append(c.lines, user+": "+line)
	}
	name, verb := strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/team/secrets/"), "get"
	if r.URL.Query().Get("watch") == "true" {
		name, verb = strings.TrimPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name="), "watch"
	}
	node := user == asNode && !c.noNodes
	switch {
	case !ok:
		apitest.Fail(w, 401, metav1.StatusReasonUnauthorized, "Unauthorized")
	case c.redirects != "":
		http.Redirect(w, r, c.redirects, http.StatusTemporaryRedirect)
	case node && name != "pull":
		unrelated(w, name)
	case verb == "watch" && (node || user == "agent" && c.watches):
		writeWatch(w, metadata("u", "7"))
	case verb == "watch":
		apitest.Fail(w, 403, metav1.StatusReasonForbidden, fmt.Sprintf(`secrets %q is forbidden: User %q cannot watch resource "secrets" in API group "" in the namespace "team"`, name, user))
	case node || user == "agent" && c.direct:
		apitest.Write(w, runtime.ContentTypeProtobuf, pullSecret())
	default:
		apitest.Fail(w, 403, metav1.StatusReasonForbidden, fmt.Sprintf(`secrets %q is forbidden: User %q cannot get resource "secrets" in API group "" in the namespace "team"`, name, user))
	}
}

// seen returns the requests since the last call.
func (c *cluster) seen() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.lines
	c.lines = nil
	return out
}

func (c *cluster) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// kubelet issues a client certificate of the node.
func (c *cluster) kubelet() tls.Certificate {
	return c.ca.Issue(catest.Request{CommonName: asNode, Organizations: []string{"system:nodes"}}).TLS()
}

// choices records which accesses a client reports.
type choices struct {
	mu  sync.Mutex
	all []string
	log bytes.Buffer
}

func (ch *choices) chosen(a Access) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.all = append(ch.all, string(a))
}

func (c *cluster) config() *rest.Config {
	return &rest.Config{Host: c.URL, BearerToken: agentToken, UserAgent: "whypull/test", TLSClientConfig: rest.TLSClientConfig{
		CAData: c.ca.PEM(),
	}}
}

func (c *cluster) client(t *testing.T, access Access, certificate func() (tls.Certificate, error)) (*Client, *choices) {
	t.Helper()
	ch := &choices{}
	log := slog.New(slog.NewTextHandler(&ch.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}}))
	client, err := New(c.config(), Options{Node: nodeName, Access: access, Certificate: certificate, Log: log, Chosen: ch.chosen})
	if err != nil {
		t.Fatal(err)
	}
	client.lag = time.Millisecond
	return client, ch
}

func always(certificate tls.Certificate) func() (tls.Certificate, error) {
	return func() (tls.Certificate, error) { return certificate, nil }
}

var errHidden = errors.New("kubelet.conf authenticates with the plugin aws")

func never() (tls.Certificate, error) { return tls.Certificate{}, errHidden }

const (
	getPull      = "GET /api/v1/namespaces/team/secrets/pull"
	byCert       = asNode + ": " + getPull
	impersonated = "agent as " + asNode + ": " + getPull
	byRole       = "agent: " + getPull
)

// The first identity that the API server accepts reads the secret, and the next
// read begins with it.
func TestAccessByVersion(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		versions      []int
		access        Access
		noCertificate bool
		change        func(*cluster)
		first, second []string
		mode          Access
		want          error
	}{
		"impersonation":                       {versions: []int{36, 37}, access: AccessAuto, first: []string{impersonated}, second: []string{impersonated}, mode: AccessImpersonate},
		"too old for impersonation":           {versions: []int{30, 31, 32, 33, 34, 35}, access: AccessAuto, first: []string{impersonated, byCert}, second: []string{byCert}, mode: AccessKubelet},
		"impersonation not granted":           {versions: []int{36, 37}, access: AccessAuto, change: func(c *cluster) { c.impersonates = false }, first: []string{impersonated, byCert}, second: []string{byCert}, mode: AccessKubelet},
		"old, no certificate, a role":         {versions: []int{30, 35}, access: AccessAuto, noCertificate: true, change: func(c *cluster) { c.direct = true }, first: []string{impersonated, byRole}, second: []string{byRole}, mode: AccessDirect},
		"old, no certificate":                 {versions: []int{30, 35}, access: AccessAuto, noCertificate: true, first: []string{impersonated, byRole}, second: []string{impersonated}, mode: AccessNone, want: ErrNoAccess},
		"kubelet":                             {versions: []int{30, 37}, access: AccessKubelet, first: []string{byCert}, second: []string{byCert}, mode: AccessKubelet},
		"kubelet, no certificate":             {versions: []int{30, 37}, access: AccessKubelet, noCertificate: true, mode: AccessRefused, want: ErrNoAccess},
		"impersonate, too old":                {versions: []int{35}, access: AccessImpersonate, first: []string{impersonated}, second: []string{impersonated}, mode: AccessRefused, want: ErrNoAccess},
		"direct has no use for a certificate": {versions: []int{34}, access: AccessDirect, change: func(c *cluster) { c.direct = true }, first: []string{byRole}, second: []string{byRole}, mode: AccessDirect},
		"the certificate does not arrive": {versions: []int{34}, access: AccessAuto, change: func(c *cluster) { c.hidesNames, c.direct = true, true },
			first: []string{impersonated, "system:anonymous: " + getPull, byRole}, second: []string{byRole}, mode: AccessDirect},
		"no Node authorizer": {versions: []int{34}, access: AccessAuto, change: func(c *cluster) { c.noNodes, c.direct = true, true },
			first: []string{impersonated, byCert, byRole}, second: []string{byRole}, mode: AccessDirect},
		"kubelet, the certificate does not arrive": {versions: []int{34}, access: AccessKubelet, change: func(c *cluster) { c.hidesNames, c.direct = true, true },
			first: []string{"system:anonymous: " + getPull}, mode: AccessRefused, want: ErrNoAccess},
	} {
		for _, version := range tc.versions {
			t.Run(fmt.Sprintf("%s, 1.%d", name, version), func(t *testing.T) {
				t.Parallel()
				s := newCluster(t, version)
				if tc.change != nil {
					tc.change(s)
				}
				certificate := always(s.kubelet())
				if tc.noCertificate {
					certificate = never
				}
				c, ch := s.client(t, tc.access, certificate)
				for i, want := range [][]string{tc.first, tc.second} {
					got, err := c.Secret(t.Context(), "team", "pull")
					if !errors.Is(err, tc.want) || err == nil && string(got.Data.Reveal()[".dockerconfigjson"]) != password {
						t.Errorf("read %d: %v, want %v", i, err, tc.want)
					}
					wantLines(t, fmt.Sprint("requests of read ", i), s.seen(), want...)
				}
				wantLines(t, "modes", ch.all, string(tc.mode))
				if !strings.Contains(ch.log.String(), `msg="secret access" mode=`+string(tc.mode)) {
					t.Errorf("the log does not say %s:\n%s", tc.mode, ch.log.String())
				}
			})
		}
	}
}

// Why the certificate is not used is logged once, and never what a reader of the
// report sees.
func TestWhyNoCertificate(t *testing.T) {
	t.Parallel()
	s := newCluster(t, 34)
	c, ch := s.client(t, AccessAuto, never)
	for range 3 {
		if _, err := c.Secret(t.Context(), "team", "pull"); !errors.Is(err, ErrNoAccess) || strings.Contains(err.Error(), errHidden.Error()) {
			t.Errorf("error %v", err)
		}
	}
	if got := strings.Count(ch.log.String(), errHidden.Error()); got != 1 {
		t.Errorf("logged %d times:\n%s", got, ch.log.String())
	}
}

// What belongs to no pod of the node stays unread, and nobody else is asked for it.
func TestCertificateIsLimitedToTheNode(t *testing.T) {
	t.Parallel()
	s := newCluster(t, 33)
	s.direct = true
	c, ch := s.client(t, AccessKubelet, always(s.kubelet()))
	if _, err := c.Secret(t.Context(), "team", "other"); !errors.Is(err, ErrNoAccess) {
		t.Errorf("error %v", err)
	}
	if got := s.seen(); len(got) != 2 || got[0] != asNode+": GET /api/v1/namespaces/team/secrets/other" || got[0] != got[1] {
		t.Errorf("requests %q", got) // twice, because the authorizer may lag
	}
	wantLines(t, "modes", ch.all, string(AccessKubelet))
}

// The metadata of a secret is read with the same identity.
func TestSecretVersionWithCertificate(t *testing.T) {
	t.Parallel()
	s := newCluster(t, 34)
	c, _ := s.client(t, AccessAuto, always(s.kubelet()))
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Impersonate-User") == "" && r.Header.Get("Accept") == secretMetadata {
			apitest.Write(w, runtime.ContentTypeProtobuf, metadata("u", "7"))
			return
		}
		s.serve(w, r)
	})
	if got, err := c.SecretVersion(t.Context(), "team", "pull"); err != nil || got != "u/7" {
		t.Errorf("version %q, %v", got, err)
	}
}

// A rotated certificate is used by the next request, without a restart. A
// certificate that was refused is not tried again, the next one is.
func TestRotatedCertificate(t *testing.T) {
	t.Parallel()
	s := newCluster(t, 34)
	var mu sync.Mutex
	current := s.kubelet()
	c, ch := s.client(t, AccessKubelet, func() (tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		return current, nil
	})
	read := func(want error) {
		t.Helper()
		if _, err := c.Secret(t.Context(), "team", "pull"); !errors.Is(err, want) {
			t.Errorf("error %v, want %v", err, want)
		}
	}
	read(nil)
	first := current.Leaf.SerialNumber.String()
	s.set(func() { s.revoked = []string{first} }) // as if it had expired
	read(ErrNoAccess)
	read(ErrNoAccess)
	mu.Lock()
	current = s.kubelet()
	mu.Unlock()
	read(nil)
	read(nil)
	second := current.Leaf.SerialNumber.String()
	wantLines(t, "certificates", s.certificates, first, first, second, second)
	wantLines(t, "modes", ch.all, "kubelet", "refused", "kubelet")
}

// A certificate authority that has changed does not need a restart either.
func TestNewAuthority(t *testing.T) {
	t.Parallel()
	s := newCluster(t, 34)
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, catest.New(t).PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := s.config()
	cfg.CAData, cfg.CAFile = nil, file
	c, err := New(cfg, Options{Node: nodeName, Access: AccessKubelet, Certificate: always(s.kubelet())})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Secret(t.Context(), "team", "pull"); err == nil || errors.Is(err, ErrNoAccess) {
		t.Errorf("an unknown authority: %v", err)
	}
	if err := os.WriteFile(file, s.ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Secret(t.Context(), "team", "pull"); err != nil {
		t.Errorf("the new authority: %v", err)
	}
}

// An API server that is still loading its roles refuses impersonation. That the
// certificate works then is no reason to keep to it.
func TestImpersonationIsTriedAgainSoon(t *testing.T) {
	t.Parallel()
	s := newCluster(t, 37)
	s.impersonates = false
	c, ch := s.client(t, AccessAuto, always(s.kubelet()))
	read := func() {
		t.Helper()
		if _, err := c.Secret(t.Context(), "team", "pull"); err != nil {
			t.Error(err)
		}
	}
	read()
	s.set(func() { s.impersonates = true })
	read()
	c.reading.keptRefusals.Clock = clocktesting.NewFakeClock(time.Now().Add(lastRetry))
	read()
	wantLines(t, "requests", s.seen(), impersonated, byCert, byCert, impersonated)
	wantLines(t, "modes", ch.all, "kubelet", "impersonate")
}

// Through the certificate nothing but a read of one secret leaves the process.
func TestNothingElseThroughTheCertificate(t *testing.T) {
	t.Parallel()
	s := newCluster(t, 34)
	c, _ := s.client(t, AccessKubelet, always(s.kubelet()))
	host := strings.TrimPrefix(s.URL, "https://")
	for name, tc := range map[string]struct {
		method, url, body string
	}{
		"list":                        {url: "/api/v1/namespaces/team/secrets"},
		"list with slash":             {url: "/api/v1/namespaces/team/secrets/"},
		"list of all":                 {url: "/api/v1/secrets"},
		"list that looks like one":    {url: "/api/v1/namespaces/team/secrets?fieldSelector=metadata.name%3Dpull"},
		"watch":                       {url: "/api/v1/namespaces/team/secrets?watch=true&fieldSelector=metadata.name%3Dpull"},
		"old watch path":              {url: "/api/v1/watch/namespaces/team/secrets/pull"},
		"delete":                      {method: http.MethodDelete, url: "/api/v1/namespaces/team/secrets/pull"},
		"patch":                       {method: http.MethodPatch, url: "/api/v1/namespaces/team/secrets/pull", body: "{}"},
		"put":                         {method: http.MethodPut, url: "/api/v1/namespaces/team/secrets/pull", body: "{}"},
		"post":                        {method: http.MethodPost, url: "/api/v1/namespaces/team/secrets", body: "{}"},
		"head":                        {method: http.MethodHead, url: "/api/v1/namespaces/team/secrets/pull"},
		"lower case":                  {method: "get", url: "/api/v1/namespaces/team/secrets/pull"},
		"a body":                      {url: "/api/v1/namespaces/team/secrets/pull", body: "{}"},
		"a token":                     {method: http.MethodPost, url: "/api/v1/namespaces/team/serviceaccounts/default/token", body: "{}"},
		"a pod":                       {url: "/api/v1/namespaces/team/pods/pull"},
		"pods":                        {url: "/api/v1/pods?fieldSelector=spec.nodeName%3Dworker-3"},
		"the node":                    {url: "/api/v1/nodes/worker-3"},
		"a config map":                {url: "/api/v1/namespaces/team/configmaps/pull"},
		"another group":               {url: "/apis/certificates.k8s.io/v1/certificatesigningrequests"},
		"a subresource":               {url: "/api/v1/namespaces/team/secrets/pull/status"},
		"dots":                        {url: "/api/v1/namespaces/team/secrets/../configmaps/x"},
		"a dot":                       {url: "/api/v1/namespaces/team/secrets/."},
		"two dots":                    {url: "/api/v1/namespaces/team/secrets/.."},
		"dots, encoded":               {url: "/api/v1/namespaces/team/secrets/%2e%2e/pods/x"},
		"slash, encoded":              {url: "/api/v1/namespaces/team/secrets/pull%2Fstatus"},
		"slash in namespace":          {url: "/api/v1/namespaces/team%2Fsecrets/pull/secrets/pull"},
		"a letter, encoded":           {url: "/api/v1/namespaces/team/secret%73/pull"},
		"dot, encoded":                {url: "/api/v1/namespaces/team/secrets/a%2Eb"},
		"NUL, encoded":                {url: "/api/v1/namespaces/team/secrets/pull%00"},
		"line break, encoded":         {url: "/api/v1/namespaces/team/secrets/pull%0d%0aX:%20y"},
		"backslash":                   {url: "/api/v1/namespaces/team/secrets/..%5cpods"},
		"capitals":                    {url: "/api/v1/namespaces/team/secrets/PULL"},
		"no namespace":                {url: "/api/v1/namespaces//secrets/pull"},
		"empty segment":               {url: "//api/v1/namespaces/team/secrets/pull"},
		"a prefix":                    {url: "/k8s/api/v1/namespaces/team/secrets/pull"},
		"a query":                     {url: "/api/v1/namespaces/team/secrets/pull?pretty=true"},
		"a query behind another":      {url: "/api/v1/namespaces/team/secrets/pull?resourceVersion=0&pretty=true"},
		"another version":             {url: "/api/v1/namespaces/team/secrets/pull?resourceVersion=1"},
		"a watch by the object":       {url: "/api/v1/namespaces/team/secrets/pull?watch=true"},
		"a watch on the object":       {url: "/api/v1/namespaces/team/secrets/pull?" + watchPull},
		"a watch without a selector":  {url: "/api/v1/namespaces/team/secrets?watch=true&resourceVersion=0&timeoutSeconds=300"},
		"a watch on all":              {url: "/api/v1/secrets?" + watchPull},
		"a watch on pods":             {url: "/api/v1/namespaces/team/pods?" + watchPull},
		"a watch on config maps":      {url: "/api/v1/namespaces/team/configmaps?" + watchPull},
		"a watch behind a slash":      {url: "/api/v1/namespaces/team/secrets/?" + watchPull},
		"a watch without a namespace": {url: "/api/v1/namespaces//secrets?" + watchPull},
		"a watch through dots":        {url: "/api/v1/namespaces/../secrets?" + watchPull},
		"a watch under a prefix":      {url: "/k8s/api/v1/namespaces/team/secrets?" + watchPull},
		"a watch elsewhere":           {url: "https://127.0.0.1:1/api/v1/namespaces/team/secrets?" + watchPull},
		"a watch over plain http":     {url: "http://" + host + "/api/v1/namespaces/team/secrets?" + watchPull},
		"a watch by post":             {method: http.MethodPost, url: "/api/v1/namespaces/team/secrets?" + watchPull},
		"a delete of a collection":    {method: http.MethodDelete, url: "/api/v1/namespaces/team/secrets?" + watchPull},
		"a watch with a body":         {url: "/api/v1/namespaces/team/secrets?" + watchPull, body: "{}"},
		"no watch":                    {url: "/api/v1/namespaces/team/secrets?" + strings.Replace(watchPull, "watch=true", "watch=false", 1)},
		"no watch at all":             {url: "/api/v1/namespaces/team/secrets?" + strings.Replace(watchPull, "&watch=true", "", 1)},
		"a watch that is a number":    {url: "/api/v1/namespaces/team/secrets?" + strings.Replace(watchPull, "watch=true", "watch=1", 1)},
		"two selectors":               {url: "/api/v1/namespaces/team/secrets?" + watchPull + "&fieldSelector=metadata.name%3Dother"},
		"a selector of two":           {url: "/api/v1/namespaces/team/secrets?" + strings.Replace(watchPull, "pull", "pull%2Cmetadata.name%3Dother", 1)},
		"a selector of all but one":   {url: "/api/v1/namespaces/team/secrets?" + strings.Replace(watchPull, "name%3D", "name%21%3D", 1)},
		"a selector by type":          {url: "/api/v1/namespaces/team/secrets?" + strings.Replace(watchPull, "metadata.name", "type", 1)},
		"an empty name":               {url: "/api/v1/namespaces/team/secrets?" + strings.Replace(watchPull, "pull", "", 1)},
		"two equals signs":            {url: "/api/v1/namespaces/team/secrets?" + strings.Replace(watchPull, "%3D", "%3D%3D", 1)},
		"a label selector too":        {url: "/api/v1/namespaces/team/secrets?" + watchPull + "&labelSelector=a"},
		"watch given twice":           {url: "/api/v1/namespaces/team/secrets?" + watchPull + "&watch=true"},
		"initial events":              {url: "/api/v1/namespaces/team/secrets?" + watchPull + "&sendInitialEvents=true"},
		"another start":               {url: "/api/v1/namespaces/team/secrets?" + strings.Replace(watchPull, "resourceVersion=0", "resourceVersion=5", 1)},
		"a watch without end":         {url: "/api/v1/namespaces/team/secrets?" + strings.Replace(watchPull, "Seconds=300", "Seconds=601", 1)},
		"a watch of negative length":  {url: "/api/v1/namespaces/team/secrets?" + strings.Replace(watchPull, "Seconds=300", "Seconds=-1", 1)},
		"a broken query":              {url: "/api/v1/namespaces/team/secrets?" + watchPull + "&%zz"},
		"a semicolon":                 {url: "/api/v1/namespaces/team/secrets?" + watchPull + ";x=y"},
		"a bare question mark":        {url: "/api/v1/namespaces/team/secrets/pull?"},
		"another host":                {url: "https://127.0.0.1:1/api/v1/namespaces/team/secrets/pull"},
		"plain http":                  {url: "http://" + host + "/api/v1/namespaces/team/secrets/pull"},
		"a user":                      {url: "https://u:p@" + host + "/api/v1/namespaces/team/secrets/pull"},
		"a very long name":            {url: "/api/v1/namespaces/team/secrets/" + strings.Repeat("a", 254)},
		"kubelet's own proxy to pod":  {url: "/api/v1/nodes/worker-3/proxy/pods"},
	} {
		if strings.HasPrefix(tc.url, "/") {
			tc.url = s.URL + tc.url
		}
		if tc.method == "" {
			tc.method = http.MethodGet
		}
		var body *strings.Reader
		r, err := http.NewRequestWithContext(t.Context(), tc.method, tc.url, nil)
		if tc.body != "" {
			body = strings.NewReader(tc.body)
			r, err = http.NewRequestWithContext(t.Context(), tc.method, tc.url, body)
		}
		if err != nil {
			t.Fatal(name, err)
		}
		if response, err := c.kubelet.RoundTrip(r); !errors.Is(err, errNotOneSecret) {
			t.Errorf("%s: %v, %v", name, response, err)
		}
	}
	opaque := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: host, Path: "/api/v1/namespaces/team/secrets/pull", Opaque: "//" + host + "/api/v1/secrets"}}
	if _, err := c.kubelet.RoundTrip(opaque.WithContext(t.Context())); !errors.Is(err, errNotOneSecret) {
		t.Errorf("opaque: %v", err)
	}
	for verb, request := range map[string]*rest.Request{
		"list":       c.asKubelet.Get().Namespace("team").Resource("secrets"),
		"subresouce": c.asKubelet.Get().Namespace("team").Resource("secrets").Name("pull").SubResource("status"),
		"suffix":     c.asKubelet.Get().Namespace("team").Resource("secrets").Name("pull").Suffix("x"),
		"delete":     c.asKubelet.Delete().Namespace("team").Resource("secrets").Name("pull"),
		"pods":       c.asKubelet.Get().Resource("pods"),
		"absolute":   c.asKubelet.Get().AbsPath("/metrics"),
	} {
		if err := request.Do(t.Context()).Error(); !errors.Is(err, errNotOneSecret) {
			t.Errorf("%s through the client: %v", verb, err)
		}
	}
	wantLines(t, "requests", s.seen())
}

// watchPull is the query of a watch that the certificate may make.
const watchPull = "fieldSelector=metadata.name%3Dpull&resourceVersion=0&timeoutSeconds=300&watch=true"

// What the attacks above vary is allowed as it is. However it is asked for, it delivers
// metadata only.
func TestWatchThroughTheCertificate(t *testing.T) {
	t.Parallel()
	s := newCluster(t, 34)
	c, _ := s.client(t, AccessKubelet, always(s.kubelet()))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/api/v1/namespaces/team/secrets?"+watchPull, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/json")
	own, err := c.kubelet.request(r)
	if err != nil || own.Header.Get("Accept") != secretMetadata {
		t.Fatalf("request %v, error %v", own, err)
	}
	response, err := c.kubelet.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	wantLines(t, "requests", s.seen(), asNode+": GET /api/v1/namespaces/team/secrets?"+watchPull)
}

// Headers that would change who asks, or what, do not reach the API server.
func TestHeadersThroughTheCertificate(t *testing.T) {
	t.Parallel()
	s := newCluster(t, 34)
	c, _ := s.client(t, AccessKubelet, always(s.kubelet()))
	var got http.Header
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		s.serve(w, r)
	})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/api/v1/namespaces/team/secrets/pull", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "elsewhere"
	r.Header = http.Header{"Accept": {"application/json"}, "Authorization": {"Bearer x"}, "Impersonate-User": {"admin"}, "Impersonate-Group": {"system:masters"},
		"Upgrade": {"SPDY/3.1"}, "Connection": {"Upgrade"}, "X-Http-Method-Override": {"DELETE"}, "X-Remote-User": {"admin"}}
	response, err := c.kubelet.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	got.Del("Accept-Encoding")
	if len(got) != 2 || got.Get("Accept") != "application/json" || got.Get("User-Agent") != "whypull/test" {
		t.Errorf("headers %v", got)
	}
	wantLines(t, "requests", s.seen(), byCert)
}

// A redirect is not followed, not even to another secret.
func TestRedirectOfTheCertificate(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"/api/v1/namespaces/kube-system/secrets/other", "/api/v1/secrets", "https://127.0.0.1:1/api/v1/namespaces/team/secrets/pull"} {
		s := newCluster(t, 34)
		s.redirects = target
		c, _ := s.client(t, AccessKubelet, always(s.kubelet()))
		if _, err := c.Secret(t.Context(), "team", "pull"); err == nil {
			t.Errorf("%s: no error", target)
		}
		wantLines(t, "requests", s.seen(), byCert)
	}
}

// Without TLS, or behind a path, there is no API server that knows certificates.
func TestNoCertificateToOtherServers(t *testing.T) {
	t.Parallel()
	s := newCluster(t, 34)
	for _, host := range []string{strings.Replace(s.URL, "https", "http", 1), s.URL + "/k8s/clusters/c-1"} {
		cfg := s.config()
		cfg.Host = host
		c, err := New(cfg, Options{Node: nodeName, Access: AccessKubelet, Certificate: always(s.kubelet())})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Secret(t.Context(), "team", "pull"); !errors.Is(err, errNotOneSecret) {
			t.Errorf("%s: %v", host, err)
		}
	}
	wantLines(t, "requests", s.seen())
}

// The connection with the certificate says nothing about the watch on pods.
func TestCertificateIsNoSignOfLife(t *testing.T) {
	t.Parallel()
	s := newCluster(t, 34)
	c, _ := s.client(t, AccessKubelet, always(s.kubelet()))
	if _, err := c.Secret(t.Context(), "team", "pull"); err != nil {
		t.Fatal(err)
	}
	c.liveness.mu.Lock()
	defer c.liveness.mu.Unlock()
	if !c.liveness.received.IsZero() {
		t.Error("bytes were received")
	}
}

// The certificate never reads pods: they are watched by impersonation, else directly.
func TestPodsAreNotReadWithTheCertificate(t *testing.T) {
	t.Parallel()
	for _, access := range []Access{AccessAuto, AccessKubelet} {
		s := newCluster(t, 34)
		s.direct = true
		c, ch := s.client(t, access, always(s.kubelet()))
		source := c.PodWatch(nil, func(error) {})
		_, _ = source.(interface {
			ListWithContext(context.Context, metav1.ListOptions) (runtime.Object, error)
		}).ListWithContext(t.Context(), metav1.ListOptions{})
		const pods = "GET /api/v1/pods?fieldSelector=spec.nodeName%3Dworker-3"
		wantLines(t, "requests", s.seen(), "agent as "+asNode+": "+pods, "agent: "+pods)
		if len(ch.all) > 1 {
			t.Errorf("modes %q", ch.all)
		}
	}
}

// What the watch on pods shows about impersonation is reported before the first
// secret is read.
func TestExpectedAccess(t *testing.T) {
	t.Parallel()
	s := newCluster(t, 34)
	for name, tc := range map[string]struct {
		access      Access
		certificate func() (tls.Certificate, error)
		pods        Access
		want        Access
	}{
		"impersonation":               {AccessAuto, never, AccessImpersonate, AccessImpersonate},
		"impersonation for pods only": {AccessKubelet, always(s.kubelet()), AccessImpersonate, AccessKubelet},
		"certificate":                 {AccessAuto, always(s.kubelet()), AccessDirect, AccessKubelet},
		"roles, perhaps":              {AccessAuto, never, AccessDirect, AccessDirect},
		"nothing":                     {AccessKubelet, never, AccessDirect, AccessRefused},
		"none":                        {AccessNone, nil, AccessImpersonate, AccessNone},
		"direct":                      {AccessDirect, nil, AccessDirect, AccessDirect},
	} {
		c, ch := s.client(t, tc.access, tc.certificate)
		for range 2 {
			c.choice.answered(c, true, tc.pods, nil)
		}
		wantLines(t, name, ch.all, string(tc.want))
	}
}

// Secrets are reported as refused only where the cluster could grant them: where
// impersonation works for pods.
func TestRefusedAccess(t *testing.T) {
	t.Parallel()
	s := newCluster(t, 37)
	refused := &apierrors.StatusError{ErrStatus: *apitest.Status(403, metav1.StatusReasonForbidden, "cannot get")}
	for name, tc := range map[string]struct {
		access, pods Access
		want         []string
	}{
		"can be granted": {AccessAuto, AccessImpersonate, []string{"impersonate", "refused"}},
		"cannot":         {AccessAuto, AccessDirect, []string{"direct", "none"}},
		"roles only":     {AccessDirect, AccessDirect, []string{"direct", "none"}},
	} {
		c, ch := s.client(t, tc.access, never)
		c.choice.answered(c, true, tc.pods, nil)
		for range 2 {
			c.choice.answered(c, false, AccessDirect, refused)
		}
		wantLines(t, name, ch.all, tc.want...)
	}
}

// A namespace without a role does not hide that other namespaces have one.
func TestAccessOfSomeNamespaces(t *testing.T) {
	t.Parallel()
	s := newCluster(t, 34)
	c, ch := s.client(t, AccessAuto, never)
	refused := &apierrors.StatusError{ErrStatus: *apitest.Status(403, metav1.StatusReasonForbidden, "cannot get")}
	for _, err := range []error{refused, nil, refused, nil} {
		c.choice.answered(c, false, AccessDirect, err)
	}
	wantLines(t, "modes", ch.all, "none", "direct")
}
