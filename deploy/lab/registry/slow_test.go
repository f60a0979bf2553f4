package registry

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"
)

// A blob takes as long as its rate requires and is complete; manifests are not slowed
// down.
func TestSlow(t *testing.T) {
	t.Parallel()
	const whole, rate = 100 << 10, 200 << 10
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, whole)) }))
	t.Cleanup(origin.Close)
	target, err := url.Parse(origin.URL)
	if err != nil {
		t.Fatal(err)
	}
	manifests, blobs := httptest.NewServer(slow(target, 1)), httptest.NewServer(logged(slow(target, rate)))
	t.Cleanup(manifests.Close)
	t.Cleanup(blobs.Close)
	get := func(address string) int {
		t.Helper()
		resp, err := http.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		return len(data)
	}
	if n := get(manifests.URL + "/v2/x/manifests/v1"); n != whole { // at the rate it would take a day
		t.Errorf("manifest: %d bytes", n)
	}
	start := time.Now()
	if n := get(blobs.URL + "/v2/x/blobs/large"); n != whole {
		t.Errorf("blob: %d bytes", n)
	}
	if took := time.Since(start); took < whole*time.Second/rate*8/10 { // data in flight at the end counts as sent
		t.Errorf("the blob took %v", took)
	}
}
