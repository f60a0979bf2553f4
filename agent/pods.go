package agent

import (
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
)

// Pods holds the pods of a node that fail or wait, their state, and the queue of
// those to process. It is safe for concurrent use.
type Pods struct {
	queue workqueue.TypedRateLimitingInterface[key]
	turns *turns // of the queue
	burst chan struct{}

	mu   sync.Mutex
	pods map[string]*pod // by uid
}

// pod is the state of one pod.
type pod struct {
	work

	stale bool // something that the verdicts are based on has changed
	fresh bool // and registries must be asked again
}

// judged is a verdict with its basis.
type judged struct {
	verdict diagnosis.Verdict
	text    text
	asked   string // fingerprint of the failure
	at      time.Time
	next    time.Time // the failure's NextTry
	unread  time.Time // since when it is kept because a secret is no longer readable; zero if it is not
}

// work is what is processed of a pod, as a snapshot.
type work struct {
	update    podwatch.Update
	recovered []diagnosis.Failure          // not published yet
	judged    map[diagnosis.Subject]judged // replaced, never changed
	published PodPublisher                 // nil until the pod is processed
	seen      int                          // how often the watch has updated it
	round     *round                       // the examination in progress; nil for none
	look      time.Time                    // when the next check of its pulls is due; zero for none, and outside of a snapshot
}

func (w work) key() key { return key{w.update.Namespace, w.update.UID} }

// NewPods returns an empty Pods.
func NewPods() *Pods {
	t := newTurns(workers)
	return &Pods{queue: newQueue(t), turns: t, burst: make(chan struct{}, 1), pods: map[string]*pod{}}
}

// many is the number of failing and waiting pods from which a burst is assumed.
const many = 32

// Burst returns a channel that receives when the pods that fail or wait become many.
func (p *Pods) Burst() <-chan struct{} { return p.burst }

// afterOthers is how long, while many pods fail, an update waits that shows nothing new of
// a pod's images: as a rule it shows what was just written to the pod. Others' verdicts
// come first.
const afterOthers = time.Second

// Observe records an update from the watch and queues the pod. It does not block.
func (p *Pods) Observe(u podwatch.Update) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.pods[u.UID]
	if of == nil {
		of = &pod{}
		p.pods[u.UID] = of
		if len(p.pods) == many {
			select {
			case p.burst <- struct{}{}:
			default: // the last one has not been received yet
			}
		}
	}
	old := of.update
	of.update = u
	of.seen++
	ended := slices.Concat(u.Recovered, u.Started, u.Healthy)
	of.recovered = append(slices.Clip(of.recovered), ended...)
	if len(p.pods) >= many && !u.Gone && len(ended) == 0 && reflect.DeepEqual(old.Failures, u.Failures) && reflect.DeepEqual(old.Waiting, u.Waiting) {
		p.queue.AddAfter(of.key(), afterOthers)
		return
	}
	p.queue.Add(of.key())
}

// Busy reports whether other pods are queued or served, for the one that is served.
func (p *Pods) Busy() bool { return p.turns.others() }

// Fails reports whether a pod cannot get an image, or pods are queued.
func (p *Pods) Fails() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, of := range p.pods {
		if !of.update.Gone && len(of.update.Failures) > 0 {
			return true
		}
	}
	return p.queue.Len() > 0
}

// with calls do with a pod, unless it is unknown. Nobody else uses the pod meanwhile.
func (p *Pods) with(uid string, do func(*pod)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if of := p.pods[uid]; of != nil {
		do(of)
	}
}

// Again queues a pod again after a delay. It ignores unknown pods.
func (p *Pods) Again(uid string, after time.Duration) {
	p.with(uid, func(of *pod) { p.queue.AddAfter(of.key(), after) })
}

// Reexamine queues a pod and has all of its failures examined, because something
// that their verdicts are based on has changed. With fresh, registries are asked
// again. It ignores unknown pods.
func (p *Pods) Reexamine(uid string, fresh bool) {
	p.with(uid, func(of *pod) {
		of.stale, of.fresh = true, of.fresh || fresh
		p.queue.AddAfter(of.key(), rand.N(spread)) //nolint:gosec // jitter, not a secret
	})
}

// Failing returns the failures of all pods, and the waiting containers and
// sandboxes, which may turn into failures, sorted by pod UID.
func (p *Pods) Failing() []diagnosis.Failure {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, of := range p.pods {
		n += len(of.update.Failures) + 2*len(of.update.Waiting)
	}
	out := make([]diagnosis.Failure, 0, n) // growing it would take as much again
	for _, uid := range slices.Sorted(maps.Keys(p.pods)) {
		of := p.pods[uid]
		if of.update.Gone {
			continue
		}
		out = append(append(out, of.update.Failures...), of.update.Waiting...)
		for _, f := range of.update.Waiting { // it may be waiting for the pod's sandbox
			f.Kind, f.Container = diagnosis.KindSandbox, diagnosis.SandboxName
			out = append(out, f)
		}
	}
	return out
}

// Waiting returns the containers of all pods that have waited without a reason for
// less than aboutToPull: a pull of theirs may be about to start. Once it has, the
// runtime knows of it (scratchpull.Puller).
func (p *Pods) Waiting() []diagnosis.Failure {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []diagnosis.Failure
	for _, of := range p.pods {
		for _, f := range of.update.Waiting {
			if !of.update.Gone && time.Since(f.Since) < aboutToPull {
				out = append(out, f)
			}
		}
	}
	return out
}

// take returns the work for a pod and removes its pending recoveries. open creates
// the publisher of a pod that is processed for the first time.
func (p *Pods) take(uid string, open func(uid string) PodPublisher) (w work, known bool) {
	p.with(uid, func(of *pod) {
		if of.published == nil {
			of.published = open(uid)
		}
		w, known = of.work, true
		of.recovered = nil
	})
	return w, known
}

// drop forgets a pod that is gone or no longer fails.
func (p *Pods) drop(uid string) {
	p.with(uid, func(of *pod) {
		of.abandon()
		if !of.update.Gone && len(of.update.Failures)+len(of.update.Waiting)+len(of.recovered) > 0 {
			of.judged = nil // it fails again by now, or may soon, or has got its image meanwhile
			return
		}
		delete(p.pods, uid)
		of.published.Forget()
	})
}

// staleness returns the flags set by Reexamine and resets them.
func (p *Pods) staleness(uid string) (stale, fresh bool) {
	p.with(uid, func(of *pod) {
		stale, fresh = of.stale, of.fresh
		of.stale, of.fresh = false, false
	})
	return stale, fresh
}

// abandon cancels the examination of the pod.
func (p *pod) abandon() {
	if p.round != nil {
		p.round.cancel()
		p.round = nil
	}
}

// ended stores the verdicts of a pod's examination, and reports whether the pod, or
// what its verdicts are based on, has changed since the examination began.
func (p *Pods) ended(uid string, r *round) (again bool) {
	judged := r.judged()
	p.with(uid, func(of *pod) {
		of.abandon()
		of.judged, again = judged, of.seen != r.work.seen || of.stale
	})
	return again
}
