package share

import (
	"container/heap"
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
	width func(value any) int
	alone func(key any) bool
	gates *Lanes // by group, of the fetches that are alone

	mu      sync.Mutex
	entries map[any]*entry
	shelves map[string]*shelf   // values that are kept, by tenant
	groups  map[string][]*entry // values that are kept, by group
	kept    int                 // number of them
	wake    time.Time           // when expire runs next; zero: it need not
	timer   *time.Timer         // runs expire then
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

	onShelf, inGroup int // indexes there, of a value that is kept
}

// shelf holds the values of one tenant as a heap, the first to expire first.
type shelf struct{ all []*entry }

// Len implements heap.Interface.
func (s *shelf) Len() int { return len(s.all) }

// Less implements heap.Interface.
func (s *shelf) Less(i, j int) bool { return s.all[i].kept.until.Before(s.all[j].kept.until) }

// Swap implements heap.Interface.
func (s *shelf) Swap(i, j int) {
	s.all[i], s.all[j] = s.all[j], s.all[i]
	s.all[i].onShelf, s.all[j].onShelf = i, j
}

// Push implements heap.Interface.
func (s *shelf) Push(x any) {
	e := as[*entry](x)
	e.onShelf = len(s.all)
	s.all = append(s.all, e)
}

// Pop implements heap.Interface.
func (s *shelf) Pop() any {
	last := len(s.all) - 1
	e := s.all[last]
	s.all[last] = nil
	s.all = s.all[:last]
	return e
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
		if e != nil {
			s.remove(e)
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
	s.add(e)
	s.drop()
}

// groupOf returns the group of a key; all have the same if there are no groups.
func (s *store) groupOf(key any) string {
	if s.group == nil {
		return ""
	}
	return s.group(key)
}

// add puts a new value on its tenant's shelf and in its group.
func (s *store) add(e *entry) {
	if s.shelves == nil {
		s.shelves, s.groups = map[string]*shelf{}, map[string][]*entry{}
	}
	if s.shelves[e.tenant] == nil {
		s.shelves[e.tenant] = &shelf{}
	}
	heap.Push(s.shelves[e.tenant], e)
	group := s.groupOf(e.key)
	e.inGroup = len(s.groups[group])
	s.groups[group] = append(s.groups[group], e)
	s.kept++
	s.wakeAt(e.kept.until)
}

// remove drops a value.
func (s *store) remove(e *entry) {
	delete(s.entries, e.key)
	of := s.shelves[e.tenant]
	heap.Remove(of, e.onShelf)
	if of.Len() == 0 {
		delete(s.shelves, e.tenant)
	}
	group := s.groupOf(e.key)
	all := s.groups[group]
	last := len(all) - 1
	all[e.inGroup] = all[last]
	all[e.inGroup].inGroup = e.inGroup
	all[last] = nil
	s.groups[group] = all[:last]
	if last == 0 {
		delete(s.groups, group)
	}
	s.kept--
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
	s.wake, s.timer = at, time.AfterFunc(at.Sub(s.now()), func() { s.expire(at) })
}

// expire is for the time at which it was to run. It does nothing if it was then
// called for an earlier time.
func (s *store) expire(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.wake.Equal(at) {
		return
	}
	s.wake = time.Time{}
	s.dropExpired()
	for _, of := range s.shelves {
		s.wakeAt(of.all[0].kept.until)
	}
}

func (s *store) dropExpired() {
	for _, of := range s.shelves {
		for of.Len() > 0 && s.expired(of.all[0]) {
			s.remove(of.all[0])
		}
	}
}

// drop removes expired values, and one value if the cache is over its limit: of
// the tenant that has most, the first to expire. What one tenant fetches drops
// nothing of those who have less.
func (s *store) drop() {
	s.dropExpired()
	if s.kept <= s.limit {
		return
	}
	most := &shelf{}
	for _, of := range s.shelves {
		if of.Len() > most.Len() || of.Len() == most.Len() && of.all[0].kept.until.Before(most.all[0].kept.until) {
			most = of
		}
	}
	s.remove(most.all[0])
}

func (s *store) expired(e *entry) bool { return !s.now().Before(e.kept.until) }

// forget drops the values for which keep returns false, and fetches in
// progress.
func (s *store) forget(keep func(value any) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, e := range s.entries {
		switch {
		case !e.ended:
			delete(s.entries, key)
		case !keep(e.kept.value):
			s.remove(e)
		}
	}
}

// of calls f for each value of a group that serves, until f returns false.
func (s *store) of(group string, f func(key any, k kept) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.groups[group] {
		if !s.expired(e) && !f(e.key, e.kept) {
			return
		}
	}
}

func (s *store) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}
