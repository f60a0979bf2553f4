package agent

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/diagnosis/message"
	"github.com/whypull/whypull/agent/podwatch"
)

// round is one examination of all failing containers of a pod.
type round struct {
	exams []*exam
	done  chan struct{}
}

// exam is the examination of one container.
type exam struct {
	failure diagnosis.Failure
	at      time.Time

	mu      sync.Mutex
	verdict diagnosis.Verdict
	unread  time.Time // as judged has it
}

// begin starts the examination of those containers that are due; the others
// keep their verdict.
func (a *Agent) begin(ctx context.Context, u podwatch.Update) *round {
	r := &round{done: make(chan struct{})}
	var wg sync.WaitGroup
	stale, anew := a.staleness(u.UID)
	for _, f := range u.Failures {
		old, needed, fresh := a.due(u.UID, f)
		needed, fresh = needed || stale, fresh || anew
		e := &exam{failure: f, at: old.at, verdict: old.verdict, unread: old.unread}
		r.exams = append(r.exams, e)
		if !needed {
			e.verdict.Failure = f
			continue
		}
		e.at = a.now()
		if !f.NextTry.After(e.at) { // it has tried or is about to, and the status does not tell yet
			f.NextTry = time.Time{}
		}
		first, all := a.collector.Collect(ctx, f, fresh)
		e.set(old.standing(e.failure, diagnosis.Diagnose(f, first), e.at))
		wg.Go(func() {
			select {
			case evidence, ok := <-all:
				if ok {
					e.set(old.standing(e.failure, diagnosis.Diagnose(f, evidence), e.at))
				}
			case <-ctx.Done():
			}
		})
	}
	go func() {
		wg.Wait()
		close(r.done)
	}()
	return r
}

func (e *exam) set(v diagnosis.Verdict, unread time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.verdict, e.unread = v, unread
}

func (e *exam) judged() judged {
	e.mu.Lock()
	defer e.mu.Unlock()
	return judged{verdict: e.verdict, asked: fingerprint(e.failure), at: e.at, next: e.failure.NextTry, unread: e.unread}
}

// slow tells that the examination is not over after d.
func (r *round) slow(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-r.done:
		return false
	case <-timer.C:
		return true
	}
}

func (r *round) wait() { <-r.done }

// ages returns how long it is until the oldest of the verdicts is due for
// another examination.
func (r *round) ages(now time.Time) time.Duration {
	left := refresh
	for _, e := range r.exams {
		left = min(left, refresh-now.Sub(e.at))
	}
	return max(left, 0)
}

// verdicts returns one verdict per failing container, in the pod's order, as
// far as they have come.
func (r *round) verdicts() []diagnosis.Verdict {
	out := make([]diagnosis.Verdict, 0, len(r.exams))
	for _, e := range r.exams {
		if v := e.judged().verdict; !idle(v) {
			out = append(out, v)
		}
	}
	return out
}

// idle: a pull that seemed to hang, with nothing that keeps it from going on.
// What the pod waits for is something else.
func idle(v diagnosis.Verdict) bool {
	return v.Failure.Stall != "" && (v.Cause == diagnosis.Unknown || v.Cause == diagnosis.NotReproducible)
}

// fingerprint is what of a failure calls for another examination when it
// changes. What a pull ends in alternates with ImagePullBackOff and is the same;
// a text is reduced to what it says.
func fingerprint(f diagnosis.Failure) string {
	reason := f.Reason
	switch reason {
	case "ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "SignatureValidationFailed":
		reason = "pull"
	}
	r := message.Read(f.Reason, f.Message)
	return strings.Join([]string{f.Image, f.PullPolicy, reason, string(r.Cause), r.Host, strconv.Itoa(r.Status), strings.Join(f.PullSecrets, ","), string(f.Stall)}, "\x00")
}
