package recheck

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/kube/apitest"
	"github.com/whypull/whypull/cri/asserttest"
)

// server is an API server with one secret.
type server struct {
	*apitest.Script
	version  atomic.Value  // of the secret
	written  chan struct{} // the secret has changed
	watching atomic.Int32
	gets     atomic.Int32
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{written: make(chan struct{}, 1)}
	s.version.Store("1")
	s.Script = apitest.NewScript(t, s.serve)
	return s
}

func (s *server) serve(w http.ResponseWriter, r apitest.Request) {
	metadata := func() *metav1.PartialObjectMetadata {
		return &metav1.PartialObjectMetadata{
			TypeMeta:   metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "pull", UID: "u", ResourceVersion: s.version.Load().(string)},
		}
	}
	if r.URL.Query().Get("watch") == "" {
		s.gets.Add(1)
		apitest.Write(w, runtime.ContentTypeJSON, metadata())
		return
	}
	s.watching.Add(1)
	defer s.watching.Add(-1)
	w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	for kind := "ADDED"; ; kind = "MODIFIED" {
		_ = json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": metadata()}) // the client has gone
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-s.written:
		}
	}
}

func (s *server) write(version string) {
	s.version.Store(version)
	s.written <- struct{}{}
}

// failing are pods that the watch may examine again.
type failing struct {
	mu    sync.Mutex
	all   []diagnosis.Failure
	again []string
}

func (p *failing) Failing() []diagnosis.Failure {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all
}

func (p *failing) Reexamine(uid string, _ bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.again = append(p.again, uid)
}

func (p *failing) reexamined() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.again, " ")
}

var eventually = asserttest.Eventually

// A real client sees a real server's changes by a watch, without a poll, and closes the
// watch when the pod no longer fails.
func TestRealServer(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	client, err := kube.New(&rest.Config{Host: s.URL}, kube.Options{Node: "worker-3", Access: kube.AccessImpersonate})
	if err != nil {
		t.Fatal(err)
	}
	f := failure("a", "pull")
	p := &failing{all: []diagnosis.Failure{f}}
	w := New(client, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { w.Run(ctx, p, func() {}) })
	defer wg.Wait()
	defer cancel()
	w.Secret(f, "pull", "u/1", nil)
	eventually(t, "a watch", func() bool { return s.watching.Load() == 1 })
	s.write("2")
	eventually(t, "another examination", func() bool { return strings.HasPrefix(p.reexamined(), "a") })
	w.Secret(f, "pull", "u/2", nil)
	p.mu.Lock()
	p.all = nil
	p.mu.Unlock()
	eventually(t, "the end of the watch", func() bool { return s.watching.Load() == 0 })
	if n := s.gets.Load(); n > 0 {
		t.Errorf("polled %d times", n)
	}
}
