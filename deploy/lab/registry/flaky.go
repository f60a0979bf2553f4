package registry

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
)

// flaky is a proxy for the registry at target. It fails the first three authenticated
// requests of a container runtime for each manifest path: containerd asks once as a
// host, and twice as the server behind all hosts.
func flaky(target *url.URL, transport http.RoundTripper) http.Handler {
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	var mu sync.Mutex
	failed := map[string]int{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		fails := strings.HasSuffix(r.URL.Path, "/manifests/1.0") && r.Header.Get("Authorization") != "" &&
			strings.HasPrefix(r.UserAgent(), "containerd/") && failed[r.URL.Path] < 3
		if fails {
			failed[r.URL.Path]++
		}
		mu.Unlock()
		if fails {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	})
}
