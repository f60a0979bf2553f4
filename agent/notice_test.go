package agent

import (
	"slices"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// A pod whose verdicts rest on what has changed is examined at once, all of its
// containers, with new questions if that is asked for.
func TestReexamine(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.sees(time.Second, update(failure("app"), failure("side")))
		l.agent.Reexamine("uid-1", false)
		l.sees(time.Second)
		l.agent.Reexamine("uid-1", true)
		l.agent.Reexamine("uid-1", false) // does not take back that it was to be fresh
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

// What changes while a pod is examined is not lost.
func TestReexamineDuringExamination(t *testing.T) {
	inLoop(t, map[string]time.Duration{"app": 5 * time.Second}, func(l *loop) {
		l.sees(time.Second, update(failure("app")))
		l.agent.Reexamine("uid-1", false)
		l.sees(20 * time.Second)
		l.wantAsks(2)
	})
}

func TestReexamineOfNobody(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.agent.Reexamine("uid-1", true)
		l.sees(time.Second, update(failure("app")), recovered(update(), failure("app")))
		l.agent.Reexamine("uid-1", true)
		l.sees(time.Minute)
		l.wantAsks(0)
		l.wantPods(0)
	})
}

// The next examination comes after the usual time all the same.
func TestRefreshAfterReexamine(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.sees(time.Minute, update(failure("app")))
		l.agent.Reexamine("uid-1", false)
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
		for _, f := range l.agent.Failing() {
			got = append(got, f.UID+" "+f.Container)
		}
		if want := []string{"uid-0 db", "uid-1 app", "uid-1 side", "uid-1 POD"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		gone := update(other)
		gone.Gone = true
		l.sees(time.Second, gone)
		if n := len(l.agent.Failing()); n != 3 {
			t.Errorf("got %d failures after one pod has gone, want 3", n)
		}
	})
}

func TestWaiting(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		other := update()
		other.UID, other.Waiting = "uid-0", []diagnosis.Failure{failure("db", func(f *diagnosis.Failure) { f.UID = "uid-0" })}
		waits := update(failure("app"))
		waits.Waiting = []diagnosis.Failure{failure("side")}
		l.sees(time.Second, waits, other)
		waiting := func() []string {
			var got []string
			for _, f := range l.agent.Waiting() {
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
	})
}

// Where all was well and the kubelet's next attempt has failed, it is looked at
// again; registries are not asked anew for that.
func TestAttemptAfterNotReproducible(t *testing.T) {
	t.Parallel()
	at := began()
	for cause, want := range map[diagnosis.Cause]bool{diagnosis.NotReproducible: true, diagnosis.CredentialsRejected: false} {
		a := New(&collector{}, &publisher{}, nil)
		f := failure("app")
		f.NextTry = at
		a.Observe(update(f))
		r := &round{exams: []*exam{{failure: f, at: a.now().Add(-settle), verdict: diagnosis.Verdict{Cause: cause, Failure: f}}}}
		a.remember("uid-1", r)
		if _, examine, _ := a.due("uid-1", f); examine {
			t.Errorf("%s: due without another attempt", cause)
		}
		f.NextTry = at.Add(time.Minute)
		if _, examine, fresh := a.due("uid-1", f); examine != want || fresh {
			t.Errorf("%s: due %v, fresh %v; want %v, false", cause, examine, fresh, want)
		}
		a.queue.ShutDown()
	}
}

// A time that has passed is not told as one to come.
func TestPastNextTry(t *testing.T) {
	t.Parallel()
	for after, kept := range map[time.Duration]bool{-time.Second: false, time.Hour: true} {
		a := New(&collector{}, &publisher{}, nil)
		f := failure("app")
		f.NextTry = a.now().Add(after)
		a.Observe(update(f))
		r := a.begin(t.Context(), update(f))
		r.wait()
		if got := r.verdicts()[0].Failure.NextTry; got.IsZero() == kept {
			t.Errorf("an attempt %s from now: %s", after, got)
		}
		a.remember("uid-1", r)
		if _, examine, _ := a.due("uid-1", f); examine {
			t.Errorf("an attempt %s from now: due again at once", after)
		}
		a.queue.ShutDown()
	}
}

// Another pod that waits behind a pull that hangs is told of, without asking
// anybody anew.
func TestAnotherPodWaitsBehind(t *testing.T) {
	t.Parallel()
	a := New(&collector{}, &publisher{}, nil)
	defer a.queue.ShutDown()
	f := failure("app")
	f.Stall = diagnosis.StallTransfer
	a.Observe(update(f))
	a.remember("uid-1", &round{exams: []*exam{{failure: f, at: a.now().Add(-settle), verdict: diagnosis.Verdict{Cause: diagnosis.PullStalled, Failure: f}}}})
	if _, examine, _ := a.due("uid-1", f); examine {
		t.Error("due with the same pods behind it")
	}
	f.Queue = "web"
	if _, examine, fresh := a.due("uid-1", f); !examine || fresh {
		t.Errorf("due %v, fresh %v; want true, false", examine, fresh)
	}
}
