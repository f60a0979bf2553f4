package agent

import (
	"slices"
	"sync"

	"k8s.io/client-go/util/workqueue"
)

// key is a pod in the queue.
type key struct{ namespace, uid string }

// turns is a workqueue.Queue in which namespaces take turns: however many pods of
// one are to be served, a pod of another waits for one of them. A namespace gets
// another worker only while more are idle than serve it, since its pods may hold
// workers for long: half of the workers serve one namespace at most, and a quarter
// the next.
type turns struct {
	workers int

	mu      sync.Mutex
	waiting map[string][]key // by namespace, the next to be served first
	order   []string         // of namespaces with waiting pods, the next to be served first
	served  map[string]int   // pods being served, by namespace
	n, busy int              // pods that wait, and that are being served
}

func newTurns(workers int) *turns {
	return &turns{workers: workers, waiting: map[string][]key{}, served: map[string]int{}}
}

// Touch implements workqueue.Queue: a pod that is added again keeps its place.
func (t *turns) Touch(key) {}

// Push implements workqueue.Queue.
func (t *turns) Push(k key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.waiting[k.namespace]
	if len(all) == 0 {
		t.order = append(t.order, k.namespace)
	}
	t.waiting[k.namespace] = append(all, k)
	t.n++
}

// Len implements workqueue.Queue: it is 0 while no pod may be served.
func (t *turns) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next() < 0 {
		return 0
	}
	return t.n
}

// next returns the place of the next namespace to be served; -1 for none. The caller
// holds the lock.
func (t *turns) next() int {
	return slices.IndexFunc(t.order, func(namespace string) bool { return t.served[namespace] < t.workers-t.busy })
}

// Pop implements workqueue.Queue.
func (t *turns) Pop() key {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.next()
	namespace := t.order[i]
	t.order = slices.Delete(t.order, i, i+1)
	all := t.waiting[namespace]
	if len(all) > 1 {
		t.waiting[namespace] = all[1:]
		t.order = append(t.order, namespace)
	} else {
		delete(t.waiting, namespace)
	}
	t.n--
	t.busy++
	t.served[namespace]++
	return all[0]
}

// leave takes note that a pod has been served. Its worker must come for another one.
func (t *turns) leave(k key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy--
	if t.served[k.namespace]--; t.served[k.namespace] == 0 {
		delete(t.served, k.namespace)
	}
}

// others reports whether pods wait, even if none may be served, or more than one is
// being served.
func (t *turns) others() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n > 0 || t.busy > 1
}

func newQueue(t *turns) workqueue.TypedRateLimitingInterface[key] {
	queue := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[key]{Queue: t})
	delaying := workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[key]{Queue: queue})
	return workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[key](firstRetry, lastRetry),
		workqueue.TypedRateLimitingQueueConfig[key]{DelayingQueue: delaying})
}
