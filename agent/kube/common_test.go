package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/rest"
)

const (
	nodeName = "worker-3"
	asNode   = "system:node:" + nodeName
	password = "s3cret-passw0rd"
)

// long is how long a test waits for what must happen; nothing waits that long
// when all is well.
const long = 30 * time.Second

// request is a request that the API server got.
type request struct {
	method, path string
	query        url.Values
	header       http.Header
	body         string
}

// line is the request in short, with the user that it acts as.
func (r request) line() string {
	return strings.TrimSpace(r.method + " " + r.path + " " + r.header.Get("Impersonate-User"))
}

// apiServer is an API server on a loopback port that answers as it is told and
// remembers what it was asked.
type apiServer struct {
	*httptest.Server

	mu       sync.Mutex
	answer   func(w http.ResponseWriter, r request)
	requests []request
}

func newAPIServer(t *testing.T, answer func(http.ResponseWriter, request)) *apiServer {
	t.Helper()
	s := &apiServer{answer: answer}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// ServeHTTP implements http.Handler.
func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	req := request{method: r.Method, path: r.URL.Path, query: r.URL.Query(), header: r.Header.Clone(), body: string(body)}
	s.mu.Lock()
	s.requests = append(s.requests, req)
	answer := s.answer
	s.mu.Unlock()
	answer(w, req)
}

func (s *apiServer) all() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

func (s *apiServer) lines() []string {
	var out []string
	for _, r := range s.all() {
		out = append(out, r.line())
	}
	return out
}

func (s *apiServer) client(t *testing.T, access Access) *Client {
	t.Helper()
	c, err := New(&rest.Config{Host: s.URL, UserAgent: "whypull/test"}, nodeName, access)
	if err != nil {
		t.Fatal(err)
	}
	c.lag = time.Millisecond
	return c
}

// fail answers with a Status, as an API server does.
func fail(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message,
	})
}

// refuse is the answer to one who may not act as a node.
func refuse(w http.ResponseWriter, resource, verb string) {
	fail(w, http.StatusForbidden, metav1.StatusReasonForbidden, fmt.Sprintf(
		`%s "x" is forbidden: User "system:serviceaccount:whypull:whypull" cannot %s resource %q in API group ""`, resource, verb, resource))
}

// unrelated is the Node authorizer's refusal.
func unrelated(w http.ResponseWriter, secret string) {
	fail(w, http.StatusForbidden, metav1.StatusReasonForbidden, fmt.Sprintf(
		`secrets %q is forbidden: User %q cannot get resource "secrets" in API group "" in the namespace "team": no relationship found between node %q and this object`,
		secret, asNode, nodeName))
}

// write answers with an object, in the given media type.
func write(t *testing.T, w http.ResponseWriter, mediaType string, obj runtime.Object) {
	t.Helper()
	w.Header().Set("Content-Type", mediaType)
	if _, err := w.Write(encode(t, mediaType, obj)); err != nil {
		t.Log(err) // the client has gone
	}
}

func encode(t *testing.T, mediaType string, obj runtime.Object) []byte {
	t.Helper()
	if mediaType == runtime.ContentTypeJSON {
		out, err := json.Marshal(obj)
		if err != nil {
			t.Error(err)
		}
		return out
	}
	s := newScheme()
	var b bytes.Buffer
	if err := protobuf.NewSerializer(s, s).Encode(obj, &b); err != nil {
		t.Error(err)
	}
	return b.Bytes()
}

func wantLines(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\ngot  %s\nwant %s", what, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

// eventually waits for what must become true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(long); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}
