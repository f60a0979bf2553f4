// Package agent is the main loop of a node: it takes pods from the watch, examines
// and diagnoses failing containers, and passes the verdicts to a publisher.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/agent/share"
)

// Collector examines containers.
type Collector interface {
	// Follow returns those of a pod's waiting containers whose pull hangs, and the
	// progress of the others' pulls. The error is that of a runtime that does not answer.
	Follow(ctx context.Context, waiting []diagnosis.Failure) (hanging []diagnosis.Failure, going []diagnosis.Progress, err error)
	// Collect examines one failing container. first is the evidence of the quick
	// checks; the channel delivers all of the evidence, once, within the time limits
	// of the checks, and is then closed. fresh bypasses what is cached from registries.
	Collect(ctx context.Context, f diagnosis.Failure, fresh bool) (first []diagnosis.Evidence, all <-chan []diagnosis.Evidence)
}

// Publisher publishes verdicts.
type Publisher interface {
	// Pod returns the publisher of one pod.
	Pod(uid string) PodPublisher
	// Reported reports whether a pod's annotations hold a valid report.
	Reported(annotations map[string]string) bool
}

// PodPublisher publishes the verdicts on one pod, and remembers what it has
// published. The loop uses it from one goroutine at a time.
type PodPublisher interface {
	// Verdicts publishes the pod's verdicts and the progress of the update's pulls.
	// If there are none of either, nothing fails or is pulled any more. final is
	// false while the slow checks are still running. The error is ErrDeferred if the
	// pod is to be kept until it is served again.
	Verdicts(ctx context.Context, pod podwatch.Update, verdicts []diagnosis.Verdict, final bool) error
	// Recovered publishes that a container has got its image, if its failure has been
	// published, be it by an earlier run of the agent. After an error it is called again.
	Recovered(ctx context.Context, pod podwatch.Update, f diagnosis.Failure) error
	// Forget drops the state of the pod, which is gone or no longer fails.
	Forget()
}

// ErrDeferred is the error of a write that a PodPublisher has deferred. It has
// the pod served again when the write is due.
var ErrDeferred = errors.New("the write is deferred")

// The loop's times.
const (
	// firstRetry is how long a pod waits that could not be processed; the delay doubles
	// with each failure, up to lastRetry.
	firstRetry = 200 * time.Millisecond
	lastRetry  = 20 * time.Second
	// patience is how long a verdict waits for the slow checks before a first one,
	// made of the quick checks, is published.
	patience = 600 * time.Millisecond
	// refresh is the interval after which a pod that still fails is examined again.
	refresh = 5 * time.Minute
	// settle is the age of a verdict from which a change of the kubelet's message
	// makes the registries be asked again.
	settle = 10 * time.Second
	// lookAfter is how long a container waits without a reason before the progress of
	// its pull is checked; lookAgain is the interval of that check.
	lookAfter = 30 * time.Second
	lookAgain = 10 * time.Second
	// aboutToPull is how long after its start a wait without a reason may be one for a
	// pull that has not started: the kubelet starts a pull within seconds, or after
	// another one, of which the runtime knows.
	aboutToPull = time.Minute
	// spread is the maximum random delay of an examination for something that has
	// changed, a secret for instance, so that not all nodes read it at the same time.
	spread = 100 * time.Millisecond
	// workers is the number of pods processed concurrently, half of them of one namespace
	// (turns). None waits for checks, but some do for the API server: with half as many, the
	// pods of a burst waited for one another.
	workers = 128
	// maxCollecting is for how many pods the quick checks run at once, and maxCollectingOf
	// for how many of one namespace. Many wait for one secret, which is read for all of
	// them; each may hold 128 KiB of its secrets.
	maxCollecting   = 256
	maxCollectingOf = 128
)

// Agent examines the pods of a node.
type Agent struct {
	pods       *Pods
	platform   diagnosis.Platform
	collector  Collector
	publisher  Publisher
	log        *slog.Logger
	now        func() time.Time
	rounds     sync.WaitGroup       // examinations in progress
	collecting *share.Lanes         // limits those whose quick checks run
	read       atomic.Pointer[text] // read last
}

// New returns an agent for the pods of a node of a platform.
func New(pods *Pods, platform diagnosis.Platform, c Collector, p Publisher, log *slog.Logger) *Agent {
	return &Agent{pods: pods, platform: platform, collector: c, publisher: p, log: log, now: time.Now,
		collecting: share.NewSharedLanes(maxCollecting, maxCollectingOf, math.MaxInt)}
}

// Run examines pods until the context ends, and returns when all workers have stopped.
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
	a.rounds.Wait()
}

func (a *Agent) next(ctx context.Context) bool {
	k, stop := a.pods.queue.Get()
	if stop {
		return false
	}
	defer a.pods.queue.Done(k)
	defer a.pods.turns.leave(k)
	if ctx.Err() != nil { // the queue still returns the remaining pods
		return true
	}
	if err := a.process(ctx, k.uid); err != nil {
		a.log.Warn("process pod failed", "uid", k.uid, "err", err)
		a.pods.queue.AddRateLimited(k)
		return true
	}
	a.pods.queue.Forget(k)
	return true
}

func (a *Agent) process(ctx context.Context, uid string) error {
	w, ok := a.pods.take(uid, a.publisher.Pod)
	if !ok {
		return nil
	}
	err := a.recovered(ctx, w)
	switch {
	case w.update.Gone:
		a.pods.drop(uid)
		return nil
	case err != nil:
		return err
	}
	if w.round != nil {
		if w.round.concerns(w) {
			return a.goOn(ctx, w.round)
		}
		a.pods.with(uid, (*pod).abandon)
	}
	w.update, w.look = a.withHanging(ctx, w)
	a.sandboxes(ctx, w)
	if len(w.update.Failures) == 0 {
		err := w.published.Verdicts(ctx, w.update, nil, true)
		switch {
		case errors.Is(err, ErrDeferred):
			return nil
		case err != nil && !gone(err):
			return err
		}
		a.pods.drop(uid)
		return nil
	}
	return a.examine(ctx, w)
}

// recovered publishes which containers have recovered. It keeps those that it could not
// publish.
func (a *Agent) recovered(ctx context.Context, w work) error {
	for i, f := range w.recovered {
		if err := w.published.Recovered(ctx, w.update, f); err != nil {
			a.pods.with(w.update.UID, func(of *pod) { of.recovered = slices.Concat(w.recovered[i:], of.recovered) })
			return err
		}
	}
	return nil
}

// withHanging returns the update with the hanging pulls of waiting containers
// added to Failures, and the others' progress in Pulling. It checks pulls only
// after lookAfter, unless the pod already has a report from an earlier run of the
// agent. While the runtime does not answer, the pulls that hung before still do. It also
// returns when the next check is due; zero for none.
func (a *Agent) withHanging(ctx context.Context, w work) (podwatch.Update, time.Time) {
	u := w.update
	if len(u.Waiting) == 0 {
		return u, time.Time{}
	}
	oldest := slices.MinFunc(u.Waiting, func(a, b diagnosis.Failure) int { return a.Since.Compare(b.Since) })
	if left := lookAfter - a.now().Sub(oldest.Since); left > 0 && !a.publisher.Reported(u.Annotations) {
		a.pods.queue.AddAfter(key{u.Namespace, u.UID}, left)
		return u, a.now().Add(left)
	}
	a.pods.queue.AddAfter(key{u.Namespace, u.UID}, lookAgain)
	hanging, going, err := a.collector.Follow(ctx, u.Waiting)
	if err != nil {
		hanging = w.hung()
	}
	u.Failures, u.Pulling = append(slices.Clip(u.Failures), hanging...), going
	return u, a.now().Add(lookAgain)
}

// hung returns those waiting containers, or the sandbox, whose pull hung at the last
// examination, sorted.
func (w work) hung() []diagnosis.Failure {
	var out []diagnosis.Failure
	for subject, j := range w.judged {
		waits := slices.ContainsFunc(w.update.Waiting, func(f diagnosis.Failure) bool { return f.Subject() == subject })
		if f := j.verdict.Failure; f.Stall != "" && (waits || subject.Kind == diagnosis.KindSandbox) {
			out = append(out, f)
		}
	}
	diagnosis.SortFailures(out)
	return out
}

// sandboxes publishes the recovery of sandboxes whose image was missing, since the
// pod's status does not show it.
func (a *Agent) sandboxes(ctx context.Context, w work) {
	missing := slices.ContainsFunc(w.update.Failures, func(f diagnosis.Failure) bool { return f.Kind == diagnosis.KindSandbox })
	for subject, j := range w.judged {
		if subject.Kind == diagnosis.KindSandbox && !missing {
			if err := w.published.Recovered(ctx, w.update, j.verdict.Failure); err != nil {
				a.log.Warn("publish recovery failed", "namespace", w.update.Namespace, "pod", w.update.Name, "err", err)
			}
		}
	}
}

// gone reports whether the error is that the pod no longer exists.
func gone(err error) bool { return errors.Is(err, kube.ErrNotFound) }

// examine examines those failing containers of a pod that are due. If none is, it
// publishes the verdicts; else it queues the pod again when the checks have ended, and
// for a first verdict if the slow ones still run after patience.
func (a *Agent) examine(ctx context.Context, w work) error {
	r := a.begin(ctx, w)
	if r.over() {
		return a.end(ctx, r)
	}
	a.pods.with(w.update.UID, func(of *pod) { of.round = r })
	a.rounds.Go(func() {
		r.collect()
		late := time.AfterFunc(patience, func() {
			r.late.Store(true)
			a.pods.queue.Add(w.key())
		})
		defer late.Stop()
		r.wait()
		a.pods.queue.Add(w.key())
	})
	return nil
}

// goOn publishes the verdicts of an examination if it has ended, otherwise a first
// verdict, once, if that is due.
func (a *Agent) goOn(ctx context.Context, r *round) error {
	if r.over() {
		return a.end(ctx, r)
	}
	if !r.late.Load() || r.published {
		return nil
	}
	err := publish(ctx, r.work, r.verdicts(), false)
	r.published = !errors.Is(err, ErrDeferred)
	if err != nil && r.published && !gone(err) {
		u := r.work.update
		a.log.Warn("write first verdict failed", "namespace", u.Namespace, "pod", u.Name, "err", err)
	}
	return nil
}

// end stores and publishes the verdicts of an examination that has ended.
func (a *Agent) end(ctx context.Context, r *round) error {
	u := r.work.update
	defer r.cancel()
	if a.pods.ended(u.UID, r) {
		defer a.pods.queue.Add(r.work.key())
	}
	if look := r.work.look; !look.IsZero() && !a.now().Before(look) { // the check was due during the examination
		a.pods.queue.AddAfter(r.work.key(), lookAgain)
	}
	a.pods.queue.AddAfter(r.work.key(), r.ages(a.now())+rand.N(refresh/4)) //nolint:gosec // jitter
	err := publish(ctx, r.work, r.verdicts(), true)
	if gone(err) || errors.Is(err, ErrDeferred) {
		return nil
	}
	return err
}

func publish(ctx context.Context, w work, v []diagnosis.Verdict, final bool) error {
	if ctx.Err() != nil { // canceled checks are no evidence
		return nil
	}
	return w.published.Verdicts(ctx, w.update, v, final)
}
