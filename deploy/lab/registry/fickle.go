package registry

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"strings"
	"sync"
)

// What FickleHost does with the blobs of a pull.
const (
	// FickleRefuse answers 503.
	FickleRefuse = "refuse"
	// FickleSlow sends blobs at fickleRate.
	FickleSlow = "slow"
	// FicklePass sends blobs at full speed.
	FicklePass = "pass"
)

// fickleRate is in bytes per second: enough to finish a pull that would be canceled
// after a second without data.
const fickleRate = 6 << 20

// Fickle returns the names of an image on FickleHost and of the same image on
// PlainHost, where it must be pushed. plan has one entry for each pull by a container
// runtime; the last applies to all later pulls too. Use each name only once in a lab.
func Fickle(name string, plan ...string) (image, pushed string) {
	repository := "/e2e/" + name + "/" + strings.Join(plan, "-") + ":1.0"
	return FickleHost + repository, PlainHost + repository
}

// fickle is a proxy for the registry at target. It counts a runtime's pulls of a
// repository by the tag requests that start them. Other clients are not affected.
func fickle(target *url.URL) http.Handler {
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, FlushInterval: -1}
	slowly := slow(target, fickleRate)
	var mu sync.Mutex
	pulls := map[string]int{} // by repository
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.UserAgent(), "containerd/") {
			proxy.ServeHTTP(w, r)
			return
		}
		repository, object := repositoryOf(r.URL.Path)
		mu.Lock()
		if r.Method == http.MethodHead && object == "manifests/1.0" {
			pulls[repository]++
		}
		n := pulls[repository]
		mu.Unlock()
		plan := strings.Split(path.Base(repository), "-")
		switch does := plan[min(max(n, 1), len(plan))-1]; {
		case !strings.HasPrefix(object, "blobs/") || does == FicklePass:
			proxy.ServeHTTP(w, r)
		case does == FickleSlow:
			slowly.ServeHTTP(w, r)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
}

// repositoryOf splits a request path: /v2/<repository>/blobs/<digest>.
func repositoryOf(url string) (repository, object string) {
	rest := strings.TrimPrefix(url, "/v2/")
	for _, kind := range []string{"/manifests/", "/blobs/"} {
		if i := strings.LastIndex(rest, kind); i >= 0 {
			return rest[:i], rest[i+1:]
		}
	}
	return rest, ""
}
