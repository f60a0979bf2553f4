package probe

import (
	"cmp"
	"maps"
	"sync"
	"time"

	"github.com/whypull/whypull/cri/registry"
)

const (
	// DefaultSlowAfter is the duration of one phase of a request, or of a replay's
	// small blob read, from which a registry counts as slow.
	DefaultSlowAfter = time.Second
	// slowFor is how long it counts as slow.
	slowFor = time.Hour
	// maxSlow is the maximum number of slow registries. When it is reached, all
	// registries count as slow.
	maxSlow = 1000
)

// took records how long an endpoint took for something that a fast one does at once.
func (c *Collector) took(e registry.Endpoint, d time.Duration) {
	if d >= cmp.Or(c.Retry.SlowAfter, DefaultSlowAfter) {
		c.slow.add(e, c.now())
	}
}

// slowness records which registries are slow. The zero value is ready to use.
type slowness struct {
	mu    sync.Mutex
	until map[string]time.Time // by the endpoint's host
}

// add records that an endpoint is slow.
func (s *slowness) add(e registry.Endpoint, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.until, func(_ string, until time.Time) bool { return now.After(until) })
	if s.until == nil {
		s.until = map[string]time.Time{}
	}
	if _, known := s.until[e.Host]; known || len(s.until) < maxSlow {
		s.until[e.Host] = now.Add(slowFor)
	}
}

// any reports whether one of the endpoints counts as slow.
func (s *slowness) any(endpoints []registry.Endpoint, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range endpoints {
		if now.Before(s.until[e.Host]) {
			return true
		}
	}
	return len(s.until) >= maxSlow
}
