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
	"github.com/whypull/whypull/report/metrics"
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
	// readinessLife is how long the runtime's status is cached, so that requests
	// to the agent do not become requests to the runtime. The kubelet probes every
	// five seconds.
	readinessLife = 3 * time.Second
	// readinessTimeout bounds a status request to the runtime.
	readinessTimeout = 2 * time.Second
)

// runtimeStatus is the result of a status request; err is nil if the runtime is
// ready.
type runtimeStatus struct{ err error }

// runtimeHealth caches whether the runtime is ready. Concurrent callers share one
// status request.
type runtimeHealth struct {
	runtime readiness
	log     *slog.Logger
	down    atomic.Bool
	cached  *share.Cache[struct{}, *runtimeStatus]
}

func newRuntimeHealth(runtime readiness, log *slog.Logger, now func() time.Time) *runtimeHealth {
	return &runtimeHealth{runtime: runtime, log: log,
		cached: share.New[struct{}](1, share.For[*runtimeStatus](readinessLife), now)}
}

// Ready implements readiness. The error is that of ctx, or a constant one that is
// safe to show to unauthenticated clients; the runtime's own error is logged.
func (h *runtimeHealth) Ready(ctx context.Context) error {
	status, err := h.cached.Get(ctx, struct{}{}, func(ctx context.Context) (*runtimeStatus, error) {
		// Detached from the caller, so that an aborted request does not cost
		// another status request.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readinessTimeout)
		defer cancel()
		return &runtimeStatus{h.request(ctx)}, nil
	})
	if err != nil {
		return err
	}
	return status.err
}

// request asks the runtime for its status, and logs when it becomes not ready.
func (h *runtimeHealth) request(ctx context.Context) error {
	err := h.runtime.Ready(ctx)
	wasDown := h.down.Swap(err != nil)
	if err == nil {
		return nil
	}
	if !wasDown {
		h.log.Warn("container runtime is not ready", "err", err)
	}
	return errors.New("the container runtime is not ready")
}

// metricsTimeout bounds the response to a scrape. Prometheus's scrape_timeout is
// ten seconds by default.
const metricsTimeout = 8 * time.Second

// handler serves /metrics behind protect and, without authentication, /healthz (the
// process is alive) and /readyz (the watch has synced and is alive, and the runtime
// is ready). The latter two reveal nothing else.
func handler(m *metrics.Agent, pods podWatch, runtime readiness, protect func(http.Handler) http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+metricsPath, protect(exposition(m, pods, runtime)))
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

// exposition serves the metrics, one request at a time. The TimeoutHandler buffers the
// response, so a client that reads slowly does not block the next one. It is not
// compressed: zstd's encoder takes megabytes of memory, gzip's almost one.
func exposition(m *metrics.Agent, pods podWatch, runtime readiness) http.Handler {
	exposed := promhttp.HandlerFor(m.Gatherer(), promhttp.HandlerOpts{
		EnableOpenMetrics: true, DisableCompression: true,
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

// mostRest bounds the time between two scrapes, so that one of 40 connections
// has its turn before metricsTimeout.
const mostRest = 50 * time.Millisecond

// inTurn serves one request at a time; the others wait. Their number is bounded by
// the number of connections, each of which has one request at a time. After a
// request it rests for four times as long as that took, so that scrapes without end
// take no more than a fifth of a processor.
func inTurn(h http.Handler) http.Handler {
	turn := make(chan struct{}, 1)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case turn <- struct{}{}:
			start := time.Now()
			defer func() { time.AfterFunc(min(4*time.Since(start), mostRest), func() { <-turn }) }()
			h.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})
}

// unprotected is the protection of --metrics-auth=none.
func unprotected(h http.Handler) http.Handler { return h }

// Bounds on the time and bytes of a connection. A service account token has one to
// two KiB.
const (
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	writeTimeout   = 15 * time.Second
	idleTimeout    = 2 * time.Minute // longer than a usual scrape interval
	maxHeaderBytes = 8 << 10
)

// newServer returns a server with these bounds. It expects connections from a
// fairListener.
func newServer(address string, h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Addr: address, Handler: marksBusy(h), ConnContext: withConn, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
	}
}
