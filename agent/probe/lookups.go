package probe

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/nameservice"
)

// lookupLife is how long a lookup serves other pods that fail at the same
// time.
const lookupLife = 5 * time.Second

// nameView is a place that names are asked from. Lookups from places of the
// same key are one and the same.
type nameView struct {
	key      string
	resolver interface {
		Lookup(ctx context.Context, host string) nameservice.Answer
	}
}

// lookups shares lookups between pods.
type lookups struct {
	node nameView
	now  func() time.Time

	mu      sync.Mutex
	answers map[lookupKey]*pendingLookup
}

type lookupKey struct{ view, host string }

type pendingLookup struct {
	done   chan struct{}
	answer nameservice.Answer
	until  time.Time
}

func newLookups(node NodeResolver) *lookups {
	return &lookups{node: nameView{key: "node", resolver: node}, now: time.Now, answers: map[lookupKey]*pendingLookup{}}
}

// lookup gives the answer for a host from a place. It may be up to lookupLife
// old.
func (l *lookups) lookup(ctx context.Context, from nameView, host string) nameservice.Answer {
	p, mine := l.claim(lookupKey{from.key, host})
	if mine {
		go l.fulfil(context.WithoutCancel(ctx), p, from, host) // others wait for it too
	}
	select {
	case <-p.done:
		return p.answer
	case <-ctx.Done():
		return nameservice.Answer{Code: nameservice.NotAsked, Why: "the check was cut short", Unknown: true}
	}
}

func (l *lookups) fulfil(ctx context.Context, p *pendingLookup, from nameView, host string) {
	answer := from.resolver.Lookup(ctx, host)
	l.mu.Lock()
	defer l.mu.Unlock()
	p.answer, p.until = answer, l.now().Add(lookupLife)
	close(p.done)
}

func (l *lookups) claim(key lookupKey) (p *pendingLookup, mine bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for k, p := range l.answers {
		if !p.until.IsZero() && now.After(p.until) {
			delete(l.answers, k)
		}
	}
	if p, ok := l.answers[key]; ok {
		return p, false
	}
	p = &pendingLookup{done: make(chan struct{})}
	l.answers[key] = p
	return p, true
}

// resolve is a registry.ResolveFunc: what the node resolves a host to.
func (l *lookups) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	a := l.lookup(ctx, l.node, host)
	switch {
	case a.Unknown && ctx.Err() != nil:
		return nil, ctx.Err()
	case len(a.Addresses) > 0:
		return a.Addresses, nil
	}
	return nil, &net.DNSError{Err: a.Why, Name: host, Server: a.Server,
		IsNotFound: a.Fault == diagnosis.FaultNameNotFound, IsTemporary: a.Fault != diagnosis.FaultNameNotFound}
}
