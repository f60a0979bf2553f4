// Package apitest has API servers for tests on a loopback port: one with
// scripted responses, and one that serves pods.
package apitest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

// Token is the bearer token in the kubeconfig.
const Token = "t0ken"

// Request is a request that a server received.
type Request struct {
	*http.Request
	Body string
}

// Line returns method, path and impersonated user of the request.
func (r Request) Line() string {
	return strings.TrimSpace(r.Method + " " + r.URL.Path + " " + r.Header.Get("Impersonate-User"))
}

// Script is an API server with scripted responses that records its requests.
type Script struct {
	*httptest.Server

	answer   func(http.ResponseWriter, Request)
	mu       sync.Mutex
	requests []Request
}

// NewScript starts a server without TLS; it stops with the test.
func NewScript(t *testing.T, answer func(http.ResponseWriter, Request)) *Script {
	t.Helper()
	s := Unstarted(answer)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// Unstarted returns a server that the caller starts and closes.
func Unstarted(answer func(http.ResponseWriter, Request)) *Script {
	s := &Script{answer: answer}
	s.Server = httptest.NewUnstartedServer(s)
	return s
}

// ServeHTTP implements http.Handler.
func (s *Script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	request := Request{r, string(body)}
	s.mu.Lock()
	s.requests = append(s.requests, request)
	s.mu.Unlock()
	s.answer(w, request)
}

// All returns the requests so far.
func (s *Script) All() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Lines returns the lines of the requests so far.
func (s *Script) Lines() []string {
	var out []string
	for _, r := range s.All() {
		out = append(out, r.Line())
	}
	return out
}

// CA returns the server's certificate in PEM form; nil without TLS.
func (s *Script) CA() []byte {
	if s.Certificate() == nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

// Kubeconfig writes a kubeconfig for a server and returns its path. Its current
// context "here" has Token and the namespace shop.
func Kubeconfig(tb testing.TB, url string, ca []byte) string {
	tb.Helper()
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"here",
		"clusters":[{"name":"c","cluster":{"server":%q,"certificate-authority-data":%q}}],
		"contexts":[{"name":"here","context":{"cluster":"c","user":"u","namespace":"shop"}},{"name":"wrong","context":{"cluster":"c","user":"nobody"}}],
		"users":[{"name":"u","user":{"token":%q}},{"name":"nobody","user":{"token":"x"}}]}`, url, base64.StdEncoding.EncodeToString(ca), Token)
	path := filepath.Join(tb.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// Fail sends a Status, as an API server does.
func Fail(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(Status(code, reason, message)) // the client has gone
}

// Status returns the Status of a failure.
func Status(code int, reason metav1.StatusReason, message string) *metav1.Status {
	return &metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message, //nolint:gosec // an HTTP status
	}
}

// Write sends an object in the given media type.
func Write(w http.ResponseWriter, mediaType string, obj runtime.Object) {
	body, err := Encode(mediaType, obj)
	if err != nil {
		Fail(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, err.Error())
		return
	}
	w.Header().Set("Content-Type", mediaType)
	_, _ = w.Write(body) // the client has gone
}

// Encode returns the object in JSON or protobuf.
func Encode(mediaType string, obj runtime.Object) ([]byte, error) {
	if mediaType == runtime.ContentTypeJSON {
		return json.Marshal(obj)
	}
	var b bytes.Buffer
	err := protobuf.NewSerializer(nil, nil).Encode(obj, &b) // only a decoder needs the types
	return b.Bytes(), err
}
