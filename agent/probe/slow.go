package probe

import (
	"cmp"
	"context"
	"time"

	"github.com/whypull/whypull/agent/share"
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

// answered records the longest step of a tenant's conversation with an endpoint. The last
// conversation decides: one slow answer says little about a registry. That it sent nothing
// in a pull retry is not disproved by a fast answer to a small request.
func (c *Collector) answered(tenant string, e registry.Endpoint, longest time.Duration) {
	switch {
	case longest < cmp.Or(c.Retry.SlowAfter, DefaultSlowAfter):
		c.slow.forget(e.Host)
	case c.idle.has(e.Host):
		c.idle.note(tenant, e.Host, slowFor)
	default:
		c.slow.note(tenant, e.Host, slowFor)
	}
}

// isSlow reports whether an endpoint counts as slow.
func (c *Collector) isSlow(e registry.Endpoint) bool {
	return c.slow.has(e.Host) || c.idle.has(e.Host)
}

// hostSet remembers what a tenant's pods have shown of hosts, and for how long; see
// share.Cache for what is dropped of more than maxHosts.
type hostSet struct {
	notes *share.Cache[hostKey, *hostNote]
}

type hostKey struct{ tenant, host string }

type hostNote struct {
	host string
	life time.Duration
}

func newHostSet(now func() time.Time) hostSet {
	return hostSet{share.New[hostKey](maxHosts, func(n *hostNote) time.Duration { return n.life }, now)}
}

func (h hostSet) note(tenant, host string, life time.Duration) {
	h.notes.Put(share.WithTenant(context.Background(), tenant), hostKey{tenant, host}, &hostNote{host, life})
}

func (h hostSet) forget(host string) {
	h.notes.Forget(func(n *hostNote) bool { return n.host != host })
}

func (h hostSet) has(host string) bool {
	for k := range h.notes.Of("") {
		if k.host == host {
			return true
		}
	}
	return false
}
