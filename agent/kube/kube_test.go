package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube/apitest"
	"github.com/whypull/whypull/cri/credential/credentialtest"
)

func TestParseAccess(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"auto", "impersonate", "kubelet", "direct", "none"} {
		if a, err := ParseAccess(s); err != nil || string(a) != s {
			t.Errorf("%s: %q, %v", s, a, err)
		}
	}
	for _, s := range []string{"", "Auto", "auto ", "all"} {
		if a, err := ParseAccess(s); err == nil || a != "" || !strings.Contains(err.Error(), "want auto, impersonate, kubelet, direct or none") {
			t.Errorf("%q: %q, %v", s, a, err)
		}
	}
}

func TestNewErrors(t *testing.T) {
	t.Parallel()
	if _, err := New(&rest.Config{Host: "http://[::1"}, Options{Node: nodeName, Access: AccessAuto}); err == nil {
		t.Error("a client was made for a host that is none")
	}
}

// New does not modify its configuration.
func TestNewLeavesConfig(t *testing.T) {
	t.Parallel()
	cfg := &rest.Config{Host: "http://127.0.0.1:1"}
	if _, err := New(cfg, Options{Node: nodeName, Access: AccessAuto}); err != nil {
		t.Fatal(err)
	}
	if cfg.QPS != 0 || cfg.Impersonate.UserName != "" || cfg.GroupVersion != nil {
		t.Errorf("configuration %+v", cfg)
	}
}

func pullSecret() *corev1.Secret {
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "pull"},
		Type:       corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(password)},
	}
}

const secretPath = "GET /api/v1/namespaces/team/secrets/pull"

// The identity that reads a secret depends on the access and on what the API
// server allows.
func TestSecretAccess(t *testing.T) {
	t.Parallel()
	const constrained, nodes, legacy = "impersonate-on:associated-node:get", "impersonate:associated-node", "impersonate"
	for name, tc := range map[string]struct {
		access Access
		asNode func(http.ResponseWriter) // nil: granted
		own    func(http.ResponseWriter)
		want   error
		first  []string
		second []string // requests of a second read
	}{
		"auto":                     {access: AccessAuto, first: []string{secretPath + " " + asNode}, second: []string{secretPath + " " + asNode}},
		"auto, not granted":        {access: AccessAuto, asNode: func(w http.ResponseWriter) { refuse(w, "secrets", constrained) }, first: []string{secretPath + " " + asNode, secretPath}, second: []string{secretPath}},
		"auto, nodes not granted":  {access: AccessAuto, asNode: func(w http.ResponseWriter) { refuse(w, "nodes", nodes) }, first: []string{secretPath + " " + asNode, secretPath}, second: []string{secretPath}},
		"auto, old API server":     {access: AccessAuto, asNode: func(w http.ResponseWriter) { refuse(w, "users", legacy) }, first: []string{secretPath + " " + asNode, secretPath}, second: []string{secretPath}},
		"auto, nothing granted":    {access: AccessAuto, asNode: func(w http.ResponseWriter) { refuse(w, "users", legacy) }, own: func(w http.ResponseWriter) { refuse(w, "secrets", "get") }, want: ErrNoAccess, first: []string{secretPath + " " + asNode, secretPath}, second: []string{secretPath + " " + asNode}},
		"auto, not this node's":    {access: AccessAuto, asNode: func(w http.ResponseWriter) { refuse(w, "secrets", "get") }, want: ErrNoAccess, first: []string{secretPath + " " + asNode}, second: []string{secretPath + " " + asNode}},
		"auto, a name as a trap":   {access: AccessAuto, asNode: func(w http.ResponseWriter) { refuse(w, "secrets-that-impersonate", "get") }, want: ErrNoAccess, first: []string{secretPath + " " + asNode}, second: []string{secretPath + " " + asNode}},
		"auto, missing":            {access: AccessAuto, asNode: func(w http.ResponseWriter) { apitest.Fail(w, 404, metav1.StatusReasonNotFound, "gone") }, want: ErrNotFound, first: []string{secretPath + " " + asNode}, second: []string{secretPath + " " + asNode}},
		"impersonate":              {access: AccessImpersonate, first: []string{secretPath + " " + asNode}, second: []string{secretPath + " " + asNode}},
		"impersonate, not granted": {access: AccessImpersonate, asNode: func(w http.ResponseWriter) { refuse(w, "users", legacy) }, want: ErrNoAccess, first: []string{secretPath + " " + asNode}, second: []string{secretPath + " " + asNode}},
		"direct":                   {access: AccessDirect, first: []string{secretPath}, second: []string{secretPath}},
		"direct, not granted":      {access: AccessDirect, own: func(w http.ResponseWriter) { refuse(w, "secrets", "get") }, want: ErrNoAccess, first: []string{secretPath}, second: []string{secretPath}},
		"none":                     {access: AccessNone, want: ErrNoAccess},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer(t, func(w http.ResponseWriter, r request) {
				refusal := tc.own
				if r.Header.Get("Impersonate-User") != "" {
					refusal = tc.asNode
				}
				if refusal == nil {
					apitest.Write(w, runtime.ContentTypeProtobuf, pullSecret())
					return
				}
				refusal(w)
			})
			c := s.client(t, tc.access)
			for _, want := range [][]string{tc.first, slices.Concat(tc.first, tc.second)} {
				got, err := c.Secret(t.Context(), "team", "pull")
				if !errors.Is(err, tc.want) {
					t.Errorf("error %v, want %v", err, tc.want)
				}
				if want := (err == nil); want != (string(got.Data.Reveal()[corev1.DockerConfigJsonKey]) == password) {
					t.Errorf("secret %v with error %v", got.Data, err)
				}
				credentialtest.NeverShows(t, got, password)
				wantLines(t, "requests", s.Lines(), want...)
			}
			noGroups(t, s.All())
		})
	}
}

// A group in the request would require the right to impersonate any user.
func noGroups(t *testing.T, requests []request) {
	t.Helper()
	for _, r := range requests {
		for key := range r.Header {
			if strings.HasPrefix(key, "Impersonate-") && key != "Impersonate-User" {
				t.Errorf("%s has the header %s", r.Line(), key)
			}
		}
		if r.Header.Get("User-Agent") != "whypull/test" {
			t.Errorf("%s comes from %q", r.Line(), r.Header.Get("User-Agent"))
		}
	}
}

// Roles may grant impersonation in some namespaces only, and for pods or
// secrets only: one refusal does not count for all.
func TestRefusalIsOfOneNamespace(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t, func(w http.ResponseWriter, r request) {
		if strings.Contains(r.URL.Path, "/closed/") && r.Header.Get("Impersonate-User") != "" {
			refuse(w, "secrets", "impersonate-on:associated-node:get")
			return
		}
		apitest.Write(w, runtime.ContentTypeProtobuf, pullSecret())
	})
	c := s.client(t, AccessAuto)
	for _, ns := range []string{"open", "closed", "open", "closed"} {
		if _, err := c.Secret(t.Context(), ns, "pull"); err != nil {
			t.Errorf("%s: %v", ns, err)
		}
	}
	if !c.reading.allowed(AccessAuto, "") {
		t.Error("pods are not read as the node any more")
	}
	const open, closed = "GET /api/v1/namespaces/open/secrets/pull", "GET /api/v1/namespaces/closed/secrets/pull"
	wantLines(t, "requests", s.Lines(), open+" "+asNode, closed+" "+asNode, closed, open+" "+asNode, closed)
}

func TestSecret(t *testing.T) {
	t.Parallel()
	for _, mediaType := range []string{runtime.ContentTypeProtobuf, runtime.ContentTypeJSON} {
		t.Run(mediaType, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer(t, func(w http.ResponseWriter, _ request) { apitest.Write(w, mediaType, pullSecret()) })
			got, err := s.client(t, AccessAuto).Secret(t.Context(), "team", "pull")
			if err != nil {
				t.Fatal(err)
			}
			if got.Type != "kubernetes.io/dockerconfigjson" || len(got.Data.Reveal()) != 1 {
				t.Errorf("secret of type %s with %d keys", got.Type, len(got.Data.Reveal()))
			}
			r := s.All()[0]
			if accept := r.Header.Get("Accept"); accept != "application/vnd.kubernetes.protobuf,application/json" {
				t.Errorf("accepts %s", accept)
			}
		})
	}
}

// Of a secret only what the kubelet reads is kept, and few are in memory as a whole.
func TestLargeSecrets(t *testing.T) {
	t.Parallel()
	var reading, most atomic.Int32
	s := newAPIServer(t, func(w http.ResponseWriter, _ request) {
		most.Store(max(most.Load(), reading.Add(1))) // not exact, but never too many
		time.Sleep(20 * time.Millisecond)
		reading.Add(-1)
		secret := pullSecret()
		secret.Data["tls.key"] = make([]byte, 1<<10)
		apitest.Write(w, runtime.ContentTypeProtobuf, secret)
	})
	c := s.client(t, AccessAuto)
	var all sync.WaitGroup
	for i := range 5 * maxReads {
		all.Go(func() {
			got, err := c.Secret(t.Context(), "team", fmt.Sprintf("pull%d", i))
			if keys := slices.Collect(maps.Keys(got.Data.Reveal())); err != nil || !slices.Equal(keys, []string{corev1.DockerConfigJsonKey}) {
				t.Errorf("a secret with %q, error %v", keys, err)
			}
		})
	}
	all.Wait()
	if n := most.Load(); n > maxReads {
		t.Errorf("%d secrets are read at once, want at most %d", n, maxReads)
	}
}

// Whatever writes a secret would undo what people change in it.
func TestSecretManager(t *testing.T) {
	t.Parallel()
	owned := func(apiVersion, kind, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "x"}, {APIVersion: apiVersion, Kind: kind, Name: name}},
			Labels:          map[string]string{"argocd.argoproj.io/instance": "shop"}, // copied from the owner
		}
	}
	for name, tt := range map[string]struct {
		meta metav1.ObjectMeta
		want diagnosis.Manager
	}{
		"nobody":          {metav1.ObjectMeta{}, diagnosis.Manager{}},
		"External Secret": {owned("external-secrets.io/v1", "ExternalSecret", "login"), diagnosis.Manager{Tool: diagnosis.ToolExternalSecret, Name: "login"}},
		"an older one":    {owned("external-secrets.io/v1beta1", "ExternalSecret", "login"), diagnosis.Manager{Tool: diagnosis.ToolExternalSecret, Name: "login"}},
		"hostile name":    {owned("external-secrets.io/v1", "ExternalSecret", "$(id)"), diagnosis.Manager{Tool: diagnosis.ToolExternalSecret}},
		"Sealed Secret":   {owned("bitnami.com/v1alpha1", "SealedSecret", "pull"), diagnosis.Manager{Tool: diagnosis.ToolSealedSecret, Name: "pull"}},
		"another group":   {owned("example.com/v1", "ExternalSecret", "login"), diagnosis.Manager{Tool: diagnosis.ToolArgoCD, Name: "shop"}},
		"External Secret that does not own it": {
			metav1.ObjectMeta{Labels: map[string]string{"reconcile.external-secrets.io/managed": "true"}}, diagnosis.Manager{Tool: diagnosis.ToolExternalSecret},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secret := pullSecret()
			tt.meta.Namespace, tt.meta.Name = secret.Namespace, secret.Name
			secret.ObjectMeta = tt.meta
			s := newAPIServer(t, func(w http.ResponseWriter, _ request) { apitest.Write(w, runtime.ContentTypeJSON, secret) })
			got, err := s.client(t, AccessAuto).Secret(t.Context(), "team", "pull")
			if err != nil || got.Manager != tt.want {
				t.Errorf("%+v, %v; want %+v", got.Manager, err, tt.want)
			}
		})
	}
}

// The Node authorizer may lag behind, so the read is repeated once, and only
// once.
func TestSecretOfNewPod(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		refusals int
		want     error
		requests int
	}{"related at once": {0, nil, 1}, "related a moment later": {1, nil, 2}, "never related": {9, ErrNoAccess, 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			left := tc.refusals
			s := newAPIServer(t, func(w http.ResponseWriter, _ request) {
				if left > 0 {
					left--
					unrelated(w, "pull")
					return
				}
				apitest.Write(w, runtime.ContentTypeProtobuf, pullSecret())
			})
			if _, err := s.client(t, AccessAuto).Secret(t.Context(), "team", "pull"); !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			if n := len(s.All()); n != tc.requests {
				t.Errorf("%d requests, want %d", n, tc.requests)
			}
		})
	}
}

// The wait for the authorizer ends with the context.
func TestSecretOfNewPodCanceled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := newAPIServer(t, func(w http.ResponseWriter, _ request) {
		unrelated(w, "pull")
		cancel()
	})
	c := s.client(t, AccessAuto)
	c.lag = time.Hour
	if _, err := c.Secret(ctx, "team", "pull"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if n := len(s.All()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestAuthorizerLag(t *testing.T) {
	t.Parallel()
	c, err := New(&rest.Config{Host: "http://127.0.0.1:1"}, Options{Node: nodeName, Access: AccessAuto})
	if err != nil || c.lag != authorizerLag {
		t.Errorf("lag %v, error %v", c.lag, err)
	}
}

// Whatever the API server answers, an error contains no data of a secret.
func TestSecretErrors(t *testing.T) {
	t.Parallel()
	text := func(contentType, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", contentType)
			_, _ = io.WriteString(w, body)
		}
	}
	status := func(code int, reason metav1.StatusReason) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { apitest.Fail(w, code, reason, "an answer with "+password) }
	}
	for name, tc := range map[string]struct {
		answer func(http.ResponseWriter)
		want   string
	}{
		"500":             {status(500, metav1.StatusReasonInternalError), "secret team/pull: the API server answered 500 InternalError"},
		"401":             {status(401, metav1.StatusReasonUnauthorized), "secret team/pull: the API server answered 401 Unauthorized"},
		"500, plain text": {func(w http.ResponseWriter) { http.Error(w, password, 500) }, "secret team/pull: the API server answered 500 InternalError"},
		"not JSON":        {text("application/json", `{"kind":"Secret","apiVersion":"v1","data":`+password), "secret team/pull: cannot decode the API server's response"},
		"not base64":      {text("application/json", `{"kind":"Secret","apiVersion":"v1","data":{"x":"`+password+`"}}`), "secret team/pull: cannot decode the API server's response"},
		"a number":        {text("application/json", `{"kind":"Secret","apiVersion":"v1","data":{"x":31337}}`), "secret team/pull: cannot decode the API server's response"},
		"another kind":    {text("application/json", `{"kind":"`+password+`","apiVersion":"v1"}`), "secret team/pull: cannot decode the API server's response"},
		"not protobuf":    {text("application/vnd.kubernetes.protobuf", password), "secret team/pull: cannot decode the API server's response"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer(t, func(w http.ResponseWriter, _ request) { tc.answer(w) })
			got, err := s.client(t, AccessAuto).Secret(t.Context(), "team", "pull")
			if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrNoAccess) || got.Data.Reveal() != nil {
				t.Fatalf("error %v, secret with %d keys", err, len(got.Data.Reveal()))
			}
			if text := strings.ReplaceAll(err.Error(), s.URL, "URL"); text != tc.want {
				t.Errorf("error %q, want %q", text, tc.want)
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if strings.Contains(fmt.Sprintf("%v %#v", e, e), password) || strings.Contains(e.Error(), "31337") {
					t.Errorf("the error discloses: %#v", e)
				}
			}
		})
	}
}

func TestSecretUnreachable(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t, nil)
	s.Close()
	_, err := s.client(t, AccessAuto).Secret(t.Context(), "team", "pull")
	if !errors.Is(err, syscall.ECONNREFUSED) || !strings.HasPrefix(err.Error(), "secret team/pull: Get ") {
		t.Errorf("error %v", err)
	}
}

func TestSecretCanceled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := newAPIServer(t, func(http.ResponseWriter, request) { t.Error("the API server was asked") })
	if _, err := s.client(t, AccessAuto).Secret(ctx, "team", "pull"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestWithoutContent(t *testing.T) {
	t.Parallel()
	if got := withoutContent(fmt.Errorf("x: %w", context.DeadlineExceeded)); !errors.Is(got, context.DeadlineExceeded) {
		t.Errorf("deadline: %v", got)
	}
	if got := withoutContent(apierrors.NewConflict(schema.GroupResource{Resource: "secrets"}, password, nil)); got.Error() != "the API server answered 409 Conflict" {
		t.Errorf("status: %v", got)
	}
}

// All requests use the agent's own token and verify the API server's
// certificate.
func TestTLSAndToken(t *testing.T) {
	t.Parallel()
	s := apitest.Unstarted(func(w http.ResponseWriter, _ request) { apitest.Write(w, runtime.ContentTypeProtobuf, pullSecret()) })
	s.StartTLS()
	defer s.Close()
	cfg := &rest.Config{Host: s.URL, BearerToken: "token-of-the-agent", UserAgent: "whypull/test"}
	cfg.CAData = s.CA()
	c, err := New(cfg, Options{Node: nodeName, Access: AccessAuto})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Secret(t.Context(), "team", "pull"); err != nil {
		t.Fatal(err)
	}
	r := s.All()[0]
	if r.Header.Get("Authorization") != "Bearer token-of-the-agent" || r.Header.Get("Impersonate-User") != asNode {
		t.Errorf("headers %v", r.Header)
	}
}

// A token that the API server refuses is read again, since the kubelet may have replaced it.
func TestTokenReplaced(t *testing.T) {
	t.Parallel()
	valid := "Bearer second"
	s := newAPIServer(t, func(w http.ResponseWriter, r request) {
		if r.Header.Get("Authorization") != valid {
			apitest.Fail(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized")
			return
		}
		apitest.Write(w, runtime.ContentTypeProtobuf, pullSecret())
	})
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	c, err := New(&rest.Config{Host: s.URL, BearerToken: "first", BearerTokenFile: file}, Options{Node: nodeName, Access: AccessImpersonate})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Secret(t.Context(), "team", "pull"); err == nil || strings.Contains(err.Error(), "first") {
		t.Errorf("with an expired token: %v", err)
	}
	write("second")
	if _, err := c.Secret(t.Context(), "team", "pull"); err != nil {
		t.Errorf("after the token was replaced: %v", err)
	}
}

// roundTripper answers requests without a network.
type roundTripper func(*http.Request) *http.Response

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

// Pods that fail together share the read of a secret, and nothing is kept.
func TestSecretShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var requests atomic.Int32
		release := make(chan struct{})
		transport := roundTripper(func(*http.Request) *http.Response {
			requests.Add(1)
			<-release
			w := httptest.NewRecorder()
			apitest.Write(w, runtime.ContentTypeProtobuf, pullSecret())
			return w.Result()
		})
		c, err := New(&rest.Config{Host: "http://api", Transport: transport}, Options{Node: "worker-3", Access: AccessAuto})
		if err != nil {
			t.Fatal(err)
		}
		gone, giveUp := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.Secret(gone, "team", "pull"); !errors.Is(err, context.Canceled) {
				t.Errorf("error of the one who gave up: %v", err)
			}
		})
		for range 20 {
			wg.Go(func() {
				if _, err := c.Secret(t.Context(), "team", "pull"); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait() // all of them wait for the one response
		giveUp()
		close(release)
		wg.Wait()
		if got := requests.Load(); got != 1 {
			t.Errorf("%d requests, want 1", got)
		}
		if _, err := c.Secret(t.Context(), "team", "pull"); err != nil {
			t.Error(err)
		}
		if got := requests.Load(); got != 2 {
			t.Errorf("%d requests after another reading, want 2: nothing is kept", got)
		}
	})
}
