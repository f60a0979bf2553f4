package share

import (
	"context"
	"sync"
	"time"
)

// store is a Cache without type parameters: it is compiled once and not for
// each pair of types, which saves 300 KiB of the binary.
type store struct {
	limit int
	life  func(value any) time.Duration
	now   func() time.Time
	group func(key any) string // nil: fetches do not wait for each other
	lanes *Lanes               // by group

	mu      sync.Mutex
	entries map[any]*entry
}

// kept is an untyped Kept.
type kept struct {
	value          any
	fetched, until time.Time
}

// entry is a fetch, and its value once the fetch has ended.
type entry struct {
	kept   kept
	err    error
	ended  bool
	done   chan struct{} // closed at the end of the fetch
	tenant string        // for whom it is fetched
	turn   *ticket       // nil: it waits for no other fetch

	cancel    context.CancelFunc // cancels the fetch's context
	waiting   int
	abandoned bool // at some time during the fetch, no caller was waiting
}

type fetchFunc func(context.Context) (any, error)

func (s *store) get(ctx context.Context, key any, serves func(kept) bool, fetch fetchFunc) (any, error) {
	for ctx.Err() == nil {
		e, err := s.join(ctx, key, serves, fetch)
		if err != nil {
			return nil, err
		}
		select {
		case <-e.done:
			if e.err != nil && e.abandoned {
				continue // it was canceled for others, before this caller came
			}
			return e.kept.value, e.err
		case <-ctx.Done():
			s.leave(e)
		}
	}
	return nil, ctx.Err()
}

// join returns the entry of a key, and starts a fetch if no entry serves. A fetch
// that waits for its turn then does so for this caller's tenant as well.
func (s *store) join(ctx context.Context, key any, serves func(kept) bool, fetch fetchFunc) (*entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tenant := Tenant(ctx)
	e := s.entries[key]
	switch {
	case e == nil || e.ended && (s.expired(e) || !serves(e.kept)):
		turn, err := s.queue(key, tenant)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		e = &entry{done: make(chan struct{}), cancel: cancel, tenant: tenant, turn: turn}
		s.entries[key] = e
		go s.run(ctx, key, e, fetch)
	case !e.ended && e.turn != nil && e.tenant != tenant:
		s.lanes.also(e.turn, tenant)
	}
	e.waiting++
	return e, nil
}

// queue returns a key's place among the fetches of its group.
func (s *store) queue(key any, tenant string) (*ticket, error) {
	if s.group == nil {
		return nil, nil
	}
	return s.lanes.take(s.group(key), tenant)
}

// leave removes one waiting caller.
func (s *store) leave(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.waiting--
	if e.waiting == 0 && !e.ended {
		e.abandoned = true
		e.cancel()
	}
}

// run fetches when it is the key's turn, and keeps the value. It does not
// recover a panic of the fetch: that ends the process.
func (s *store) run(ctx context.Context, key any, e *entry, fetch fetchFunc) {
	defer e.cancel()
	var err error
	if e.turn != nil {
		defer s.lanes.leave(e.turn)
		err = s.lanes.wait(ctx, e.turn)
	}
	var value any
	if err == nil {
		value, err = fetch(ctx)
	}
	s.keep(key, e, value, err)
}

// keep ends a fetch, and keeps its value unless it was forgotten in the
// meantime.
func (s *store) keep(key any, e *entry, value any, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	e.kept, e.err, e.ended = kept{value: value, fetched: now, until: now}, err, true
	close(e.done)
	if s.entries[key] != e {
		return
	}
	var life time.Duration
	if err == nil {
		life = s.life(value)
	}
	if life <= 0 {
		delete(s.entries, key)
		return
	}
	e.kept.until = now.Add(life)
	s.drop()
	// Values may be large or secret, so they are dropped on time even if nobody
	// asks again.
	time.AfterFunc(life, s.expire)
}

func (s *store) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
}

// drop removes expired values, and one value if the cache is over its limit: of
// the tenant that has most, the first to expire. What one tenant fetches drops
// nothing of those who have less.
func (s *store) drop() {
	n, most := 0, 0
	for key, e := range s.entries {
		switch {
		case !e.ended:
		case s.expired(e):
			delete(s.entries, key)
		default:
			n++
		}
	}
	if n <= s.limit {
		return
	}
	has := map[string]int{}
	for _, e := range s.entries {
		if e.ended {
			has[e.tenant]++
			most = max(most, has[e.tenant])
		}
	}
	var first any
	for key, e := range s.entries {
		if e.ended && has[e.tenant] == most && (first == nil || e.kept.until.Before(s.entries[first].kept.until)) {
			first = key
		}
	}
	delete(s.entries, first)
}

func (s *store) expired(e *entry) bool { return !s.now().Before(e.kept.until) }

// forget drops the values for which keep returns false, and fetches in
// progress.
func (s *store) forget(keep func(value any) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, e := range s.entries {
		if !e.ended || !keep(e.kept.value) {
			delete(s.entries, key)
		}
	}
}

// each calls f for each value that serves, until f returns false.
func (s *store) each(f func(key any, k kept) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, e := range s.entries {
		if e.ended && !s.expired(e) && !f(key, e.kept) {
			return
		}
	}
}

func (s *store) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}
