package share

import (
	"context"
	"sync"
)

type onceKey struct{}

// onces are what was done in one piece of work.
type onces struct {
	mu  sync.Mutex
	all map[any]func() any
}

// WithOnce returns a context for one piece of work in which Once does each thing
// once. What it has done goes with the context. Within such work it is the same
// context.
func WithOnce(ctx context.Context) context.Context {
	if ctx.Value(onceKey{}) != nil {
		return ctx
	}
	return context.WithValue(ctx, onceKey{}, &onces{all: map[any]func() any{}})
}

// Once returns what get returned when it was first called with this key in the
// work that the context is of. Without WithOnce it calls get each time.
func Once[V any](ctx context.Context, key any, get func() V) V {
	o, _ := ctx.Value(onceKey{}).(*onces)
	if o == nil {
		return get()
	}
	o.mu.Lock()
	do := o.all[key]
	if do == nil {
		do = sync.OnceValue(func() any { return get() })
		o.all[key] = do
	}
	o.mu.Unlock()
	return as[V](do())
}
