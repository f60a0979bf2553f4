//go:build !linux

package probe

import (
	"context"
	"net"

	"github.com/whypull/whypull/agent/dns"
)

// Lookup resolves a hostname with the system's own resolver.
func (NodeResolver) Lookup(ctx context.Context, host string) dns.Answer {
	return dns.System(ctx, net.DefaultResolver, host)
}
