package registry

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"strings"
	"sync"
)

// What FickleHost does to a pull's blobs.
const (
	// FickleRefuse answers 503.
	FickleRefuse = "refuse"
	// FickleSlow sends them at fickleRate.
	FickleSlow = "slow"
	// FicklePass gives them.
	FicklePass = "pass"
)

// fickleRate is in bytes a second: enough for a pull that ends where a second
// brings none.
const fickleRate = 6 << 20

// Fickle is an image of FickleHost, and the same as it is pushed to PlainHost.
// There is one plan for each pull by a container runtime, and the last is for all
// that follow too. The name of an image may be used once in a lab's life.
func Fickle(name string, plan ...string) (image, pushed string) {
	repository := "/e2e/" + name + "/" + strings.Join(plan, "-") + ":1.0"
	return FickleHost + repository, PlainHost + repository
}

// fickle shows the registry at target. It counts a runtime's pulls of a
// repository by the question for the tag, with which each begins; others than
// runtimes get what they ask for.
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

// repositoryOf splits the path of a request: /v2/<repository>/blobs/<digest>.
func repositoryOf(url string) (repository, object string) {
	rest := strings.TrimPrefix(url, "/v2/")
	for _, kind := range []string{"/manifests/", "/blobs/"} {
		if i := strings.LastIndex(rest, kind); i >= 0 {
			return rest[:i], rest[i+1:]
		}
	}
	return rest, ""
}
