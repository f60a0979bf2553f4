// Package share lets everyone who needs the same thing at the same time share
// one fetch of it, and keeps the result for a while.
package share

import (
	"context"
	"iter"
	"time"
)

// Cache holds one value per key. Of those who ask for a key, the first has it
// fetched and the others wait for the same value, which nobody may change. It is
// safe for concurrent use. With pointers for values it takes less of the program.
type Cache[K comparable, V any] struct {
	store store
}

// Kept is a value that the cache holds.
type Kept[V any] struct {
	Value V
	// Fetched is when the fetch ended, and Until when the value stops serving.
	Fetched, Until time.Time
}

// New returns a cache that keeps at most limit values; beyond that, the one that
// would stop serving first goes. life returns how long a value serves after it
// was fetched: a value with no life goes to those who wait for it and is not
// kept.
func New[K comparable, V any](limit int, life func(V) time.Duration, now func() time.Time) *Cache[K, V] {
	return &Cache[K, V]{store{limit: limit, life: func(v any) time.Duration { return life(as[V](v)) }, now: now, entries: map[any]*entry{}}}
}

// NewInTurn returns a cache that fetches one key of a group at a time. The next
// fetch begins when the value of the one before is there to be seen (All), unless
// nobody waits for it any more.
func NewInTurn[K comparable, V any](limit int, life func(V) time.Duration, now func() time.Time, group func(K) string) *Cache[K, V] {
	c := New[K](limit, life, now)
	c.store.group = func(key any) string { return group(as[K](key)) }
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
	v, err := c.store.get(ctx, key, func(k kept) bool { return serves(keptAs[V](k)) }, func(ctx context.Context) (any, error) { return fetch(ctx) })
	return as[V](v), err
}

// Forget drops the values for which keep returns false, and has what is being
// fetched fetched again for all who ask from now on. A nil keep drops all.
func (c *Cache[K, V]) Forget(keep func(V) bool) {
	c.store.forget(func(v any) bool { return keep != nil && keep(as[V](v)) })
}

// All returns the values that serve, in no order. The loop must not use the
// cache.
func (c *Cache[K, V]) All() iter.Seq2[K, Kept[V]] {
	return func(yield func(K, Kept[V]) bool) {
		c.store.each(func(key any, k kept) bool { return yield(as[K](key), keptAs[V](k)) })
	}
}

// Len returns the number of values and fetches that the cache holds.
func (c *Cache[K, V]) Len() int { return c.store.len() }

// as returns a value as what it is; nil, which is the absence of one, is the
// zero value.
func as[T any](v any) T {
	t, _ := v.(T)
	return t
}

func keptAs[V any](k kept) Kept[V] { return Kept[V]{as[V](k.value), k.fetched, k.until} }
