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
	// maxHosts is the maximum number of registries in each hostSet.
	maxHosts = 1000
)

// answered records the longest step of a conversation with an endpoint. The last
// conversation decides: one slow answer says little about a registry. That it sent nothing
// in a pull retry is not disproved by a fast answer to a small request.
func (c *Collector) answered(e registry.Endpoint, longest time.Duration) {
	now := c.now()
	switch {
	case longest < cmp.Or(c.Retry.SlowAfter, DefaultSlowAfter):
		c.slow.forget(e.Host)
	case c.idle.has(e.Host, now):
		c.idle.note(e.Host, now, slowFor)
	default:
		c.slow.note(e.Host, now, slowFor)
	}
}

// isSlow reports whether an endpoint counts as slow.
func (c *Collector) isSlow(e registry.Endpoint) bool {
	return c.slow.has(e.Host, c.now()) || c.idle.has(e.Host, c.now())
}

// hostSet remembers registries and for how long. When there are maxHosts it has all. The
// zero value is ready.
type hostSet struct {
	mu    sync.Mutex
	until map[string]time.Time
}

func (h *hostSet) note(host string, now time.Time, life time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.until, func(_ string, until time.Time) bool { return !now.Before(until) })
	if h.until == nil {
		h.until = map[string]time.Time{}
	}
	if _, known := h.until[host]; known || len(h.until) < maxHosts {
		h.until[host] = now.Add(life)
	}
}

func (h *hostSet) forget(host string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.until, host)
}

func (h *hostSet) has(host string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return now.Before(h.until[host]) || len(h.until) >= maxHosts
}
