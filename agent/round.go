package agent

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/diagnosis/message"
	"github.com/whypull/whypull/agent/share"
)

// round is one examination of all failing containers of a pod.
type round struct {
	work      work    // what it was begun for
	exams     []*exam // of the containers that have not recovered; used only while the pod is processed
	examined  []*exam // those that are examined
	canceled  <-chan struct{}
	cancel    context.CancelFunc
	done      chan struct{}
	late      atomic.Bool // a first verdict is due
	published bool        // it has been published; used only while the pod is processed
}

// exam is the examination of one container.
type exam struct {
	failure diagnosis.Failure
	text    text
	asked   string // fingerprint of the failure
	at      time.Time
	// collect runs the quick checks and starts the others, of which all delivers the
	// evidence and is closed; judge makes the verdict of it. They are nil if the container is
	// not examined, and all is nil until the quick checks have ended.
	collect func()
	all     <-chan []diagnosis.Evidence
	judge   func([]diagnosis.Evidence) (verdict diagnosis.Verdict, unread time.Time)

	mu      sync.Mutex
	open    []diagnosis.Evidence // of which no verdict has been made; nil for none
	verdict diagnosis.Verdict
	unread  time.Time // as in judged
}

// text is the reason and message of a waiting state with the facts read from them.
type text struct {
	reason, message string
	facts           *diagnosis.MessageFacts // nil: nothing read yet
}

// of returns the text of a failure. It reads the message only if it has changed.
func (t text) of(f diagnosis.Failure) text {
	if t.facts != nil && t.reason == f.Reason && t.message == f.Message {
		return t
	}
	return text{f.Reason, f.Message, message.Read(f.Reason, f.Message)}
}

// textOf returns the text of a failure, given that of its container before. Pods that fail
// together have the same, which is read once.
func (a *Agent) textOf(f diagnosis.Failure, before text) text {
	last := a.read.Load()
	if before.facts == nil && last != nil {
		before = *last
	}
	t := before.of(f)
	if last == nil || t.facts != last.facts {
		a.read.Store(&t)
	}
	return t
}

// begin returns an examination of the containers that are due, until run ends; the others keep
// their verdict.
func (a *Agent) begin(run context.Context, w work) *round {
	ctx, cancel := context.WithCancel(share.WithTenant(share.WithOnce(run), w.update.Namespace))
	r := &round{work: w, canceled: ctx.Done(), cancel: cancel, done: make(chan struct{})}
	stale, again := a.pods.staleness(w.update.UID)
	for _, f := range w.update.Failures {
		f.Platform = a.platform
		old, known := w.judged[f.Subject()]
		e := &exam{failure: f, text: a.textOf(f, old.text), at: old.at, verdict: old.verdict, unread: old.unread}
		f.Facts = e.text.facts
		e.asked = fingerprint(f)
		needed, fresh := !known || stale, again
		if known {
			due, ask := old.due(f, e.asked, a.now())
			needed, fresh = needed || due, fresh || ask
		}
		r.exams = append(r.exams, e)
		if !needed {
			e.verdict.Failure = f
			continue
		}
		e.at = a.now()
		if !f.NextTry.After(e.at) { // the attempt is over or about to begin, which the status does not show yet
			f.NextTry = time.Time{}
		}
		e.collect = func() {
			leave, err := a.collecting.Enter(ctx, "")
			if err != nil { // it is canceled
				return
			}
			defer leave()
			if run.Err() != nil { // at the end the rounds are canceled one after the other, and each makes room
				return
			}
			first, all := a.collector.Collect(ctx, f, fresh)
			e.all = all
			e.learn(first)
		}
		e.judge = func(evidence []diagnosis.Evidence) (diagnosis.Verdict, time.Time) {
			return old.standing(e.failure, e.asked, diagnosis.Diagnose(f, evidence), e.at)
		}
		r.examined = append(r.examined, e)
	}
	if len(r.examined) == 0 {
		close(r.done)
	}
	return r
}

// collect runs the quick checks of the containers, and starts the others.
func (r *round) collect() {
	for _, e := range r.examined {
		e.collect()
	}
}

// wait takes evidence as it comes, until all examinations have ended or they are canceled,
// and then the round is over.
func (r *round) wait() {
	defer close(r.done)
	for _, e := range r.examined {
		select {
		case evidence, ok := <-e.all:
			if ok {
				e.learn(evidence)
			}
		case <-r.canceled:
			return
		}
	}
}

// over reports whether the examination has ended.
func (r *round) over() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// concerns drops the containers that have recovered since, and reports whether any may be
// left.
func (r *round) concerns(w work) bool {
	r.exams = slices.DeleteFunc(r.exams, func(e *exam) bool {
		return slices.ContainsFunc(w.recovered, func(f diagnosis.Failure) bool { return f.Subject() == e.failure.Subject() })
	})
	return len(w.update.Failures)+len(w.update.Waiting) > 0 && len(r.exams) > 0
}

// learn replaces the evidence. The verdict is made of it once it is asked for: as a
// rule the quick checks' evidence, with which an examination begins, is replaced before.
func (e *exam) learn(evidence []diagnosis.Evidence) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.open = evidence
}

// judged returns the verdict of all evidence that is there, even if wait has not come to it.
func (e *exam) judged() judged {
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case evidence, ok := <-e.all:
		if ok {
			e.open = evidence
		}
	default:
	}
	if e.open != nil {
		e.verdict, e.unread = e.judge(e.open)
		e.open = nil
	}
	return judged{verdict: e.verdict, text: e.text, asked: e.asked, at: e.at, next: e.failure.NextTry, unread: e.unread}
}

// failedSince reports whether another attempt of the kubelet has failed after the
// verdict NotReproducible, or one that the checks did not support: they may now.
func (j judged) failedSince(f diagnosis.Failure) bool {
	open := j.verdict.Cause == diagnosis.NotReproducible || j.verdict.Confidence == diagnosis.Suspected
	return open && !j.next.Equal(f.NextTry)
}

// due reports whether a failure is to be examined again, because it is a new
// incident, its fingerprint has changed or the verdict is old; and whether
// registries are to be asked again.
func (j judged) due(f diagnosis.Failure, asked string, now time.Time) (examine, fresh bool) {
	age := now.Sub(j.at)
	changed := j.asked != asked || !j.verdict.Failure.Since.Equal(f.Since)
	others := j.verdict.Failure.Queue != f.Queue // registries are not involved
	return changed || others || j.failedSince(f) || age >= refresh, changed && age >= settle
}

// ages returns the time until the oldest verdict is due for another examination.
func (r *round) ages(now time.Time) time.Duration {
	left := refresh
	for _, e := range r.exams {
		left = min(left, refresh-now.Sub(e.at))
	}
	return max(left, 0)
}

// judged returns all verdicts with their basis.
func (r *round) judged() map[diagnosis.Subject]judged {
	out := map[diagnosis.Subject]judged{}
	for _, e := range r.exams {
		out[e.failure.Subject()] = e.judged()
	}
	return out
}

// verdicts returns the current verdict on each failing container, in the order of
// the pod's spec.
func (r *round) verdicts() []diagnosis.Verdict {
	out := make([]diagnosis.Verdict, 0, len(r.exams))
	for _, e := range r.exams {
		if v := e.judged().verdict; !idle(v) {
			out = append(out, v)
		}
	}
	return out
}

// idle reports whether a verdict is about a pull that seemed to hang and for which
// no cause was found: the pod waits for something else.
func idle(v diagnosis.Verdict) bool {
	return v.Failure.Stall != "" && (v.Cause == diagnosis.Unknown || v.Cause == diagnosis.NotReproducible)
}

// fingerprint returns those fields of a failure that call for another examination
// when they change; f.Facts must be set. ErrImagePull and ImagePullBackOff, which
// alternate, are the same, and a message counts by its facts.
func fingerprint(f diagnosis.Failure) string {
	reason := f.Reason
	switch reason {
	case "ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "SignatureValidationFailed":
		reason = "pull"
	}
	r := f.Facts
	return strings.Join([]string{f.Image, f.PullPolicy, reason, string(r.Cause), r.Host, strconv.Itoa(r.Status), strings.Join(f.PullSecrets, ","), strconv.Itoa(f.MoreSecrets), string(f.Stall)}, "\x00")
}
