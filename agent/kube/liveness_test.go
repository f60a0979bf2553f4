package kube

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/whypull/whypull/agent/kube/apitest"
)

// pipes is a network inside a synctest bubble: an address that only its dialer
// knows, and connections that can be frozen, so that nothing arrives any more
// and nothing fails either.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once
	mu       sync.Mutex
	frozen   bool
}

func newPipes() *pipes {
	return &pipes{accepted: make(chan net.Conn), closed: make(chan struct{})}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.accepted:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.accepted <- &frozenConn{Conn: server, pipes: p, closed: make(chan struct{})}:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// freeze blocks the server's side of all connections.
func (p *pipes) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = true
}

// frozenConn is the server's end of a connection.
type frozenConn struct {
	net.Conn
	pipes  *pipes
	once   sync.Once
	closed chan struct{}
}

func (c *frozenConn) Write(b []byte) (int, error) {
	c.pipes.mu.Lock()
	frozen := c.pipes.frozen
	c.pipes.mu.Unlock()
	if frozen {
		<-c.closed
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

func (c *frozenConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// idleWatch is an open watch without events, over TLS and, by default, HTTP/2.
// Time is the bubble's.
type idleWatch struct {
	client *Client
	pipes  *pipes
	watch  watch.Interface
}

func inIdleWatch(t *testing.T, multiplexed bool, test func(*testing.T, *idleWatch)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", runtime.ContentTypeJSON+";stream=watch")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}))
		_ = server.Listener.Close()
		server.Listener = p
		server.EnableHTTP2 = multiplexed
		server.StartTLS()
		cfg := &rest.Config{Host: "https://api.test", Dial: p.dial}
		cfg.Insecure = true
		if !multiplexed {
			cfg.NextProtos = []string{"http/1.1"}
		}
		client, err := New(cfg, Options{Node: nodeName, Access: AccessAuto})
		if err != nil {
			t.Fatal(err)
		}
		lw, ok := client.PodWatch(nil, func(err error) { t.Error(err) }).(interface {
			WatchWithContext(context.Context, metav1.ListOptions) (watch.Interface, error)
		})
		if !ok {
			t.Fatal("no watch")
		}
		w, err := lw.WatchWithContext(t.Context(), metav1.ListOptions{TimeoutSeconds: new(int64(600))})
		if err != nil {
			t.Fatal(err)
		}
		test(t, &idleWatch{client: client, pipes: p, watch: w})
		w.Stop()
		server.CloseClientConnections()
		server.Close()
	})
}

// silent returns how long ago the last sign of life of the watch was; it has
// delivered nothing.
func (w *idleWatch) silent() time.Duration { return time.Since(w.client.LastHeard(time.Time{})) }

// closed is a connection that ends before there is an answer.
type closed struct{}

func (closed) RoundTrip(*http.Request) (*http.Response, error) { return nil, io.EOF }

// A load balancer without an API server accepts connections and closes them, which is no
// sign of life.
func TestLastHeardOfClosedConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // the client tries again each second
		c, err := New(&rest.Config{Host: "http://api", Transport: closed{}}, Options{Node: nodeName, Access: AccessDirect})
		if err != nil {
			t.Fatal(err)
		}
		failed := 0
		w, err := cache.ToListerWatcherWithContext(c.PodWatch(nil, func(error) { failed++ })).WatchWithContext(t.Context(), metav1.ListOptions{})
		if err == nil || failed != 1 {
			t.Errorf("watch %v, error %v, %d failures", w, err, failed)
		}
		if at := c.LastHeard(time.Time{}); !at.IsZero() {
			t.Errorf("heard at %s", at)
		}
	})
}

// On an idle node there is a sign of life twice a minute, from the responses to
// the client's pings.
func TestLastHeardOfIdleWatch(t *testing.T) {
	inIdleWatch(t, true, func(t *testing.T, w *idleWatch) {
		for range 100 {
			time.Sleep(5 * time.Second)
			if s := w.silent(); s > 31*time.Second {
				t.Fatalf("silent for %s", s)
			}
		}
	})
}

// A frozen API server with open connections gives no sign of life, and its
// watch ends.
func TestLastHeardOfFrozenAPIServer(t *testing.T) {
	inIdleWatch(t, true, func(t *testing.T, w *idleWatch) {
		time.Sleep(5 * time.Minute)
		w.pipes.freeze()
		time.Sleep(time.Minute + time.Second)
		if s := w.silent(); s < time.Minute || s > 92*time.Second {
			t.Errorf("silent for %s", s)
		}
		<-w.watch.ResultChan()
		w.watch.Stop()
		if s := w.silent(); s < time.Minute || s > 92*time.Second {
			t.Errorf("silent for %s after the end of the watch", s)
		}
	})
}

// A handler that hangs in a server that answers pings does not end its watch at
// the timeout, and does not count as alive any more.
func TestLastHeardOfEndlessWatch(t *testing.T) {
	inIdleWatch(t, true, func(t *testing.T, w *idleWatch) {
		time.Sleep(10*time.Minute + endSlack)
		if s := w.silent(); s > 31*time.Second {
			t.Errorf("silent for %s before the end", s)
		}
		time.Sleep(time.Hour)
		if s := w.silent(); s < time.Hour {
			t.Errorf("silent for %s after the end", s)
		}
	})
}

// Without pings there is only a bookmark each minute.
func TestLastHeardWithoutPings(t *testing.T) {
	inIdleWatch(t, false, func(t *testing.T, w *idleWatch) {
		time.Sleep(89 * time.Second)
		if s := w.silent(); s != 59*time.Second {
			t.Errorf("silent for %s", s)
		}
		delivered := time.Now()
		if got := w.client.LastHeard(delivered); !got.Equal(delivered) {
			t.Errorf("heard at %s, which is not now", got)
		}
		time.Sleep(61 * time.Second)
		if s := time.Since(w.client.LastHeard(delivered)); s != 31*time.Second {
			t.Errorf("silent for %s after a bookmark", s)
		}
	})
}

// Without a watch there is no sign of life, whatever else is answered.
func TestLastHeardWithoutWatch(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t, func(w http.ResponseWriter, _ request) { apitest.Write(w, runtime.ContentTypeProtobuf, pullSecret()) })
	c := s.client(t, AccessAuto)
	if _, err := c.Secret(t.Context(), "team", "pull"); err != nil {
		t.Fatal(err)
	}
	c.liveness.mu.Lock()
	received := c.liveness.received
	c.liveness.mu.Unlock()
	if received.IsZero() {
		t.Error("the answer was not heard")
	}
	if got := c.LastHeard(time.Time{}); !got.IsZero() {
		t.Errorf("heard at %s", got)
	}
	at := time.Now().Add(-time.Hour)
	if got := c.LastHeard(at); !got.Equal(at) {
		t.Errorf("heard at %s, want %s", got, at)
	}
}

// All requests share one connection.
func TestOneConnection(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	connections := 0
	s := apitest.Unstarted(func(w http.ResponseWriter, r request) {
		if r.Header.Get("Impersonate-User") != "" {
			refuse(w, "users", "impersonate")
			return
		}
		apitest.Write(w, runtime.ContentTypeProtobuf, pullSecret())
	})
	s.EnableHTTP2 = true
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		if state == http.StateNew {
			connections++
		}
	}
	s.StartTLS()
	defer s.Close()
	c, err := New(&rest.Config{Host: s.URL, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}, Options{Node: nodeName, Access: AccessAuto})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Secret(t.Context(), "team", "pull"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if connections != 1 {
		t.Errorf("%d connections, want 1", connections)
	}
	if got := s.All()[0].ProtoMajor; got != 2 {
		t.Errorf("got HTTP/%d, want HTTP/2", got)
	}
}
