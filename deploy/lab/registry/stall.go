package registry

import (
	"context"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"
)

// StallRelease is the file on the node that lets StallHost continue.
const StallRelease = "/var/lib/lab/stall-release"

// stallAt is the number of bytes after which a blob stalls; smaller blobs pass.
const stallAt = 64 << 10

// stall is a proxy for the registry at target whose blobs stop halfway until the file
// release exists.
func stall(target *url.URL, release string) http.Handler {
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, FlushInterval: -1}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			w = &stallingWriter{ResponseWriter: w, ctx: r.Context(), release: release}
		}
		proxy.ServeHTTP(w, r)
	})
}

// stallingWriter blocks after stallAt bytes.
type stallingWriter struct {
	http.ResponseWriter
	ctx     context.Context //nolint:containedctx // of the one request that it answers
	release string
	written int
}

func (w *stallingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *stallingWriter) Write(p []byte) (int, error) {
	head := min(len(p), max(stallAt-w.written, 0))
	n, err := w.ResponseWriter.Write(p[:head])
	w.written += n
	if err != nil || head == len(p) {
		return n, err
	}
	if err := http.NewResponseController(w.ResponseWriter).Flush(); err != nil {
		return n, err
	}
	for {
		if _, err := os.Stat(w.release); err == nil {
			break
		}
		select {
		case <-w.ctx.Done():
			return n, w.ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	rest, err := w.ResponseWriter.Write(p[head:])
	w.written += rest
	return n + rest, err
}
