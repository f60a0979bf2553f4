// Package agent is the loop of one node: pods come in from the watch, failing
// containers are examined and judged, verdicts go out to pod, metrics and log.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/podwatch"
)

// Collector examines containers.
type Collector interface {
	// Follow returns those of a pod's waiting containers whose pull hangs, and how
	// far the pulls are that go on.
	Follow(ctx context.Context, waiting []diagnosis.Failure) (hanging []diagnosis.Failure, going []diagnosis.Progress)
	// Collect examines one failing container. The first return value is what is
	// known at once; the channel delivers all of the evidence, once, within the
	// bounds of the checks.
	Collect(ctx context.Context, f diagnosis.Failure, fresh bool) (first []diagnosis.Evidence, all <-chan []diagnosis.Evidence)
}

// Publisher tells a pod's verdicts to the world.
type Publisher interface {
	// Verdicts writes a pod's verdicts, and how far the update's pulls are. None
	// of either means that nothing fails or is pulled any more.
	Verdicts(ctx context.Context, pod podwatch.Update, verdicts []diagnosis.Verdict, final bool) error
	// Recovered tells that a container has got its image.
	Recovered(ctx context.Context, f diagnosis.Failure)
	// Forget drops what is kept about a pod that is gone.
	Forget(uid string)
}

// The loop's times.
const (
	// patience is how long a verdict waits for the slow checks before a first
	// one, made of the quick checks, goes out.
	patience = 600 * time.Millisecond
	// refresh is after how long a pod that still fails is examined anew.
	refresh = 5 * time.Minute
	// settle is how long a failing pod is left alone after a verdict, unless
	// what the kubelet says changes to something else.
	settle = 10 * time.Second
	// lookAfter is how long a container may wait without a reason before its pull
	// is looked at, and lookAgain how often that is done then.
	lookAfter = 30 * time.Second
	lookAgain = 10 * time.Second
	// spread is the most by which the first examination is put off, so that a
	// fleet does not ask one registry at the same moment.
	spread = 100 * time.Millisecond
	// workers examine that many pods side by side.
	workers = 64
)

// Agent holds the state of the loop.
type Agent struct {
	collector Collector
	publisher Publisher
	log       *slog.Logger
	now       func() time.Time
	queue     workqueue.TypedRateLimitingInterface[string]

	mu   sync.Mutex
	pods map[string]*pod // by uid
}

// pod is what the loop knows of one failing pod.
type pod struct {
	update    podwatch.Update
	recovered []diagnosis.Failure
	judged    map[podwatch.Key]judged
	stale     bool // what the verdicts rest on has changed
	fresh     bool // and what was asked does not serve any more
}

// judged is a verdict with what it was made from.
type judged struct {
	verdict diagnosis.Verdict
	asked   string // fingerprint of the failure
	at      time.Time
	next    time.Time // the failure's NextTry
	unread  time.Time // since when it stands for want of a secret that could be read before; else zero
}

// New returns an agent.
func New(c Collector, p Publisher, log *slog.Logger) *Agent {
	return &Agent{
		collector: c, publisher: p, log: log, now: time.Now,
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](200*time.Millisecond, time.Minute)),
		pods:  map[string]*pod{},
	}
}

// Observe takes in what the watch has seen. It does not block.
func (a *Agent) Observe(u podwatch.Update) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.pods[u.UID]
	if p == nil {
		p = &pod{judged: map[podwatch.Key]judged{}}
		a.pods[u.UID] = p
	}
	p.update = u
	p.recovered = append(append(p.recovered, u.Recovered...), u.Started...)
	if len(p.judged) == 0 && !u.Gone {
		a.queue.AddAfter(u.UID, rand.N(spread)) //nolint:gosec // jitter, not a secret
		return
	}
	a.queue.Add(u.UID)
}

// Busy tells that pods wait to be served.
func (a *Agent) Busy() bool { return a.queue.Len() > 0 }

// Again has a pod served again after a while.
func (a *Agent) Again(uid string, after time.Duration) { a.queue.AddAfter(uid, after) }

// Reexamine has the failures of a pod examined though they are as they were,
// since what their verdicts rest on has changed. fresh asks registries anew. A
// pod that fails no more is left alone.
func (a *Agent) Reexamine(uid string, fresh bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.pods[uid]
	if p == nil {
		return
	}
	p.stale, p.fresh = true, p.fresh || fresh
	a.queue.AddAfter(uid, rand.N(spread)) //nolint:gosec // jitter, not a secret
}

// Failing returns the failures of all pods, and the containers that may come to
// be such, sorted by pod.
func (a *Agent) Failing() []diagnosis.Failure {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []diagnosis.Failure
	for _, uid := range slices.Sorted(maps.Keys(a.pods)) {
		p := a.pods[uid]
		if p.update.Gone {
			continue
		}
		out = append(append(out, p.update.Failures...), p.update.Waiting...)
		for _, f := range p.update.Waiting { // the pod's sandbox may be what it waits for
			f.Kind, f.Container = diagnosis.KindSandbox, diagnosis.SandboxName
			out = append(out, f)
		}
	}
	return out
}

// Waiting returns the containers of all pods that wait without a reason.
func (a *Agent) Waiting() []diagnosis.Failure {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []diagnosis.Failure
	for _, p := range a.pods {
		if !p.update.Gone {
			out = append(out, p.update.Waiting...)
		}
	}
	return out
}

// Run works until the context ends, and returns when all work has stopped.
func (a *Agent) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for a.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	a.queue.ShutDown()
	wg.Wait()
}

func (a *Agent) next(ctx context.Context) bool {
	uid, stop := a.queue.Get()
	if stop {
		return false
	}
	defer a.queue.Done(uid)
	if ctx.Err() != nil { // the queue hands out the rest before it stops
		return true
	}
	if err := a.process(ctx, uid); err != nil {
		a.log.Warn("pod not served", "uid", uid, "err", err)
		a.queue.AddRateLimited(uid)
		return true
	}
	a.queue.Forget(uid)
	return true
}

// take returns what there is to do for a pod, and marks its recoveries as
// seen to.
func (a *Agent) take(uid string) (podwatch.Update, []diagnosis.Failure, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.pods[uid]
	if p == nil {
		return podwatch.Update{}, nil, false
	}
	recovered := p.recovered
	p.recovered = nil
	return p.update, recovered, true
}

func (a *Agent) process(ctx context.Context, uid string) error {
	u, recovered, ok := a.take(uid)
	if !ok {
		return nil
	}
	for _, f := range recovered {
		a.publisher.Recovered(ctx, f)
	}
	if u.Gone {
		a.drop(uid)
		return nil
	}
	u = a.withHanging(ctx, u)
	a.sandboxes(ctx, u)
	if len(u.Failures) == 0 {
		if err := a.publisher.Verdicts(ctx, u, nil, true); err != nil && !gone(err) {
			return err
		}
		a.drop(uid)
		return nil
	}
	return a.examine(ctx, u)
}

// withHanging adds to a pod's failures those of its waiting containers whose
// pull hangs, and the pulls that go on, once they have waited for long. Of a pod
// that carries a report that was so when an earlier run of the agent looked.
func (a *Agent) withHanging(ctx context.Context, u podwatch.Update) podwatch.Update {
	if len(u.Waiting) == 0 {
		return u
	}
	oldest := slices.MinFunc(u.Waiting, func(a, b diagnosis.Failure) int { return a.Since.Compare(b.Since) })
	if left := lookAfter - a.now().Sub(oldest.Since); left > 0 && !marked(u.Annotations) {
		a.queue.AddAfter(u.UID, left)
		return u
	}
	a.queue.AddAfter(u.UID, lookAgain)
	hanging, going := a.collector.Follow(ctx, u.Waiting)
	u.Failures, u.Pulling = append(slices.Clip(u.Failures), hanging...), going
	return u
}

// sandboxes tells of sandboxes whose image had been missing and that are there:
// no status of the pod does.
func (a *Agent) sandboxes(ctx context.Context, u podwatch.Update) {
	a.mu.Lock()
	var was []diagnosis.Failure
	if p := a.pods[u.UID]; p != nil {
		for k, j := range p.judged {
			if k.Kind == diagnosis.KindSandbox {
				was = append(was, j.verdict.Failure)
			}
		}
	}
	a.mu.Unlock()
	for _, f := range was {
		if !slices.ContainsFunc(u.Failures, func(n diagnosis.Failure) bool { return n.Kind == diagnosis.KindSandbox }) {
			a.publisher.Recovered(ctx, f)
		}
	}
}

// gone tells that there is no pod to write to any more.
func gone(err error) bool { return errors.Is(err, kube.ErrNotFound) }

func (a *Agent) drop(uid string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.pods[uid]; p != nil && !p.update.Gone && len(p.update.Failures)+len(p.update.Waiting) > 0 {
		p.judged = map[podwatch.Key]judged{} // it has begun to fail again meanwhile, or may yet
		return
	}
	delete(a.pods, uid)
	a.publisher.Forget(uid)
}

// examine judges the failing containers of a pod anew where that is due, and
// publishes the verdicts: a first one when the slow checks let wait, and the
// final one.
func (a *Agent) examine(ctx context.Context, u podwatch.Update) error {
	round := a.begin(ctx, u)
	if round.slow(patience) {
		if err := a.publish(ctx, u, round.verdicts(), false); err != nil && !gone(err) {
			a.log.Warn("first verdict not written", "namespace", u.Namespace, "pod", u.Name, "err", err)
		}
	}
	round.wait()
	a.remember(u.UID, round)
	a.queue.AddAfter(u.UID, round.ages(a.now())+rand.N(refresh/4)) //nolint:gosec // jitter
	if err := a.publish(ctx, u, round.verdicts(), true); err != nil && !gone(err) {
		return err
	}
	return nil
}

func (a *Agent) publish(ctx context.Context, u podwatch.Update, v []diagnosis.Verdict, final bool) error {
	if ctx.Err() != nil { // a check that was cut short is no evidence
		return nil
	}
	return a.publisher.Verdicts(ctx, u, v, final)
}

// staleness tells whether a pod was to be examined anew, and takes that as seen
// to.
func (a *Agent) staleness(uid string) (stale, fresh bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.pods[uid]
	if p == nil {
		return false, false
	}
	stale, fresh = p.stale, p.fresh
	p.stale, p.fresh = false, false
	return stale, fresh
}

// failedSince tells that the kubelet has tried once more, and failed, after a
// verdict that found nothing to fail.
func (j judged) failedSince(f diagnosis.Failure) bool {
	return j.verdict.Cause == diagnosis.NotReproducible && !j.next.Equal(f.NextTry)
}

// due tells whether a failure needs to be examined: it is new or has come back,
// it says something else than before, or it is a while ago.
func (a *Agent) due(uid string, f diagnosis.Failure) (old judged, examine, fresh bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.pods[uid]
	if p == nil {
		return judged{}, true, false
	}
	old, known := p.judged[podwatch.KeyOf(f)]
	if !known {
		return judged{}, true, false
	}
	age := a.now().Sub(old.at)
	changed := old.asked != fingerprint(f) || !old.verdict.Failure.Since.Equal(f.Since)
	others := old.verdict.Failure.Queue != f.Queue // of which no registry knows
	return old, changed || others || old.failedSince(f) || age >= refresh, changed && age >= settle
}

func (a *Agent) remember(uid string, r *round) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.pods[uid]
	if p == nil {
		return
	}
	kept := map[podwatch.Key]judged{}
	for _, e := range r.exams {
		kept[podwatch.KeyOf(e.failure)] = e.judged()
	}
	p.judged = kept
}
