// Package share lets everyone who needs the same thing at the same time share
// one fetch of it, and keeps the result for a while.
package share

import (
	"context"
	"iter"
	"sync"
	"time"
)

// Cache holds one value per key. Of those who ask for a key, the first has it
// fetched and the others wait for the same value. It is safe for concurrent use.
type Cache[K comparable, V any] struct {
	limit int
	life  func(V) time.Duration
	now   func() time.Time
	group func(K) string // nil: no fetch waits for another
	lanes lanes          // by group

	mu      sync.Mutex
	entries map[K]*entry[V]
}

// Kept is a value that the cache holds.
type Kept[V any] struct {
	Value V
	// Fetched is when the fetch ended, and Until when the value stops serving.
	Fetched, Until time.Time
}

// entry is a fetch, and its value from the end of the fetch on.
type entry[V any] struct {
	kept  Kept[V]
	err   error
	ended bool
	done  chan struct{} // closed at the end of the fetch

	cancel    context.CancelFunc // ends the fetch's context
	waiting   int
	abandoned bool // at some time during the fetch nobody waited
}

// New returns a cache that keeps at most limit values; beyond that, the one that
// would stop serving first goes. life returns how long a value serves after it
// was fetched: a value with no life goes to those who wait for it and is not
// kept.
func New[K comparable, V any](limit int, life func(V) time.Duration, now func() time.Time) *Cache[K, V] {
	return &Cache[K, V]{limit: limit, life: life, now: now, entries: map[K]*entry[V]{}}
}

// NewInTurn returns a cache that fetches one key of a group at a time. The next
// fetch begins when the value of the one before is there to be seen (All), unless
// nobody waits for it any more.
func NewInTurn[K comparable, V any](limit int, life func(V) time.Duration, now func() time.Time, group func(K) string) *Cache[K, V] {
	c := New[K](limit, life, now)
	c.group = group
	return c
}

// For returns the life of values that all serve for d.
func For[V any](d time.Duration) func(V) time.Duration {
	return func(V) time.Duration { return d }
}

// Get returns the value of a key, and fetches it if there is none. The error is
// that of ctx, whose end no other caller notices, or that of the fetch, which
// goes to all who wait and is not kept.
//
// The context of the fetch has the values of the first caller's. It is canceled
// once nobody waits any more: a fetch that is to end well all the same, so that
// its value serves the next caller, goes on without it.
func (c *Cache[K, V]) Get(ctx context.Context, key K, fetch func(context.Context) (V, error)) (V, error) {
	return c.GetIf(ctx, key, func(Kept[V]) bool { return true }, fetch)
}

// GetIf is Get for a caller to whom not every value serves that is kept. A fetch
// that is under way always serves.
func (c *Cache[K, V]) GetIf(ctx context.Context, key K, serves func(Kept[V]) bool, fetch func(context.Context) (V, error)) (V, error) {
	for ctx.Err() == nil {
		e := c.join(ctx, key, serves, fetch)
		select {
		case <-e.done:
			if e.err != nil && e.abandoned {
				continue // it was cut short for others, before this caller came
			}
			return e.kept.Value, e.err
		case <-ctx.Done():
			c.leave(e)
		}
	}
	var none V
	return none, ctx.Err()
}

// join returns the entry of a key, and begins a fetch if there is none that
// serves.
func (c *Cache[K, V]) join(ctx context.Context, key K, serves func(Kept[V]) bool, fetch func(context.Context) (V, error)) *entry[V] {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil || e.ended && (c.expired(e) || !serves(e.kept)) {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		e = &entry[V]{done: make(chan struct{}), cancel: cancel}
		c.entries[key] = e
		go c.run(ctx, key, e, fetch)
	}
	e.waiting++
	return e
}

// leave takes one from those who wait.
func (c *Cache[K, V]) leave(e *entry[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.waiting--
	if e.waiting == 0 && !e.ended {
		e.abandoned = true
		e.cancel()
	}
}

// run fetches in turn, and keeps the value. A panic of the fetch is nobody's to
// recover: it ends the process.
func (c *Cache[K, V]) run(ctx context.Context, key K, e *entry[V], fetch func(context.Context) (V, error)) {
	defer e.cancel()
	leave, err := c.enter(ctx, key)
	defer leave()
	var value V
	if err == nil {
		value, err = fetch(ctx)
	}
	c.keep(key, e, value, err)
}

func (c *Cache[K, V]) enter(ctx context.Context, key K) (leave func(), err error) {
	if c.group == nil {
		return func() {}, nil
	}
	return c.lanes.enter(ctx, c.group(key))
}

// keep ends a fetch, and keeps its value unless it was forgotten meanwhile.
func (c *Cache[K, V]) keep(key K, e *entry[V], value V, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	e.kept, e.err, e.ended = Kept[V]{Value: value, Fetched: now, Until: now}, err, true
	close(e.done)
	if c.entries[key] != e {
		return
	}
	life := c.life(value)
	if err != nil || life <= 0 {
		delete(c.entries, key)
		return
	}
	e.kept.Until = now.Add(life)
	c.drop()
	// Values may be large or secret: they go in time also if nobody asks again.
	time.AfterFunc(life, c.expire)
}

func (c *Cache[K, V]) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop()
}

// drop removes what has expired, and what is over the limit.
func (c *Cache[K, V]) drop() {
	kept := 0
	var first K // to stop serving
	for key, e := range c.entries {
		switch {
		case !e.ended:
		case c.expired(e):
			delete(c.entries, key)
		default:
			if kept == 0 || e.kept.Until.Before(c.entries[first].kept.Until) {
				first = key
			}
			kept++
		}
	}
	if kept > c.limit {
		delete(c.entries, first)
	}
}

func (c *Cache[K, V]) expired(e *entry[V]) bool { return !c.now().Before(e.kept.Until) }

// Forget drops the values for which keep returns false, and has what is being
// fetched fetched again for all who ask from now on. A nil keep drops all.
func (c *Cache[K, V]) Forget(keep func(V) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, e := range c.entries {
		if keep == nil || !e.ended || !keep(e.kept.Value) {
			delete(c.entries, key)
		}
	}
}

// All returns the values that serve, in no order. The loop must not use the
// cache.
func (c *Cache[K, V]) All() iter.Seq2[K, Kept[V]] {
	return func(yield func(K, Kept[V]) bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for key, e := range c.entries {
			if e.ended && !c.expired(e) && !yield(key, e.kept) {
				return
			}
		}
	}
}

// Len returns the number of values and fetches that the cache holds.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}
