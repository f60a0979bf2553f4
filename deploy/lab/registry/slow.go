package registry

import (
	"context"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

// SlowRate is the rate of SlowHost's blobs in bytes per second.
const SlowRate = 512 << 10

// slow is a proxy for the registry at target that sends blobs at rate bytes per second.
func slow(target *url.URL, rate int) http.Handler {
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, FlushInterval: -1}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			w = &slowWriter{ResponseWriter: w, ctx: r.Context(), rate: rate, start: time.Now()}
		}
		proxy.ServeHTTP(w, r)
	})
}

// slowWriter sleeps after each write to keep to the rate.
type slowWriter struct {
	http.ResponseWriter
	ctx     context.Context //nolint:containedctx // of the one request that it answers
	rate    int
	start   time.Time
	written int
}

// Unwrap implements the interface that http.ResponseController needs.
func (w *slowWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *slowWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.written += n
	if err != nil {
		return n, err
	}
	due := w.start.Add(time.Duration(w.written) * time.Second / time.Duration(w.rate))
	select {
	case <-w.ctx.Done():
		return n, w.ctx.Err()
	case <-time.After(time.Until(due)):
		return n, nil
	}
}
