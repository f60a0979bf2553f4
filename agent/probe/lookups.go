package probe

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/dns"
)

// lookupLife is how long a lookup serves other pods that fail at the same
// time.
const lookupLife = 5 * time.Second

// nameView is a place that names are asked from. Lookups from places of the
// same key are one and the same.
type nameView struct {
	key      string
	resolver interface {
		Lookup(ctx context.Context, host string) dns.Answer
	}
}

// lookups shares lookups between pods.
type lookups struct {
	node nameView
	sharing[dns.Answer]
}

func newLookups(node NodeResolver) *lookups {
	return &lookups{node: nameView{key: "node", resolver: node}, sharing: newSharing[dns.Answer](lookupLife)}
}

// lookup gives the answer for a host from a place. It may be up to lookupLife
// old.
func (l *lookups) lookup(ctx context.Context, from nameView, host string) dns.Answer {
	a, ok := l.get(ctx, shareKey{from.key, host}, func(ctx context.Context) dns.Answer { return from.resolver.Lookup(ctx, host) })
	if !ok {
		return dns.Answer{Code: dns.NotAsked, Why: "the check was cut short", Unknown: true}
	}
	return a
}

// sharing lets those who ask the same thing at the same time share the answer,
// and keeps it for its life.
type sharing[T any] struct {
	life time.Duration
	now  func() time.Time

	mu      sync.Mutex
	answers map[shareKey]*shared[T]
}

// shareKey is what is asked, from where.
type shareKey struct{ view, host string }

type shared[T any] struct {
	done   chan struct{}
	answer T
	until  time.Time
}

func newSharing[T any](life time.Duration) sharing[T] {
	return sharing[T]{life: life, now: time.Now, answers: map[shareKey]*shared[T]{}}
}

// get gives the answer; ok is false when the caller gave up waiting for it.
func (s *sharing[T]) get(ctx context.Context, key shareKey, ask func(context.Context) T) (answer T, ok bool) {
	p, mine := s.claim(key)
	if mine {
		go s.fulfil(context.WithoutCancel(ctx), p, ask) // others wait for it too
	}
	select {
	case <-p.done:
		return p.answer, true
	case <-ctx.Done():
		return answer, false
	}
}

// forget has everything asked anew.
func (s *sharing[T]) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.answers)
}

func (s *sharing[T]) fulfil(ctx context.Context, p *shared[T], ask func(context.Context) T) {
	answer := ask(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	p.answer, p.until = answer, s.now().Add(s.life)
	close(p.done)
}

func (s *sharing[T]) claim(key shareKey) (p *shared[T], mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for k, p := range s.answers {
		if !p.until.IsZero() && now.After(p.until) {
			delete(s.answers, k)
		}
	}
	if p, ok := s.answers[key]; ok {
		return p, false
	}
	p = &shared[T]{done: make(chan struct{})}
	s.answers[key] = p
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
