package registry

import (
	"net/http"
	"testing"
	"time"
)

func TestClockOf(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for said, want := range map[string]Clock{
		"":                              {},
		"yesterday":                     {},
		"Fri, 02 Jan 2026 03:04:05 GMT": {Known: true},
		"Fri, 02 Jan 2026 03:08:59 GMT": {Known: true, Ahead: 5 * time.Minute},
		"Fri, 02 Jan 2026 03:08:05 GMT": {Known: true},
		"Fri, 02 Jan 2026 05:04:15 GMT": {Known: true, Ahead: 2 * time.Hour},
		"Thu, 01 Jan 2026 03:04:05 GMT": {Known: true, Ahead: -24 * time.Hour},
	} {
		if got := clockOf(http.Header{"Date": {said}}, now); got != want {
			t.Errorf("%q: %+v, want %+v", said, got, want)
		}
	}
}
