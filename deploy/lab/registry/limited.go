package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// limitedFor is LimitedHost's Retry-After, in seconds.
const limitedFor = "60"

// NearLeft is the number of requests that NearHost reports as left.
const NearLeft = 3

// ServeLimited serves LimitedHost, NearHost, StallHost, SlowHost, FlakyHost and
// FickleHost until ctx is done.
func ServeLimited(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", Address(Limited))
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	plain := &url.URL{Scheme: "http", Host: Address(Plain)}
	stalling, slowly, fickly := stall(plain, StallRelease), slow(plain, SlowRate), fickle(plain)
	ca, err := os.ReadFile(AuthorityFile)
	if err != nil {
		return fmt.Errorf("registry authority: %w", err)
	}
	flaking := flaky(&url.URL{Scheme: "https", Host: HubHost}, Transport((&net.Dialer{}).DialContext, ca))
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Host {
		case StallHost:
			stalling.ServeHTTP(w, r)
		case FlakyHost:
			flaking.ServeHTTP(w, r)
		case SlowHost:
			slowly.ServeHTTP(w, r)
		case NearHost:
			near(w, r)
		case FickleHost:
			fickly.ServeHTTP(w, r)
		default:
			limited(w, r)
		}
	})
	server := &http.Server{Handler: logged(handler), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}

// limited refuses what counts toward the limit, as Docker Hub does: not the request for
// /v2/.
func limited(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.URL.Path, "/manifests/") {
		w.Header().Set("Retry-After", limitedFor)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = w.Write([]byte(`{"errors":[{"code":"TOOMANYREQUESTS","message":"too many requests"}]}`))
	}
}

// near has no images, and reports its limit as Docker Hub does.
func near(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.URL.Path, "/manifests/") {
		w.Header().Set("Ratelimit-Limit", "100;w=21600")
		w.Header().Set("Ratelimit-Remaining", fmt.Sprintf("%d;w=21600", NearLeft))
		w.WriteHeader(http.StatusNotFound)
	}
}

// KubeletFile returns the path and content of the kubelet's own credentials file, with
// wrong credentials for NodeLoginHost.
func KubeletFile(password string) (path, content string) {
	return "/var/lib/kubelet/config.json", fmt.Sprintf(`{"auths":{%q:{"username":%q,"password":%q}}}`, NodeLoginHost, Alice, password)
}
