package report

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What a registry has said of itself is told for as long as it can be thought to
// hold: a certificate may be renewed without our knowing, and requests that are
// left are used up or given anew.
const (
	certificateLife = 24 * time.Hour
	limitLife       = time.Hour
)

// registrySeries is how many registries are named by each metric of theirs: those
// that come to their end first. The rest are other, with the first of them.
// heardRegistries is how many are remembered.
const (
	registrySeries  = 5
	heardRegistries = 64
)

// recent remembers a number that each registry has told last.
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

// set remembers a number, in the place of the oldest where there are too many.
func (r *recent) set(registry string, value float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire()
	r.values[registry] = heardValue{value, time.Now()}
	if len(r.values) > heardRegistries {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(r.values)), func(a, b string) int {
			return cmp.Or(r.values[a].at.Compare(r.values[b].at), cmp.Compare(a, b))
		})
		delete(r.values, oldest)
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

// lowest are the lowest numbers by registry, and the lowest of the rest as other.
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

// CertificateExpires notes until when a registry's certificate will be accepted.
func (m *Metrics) CertificateExpires(registry string, at time.Time) {
	m.certificates.set(registry, float64(at.Unix()))
}

// RateLimit notes how many requests a registry still allows; known is false if
// it answers and does not say.
func (m *Metrics) RateLimit(registry string, remaining int, known bool) {
	if !known {
		m.limits.forget(registry)
		return
	}
	m.limits.set(registry, float64(remaining))
}

// registries is a collector of what registries have said of themselves.
type registries struct{ m *Metrics }

func (registries) descs() (expiry, remaining *prometheus.Desc) {
	return prometheus.NewDesc("whypull_registry_tls_expiry_timestamp_seconds",
			"Unix time at which the first certificate ends of the chain that a registry was last verified by.", []string{"registry"}, nil),
		prometheus.NewDesc("whypull_registry_ratelimit_remaining",
			"Requests that a registry allows before it limits their rate, by its last answer.", []string{"registry"}, nil)
}

// Describe implements prometheus.Collector.
func (c registries) Describe(ch chan<- *prometheus.Desc) {
	expiry, remaining := c.descs()
	ch <- expiry
	ch <- remaining
}

// Collect implements prometheus.Collector.
func (c registries) Collect(ch chan<- prometheus.Metric) {
	expiry, remaining := c.descs()
	for registry, value := range c.m.certificates.lowest() {
		ch <- prometheus.MustNewConstMetric(expiry, prometheus.GaugeValue, value, registry)
	}
	for registry, value := range c.m.limits.lowest() {
		ch <- prometheus.MustNewConstMetric(remaining, prometheus.GaugeValue, value, registry)
	}
}
