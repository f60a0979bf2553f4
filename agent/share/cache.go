// Package share lets callers that need the same thing at the same time share
// one fetch of it, and keeps the result for a while.
package share

import (
	"context"
	"iter"
	"time"
)

// Cache holds one value per key. The first caller that asks for a key has it
// fetched; the others wait for the same value, which nobody may change. It is
// safe for concurrent use. Pointer values keep the binary smaller.
type Cache[K comparable, V any] struct {
	store store
}

// Kept is a value that the cache holds.
type Kept[V any] struct {
	Value V
	// Fetched is when the fetch ended; Until is when the value expires.
	Fetched, Until time.Time
}

// New returns a cache that keeps at most limit values; beyond that, it drops
// the one that would expire first, of the tenant that has most. life returns how
// long a value serves after it was fetched. A value with no life is returned to
// the waiting callers and not kept.
func New[K comparable, V any](limit int, life func(V) time.Duration, now func() time.Time) *Cache[K, V] {
	return &Cache[K, V]{store: store{limit: limit, life: func(v any) time.Duration { return life(as[V](v)) }, now: now, entries: map[any]*entry{}}}
}

// Turns are the rules by which the fetches of a group of keys wait for each other.
type Turns[K comparable, V any] struct {
	Group func(K) string
	// Waiting is how many fetches of one tenant may wait in a group. For one more, Get
	// returns ErrBusy.
	Waiting int
	// Width returns how many keys of a group may be fetched at a time after a value; 0
	// for as many as before. Each is how many of them for one tenant.
	Width func(V) int
	Each  int
	// Alone reports whether a key must wait for all others of its group for which it
	// does.
	Alone func(K) bool
}

// NewInTurn returns a cache that fetches one key of a group at a time, or as many as the
// width of the last value allows; after a pause it is one again. A fetch that waits for
// another starts when the value of that one is visible to Of, unless no caller waits for
// it any more. Tenants take turns.
func NewInTurn[K comparable, V any](limit int, life func(V) time.Duration, now func() time.Time, turns Turns[K, V]) *Cache[K, V] {
	c := New[K](limit, life, now)
	c.store.lanes, c.store.gates = NewSharedLanes(1, turns.Each, turns.Waiting), NewLanes(1, turns.Waiting)
	c.store.group = func(key any) string { return turns.Group(as[K](key)) }
	c.store.width = func(v any) int { return turns.Width(as[V](v)) }
	c.store.alone = func(key any) bool { return turns.Alone(as[K](key)) }
	return c
}

// For returns a life function for values that all serve for d.
func For[V any](d time.Duration) func(V) time.Duration {
	return func(V) time.Duration { return d }
}

// Get returns the value of a key, and fetches it if there is none. The error is
// that of ctx, which affects no other caller, or that of the fetch, which all
// waiting callers get and which is not kept.
//
// The fetch's context has the values of the first caller's. It is canceled once
// no caller waits any more. A fetch that should finish anyway, so that its
// value serves the next caller, must ignore the cancellation.
func (c *Cache[K, V]) Get(ctx context.Context, key K, fetch func(context.Context) (V, error)) (V, error) {
	return c.GetIf(ctx, key, func(Kept[V]) bool { return true }, fetch)
}

// GetIf is Get for a caller that cannot use every kept value. A fetch in
// progress always serves.
func (c *Cache[K, V]) GetIf(ctx context.Context, key K, serves func(Kept[V]) bool, fetch func(context.Context) (V, error)) (V, error) {
	v, err := c.store.get(ctx, key, func(k kept) bool { return serves(keptAs[V](k)) }, func(ctx context.Context) (any, error) { return fetch(ctx) })
	return as[V](v), err
}

// Peek returns the value of a key, and reports whether there is one that serves.
func (c *Cache[K, V]) Peek(key K) (Kept[V], bool) {
	k, ok := c.store.peek(key)
	return keptAs[V](k), ok
}

// Put keeps a value as if it had just been fetched for the context's tenant. One with no
// life only drops the value that was kept.
func (c *Cache[K, V]) Put(ctx context.Context, key K, value V) {
	c.store.put(Tenant(ctx), key, value)
}

// Forget drops the values for which keep returns false, and makes new callers
// fetch again what is being fetched. A nil keep drops all.
func (c *Cache[K, V]) Forget(keep func(V) bool) {
	c.store.forget(func(v any) bool { return keep != nil && keep(as[V](v)) })
}

// Of returns the values of a group that serve, in no order; in a cache without
// groups, that with no name has all of them. The loop body must not use the cache.
func (c *Cache[K, V]) Of(group string) iter.Seq2[K, Kept[V]] {
	return func(yield func(K, Kept[V]) bool) {
		c.store.of(group, func(key any, k kept) bool { return yield(as[K](key), keptAs[V](k)) })
	}
}

// Len returns the number of values and fetches that the cache holds.
func (c *Cache[K, V]) Len() int { return c.store.len() }

// as returns v as a T; nil becomes the zero value.
func as[T any](v any) T {
	t, _ := v.(T)
	return t
}

func keptAs[V any](k kept) Kept[V] { return Kept[V]{as[V](k.value), k.fetched, k.until} }
