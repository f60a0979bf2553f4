package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// lookupLife is how long a lookup serves other pods that fail at the same
// time.
const lookupLife = 5 * time.Second

// lookups shares the node's lookups between pods.
type lookups struct {
	node NodeResolver
	now  func() time.Time

	mu      sync.Mutex
	answers map[string]*pendingLookup
}

type pendingLookup struct {
	done   chan struct{}
	answer Answer
	until  time.Time
}

func newLookups(node NodeResolver) *lookups {
	return &lookups{node: node, now: time.Now, answers: map[string]*pendingLookup{}}
}

func (l *lookups) lookup(ctx context.Context, host string) Answer {
	p, mine := l.claim(host)
	if mine {
		go l.fulfil(context.WithoutCancel(ctx), p, host) // others wait for it too
	}
	select {
	case <-p.done:
		return p.answer
	case <-ctx.Done():
		return Answer{Why: "the check was cut short", unknown: true}
	}
}

func (l *lookups) fulfil(ctx context.Context, p *pendingLookup, host string) {
	answer := l.node.Lookup(ctx, host)
	l.mu.Lock()
	defer l.mu.Unlock()
	p.answer, p.until = answer, l.now().Add(lookupLife)
	close(p.done)
}

func (l *lookups) claim(host string) (p *pendingLookup, mine bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for h, p := range l.answers {
		if !p.until.IsZero() && now.After(p.until) {
			delete(l.answers, h)
		}
	}
	if p, ok := l.answers[host]; ok {
		return p, false
	}
	p = &pendingLookup{done: make(chan struct{})}
	l.answers[host] = p
	return p, true
}

// resolve is a registry.ResolveFunc.
func (l *lookups) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	a := l.lookup(ctx, host)
	switch {
	case a.unknown && ctx.Err() != nil:
		return nil, ctx.Err()
	case len(a.Addresses) > 0:
		return a.Addresses, nil
	}
	return nil, &net.DNSError{Err: a.Why, Name: host, Server: a.Server,
		IsNotFound: a.Fault == diagnosis.FaultNameNotFound, IsTemporary: a.Fault != diagnosis.FaultNameNotFound}
}

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
