package kube

import (
	"maps"
	"sync"
	"time"
)

const (
	// refusalLife is how long a refusal is taken for granted that cannot be the
	// passing one of an API server that has just started.
	refusalLife = 10 * time.Minute
	// firstRetry and lastRetry are how long another refusal is: it may be over in
	// a moment.
	firstRetry = time.Second
	lastRetry  = 15 * time.Second
)

// refusals remembers what the API server refuses: by namespace, since roles may
// grant it in some only; "" stands for all of them together, as the pods are
// read. A refusal holds for the first time, and for twice as long each time that
// it is repeated, up to the most. It is safe for concurrent use.
type refusals struct {
	first, most time.Duration
	now         func() time.Time

	mu          sync.Mutex
	byNamespace map[string]refusal
}

type refusal struct {
	until time.Time
	holds time.Duration
}

func newRefusals(first, most time.Duration) *refusals {
	return &refusals{first: first, most: most, now: time.Now, byNamespace: map[string]refusal{}}
}

func (r *refusals) add(namespace string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	maps.DeleteFunc(r.byNamespace, func(_ string, old refusal) bool { return now.After(old.until.Add(r.most - r.first)) })
	holds := r.first
	if old, repeated := r.byNamespace[namespace]; repeated {
		holds = min(2*old.holds, r.most)
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
