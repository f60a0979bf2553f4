package registry

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// asked sends one request with a user agent and returns the result.
func asked(ctx context.Context, t *testing.T, method, address, agent string) (status, bytes int, err error) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", agent)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, len(data), err
}

// Each pull by a runtime follows its plan, the last plan applies to all later pulls,
// and other clients are not affected.
func TestFickle(t *testing.T) {
	t.Parallel()
	const whole, runtime = 64 << 10, "containerd/v2"
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, whole)) }))
	t.Cleanup(origin.Close)
	target, err := url.Parse(origin.URL)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(fickle(target))
	t.Cleanup(front.Close)
	image, pushed := Fickle("x", FickleRefuse, FickleSlow, FicklePass, FickleRefuse)
	if image != FickleHost+strings.TrimPrefix(pushed, PlainHost) {
		t.Errorf("%s is pushed as %s", image, pushed)
	}
	repository := front.URL + "/v2" + strings.TrimSuffix(strings.TrimPrefix(image, FickleHost), ":1.0")
	resolve := func() {
		t.Helper()
		if status, _, err := asked(t.Context(), t, http.MethodHead, repository+"/manifests/1.0", runtime); status != http.StatusOK {
			t.Errorf("manifest: %d, %v", status, err)
		}
	}
	blob := func(agent string) (status, bytes int) {
		t.Helper()
		status, bytes, err := asked(t.Context(), t, http.MethodGet, repository+"/blobs/sha256:a", agent)
		if err != nil {
			t.Error(err)
		}
		return status, bytes
	}
	for pull, want := range []string{FickleRefuse, FickleSlow, FicklePass, FickleRefuse, FickleRefuse} {
		resolve()
		if _, bytes := blob("whypull/1"); bytes != whole {
			t.Errorf("pull %d: another client gets %d bytes", pull, bytes)
		}
		start := time.Now()
		status, bytes := blob(runtime)
		if refused := status == http.StatusServiceUnavailable; refused != (want == FickleRefuse) || !refused && bytes != whole {
			t.Errorf("pull %d: %d with %d bytes, want %s", pull, status, bytes, want)
		}
		if took := time.Since(start); want == FickleSlow && took < whole*time.Second/fickleRate*8/10 { // data in flight at the end counts as sent
			t.Errorf("pull %d took %v", pull, took)
		}
	}
}
