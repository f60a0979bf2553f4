package metrics

import (
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"
)

const (
	expiryHeader = `
# HELP whypull_registry_tls_expiry_timestamp_seconds Unix time at which the first certificate of the registry's verified chain expires, by registry.
# TYPE whypull_registry_tls_expiry_timestamp_seconds gauge
`
	limitHeader = `
# HELP whypull_registry_ratelimit_remaining Number of requests left before the registry limits the rate, as of its last response, by registry.
# TYPE whypull_registry_ratelimit_remaining gauge
`
)

func TestCertificateExpires(t *testing.T) {
	t.Parallel()
	m := New("v1")
	const name = "whypull_registry_tls_expiry_timestamp_seconds"
	wantMetrics(t, m, "", name)
	m.CertificateExpires("b.test", time.Unix(1_800_000_000, 0))
	m.CertificateExpires("a.test", time.Unix(1_700_000_000, 0))
	m.CertificateExpires("b.test", time.Unix(1_900_000_000, 0)) // renewed
	wantMetrics(t, m, expiryHeader+name+`{registry="a.test"} 1.7e+09
`+name+`{registry="b.test"} 1.9e+09
`, name)
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	m := New("v1")
	const name = "whypull_registry_ratelimit_remaining"
	m.RateLimit("docker.io", 76, true)
	m.RateLimit("hub.test", 0, false)
	wantMetrics(t, m, limitHeader+name+`{registry="docker.io"} 76
`, name)
	m.RateLimit("docker.io", 0, true)
	wantMetrics(t, m, limitHeader+name+`{registry="docker.io"} 0
`, name)
	m.RateLimit("docker.io", 0, false) // it answers, and speaks of no limit
	wantMetrics(t, m, "", name)
}

func TestLowest(t *testing.T) {
	t.Parallel()
	many := map[string]float64{}
	for i := range 9 {
		many[fmt.Sprint("r", i)] = float64(100 - i)
	}
	for name, tt := range map[string]struct{ have, want map[string]float64 }{
		"none":           {map[string]float64{}, map[string]float64{}},
		"few":            {map[string]float64{"a": 2, "b": 1}, map[string]float64{"a": 2, "b": 1}},
		"as many":        {map[string]float64{"a": 2, "b": 1, "c": 3, "d": 4, "e": 5}, map[string]float64{"a": 2, "b": 1, "c": 3, "d": 4, "e": 5}},
		"too many":       {many, map[string]float64{"r8": 92, "r7": 93, "r6": 94, "r5": 95, "r4": 96, "other": 97}},
		"equals by name": {map[string]float64{"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1}, map[string]float64{"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "other": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRecent(time.Hour)
			for registry, value := range tt.have {
				r.set(registry, value)
			}
			if got := r.lowest(); !maps.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestRecentIsForgotten checks that old values are no longer exposed and that the
// highest is dropped when there are too many.
func TestRecentIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRecent(time.Hour)
		r.set("old", 1)
		time.Sleep(30 * time.Minute)
		r.set("new", 2)
		time.Sleep(30*time.Minute + time.Second)
		if got := r.lowest(); !maps.Equal(got, map[string]float64{"new": 2}) {
			t.Errorf("got %v, want the new one", got)
		}
		for i := range 3 * heardRegistries {
			r.set(fmt.Sprint(i), float64(i))
			time.Sleep(time.Second)
		}
		if len(r.values) != heardRegistries {
			t.Errorf("%d registries are remembered", len(r.values))
		}
		if got, want := r.lowest(), map[string]float64{"0": 0, "1": 1, "2": 2, "new": 2, "3": 3, "other": 4}; !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
