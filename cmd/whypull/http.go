package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/report"
)

// readiness is the runtime's answer to whether it is there.
type readiness interface {
	Ready(ctx context.Context) error
}

// handler serves /metrics, /healthz (the process is alive) and /readyz (the
// watch has synced and the runtime answers).
func handler(m *report.Metrics, t *podwatch.Tracker, runtime readiness) http.Handler {
	mux := http.NewServeMux()
	metrics := promhttp.HandlerFor(m.Gatherer(), promhttp.HandlerOpts{EnableOpenMetrics: true})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if _, heard := t.Synced(); !heard.IsZero() {
			m.Synced(heard)
		}
		m.RuntimeUp(ready(r.Context(), runtime) == nil)
		metrics.ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if synced, _ := t.Synced(); !synced {
			http.Error(w, "the watch on pods has not synced", http.StatusServiceUnavailable)
			return
		}
		if err := ready(r.Context(), runtime); err != nil {
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
