package agent

import (
	"slices"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// Reexamine has all containers of a pod examined at once, with fresh requests to
// registries if asked for.
func TestReexamine(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.sees(time.Second, update(failure("app"), failure("side")))
		l.pods.Reexamine("uid-1", false)
		l.sees(time.Second)
		l.pods.Reexamine("uid-1", true)
		l.pods.Reexamine("uid-1", false) // does not take back that it was to be fresh
		l.sees(time.Second)
		l.sees(time.Second, update(failure("app"), failure("side"))) // no longer
		var fresh []bool
		for _, a := range l.collector.asks() {
			fresh = append(fresh, a.fresh)
		}
		if want := []bool{false, false, false, false, true, true}; !slices.Equal(fresh, want) {
			t.Errorf("got %v, want %v", fresh, want)
		}
		l.want("uid-1: all 1 of app, all 1 of side", "uid-1: all 2 of app, all 2 of side",
			"uid-1: all 3 of app, all 3 of side", "uid-1: all 3 of app, all 3 of side")
	})
}

// A change during an examination is not lost.
func TestReexamineDuringExamination(t *testing.T) {
	inLoop(t, map[string]time.Duration{"app": 5 * time.Second}, func(l *loop) {
		l.sees(time.Second, update(failure("app")))
		l.pods.Reexamine("uid-1", false)
		l.sees(20 * time.Second)
		l.wantAsks(2)
	})
}

func TestReexamineOfNobody(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.pods.Reexamine("uid-1", true)
		l.sees(time.Second, update(failure("app")), recovered(update(), failure("app")))
		l.pods.Reexamine("uid-1", true)
		l.sees(time.Minute)
		l.wantAsks(0)
		l.wantPods(0)
	})
}

// The next examination still comes after the usual interval.
func TestRefreshAfterReexamine(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.sees(time.Minute, update(failure("app")))
		l.pods.Reexamine("uid-1", false)
		l.sees(refresh - 2*time.Second)
		l.wantAsks(2)
		l.sees(refresh/4 + 3*time.Second)
		l.wantAsks(3)
	})
}

func TestFailing(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		other := failure("db", func(f *diagnosis.Failure) { f.UID = "uid-0" })
		waits := update(failure("app"))
		waits.Waiting = []diagnosis.Failure{failure("side")}
		l.sees(time.Second, waits, update(other))
		var got []string
		for _, f := range l.pods.Failing() {
			got = append(got, f.UID+" "+f.Container)
		}
		if want := []string{"uid-0 db", "uid-1 app", "uid-1 side", "uid-1 POD"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		gone := update(other)
		gone.Gone = true
		l.sees(time.Second, gone)
		if n := len(l.pods.Failing()); n != 3 {
			t.Errorf("got %d failures after one pod has gone, want 3", n)
		}
	})
}

func TestWaiting(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		other := update()
		since := func(ago time.Duration) func(*diagnosis.Failure) {
			return func(f *diagnosis.Failure) { f.Since = time.Now().Add(-ago) }
		}
		other.UID, other.Waiting = "uid-0", []diagnosis.Failure{failure("db", since(0), func(f *diagnosis.Failure) { f.UID = "uid-0" })}
		waits := update(failure("app"))
		waits.Waiting = []diagnosis.Failure{failure("side", since(time.Second)), failure("stuck", since(aboutToPull))}
		l.sees(time.Second, waits, other)
		waiting := func() []string {
			var got []string
			for _, f := range l.pods.Waiting() {
				got = append(got, f.UID+" "+f.Container)
			}
			slices.Sort(got)
			return got
		}
		if got, want := waiting(), []string{"uid-0 db", "uid-1 side"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		other.Gone = true
		l.sees(time.Second, other)
		if got, want := waiting(), []string{"uid-1 side"}; !slices.Equal(got, want) {
			t.Errorf("after a pod has gone: got %q, want %q", got, want)
		}
		time.Sleep(aboutToPull)
		if got := waiting(); len(got) > 0 {
			t.Errorf("after %v: got %q, want none", aboutToPull, got)
		}
	})
}

// idleAgent is an agent that does not run.
type idleAgent struct{ *Agent }

func newAgent(t *testing.T) idleAgent {
	t.Helper()
	a := New(NewPods(), "", &collector{}, &publisher{}, nil)
	t.Cleanup(a.pods.queue.ShutDown)
	return idleAgent{a}
}

// settled stores an old verdict on a pod.
func (a idleAgent) settled(v diagnosis.Verdict) {
	f := v.Failure
	e := &exam{failure: f, asked: fingerprint(read(f)), at: a.now().Add(-settle), verdict: v}
	a.pods.remember(f.UID, (&round{exams: []*exam{e}}).judged())
}

// due returns whether the agent examines a failure of a known pod again.
func (a idleAgent) due(f diagnosis.Failure) (examine, fresh bool) {
	w, _ := a.pods.take(f.UID, a.publisher.Pod)
	old, known := w.judged[f.Subject()]
	if !known {
		return true, false
	}
	return old.due(f, fingerprint(read(f)), a.now())
}

// read returns the failure with the facts of its message.
func read(f diagnosis.Failure) diagnosis.Failure {
	f.Facts = text{}.of(f).facts
	return f
}

// After NotReproducible, and after a verdict that rests on the message alone, another
// failed attempt of the kubelet causes an examination, but no fresh requests to
// registries.
func TestAttemptAfterOpenVerdict(t *testing.T) {
	t.Parallel()
	at := began()
	type verdict struct {
		cause      diagnosis.Cause
		confidence diagnosis.Confidence
	}
	for v, want := range map[verdict]bool{
		{diagnosis.NotReproducible, diagnosis.Confirmed}:  true,
		{diagnosis.TagNotFound, diagnosis.Suspected}:      true,
		{diagnosis.CredentialsRejected, diagnosis.Likely}: false,
	} {
		a := newAgent(t)
		f := failure("app")
		f.NextTry = at
		a.pods.Observe(update(f))
		a.settled(diagnosis.Verdict{Cause: v.cause, Confidence: v.confidence, Failure: f})
		if examine, _ := a.due(f); examine {
			t.Errorf("%s: due without another attempt", v)
		}
		f.NextTry = at.Add(time.Minute)
		if examine, fresh := a.due(f); examine != want || fresh {
			t.Errorf("%s: due %v, fresh %v; want %v, false", v, examine, fresh, want)
		}
	}
}

// A verdict knows the platform of the node, for the commands in its remedy.
func TestPlatformOfVerdicts(t *testing.T) {
	t.Parallel()
	a := newAgent(t)
	a.platform = diagnosis.PlatformTalos
	r := a.begin(t.Context(), work{update: update(failure("app"))})
	r.collect()
	r.wait()
	if got := r.verdicts()[0].Failure.Platform; got != diagnosis.PlatformTalos {
		t.Errorf("platform %q", got)
	}
}

// The summary names no next attempt that is already over.
func TestPastNextTry(t *testing.T) {
	t.Parallel()
	for after, kept := range map[time.Duration]bool{-time.Second: false, time.Hour: true} {
		a := newAgent(t)
		f := failure("app")
		f.NextTry = a.now().Add(after)
		a.pods.Observe(update(f))
		r := a.begin(t.Context(), work{update: update(f)})
		r.collect()
		r.wait()
		if got := r.verdicts()[0].Failure.NextTry; got.IsZero() == kept {
			t.Errorf("an attempt %s from now: %s", after, got)
		}
		a.pods.remember("uid-1", r.judged())
		if examine, _ := a.due(f); examine {
			t.Errorf("an attempt %s from now: due again at once", after)
		}
	}
}

// Another pod that waits behind a hanging pull changes the verdict, without fresh
// requests.
func TestAnotherPodWaitsBehind(t *testing.T) {
	t.Parallel()
	a := newAgent(t)
	f := failure("app")
	f.Stall = diagnosis.StallTransfer
	a.pods.Observe(update(f))
	a.settled(diagnosis.Verdict{Cause: diagnosis.PullStalled, Failure: f})
	if examine, _ := a.due(f); examine {
		t.Error("due with the same pods behind it")
	}
	f.Queue = "web"
	if examine, fresh := a.due(f); !examine || fresh {
		t.Errorf("due %v, fresh %v; want true, false", examine, fresh)
	}
}

// remember stores the verdicts on a pod.
func (p *Pods) remember(uid string, all map[diagnosis.Subject]judged) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if of := p.pods[uid]; of != nil {
		of.judged = all
	}
}
