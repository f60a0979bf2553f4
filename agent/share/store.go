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
	lanes lanes                // by group

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
	kept  kept
	err   error
	ended bool
	done  chan struct{} // closed at the end of the fetch

	cancel    context.CancelFunc // cancels the fetch's context
	waiting   int
	abandoned bool // at some time during the fetch, no caller was waiting
}

type fetchFunc func(context.Context) (any, error)

func (s *store) get(ctx context.Context, key any, serves func(kept) bool, fetch fetchFunc) (any, error) {
	for ctx.Err() == nil {
		e := s.join(ctx, key, serves, fetch)
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

// join returns the entry of a key, and starts a fetch if no entry serves.
func (s *store) join(ctx context.Context, key any, serves func(kept) bool, fetch fetchFunc) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[key]
	if e == nil || e.ended && (s.expired(e) || !serves(e.kept)) {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		e = &entry{done: make(chan struct{}), cancel: cancel}
		s.entries[key] = e
		go s.run(ctx, key, e, fetch)
	}
	e.waiting++
	return e
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
	leave, err := s.enter(ctx, key)
	defer leave()
	var value any
	if err == nil {
		value, err = fetch(ctx)
	}
	s.keep(key, e, value, err)
}

func (s *store) enter(ctx context.Context, key any) (leave func(), err error) {
	if s.group == nil {
		return func() {}, nil
	}
	return s.lanes.enter(ctx, s.group(key))
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

// drop removes expired values, and one value if the cache is over its limit.
func (s *store) drop() {
	n := 0
	var first any // the first to expire
	for key, e := range s.entries {
		switch {
		case !e.ended:
		case s.expired(e):
			delete(s.entries, key)
		default:
			if n == 0 || e.kept.until.Before(s.entries[first].kept.until) {
				first = key
			}
			n++
		}
	}
	if n > s.limit {
		delete(s.entries, first)
	}
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
