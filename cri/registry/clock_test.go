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
