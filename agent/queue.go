package agent

import "k8s.io/client-go/util/workqueue"

// key is a pod in the queue.
type key struct{ namespace, uid string }

// turns is a workqueue.Queue in which namespaces take turns: however many pods of
// one are to be served, a pod of another waits for one of them. The work queue
// locks it.
type turns struct {
	waiting map[string][]key // by namespace, the next to be served first
	order   []string         // of namespaces with waiting pods, the next to be served first
	n       int
}

// Touch implements workqueue.Queue: a pod that is added again keeps its place.
func (t *turns) Touch(key) {}

// Push implements workqueue.Queue.
func (t *turns) Push(k key) {
	if t.waiting == nil {
		t.waiting = map[string][]key{}
	}
	all := t.waiting[k.namespace]
	if len(all) == 0 {
		t.order = append(t.order, k.namespace)
	}
	t.waiting[k.namespace] = append(all, k)
	t.n++
}

// Len implements workqueue.Queue.
func (t *turns) Len() int { return t.n }

// Pop implements workqueue.Queue.
func (t *turns) Pop() key {
	namespace := t.order[0]
	t.order = t.order[1:]
	all := t.waiting[namespace]
	if len(all) > 1 {
		t.waiting[namespace] = all[1:]
		t.order = append(t.order, namespace)
	} else {
		delete(t.waiting, namespace)
	}
	t.n--
	return all[0]
}

func newQueue() workqueue.TypedRateLimitingInterface[key] {
	queue := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[key]{Queue: &turns{}})
	delaying := workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[key]{Queue: queue})
	return workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[key](firstRetry, lastRetry),
		workqueue.TypedRateLimitingQueueConfig[key]{DelayingQueue: delaying})
}
