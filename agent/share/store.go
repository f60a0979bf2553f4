package share

import (
	"cmp"
	"context"
	"maps"
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
	width func(value any) int
	alone func(key any) bool
	gates *Lanes // by group, of the fetches that are alone

	mu      sync.Mutex
	entries map[any]*entry
	wake    time.Time   // when expire runs next; zero: it need not
	timer   *time.Timer // runs expire then
}

// kept is an untyped Kept.
type kept struct {
	value          any
	fetched, until time.Time
}

// entry is a fetch, and its value once the fetch has ended.
type entry struct {
	key    any
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
	case e == nil || e.ended && (e.expired(s.now()) || !serves(e.kept)):
		turn, err := s.queue(key, tenant)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		e = &entry{key: key, done: make(chan struct{}), cancel: cancel, tenant: tenant, turn: turn}
		s.entries[key] = e
		go s.run(ctx, e, fetch)
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
func (s *store) run(ctx context.Context, e *entry, fetch fetchFunc) {
	defer e.cancel()
	if e.turn == nil {
		value, err := fetch(ctx)
		s.keep(e, value, err)
		return
	}
	width := 0
	defer func() { s.lanes.leave(e.turn, width) }()
	err := s.lanes.wait(ctx, e.turn)
	if err == nil && s.alone(e.key) {
		var leave func()
		if leave, err = s.gates.Enter(ctx, s.group(e.key)); err == nil {
			defer leave()
		}
	}
	var value any
	if err == nil {
		value, err = fetch(ctx)
	}
	if err == nil {
		width = s.width(value)
	}
	s.keep(e, value, err)
}

// keep ends a fetch, and keeps its value unless it was forgotten in the
// meantime.
func (s *store) keep(e *entry, value any, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(e, value, err)
}

// put keeps a value for a tenant.
func (s *store) put(tenant string, key, value any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &entry{key: key, done: make(chan struct{}), tenant: tenant}
	s.entries[key] = e
	s.end(e, value, nil)
}

// peek returns the value of a key if it serves.
func (s *store) peek(key any) (kept, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[key]
	if e == nil || !e.ended || e.expired(s.now()) {
		return kept{}, false
	}
	return e.kept, true
}

// end is keep for a caller that holds the lock.
func (s *store) end(e *entry, value any, err error) {
	now := s.now()
	e.kept, e.err, e.ended = kept{value: value, fetched: now, until: now}, err, true
	close(e.done)
	if s.entries[e.key] != e {
		return
	}
	var life time.Duration
	if err == nil {
		life = s.life(value)
	}
	if life <= 0 {
		delete(s.entries, e.key)
		return
	}
	e.kept.until = now.Add(life)
	s.wakeAt(e.kept.until)
	s.drop()
}

// groupOf returns the group of a key; all have the same if there are no groups.
func (s *store) groupOf(key any) string {
	if s.group == nil {
		return ""
	}
	return s.group(key)
}

// wakeAt has values dropped at a time, even if nobody asks again: they may be
// large or secret.
func (s *store) wakeAt(at time.Time) {
	if !s.wake.IsZero() && !at.Before(s.wake) {
		return
	}
	if s.timer != nil { // else it stays, for an hour with some values
		s.timer.Stop()
	}
	s.wake, s.timer = at, time.AfterFunc(at.Sub(s.now()), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.wake.Equal(at) { // it was not stopped too late
			s.dropExpired()
		}
	})
}

// dropExpired drops what has expired, and has the next dropped at its time.
func (s *store) dropExpired() {
	now := s.now()
	maps.DeleteFunc(s.entries, func(_ any, e *entry) bool { return e.ended && e.expired(now) })
	s.wake = time.Time{}
	for _, e := range s.entries {
		if e.ended {
			s.wakeAt(e.kept.until)
		}
	}
}

// drop removes expired values, and one value if the cache is over its limit: of
// the tenant that has most, the first to expire. What one tenant fetches drops
// nothing of those who have less.
func (s *store) drop() {
	if !s.now().Before(s.wake) {
		s.dropExpired()
	}
	if len(s.entries) <= s.limit {
		return
	}
	total, held := 0, map[string]int{}
	for _, e := range s.entries {
		if e.ended {
			total++
			held[e.tenant]++
		}
	}
	if total <= s.limit {
		return
	}
	var first *entry
	for _, e := range s.entries {
		if e.ended && (first == nil || cmp.Or(held[e.tenant]-held[first.tenant], first.kept.until.Compare(e.kept.until)) > 0) {
			first = e
		}
	}
	delete(s.entries, first.key)
}

func (e *entry) expired(now time.Time) bool { return !now.Before(e.kept.until) }

// forget drops the values for which keep returns false, and fetches in
// progress.
func (s *store) forget(keep func(value any) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.entries, func(_ any, e *entry) bool { return !e.ended || !keep(e.kept.value) })
}

// of calls f for each value of a group that serves, until f returns false.
func (s *store) of(group string, f func(key any, k kept) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for key, e := range s.entries {
		if e.ended && s.groupOf(key) == group && !e.expired(now) && !f(key, e.kept) {
			return
		}
	}
}

func (s *store) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}
