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

// answered records the longest step of a conversation with an endpoint. The last
// conversation decides: one slow answer says little about a registry.
func (c *Collector) answered(e registry.Endpoint, longest time.Duration) {
	if longest >= cmp.Or(c.Retry.SlowAfter, DefaultSlowAfter) {
		c.slow.add(e, c.now(), false)
		return
	}
	c.slow.remove(e)
}

// slowness remembers which registries were slow. The zero value is ready.
type slowness struct {
	mu  sync.Mutex
	all map[string]slow // by the endpoint's host
}

// slow is how long a registry counts as slow, and whether it sent nothing in a pull
// retry, which a fast answer to a small request does not disprove.
type slow struct {
	until time.Time
	idle  bool
}

// add records that an endpoint is slow.
func (s *slowness) add(e registry.Endpoint, now time.Time, idle bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.all, func(_ string, of slow) bool { return now.After(of.until) })
	if s.all == nil {
		s.all = map[string]slow{}
	}
	if before, known := s.all[e.Host]; known || len(s.all) < maxSlow {
		s.all[e.Host] = slow{until: now.Add(slowFor), idle: idle || before.idle}
	}
}

// remove records that an endpoint answers fast.
func (s *slowness) remove(e registry.Endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.all[e.Host].idle {
		delete(s.all, e.Host)
	}
}

// any reports whether one of the endpoints counts as slow.
func (s *slowness) any(endpoints []registry.Endpoint, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range endpoints {
		if now.Before(s.all[e.Host].until) {
			return true
		}
	}
	return len(s.all) >= maxSlow
}
