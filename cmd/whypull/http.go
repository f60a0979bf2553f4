package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/whypull/whypull/agent/podwatch"
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
	if silent := w.now().Sub(w.heard()); silent > silence {
		return fmt.Errorf("the watch on pods has been silent for %s", silent.Truncate(time.Second))
	}
	return nil
}

// handler serves /metrics, /healthz (the process is alive) and /readyz (the
// watch has synced and is alive, and the runtime responds).
func handler(m *report.Metrics, pods podWatch, runtime readiness) http.Handler {
	mux := http.NewServeMux()
	metrics := promhttp.HandlerFor(m.Gatherer(), promhttp.HandlerOpts{EnableOpenMetrics: true})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if heard := pods.heard(); !heard.IsZero() {
			m.Synced(heard)
		}
		m.RuntimeUp(ready(r.Context(), runtime) == nil)
		metrics.ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		err := pods.ready()
		if err == nil {
			err = ready(r.Context(), runtime)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

func ready(ctx context.Context, r readiness) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return r.Ready(ctx)
}
