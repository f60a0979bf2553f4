package probe

import (
	"context"

	"github.com/whypull/whypull/agent/dns"
)

// Lookup resolves a hostname. It returns within five seconds.
func (r NodeResolver) Lookup(ctx context.Context, host string) dns.Answer {
	view := dns.FromFiles(r.Root)
	view.Port, view.ServerTimeout, view.LookupTimeout = r.port, r.patience, 2*r.patience
	a := view.Lookup(ctx, host)
	if a.Code == dns.Unconfigured {
		a.Why = "whypull cannot read the node's resolv.conf"
	}
	return a
}
