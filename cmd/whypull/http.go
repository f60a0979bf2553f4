package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/agent/share"
	"github.com/whypull/whypull/report"
)

// readiness reports whether the runtime responds.
type readiness interface {
	Ready(ctx context.Context) error
}

// silence is how long the watch on pods may show no sign of life before the
// agent is not ready: twice the interval of pings on an idle connection.
const silence = time.Minute

// podWatch reports the health of the watch on pods.
type podWatch struct {
	tracker *podwatch.Tracker
	// lastHeard returns the last sign of life of the watch, given when it last
	// delivered something.
	lastHeard func(delivered time.Time) time.Time
	now       func() time.Time
}

// heard returns the last sign of life of the watch; zero if there was none.
func (w podWatch) heard() time.Time {
	_, delivered := w.tracker.Synced()
	return w.lastHeard(delivered)
}

// ready returns an error if the watch does not show the current pods.
func (w podWatch) ready() error {
	if synced, _ := w.tracker.Synced(); !synced {
		return errors.New("the watch on pods has not synced")
	}
	if w.now().Sub(w.heard()) > silence {
		return errors.New("the watch on pods is silent")
	}
	return nil
}

const (
	// readinessLife is how long the runtime's answer serves, so that it is not
	// asked as often as somebody sends a request. The kubelet asks every five
	// seconds.
	readinessLife = 3 * time.Second
	// readinessTimeout bounds the runtime's answer.
	readinessTimeout = 2 * time.Second
)

// runtimeAnswer is what the runtime answered last.
type runtimeAnswer struct{ err error }

// runtimeHealth is the readiness of the runtime, of which it is asked at most
// once in readinessLife, whoever wants to know.
type runtimeHealth struct {
	runtime readiness
	log     *slog.Logger
	down    atomic.Bool
	answers *share.Cache[struct{}, *runtimeAnswer]
}

func newRuntimeHealth(runtime readiness, log *slog.Logger, now func() time.Time) *runtimeHealth {
	return &runtimeHealth{runtime: runtime, log: log,
		answers: share.New[struct{}](1, share.For[*runtimeAnswer](readinessLife), now)}
}

// Ready implements readiness. The error is that of ctx, or one that may be shown
// to anybody; what the runtime says goes to the log.
func (h *runtimeHealth) Ready(ctx context.Context) error {
	answer, err := h.answers.Get(ctx, struct{}{}, func(ctx context.Context) (*runtimeAnswer, error) {
		// It goes on without the one who asks: else a request that is given up
		// would cost a call of the runtime each.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readinessTimeout)
		defer cancel()
		return &runtimeAnswer{h.ask(ctx)}, nil
	})
	if err != nil {
		return err
	}
	return answer.err
}

func (h *runtimeHealth) ask(ctx context.Context) error {
	err := h.runtime.Ready(ctx)
	if wasDown := h.down.Swap(err != nil); err == nil {
		return nil
	} else if !wasDown {
		h.log.Warn("container runtime is not ready", "err", err)
	}
	return errors.New("the container runtime is not ready")
}

// metricsTimeout bounds the answer to a scrape: Prometheus waits for ten seconds
// unless it is configured otherwise.
const metricsTimeout = 8 * time.Second

// handler serves /metrics, to those whom protect lets through, and to everybody
// /healthz (the process is alive) and /readyz (the watch has synced and is alive,
// and the runtime answers), which say no more than that.
func handler(m *report.Metrics, pods podWatch, runtime readiness, protect func(http.Handler) http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+metricsPath, protect(metrics(m, pods, runtime)))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		err := pods.ready()
		if err == nil {
			err = runtime.Ready(r.Context())
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// metrics serves the metrics, for one request at a time. An answer is complete
// before any of it is sent, so that nobody takes the turn of others by reading
// slowly. zstd is not offered: its encoder takes megabytes.
func metrics(m *report.Metrics, pods podWatch, runtime readiness) http.Handler {
	exposed := promhttp.HandlerFor(m.Gatherer(), promhttp.HandlerOpts{
		EnableOpenMetrics: true, OfferedCompressions: []promhttp.Compression{promhttp.Identity, promhttp.Gzip},
	})
	return http.TimeoutHandler(inTurn(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if heard := pods.heard(); !heard.IsZero() {
			m.Synced(heard)
		}
		if err := runtime.Ready(r.Context()); r.Context().Err() == nil {
			m.RuntimeUp(err == nil)
		}
		exposed.ServeHTTP(w, r)
	})), metricsTimeout, "the metrics took too long\n")
}

// inTurn handles one request at a time; the others wait. How many do is bounded by
// the number of connections, each of which carries one request at a time.
func inTurn(h http.Handler) http.Handler {
	turn := make(chan struct{}, 1)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
			h.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})
}

// forEverybody is the protection of --metrics-auth=none.
func forEverybody(h http.Handler) http.Handler { return h }

// Bounds on what a connection may take, in time and bytes. A service account's
// token has one to two KiB.
const (
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	writeTimeout   = 15 * time.Second
	idleTimeout    = 2 * time.Minute // longer than two scrapes are apart
	maxHeaderBytes = 8 << 10
)

// newServer returns a server with bounds. Its connections have to come from a
// fairListener.
func newServer(address string, h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Addr: address, Handler: marksBusy(h), ConnContext: withConn, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
	}
}
