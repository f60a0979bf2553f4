//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	corev1 "k8s.io/api/core/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/report"
	"github.com/whypull/whypull/report/metrics"
)

// clock is a clock that a test advances.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// fakeRuntime is ready or not.
type fakeRuntime struct {
	mu       sync.Mutex
	err      error
	deadline bool
	asked    int
}

func (r *fakeRuntime) Ready(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, r.deadline = ctx.Deadline()
	r.asked++
	return r.err
}

func (r *fakeRuntime) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

type served struct {
	tracker *podwatch.Tracker
	pods    podWatch
	runtime *fakeRuntime
	health  *runtimeHealth
	clock   *clock // used by health
	log     *bytes.Buffer
	handler http.Handler
}

func newServed() served {
	return newServedWith(func(delivered time.Time) time.Time { return delivered })
}

// newServedWith serves with a watch whose last sign of life is as lastHeard
// returns.
func newServedWith(lastHeard func(time.Time) time.Time) served {
	s := served{runtime: &fakeRuntime{}, clock: newClock(), log: &bytes.Buffer{}}
	s.tracker = podwatch.NewTracker(report.Prefix, time.Now, func(podwatch.Update) {})
	s.pods = podWatch{tracker: s.tracker, lastHeard: lastHeard, now: time.Now}
	s.health = newRuntimeHealth(s.runtime, slog.New(slog.NewTextHandler(s.log, nil)), s.clock.now)
	s.handler = handler(metrics.New("v9"), s.pods, s.health, unprotected)
	return s
}

// setRuntime sets the runtime's status and expires the cached one.
func (s served) setRuntime(err error) {
	s.runtime.set(err)
	s.clock.advance(readinessLife)
}

func (s served) get(method, path, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

func (s served) want(t *testing.T, path string, status int, body string) {
	t.Helper()
	if w := s.get("GET", path, ""); w.Code != status || strings.TrimSpace(w.Body.String()) != body {
		t.Errorf("%s: %d %s, want %d %s", path, w.Code, w.Body, status, body)
	}
}

// /healthz is about the process alone; /readyz is about what it depends on.
func TestHealth(t *testing.T) {
	t.Parallel()
	s := newServed()
	s.want(t, "/readyz", 503, "the watch on pods has not synced")
	s.want(t, "/healthz", 200, "ok")
	s.tracker.Update(&corev1.Pod{})
	s.want(t, "/readyz", 503, "the watch on pods has not synced")
	s.tracker.Replace(nil)
	s.want(t, "/readyz", 200, "ok")
	s.setRuntime(errors.New("container runtime: Status: Down (Unavailable)"))
	s.want(t, "/readyz", 503, "the container runtime is not ready") // and not its error
	s.want(t, "/healthz", 200, "ok")
	s.setRuntime(errors.New("container runtime: Status: Down (Unavailable)"))
	s.want(t, "/readyz", 503, "the container runtime is not ready")
	if got := s.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `err="container runtime: Status: Down (Unavailable)"`) {
		t.Errorf("log %s", got)
	}
	s.setRuntime(nil)
	s.want(t, "/readyz", 200, "ok")
	if !s.runtime.deadline {
		t.Error("the runtime may take as long as it likes")
	}
}

// Requests for readiness or metrics, including aborted ones, do not become status
// requests to the runtime.
func TestRuntimeStatusIsCached(t *testing.T) {
	t.Parallel()
	s := newServed()
	s.tracker.Replace(nil)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		s.want(t, "/readyz", 200, "ok")
		_ = s.get("GET", "/metrics", "")
		_ = s.health.Ready(gone)
	}
	if s.runtime.asked != 1 {
		t.Errorf("%d status requests, want 1", s.runtime.asked)
	}
	s.clock.advance(readinessLife - 1)
	s.want(t, "/readyz", 200, "ok")
	if s.runtime.asked != 1 {
		t.Errorf("%d status requests before the cached status expired", s.runtime.asked)
	}
}

// A caller that leaves during a status request does not cancel it for the others.
func TestRuntimeStatusOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}), make(chan struct{})
	runtime := &slowRuntime{asked: asked, release: release}
	health := newRuntimeHealth(runtime, slog.New(slog.DiscardHandler), time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- health.Ready(ctx) }()
	<-asked
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	close(release)
	eventually(t, "the runtime's status", func() bool { return health.Ready(t.Context()) == nil })
	if runtime.canceled {
		t.Error("the status request was canceled")
	}
}

// slowRuntime responds to one request, after it is released.
type slowRuntime struct {
	asked    chan<- struct{}
	release  <-chan struct{}
	canceled bool
}

func (r *slowRuntime) Ready(ctx context.Context) error {
	r.asked <- struct{}{} // blocks forever the second time
	select {
	case <-r.release:
	case <-ctx.Done():
		r.canceled = true
	}
	return nil
}

// A scrape whose client has disconnected does not report the runtime as down.
func TestMetricsOfDisconnectedClient(t *testing.T) {
	t.Parallel()
	s, m := newServed(), metrics.New("v9")
	h := handler(m, s.pods, s.health, unprotected)
	scrape := func(ctx context.Context) string {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil).WithContext(ctx))
		return w.Body.String()
	}
	if !strings.Contains(scrape(t.Context()), "whypull_cri_up 1\n") {
		t.Fatal("the runtime is down")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_ = scrape(gone)
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "whypull_cri_up" && f.GetMetric()[0].GetGauge().GetValue() != 1 {
			t.Error("the runtime is reported as down")
		}
	}
}

func TestMetricsAreServedInTurn(t *testing.T) {
	t.Parallel()
	var running, most atomic.Int32
	h := inTurn(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		most.Store(max(most.Load(), running.Add(1)))
		time.Sleep(time.Millisecond)
		running.Add(-1)
	}))
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil)) })
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("%d requests at once", most.Load())
	}
}

// Nothing is compressed, because encoders take megabytes of memory.
func TestMetricsAreNotCompressed(t *testing.T) {
	t.Parallel()
	s := newServed()
	for _, accept := range []string{"", "gzip", "zstd", "zstd,gzip"} {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.Header.Set("Accept-Encoding", accept)
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		if got := w.Header().Get("Content-Encoding"); w.Code != 200 || got != "" {
			t.Errorf("accepting %q: %d, %q", accept, w.Code, got)
		}
	}
}

// The metrics are protected, the kubelet's probes are not.
func TestProtectionOfMetrics(t *testing.T) {
	t.Parallel()
	s := newServed()
	s.tracker.Replace(nil)
	s.handler = handler(metrics.New("v9"), s.pods, s.health, newAuthenticated().protect)
	s.want(t, "/metrics", 401, "Unauthorized")
	s.want(t, "/healthz", 200, "ok")
	s.want(t, "/readyz", 200, "ok")
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Authorization", "Bearer good")
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	if w.Code != 200 || !strings.Contains(w.Body.String(), "whypull_build_info") {
		t.Errorf("with a token: %d %s", w.Code, w.Body)
	}
}

// An agent is not ready if its watch shows no sign of life, and ready while the
// idle connection is alive.
func TestReadyWhileTheWatchIsHeardOf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var alive time.Time // the connection
		s := newServedWith(func(delivered time.Time) time.Time {
			if alive.After(delivered) {
				return alive
			}
			return delivered
		})
		s.tracker.Replace(nil)
		time.Sleep(time.Minute)
		s.want(t, "/readyz", 200, "ok")
		time.Sleep(time.Second)
		s.want(t, "/readyz", 503, "the watch on pods is silent")
		s.want(t, "/healthz", 200, "ok")
		alive = time.Now()
		s.want(t, "/readyz", 200, "ok")
		if want := fmt.Sprintf("whypull_last_sync_timestamp_seconds %g\n", float64(alive.Unix())); !strings.Contains(s.get("GET", "/metrics", "").Body.String(), want) {
			t.Errorf("the metrics have no %s", want)
		}
		time.Sleep(time.Hour)
		s.want(t, "/readyz", 503, "the watch on pods is silent")
		s.tracker.Bookmark()
		s.want(t, "/readyz", 200, "ok")
	})
}

func TestMethods(t *testing.T) {
	t.Parallel()
	s := newServed()
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		if w := s.get("POST", path, ""); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, w.Code)
		}
	}
	for _, path := range []string{"/", "/debug/pprof/", "/healthz/x"} {
		if w := s.get("GET", path, ""); w.Code != http.StatusNotFound {
			t.Errorf("GET %s: %d", path, w.Code)
		}
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newServed()
	for accept, want := range map[string]string{
		"": "text/plain; version=0.0.4",
		"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.1": "application/openmetrics-text; version=1.0.0",
		"text/plain": "text/plain; version=0.0.4",
	} {
		w := s.get("GET", "/metrics", accept)
		if got := w.Header().Get("Content-Type"); w.Code != 200 || !strings.HasPrefix(got, want) {
			t.Errorf("accepting %q: %d, %s", accept, w.Code, got)
		}
		if end := strings.HasSuffix(w.Body.String(), "# EOF\n"); end != strings.Contains(want, "openmetrics") {
			t.Errorf("accepting %q: ends with EOF: %t", accept, end)
		}
	}
}

// The gauges about dependencies are as of the scrape.
func TestMetricsAreCurrent(t *testing.T) {
	t.Parallel()
	s := newServed()
	has := func(line string) bool {
		for l := range strings.SplitSeq(s.get("GET", "/metrics", "").Body.String(), "\n") {
			if l == line {
				return true
			}
		}
		return false
	}
	if !has("whypull_cri_up 1") || !has("whypull_last_sync_timestamp_seconds 0") {
		t.Error("before the sync")
	}
	s.setRuntime(errors.New("down"))
	s.tracker.Replace(nil)
	if !has("whypull_cri_up 0") || has("whypull_last_sync_timestamp_seconds 0") {
		t.Error("after the sync, with the runtime down")
	}
}

// A listener ends with its context, after pending requests have been answered.
func TestListen(t *testing.T) {
	noGoroutinesLeft(t)
	asked, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	free := func() { once.Do(func() { close(release) }) }
	defer free()
	address := freePort(t)
	server := &http.Server{Addr: address, ReadHeaderTimeout: long, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-release
		_, _ = io.WriteString(w, "late")
	})}
	ctx, cancel := context.WithCancel(t.Context())
	ended, got := make(chan error, 1), make(chan string, 1)
	go func() { ended <- listen(ctx, server) }()
	go func() {
		var answer string
		for answer == "" {
			answer = get(address, "/")
		}
		got <- answer
	}()
	<-asked
	cancel()
	eventually(t, "the end of the listener", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	for range 20 { // enough attempts to end too early
		select {
		case err := <-ended:
			t.Fatalf("ended with %v before the answer was given", err)
		case <-time.After(time.Millisecond):
		}
	}
	free()
	if err := <-ended; err != nil {
		t.Errorf("error %v", err)
	}
	if answer := <-got; answer != "200 OK late" {
		t.Errorf("answer %q", answer)
	}
}

func TestListenTooLate(t *testing.T) {
	noGoroutinesLeft(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := listen(ctx, &http.Server{Addr: "127.0.0.1:0", ReadHeaderTimeout: long}); err != nil {
		t.Errorf("error %v", err)
	}
}

// A listener that breaks returns an error.
func TestListenBreaks(t *testing.T) {
	noGoroutinesLeft(t)
	err := listen(t.Context(), &http.Server{Addr: "256.0.0.1:0", ReadHeaderTimeout: long})
	if err == nil || !strings.HasPrefix(err.Error(), "--listen-address or WHYPULL_LISTEN_ADDRESS: ") || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

// A Prometheus that accepts native histograms gets them.
func TestNativeHistogramsAreServed(t *testing.T) {
	t.Parallel()
	s, m := newServed(), metrics.New("v9")
	m.Checked(diagnosis.CheckRegistry, diagnosis.Passed, 30*time.Millisecond)
	s.handler = handler(m, s.pods, s.health, unprotected)
	w := s.get("GET", "/metrics", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,text/plain;version=0.0.4;q=0.2")
	decoder := expfmt.NewDecoder(w.Body, expfmt.ResponseFormat(w.Header()))
	for {
		var f dto.MetricFamily
		if err := decoder.Decode(&f); err != nil {
			t.Fatalf("the checks are not there: %v, %v", err, w.Header())
		}
		if f.GetName() != "whypull_check_duration_seconds" {
			continue
		}
		if h := f.GetMetric()[0].GetHistogram(); len(h.GetPositiveSpan()) == 0 || h.GetSampleCount() != 1 || len(h.GetBucket()) != 0 {
			t.Errorf("got %v", h)
		}
		return
	}
}
