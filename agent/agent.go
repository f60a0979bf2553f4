// Package agent is the loop of one node: pods come in from the watch, failing
// containers are examined and judged, verdicts go out to pod, metrics and log.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

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

// Publisher publishes verdicts.
type Publisher interface {
	// Pod returns what publishes the verdicts on one pod.
	Pod(uid string) PodPublisher
	// Reported reports whether a pod's annotations hold a report that an agent has
	// written.
	Reported(annotations map[string]string) bool
}

// PodPublisher publishes the verdicts on one pod, and remembers what it has
// published. The loop uses it from one goroutine at a time.
type PodPublisher interface {
	// Verdicts publishes the pod's verdicts, and how far the update's pulls are.
	// None of either means that nothing fails or is pulled any more.
	Verdicts(ctx context.Context, pod podwatch.Update, verdicts []diagnosis.Verdict, final bool) error
	// Recovered publishes that a container has got its image.
	Recovered(ctx context.Context, f diagnosis.Failure)
	// Forget drops what is kept about the pod, which is gone or fails no more.
	Forget()
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

// Agent serves the pods of a node.
type Agent struct {
	pods      *Pods
	collector Collector
	publisher Publisher
	log       *slog.Logger
	now       func() time.Time
}

// New returns an agent that serves pods.
func New(pods *Pods, c Collector, p Publisher, log *slog.Logger) *Agent {
	return &Agent{pods: pods, collector: c, publisher: p, log: log, now: time.Now}
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
	a.pods.queue.ShutDown()
	wg.Wait()
}

func (a *Agent) next(ctx context.Context) bool {
	uid, stop := a.pods.queue.Get()
	if stop {
		return false
	}
	defer a.pods.queue.Done(uid)
	if ctx.Err() != nil { // the queue hands out the rest before it stops
		return true
	}
	if err := a.process(ctx, uid); err != nil {
		a.log.Warn("pod not served", "uid", uid, "err", err)
		a.pods.queue.AddRateLimited(uid)
		return true
	}
	a.pods.queue.Forget(uid)
	return true
}

func (a *Agent) process(ctx context.Context, uid string) error {
	w, ok := a.pods.take(uid, a.publisher.Pod)
	if !ok {
		return nil
	}
	for _, f := range w.recovered {
		w.published.Recovered(ctx, f)
	}
	if w.update.Gone {
		a.pods.drop(uid)
		return nil
	}
	w.update = a.withHanging(ctx, w.update)
	a.sandboxes(ctx, w)
	if len(w.update.Failures) == 0 {
		if err := w.published.Verdicts(ctx, w.update, nil, true); err != nil && !gone(err) {
			return err
		}
		a.pods.drop(uid)
		return nil
	}
	return a.examine(ctx, w)
}

// withHanging adds to a pod's failures those of its waiting containers whose
// pull hangs, and the pulls that go on, once they have waited for long. Of a pod
// that carries a report that was so when an earlier run of the agent looked.
func (a *Agent) withHanging(ctx context.Context, u podwatch.Update) podwatch.Update {
	if len(u.Waiting) == 0 {
		return u
	}
	oldest := slices.MinFunc(u.Waiting, func(a, b diagnosis.Failure) int { return a.Since.Compare(b.Since) })
	if left := lookAfter - a.now().Sub(oldest.Since); left > 0 && !a.publisher.Reported(u.Annotations) {
		a.pods.queue.AddAfter(u.UID, left)
		return u
	}
	a.pods.queue.AddAfter(u.UID, lookAgain)
	hanging, going := a.collector.Follow(ctx, u.Waiting)
	u.Failures, u.Pulling = append(slices.Clip(u.Failures), hanging...), going
	return u
}

// sandboxes publishes of sandboxes whose image had been missing that they are
// there: no status of the pod shows it.
func (a *Agent) sandboxes(ctx context.Context, w work) {
	missing := slices.ContainsFunc(w.update.Failures, func(f diagnosis.Failure) bool { return f.Kind == diagnosis.KindSandbox })
	for subject, j := range w.judged {
		if subject.Kind == diagnosis.KindSandbox && !missing {
			w.published.Recovered(ctx, j.verdict.Failure)
		}
	}
}

// gone reports whether there is no pod to write to any more.
func gone(err error) bool { return errors.Is(err, kube.ErrNotFound) }

// examine judges the failing containers of a pod again where that is due, and
// publishes the verdicts: a first one when the slow checks let wait, and the
// final one.
func (a *Agent) examine(ctx context.Context, w work) error {
	u := w.update
	round := a.begin(ctx, w)
	if round.slow(patience) {
		if err := publish(ctx, w, round.verdicts(), false); err != nil && !gone(err) {
			a.log.Warn("first verdict not written", "namespace", u.Namespace, "pod", u.Name, "err", err)
		}
	}
	round.wait()
	a.pods.remember(u.UID, round.judged())
	a.pods.queue.AddAfter(u.UID, round.ages(a.now())+rand.N(refresh/4)) //nolint:gosec // jitter
	if err := publish(ctx, w, round.verdicts(), true); err != nil && !gone(err) {
		return err
	}
	return nil
}

func publish(ctx context.Context, w work, v []diagnosis.Verdict, final bool) error {
	if ctx.Err() != nil { // a check that was cut short is no evidence
		return nil
	}
	return w.published.Verdicts(ctx, w.update, v, final)
}
