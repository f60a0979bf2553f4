package kube

import (
	"maps"
	"sync"
	"time"
)

const (
	// refusalTTL is how long to remember a refusal that an API server that has
	// just started would not give.
	refusalTTL = 10 * time.Minute
	// firstRetry and lastRetry are how long to remember any other refusal,
	// which may be temporary.
	firstRetry = time.Second
	lastRetry  = 15 * time.Second
)

// refusals remembers what the API server refuses, by namespace because roles
// may grant it in some only; "" stands for the pod watch in all namespaces. A
// refusal holds for the first duration, and twice as long each time it is
// repeated, up to limit. It is safe for concurrent use.
type refusals struct {
	first, limit time.Duration
	now          func() time.Time

	mu          sync.Mutex
	byNamespace map[string]refusal
}

type refusal struct {
	until time.Time
	holds time.Duration
}

func newRefusals(first, limit time.Duration) *refusals {
	return &refusals{first: first, limit: limit, now: time.Now, byNamespace: map[string]refusal{}}
}

func (r *refusals) add(namespace string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	maps.DeleteFunc(r.byNamespace, func(_ string, old refusal) bool { return now.After(old.until.Add(r.limit - r.first)) })
	holds := r.first
	if old, repeated := r.byNamespace[namespace]; repeated {
		holds = min(2*old.holds, r.limit)
	}
	r.byNamespace[namespace] = refusal{now.Add(holds), holds}
}

func (r *refusals) has(namespace string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now().Before(r.byNamespace[namespace].until)
}

func (r *refusals) forget(namespace string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byNamespace, namespace)
}
