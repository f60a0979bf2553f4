package agent

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
)

// Pods are the pods of a node that fail or wait, with all that is known of each,
// and the queue of those to be served. It is safe for use by many goroutines.
type Pods struct {
	queue workqueue.TypedRateLimitingInterface[string]

	mu   sync.Mutex
	pods map[string]*pod // by uid
}

// pod is what is known of one pod.
type pod struct {
	update    podwatch.Update
	recovered []diagnosis.Failure          // not published yet
	judged    map[diagnosis.Subject]judged // replaced, never changed
	published PodPublisher                 // nil until the pod is served
	stale     bool                         // what the verdicts rest on has changed
	fresh     bool                         // and what was asked does not serve any more
}

// judged is a verdict with what it was made from.
type judged struct {
	verdict diagnosis.Verdict
	text    text
	asked   string // fingerprint of the failure
	at      time.Time
	next    time.Time // the failure's NextTry
	unread  time.Time // since when it stands for want of a secret that could be read before; else zero
}

// work is what there is to do for a pod.
type work struct {
	update    podwatch.Update
	recovered []diagnosis.Failure
	judged    map[diagnosis.Subject]judged
	published PodPublisher
}

// NewPods returns no pods.
func NewPods() *Pods {
	return &Pods{
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](200*time.Millisecond, time.Minute)),
		pods:  map[string]*pod{},
	}
}

// Observe takes in what the watch has seen. It does not block.
func (p *Pods) Observe(u podwatch.Update) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.pods[u.UID]
	if of == nil {
		of = &pod{}
		p.pods[u.UID] = of
	}
	of.update = u
	of.recovered = append(append(of.recovered, u.Recovered...), u.Started...)
	if len(of.judged) == 0 && !u.Gone {
		p.queue.AddAfter(u.UID, rand.N(spread)) //nolint:gosec // jitter, not a secret
		return
	}
	p.queue.Add(u.UID)
}

// Busy reports whether pods wait to be served.
func (p *Pods) Busy() bool { return p.queue.Len() > 0 }

// Again has a pod served again after a while.
func (p *Pods) Again(uid string, after time.Duration) { p.queue.AddAfter(uid, after) }

// Reexamine has the failures of a pod examined though they are as they were,
// since what their verdicts rest on has changed. fresh asks registries again. A
// pod that fails no more is left alone.
func (p *Pods) Reexamine(uid string, fresh bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.pods[uid]
	if of == nil {
		return
	}
	of.stale, of.fresh = true, of.fresh || fresh
	p.queue.AddAfter(uid, rand.N(spread)) //nolint:gosec // jitter, not a secret
}

// Failing returns the failures of all pods, and the containers that may come to
// be such, sorted by pod.
func (p *Pods) Failing() []diagnosis.Failure {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []diagnosis.Failure
	for _, uid := range slices.Sorted(maps.Keys(p.pods)) {
		of := p.pods[uid]
		if of.update.Gone {
			continue
		}
		out = append(append(out, of.update.Failures...), of.update.Waiting...)
		for _, f := range of.update.Waiting { // the pod's sandbox may be what it waits for
			f.Kind, f.Container = diagnosis.KindSandbox, diagnosis.SandboxName
			out = append(out, f)
		}
	}
	return out
}

// Waiting returns the containers of all pods that wait without a reason.
func (p *Pods) Waiting() []diagnosis.Failure {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []diagnosis.Failure
	for _, of := range p.pods {
		if !of.update.Gone {
			out = append(out, of.update.Waiting...)
		}
	}
	return out
}

// take returns what there is to do for a pod, and marks its recoveries as
// published. open gives a pod that is served for the first time its publisher.
func (p *Pods) take(uid string, open func(uid string) PodPublisher) (work, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.pods[uid]
	if of == nil {
		return work{}, false
	}
	if of.published == nil {
		of.published = open(uid)
	}
	w := work{update: of.update, recovered: of.recovered, judged: of.judged, published: of.published}
	of.recovered = nil
	return w, true
}

// drop forgets a pod that is gone or fails no more.
func (p *Pods) drop(uid string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.pods[uid]
	if of == nil {
		return
	}
	if !of.update.Gone && len(of.update.Failures)+len(of.update.Waiting) > 0 {
		of.judged = nil // it has begun to fail again meanwhile, or may yet
		return
	}
	delete(p.pods, uid)
	of.published.Forget()
}

// staleness reports whether a pod was to be examined again, and takes that as
// done.
func (p *Pods) staleness(uid string) (stale, fresh bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.pods[uid]
	if of == nil {
		return false, false
	}
	stale, fresh = of.stale, of.fresh
	of.stale, of.fresh = false, false
	return stale, fresh
}

// remember keeps the verdicts on a pod.
func (p *Pods) remember(uid string, all map[diagnosis.Subject]judged) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if of := p.pods[uid]; of != nil {
		of.judged = all
	}
}
