package metrics

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// How long a value from a registry is exposed. After that it may no longer be
// true: certificates are renewed, and rate limits are reset.
const (
	certificateLife = 24 * time.Hour
	limitLife       = time.Hour
)

// registrySeries is the maximum number of registries that each metric names: those
// with the lowest values. The others are "other", with their lowest value.
// heardRegistries is the maximum number of registries that are remembered.
const (
	registrySeries  = 5
	heardRegistries = 64
)

// recent holds the last value of each registry.
type recent struct {
	life time.Duration

	mu     sync.Mutex
	values map[string]heardValue // by registry
}

type heardValue struct {
	value float64
	at    time.Time
}

func newRecent(life time.Duration) *recent {
	return &recent{life: life, values: map[string]heardValue{}}
}

// set stores a value, and drops the highest if there are more than heardRegistries: others'
// registries take the place of none that matters.
func (r *recent) set(registry string, value float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire()
	r.values[registry] = heardValue{value, time.Now()}
	if len(r.values) > heardRegistries {
		highest := slices.MinFunc(slices.Collect(maps.Keys(r.values)), func(a, b string) int {
			return cmp.Or(cmp.Compare(r.values[b].value, r.values[a].value), cmp.Compare(b, a))
		})
		delete(r.values, highest)
	}
}

func (r *recent) forget(registry string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.values, registry)
}

func (r *recent) expire() {
	now := time.Now()
	maps.DeleteFunc(r.values, func(_ string, v heardValue) bool { return now.Sub(v.at) > r.life })
}

// lowest returns the lowest values by registry, and the lowest of the rest as "other".
func (r *recent) lowest() map[string]float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire()
	all := slices.SortedFunc(maps.Keys(r.values), func(a, b string) int {
		return cmp.Or(cmp.Compare(r.values[a].value, r.values[b].value), cmp.Compare(a, b))
	})
	out := map[string]float64{}
	for i, registry := range all {
		if i == registrySeries {
			out[otherRegistries] = r.values[registry].value
			break
		}
		out[registry] = r.values[registry].value
	}
	return out
}

// CertificateExpires records when the registry's certificate chain expires.
func (m *Agent) CertificateExpires(registry string, at time.Time) {
	m.certificates.set(registry, float64(at.Unix()))
}

// RateLimit records how many requests a registry still allows; known is false if
// its response does not say.
func (m *Agent) RateLimit(registry string, remaining int, known bool) {
	if !known {
		m.limits.forget(registry)
		return
	}
	m.limits.set(registry, float64(remaining))
}

// registriesCollector collects the metrics of registries' own values.
func (m *Agent) registriesCollector() collector {
	expiry := prometheus.NewDesc("whypull_registry_tls_expiry_timestamp_seconds",
		"Unix time at which the first certificate of the registry's verified chain expires, by registry.", []string{"registry"}, nil)
	remaining := prometheus.NewDesc("whypull_registry_ratelimit_remaining",
		"Number of requests left before the registry limits the rate, as of its last response, by registry.", []string{"registry"}, nil)
	return collector{[]*prometheus.Desc{expiry, remaining}, func(ch chan<- prometheus.Metric) {
		for registry, value := range m.certificates.lowest() {
			ch <- gauge(expiry, value, registry)
		}
		for registry, value := range m.limits.lowest() {
			ch <- gauge(remaining, value, registry)
		}
	}}
}
