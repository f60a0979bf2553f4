package registry

import (
	"net/http"
	"testing"
	"time"
)

func TestClockOf(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for said, want := range map[string]time.Duration{
		"Fri, 02 Jan 2026 03:04:05 GMT": 0,
		"Fri, 02 Jan 2026 03:08:59 GMT": 5 * time.Minute,
		"Fri, 02 Jan 2026 03:08:05 GMT": 0,
		"Fri, 02 Jan 2026 05:04:15 GMT": 2 * time.Hour,
		"Thu, 01 Jan 2026 03:04:05 GMT": -24 * time.Hour,
	} {
		if got := clockOf(http.Header{"Date": {said}}, now); got == nil || *got != want {
			t.Errorf("%q: %v, want %s", said, got, want)
		}
	}
	for _, said := range []string{"", "yesterday"} {
		if got := clockOf(http.Header{"Date": {said}}, now); got != nil {
			t.Errorf("%q: %s", said, *got)
		}
	}
}

func TestSkew(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(said string) *time.Duration { return aheadOf(http.Header{"Date": {said}}, now) }
	for name, tc := range map[string]struct {
		registry, tokenServer string
		want                  time.Duration
	}{
		"the same":           {"Fri, 02 Jan 2026 03:04:05 GMT", "Fri, 02 Jan 2026 03:04:05 GMT", 0},
		"no more than usual": {"Fri, 02 Jan 2026 03:04:05 GMT", "Fri, 02 Jan 2026 03:05:05 GMT", 0},
		"registry behind":    {"Fri, 02 Jan 2026 03:04:05 GMT", "Fri, 02 Jan 2026 03:16:05 GMT", -12 * time.Minute},
		"both, registry most": {
			"Fri, 02 Jan 2026 05:04:05 GMT", "Fri, 02 Jan 2026 04:04:05 GMT", time.Hour,
		},
	} {
		got := skew(http.Header{"Date": {tc.registry}}, now, at(tc.tokenServer))
		if got == nil || *got != tc.want {
			t.Errorf("%s: %v, want %s", name, got, tc.want)
		}
	}
	if got := skew(http.Header{"Date": {"Fri, 02 Jan 2026 03:04:05 GMT"}}, now, at("")); got != nil {
		t.Errorf("token server without a clock: %s", *got)
	}
	if got := skew(http.Header{}, now, at("Fri, 02 Jan 2026 03:04:05 GMT")); got != nil {
		t.Errorf("registry without a clock: %s", *got)
	}
}
