package share

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// ErrBusy is the error for a tenant of whom too many callers wait already.
var ErrBusy = errors.New("too many wait")

type tenantKey struct{}

// WithTenant returns a context for work on behalf of a tenant: a namespace, as a
// rule. Work without one is the tenant's whose name is empty.
func WithTenant(ctx context.Context, tenant string) context.Context {
	return context.WithValue(ctx, tenantKey{}, tenant)
}

// Tenant returns on whose behalf a context's work is done.
func Tenant(ctx context.Context) string {
	tenant, _ := ctx.Value(tenantKey{}).(string)
	return tenant
}

// Lanes are named semaphores whose waiters can give up. Tenants take turns, so
// that however many callers of one of them wait, another's waits for at most one
// of them. Lanes nobody uses take no memory. It is safe for concurrent use.
type Lanes struct {
	size  int // how many may hold a new lane at once
	each  int // how many of one tenant
	limit int // how many callers of a tenant may wait for a lane

	mu  sync.Mutex
	all map[string]*lane // only those in use
}

type lane struct {
	name    string
	size    int // how many may hold it at once
	holders int
	held    map[string]int // of these, by tenant
	queues  []*queue       // of tenants with waiting callers, the next to be served first
}

type queue struct {
	tenant  string
	waiting []*ticket // the next to be served first
}

// ticket is a place in a lane. It may wait for several tenants, who want the same.
type ticket struct {
	lane   *lane
	turn   chan struct{} // closed once the ticket holds the lane
	held   bool
	tenant string // for whom it is held
}

// NewLanes returns lanes that size callers hold at a time, and for each of which
// at most limit callers of a tenant wait.
func NewLanes(size, limit int) *Lanes { return NewSharedLanes(size, size, limit) }

// NewSharedLanes is NewLanes for callers who hold a lane for long: no tenant holds a
// lane more than each times, so that others need not wait until one of them leaves.
func NewSharedLanes(size, each, limit int) *Lanes {
	return &Lanes{size: size, each: each, limit: limit, all: map[string]*lane{}}
}

// Enter waits until the context's tenant may have the lane. The error is that of
// ctx, or ErrBusy; without one the caller must call leave.
func (l *Lanes) Enter(ctx context.Context, name string) (leave func(), err error) {
	t, err := l.take(name, Tenant(ctx))
	if err != nil {
		return nil, err
	}
	if err := l.wait(ctx, t); err != nil {
		l.leave(t, 0)
		return nil, err
	}
	return func() { l.leave(t, 0) }, nil
}

// TryEnter is Enter for a caller that does not wait. It reports whether it must call leave.
func (l *Lanes) TryEnter(ctx context.Context, name string) (leave func(), entered bool) {
	t, err := l.take(name, Tenant(ctx))
	if err != nil {
		return nil, false
	}
	select {
	case <-t.turn:
		return func() { l.leave(t, 0) }, true
	default:
		l.leave(t, 0)
		return nil, false
	}
}

// wait waits for the ticket's turn. The error is that of ctx.
func (l *Lanes) wait(ctx context.Context, t *ticket) error {
	select {
	case <-t.turn:
	case <-ctx.Done():
	}
	return ctx.Err() // which may have ended as the lane became free
}

// take returns a ticket, which the caller must return by leave.
func (l *Lanes) take(name, tenant string) (*ticket, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.all[name]
	if of == nil {
		of = &lane{name: name, size: l.size, held: map[string]int{}}
	}
	t := &ticket{lane: of, turn: make(chan struct{})}
	if !l.admit(t, tenant) {
		return nil, ErrBusy
	}
	l.all[name] = of
	return t, nil
}

// admit gives a ticket the lane if there is room, else has it wait, unless too many do.
func (l *Lanes) admit(t *ticket, tenant string) bool {
	of := t.lane
	if of.holders < of.size && of.held[tenant] < l.each {
		of.give(t, tenant)
		return true
	}
	return of.push(t, tenant, l.limit)
}

// also has a ticket wait for another tenant as well: it is served when the turn of
// either comes.
func (l *Lanes) also(t *ticket, tenant string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !t.held {
		l.admit(t, tenant)
	}
}

// leave gives a ticket back, and the lane to those who are next. size is how many may
// hold the lane from now on, 0 for as many as before. A lane grows only when no other
// holds it: those who came before it shrank do not decide that.
func (l *Lanes) leave(t *ticket, size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := t.lane
	if !t.held {
		of.remove(t)
		return
	}
	of.holders--
	if of.held[t.tenant]--; of.held[t.tenant] == 0 {
		delete(of.held, t.tenant)
	}
	if size > 0 && (size < of.size || of.holders == 0) {
		of.size = size
	}
	for of.holders < of.size {
		next := slices.IndexFunc(of.queues, func(q *queue) bool { return of.held[q.tenant] < l.each })
		if next < 0 {
			break
		}
		q := of.queues[next]
		of.queues = append(slices.Delete(of.queues, next, next+1), q) // its tenant's next waiter is served after all others'
		of.give(q.waiting[0], q.tenant)
	}
	if of.holders == 0 {
		delete(l.all, of.name)
	}
}

// give gives the lane to a ticket of a tenant.
func (l *lane) give(t *ticket, tenant string) {
	l.remove(t)
	l.holders++
	l.held[tenant]++
	t.held, t.tenant = true, tenant
	close(t.turn)
}

// push has a ticket wait, unless there are enough of the tenant's.
func (l *lane) push(t *ticket, tenant string, limit int) bool {
	i := slices.IndexFunc(l.queues, func(q *queue) bool { return q.tenant == tenant })
	if i < 0 {
		l.queues = append(l.queues, &queue{tenant: tenant, waiting: []*ticket{t}})
		return true
	}
	q := l.queues[i]
	if len(q.waiting) >= limit {
		return false
	}
	if !slices.Contains(q.waiting, t) {
		q.waiting = append(q.waiting, t)
	}
	return true
}

// remove takes a ticket out of all queues.
func (l *lane) remove(t *ticket) {
	for _, q := range l.queues {
		q.waiting = slices.DeleteFunc(q.waiting, func(o *ticket) bool { return o == t })
	}
	l.queues = slices.DeleteFunc(l.queues, func(q *queue) bool { return len(q.waiting) == 0 })
}
