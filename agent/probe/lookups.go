package probe

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/dns"
	"github.com/whypull/whypull/agent/share"
)

// lookupLife is how long a lookup is cached for pods that fail at the same time.
const lookupLife = 5 * time.Second

// lookups shares lookups on the node between pods.
type lookups struct {
	resolver interface {
		Lookup(ctx context.Context, host string) dns.Answer
	}
	answers *share.Cache[string, *dns.Answer] // by host
}

// maxLookups is the maximum number of cached answers.
const maxLookups = 1000

func newLookups(node NodeResolver, now func() time.Time) *lookups {
	return &lookups{resolver: node, answers: share.New[string](maxLookups, share.For[*dns.Answer](lookupLife), now)}
}

// lookup returns the answer for a host, which may be up to lookupLife old.
// A running lookup is not canceled with ctx, since other pods may need its answer.
func (l *lookups) lookup(ctx context.Context, host string) dns.Answer {
	doubt := doubtIn(ctx)
	serves := func(k share.Kept[*dns.Answer]) bool { return doubt.allows(k.Fetched, reachOfName(*k.Value)) }
	a, err := l.answers.GetIf(ctx, host, serves, func(ctx context.Context) (*dns.Answer, error) {
		a := l.resolver.Lookup(context.WithoutCancel(ctx), host)
		return &a, nil
	})
	if err != nil {
		return dns.Answer{Code: dns.NotAsked, Why: "the check was cut short", Unknown: true}
	}
	return *a
}

// resolve is a registry.ResolveFunc that resolves a host as the node does.
func (l *lookups) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	a := l.lookup(ctx, host)
	switch {
	case a.Unknown && ctx.Err() != nil:
		return nil, ctx.Err()
	case len(a.Addresses) > 0:
		return a.Addresses, nil
	}
	return nil, &net.DNSError{Err: a.Why, Name: host, Server: a.Server,
		IsNotFound: a.Fault == diagnosis.FaultNameNotFound, IsTemporary: a.Fault != diagnosis.FaultNameNotFound}
}
