package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/podwatch"
)

var errAPI = errors.New("the API server has a bad day")

func TestQuickChecksGiveOneVerdict(t *testing.T) {
	inLoop(t, map[string]time.Duration{"app": patience - time.Millisecond}, func(l *loop) {
		l.sees(time.Second, update(failure("app")))
		l.wantAt(0, patience-time.Millisecond)
		l.want("uid-1: all 1 of app")
	})
}

func TestFirstVerdictWhileSlowChecksRun(t *testing.T) {
	inLoop(t, map[string]time.Duration{"app": 5 * time.Second}, func(l *loop) {
		l.sees(10*time.Second, update(failure("app")))
		l.wantAt(0, patience)
		l.wantAt(1, 5*time.Second)
		l.want("uid-1: first 1 of app, so far", "uid-1: all 1 of app")
		l.wantAsks(1)
	})
}

func TestSeveralContainersInOneVerdict(t *testing.T) {
	inLoop(t, map[string]time.Duration{"slow": 5 * time.Second, "slower": 7 * time.Second}, func(l *loop) {
		l.sees(10*time.Second, update(failure("quick"), failure("slow"), failure("slower")))
		l.wantAt(1, 7*time.Second)
		l.want(
			"uid-1: all 1 of quick, first 1 of slow, first 1 of slower, so far",
			"uid-1: all 1 of quick, all 1 of slow, all 1 of slower")
	})
}

func TestOnlyWhatIsNewIsExamined(t *testing.T) {
	inLoop(t, map[string]time.Duration{"side": time.Second}, func(l *loop) {
		l.sees(20*time.Second, update(failure("app")))
		l.want("uid-1: all 1 of app")
		l.sees(20*time.Second, update(failure("app"), failure("side")))
		l.want("uid-1: all 1 of app, first 1 of side, so far", "uid-1: all 1 of app, all 1 of side")
		l.wantAsks(2)
	})
}

// Which changes call for another examination.
func TestDue(t *testing.T) {
	t.Parallel()
	const refused = "dial tcp 10.0.0.1:443: connect: connection refused"
	backOff := `Back-off pulling image "hub.test/app:1"`
	noHost := failure("app").Message
	tests := map[string]struct {
		change func(*diagnosis.Failure)
		want   bool
	}{
		"nothing":                      {func(*diagnosis.Failure) {}, false},
		"back-off with the same cause": {says("ImagePullBackOff", backOff+": ErrImagePull: "+noHost), false},
		"back-off, message kept":       {says("ImagePullBackOff", noHost), false},
		"another port and time":        {says("ErrImagePull", strings.Replace(noHost, "lookup hub.test", "lookup hub.test on 10.0.0.2:53", 1)), false},
		"service account":              {func(f *diagnosis.Failure) { f.ServiceAccount = "x" }, false},
		"another cause":                {says("ErrImagePull", refused), true},
		"another cause in back-off":    {says("ImagePullBackOff", backOff+": ErrImagePull: "+refused), true},
		"another host":                 {says("ErrImagePull", strings.Replace(noHost, "hub.test", "mirror.test", 1)), true},
		"another reason":               {says("ErrImageNeverPull", `Container image "hub.test/app:1" is not present with pull policy of Never`), true},
		"image":                        {func(f *diagnosis.Failure) { f.Image = "hub.test/app:2" }, true},
		"policy":                       {func(f *diagnosis.Failure) { f.PullPolicy = "Never" }, true},
		"secrets":                      {func(f *diagnosis.Failure) { f.PullSecrets = []string{"regcred", "more"} }, true},
		"no secrets":                   {func(f *diagnosis.Failure) { f.PullSecrets = nil }, true},
		"another incident":             {func(f *diagnosis.Failure) { f.Since = f.Since.Add(time.Minute) }, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inLoop(t, nil, func(l *loop) {
				l.sees(time.Minute, update(failure("app")))
				l.sees(time.Minute, update(failure("app", tt.change)))
				if !tt.want {
					l.wantAsks(1)
					l.want("uid-1: all 1 of app", "uid-1: all 1 of app")
					return
				}
				l.wantAsks(2)
				l.want("uid-1: all 1 of app", "uid-1: all 2 of app")
			})
		})
	}
}

func TestBackOffFlappingAsksOnce(t *testing.T) {
	t.Parallel()
	for reason, message := range map[string]string{
		"ErrImagePull":              failure("app").Message,
		"RegistryUnavailable":       "image pull failed for hub.test/app:1 because the registry is unavailable: dial tcp 10.0.0.1:443: connect: connection refused",
		"SignatureValidationFailed": "image pull failed for hub.test/app:1 because the signature validation failed: Source image rejected",
	} {
		t.Run(reason, func(t *testing.T) {
			inLoop(t, nil, func(l *loop) {
				pulled := failure("app", says(reason, message))
				l.sees(10*time.Second, update(pulled))
				for range 4 {
					l.sees(10*time.Second, update(failure("app", says("ImagePullBackOff", `Back-off pulling image "hub.test/app:1": `+reason+": "+message))))
					l.sees(10*time.Second, update(failure("app", says("ImagePullBackOff", message)))) // the kept message
					l.sees(10*time.Second, update(pulled))
				}
				l.wantAsks(1)
			})
		})
	}
}

func TestKeptVerdictIsOfTheFailureAsItIsNow(t *testing.T) {
	t.Parallel()
	a := newAgent(t)
	r := a.begin(t.Context(), work{update: update(failure("app"))})
	r.collect()
	r.wait()
	now := failure("app", says("ImagePullBackOff", failure("app").Message))
	r = a.begin(t.Context(), work{update: update(now), judged: r.judged()})
	if got := r.verdicts()[0].Failure.Reason; got != "ImagePullBackOff" {
		t.Errorf("got reason %q, want ImagePullBackOff", got)
	}
}

func TestFresh(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		other := failure("app", says("ErrImagePull", "unexpected status: 503 Service Unavailable"))
		l.sees(settle-time.Second, update(failure("app")))
		l.sees(settle+time.Second, update(other))         // soon after the last
		l.sees(time.Second, update(failure("app")))       // a while after
		l.sees(refresh+refresh/4, update(failure("app"))) // without a change
		var got []bool
		for _, a := range l.collector.asks() {
			got = append(got, a.fresh)
		}
		if want := []bool{false, false, true, false}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestRefresh(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.sees(refresh-time.Second, update(failure("app")))
		l.wantAsks(1)
		l.sees(refresh/4 + time.Second + spread)
		l.wantAsks(2)
		l.want("uid-1: all 1 of app", "uid-1: all 2 of app")
		l.sees(10 * refresh)
		if n := len(l.collector.asks()); n < 9 || n > 12 {
			t.Errorf("got %d examinations in 11 times the interval, want about 10", n)
		}
	})
}

// A change in between delays the refresh, but not by a whole interval.
func TestRefreshAfterAChange(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.sees(refresh-time.Minute, update(failure("app")))
		l.sees(refresh-time.Second, update(failure("app", says("ErrImagePull", "503 Service Unavailable"))))
		l.wantAsks(2)
		l.sees(refresh/4 + 2*time.Second)
		l.wantAsks(3)
	})
}

// The container that was examined first is due first.
func TestRefreshPerContainer(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.sees(refresh-2*time.Second, update(failure("app")))
		l.sees(time.Second, update(failure("app"), failure("side")))
		l.wantAsks(2)
		l.sees(refresh/4+2*time.Second, update(failure("app"), failure("side")))
		l.wantAsks(3)
		l.sees(refresh)
		if got := l.collector.asks()[2].container; got != "app" {
			t.Errorf("got %s examined again, want app", got)
		}
	})
}

func TestAges(t *testing.T) {
	t.Parallel()
	now := began()
	ago := func(all ...time.Duration) *round {
		r := &round{}
		for _, d := range all {
			r.exams = append(r.exams, &exam{at: now.Add(-d)})
		}
		return r
	}
	tests := map[string]struct {
		round *round
		want  time.Duration
	}{
		"nothing":  {ago(), refresh},
		"just now": {ago(0, 0), refresh},
		"oldest":   {ago(0, refresh-time.Minute, time.Second), time.Minute},
		"overdue":  {ago(0, refresh+time.Hour), 0},
	}
	for name, tt := range tests {
		if got := tt.round.ages(now); got != tt.want {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}

func TestRecovery(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.sees(time.Second, update(failure("app")))
		l.sees(time.Second, recovered(update(), failure("app")))
		l.want("uid-1: all 1 of app", "uid-1: recovered app", "uid-1: clear", "uid-1: forget")
		l.wantPods(0)
		l.sees(2 * refresh)
		l.want() // nothing is left to examine
		l.wantAsks(1)
	})
}

func TestOneOfTwoRecovers(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.sees(time.Second, update(failure("app"), failure("side")))
		l.sees(time.Second, recovered(update(failure("side")), failure("app")))
		l.want("uid-1: all 1 of app, all 1 of side", "uid-1: recovered app", "uid-1: all 1 of side")
		l.wantAsks(2)
		l.sees(time.Second, update(failure("app"), failure("side")))
		l.want("uid-1: all 2 of app, all 1 of side") // what recovered is new when it fails
	})
}

// The other container is still to be examined, though its quick checks ran when the first
// recovered.
func TestOneOfTwoRecoversDuringTheQuickChecks(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.collector.quick = time.Second
		l.sees(time.Second/2, update(failure("app"), failure("side")))
		l.sees(time.Second, recovered(update(failure("side")), failure("app")))
		l.want("uid-1: recovered app")
		l.sees(time.Second)
		l.want("uid-1: all 1 of side", "uid-1: all 1 of side") // once more for what changed meanwhile
		l.sees(time.Minute)
		l.wantAsks(2)
	})
}

func TestRecoveriesArePublishedOnceThoughTheRestFails(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.sees(time.Second, update(failure("app")))
		l.publisher.fails = []error{errAPI}
		l.sees(time.Minute, recovered(update(), failure("app")))
		l.want("uid-1: all 1 of app", "uid-1: recovered app", "uid-1: clear", "uid-1: clear", "uid-1: forget")
		l.wantPods(0)
	})
}

// A recovery that could not be published is tried again, before anything else of the pod.
func TestRecoveryIsTriedAgain(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		u := update()
		u.Healthy = []diagnosis.Failure{failure("app"), failure("side"), failure("more")}
		l.publisher.recoveries = []error{nil, errAPI, errAPI}
		l.sees(time.Minute, u)
		l.want("uid-1: recovered app", "uid-1: recovered side", "uid-1: recovered more", "uid-1: clear", "uid-1: forget")
		l.wantPods(0)
	})
}

// No recovery is lost when updates come faster than they are processed.
func TestRecoveriesAreCollected(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.sees(time.Second, update(failure("app"), failure("side")))
		l.sees(time.Second,
			recovered(update(failure("side")), failure("app")),
			recovered(update(), failure("side")))
		l.want("uid-1: all 1 of app, all 1 of side", "uid-1: recovered app", "uid-1: recovered side", "uid-1: clear", "uid-1: forget")
	})
}

// A recovery is not lost that the watch reports while the report is being removed: the
// pod waited for another image.
func TestRecoversDuringTheRemoval(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		removed := make(chan struct{})
		l.publisher.block = removed
		waits := update()
		waits.Waiting, waits.Annotations = []diagnosis.Failure{failure("app")}, map[string]string{"report": "of another image"}
		l.sees(time.Second, waits)
		runs := update()
		runs.Started = []diagnosis.Failure{failure("app")}
		l.sees(time.Second, runs)
		close(removed)
		l.sees(time.Second)
		l.want("uid-1: clear", "uid-1: recovered app", "uid-1: clear", "uid-1: forget")
		l.wantPods(0)
	})
}

// A removal that is deferred keeps the pod until it is made.
func TestRemovalDeferred(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.publisher.fails = []error{ErrDeferred}
		l.sees(time.Second, update())
		l.want("uid-1: clear")
		l.wantPods(1)
		l.sees(5 * time.Minute)
		l.want()
		l.pods.Again("uid-1", 0)
		l.sees(time.Second)
		l.want("uid-1: clear", "uid-1: forget")
		l.wantPods(0)
	})
}

func TestGone(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		before []podwatch.Update
		want   []string
	}{
		"a failing pod":  {[]podwatch.Update{update(failure("app"))}, []string{"uid-1: all 1 of app", "uid-1: forget"}},
		"an unknown one": {nil, []string{"uid-1: forget"}},
		"still failing": {[]podwatch.Update{update(failure("app")), {UID: "uid-1", Gone: true, Failures: []diagnosis.Failure{failure("app")}}},
			[]string{"uid-1: all 1 of app", "uid-1: forget", "uid-1: forget"}},
		"twice":           {[]podwatch.Update{gonePod()}, []string{"uid-1: forget", "uid-1: forget"}},
		"a recovered one": {[]podwatch.Update{recovered(update(), failure("app"))}, []string{"uid-1: recovered app", "uid-1: clear", "uid-1: forget", "uid-1: forget"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inLoop(t, nil, func(l *loop) {
				for _, u := range tt.before {
					l.sees(time.Second, u)
				}
				l.sees(time.Second, gonePod())
				l.want(tt.want...)
				l.wantPods(0)
				l.sees(2 * refresh)
				l.want()
			})
		})
	}
}

func TestGoneWhileExamined(t *testing.T) {
	inLoop(t, map[string]time.Duration{"app": 5 * time.Second}, func(l *loop) {
		l.publisher.fails = []error{nil, kube.ErrNotFound}
		l.sees(time.Second, update(failure("app")))
		l.sees(10*time.Second, gonePod())
		l.want("uid-1: first 1 of app, so far", "uid-1: forget") // its examination ends
		l.wantPods(0)
		l.collector.mu.Lock()
		defer l.collector.mu.Unlock()
		if l.collector.now != 0 {
			t.Errorf("%d examinations of a pod that is gone go on", l.collector.now)
		}
	})
}

func TestGoneBeforeItIsExamined(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.sees(time.Second, update(failure("app")), gonePod())
		l.want("uid-1: forget")
		l.wantAsks(0)
	})
}

// A pod that begins to fail again while its annotations are being removed is
// not forgotten.
func TestFailsAgainWhileCleared(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.sees(time.Second, update(failure("app")))
		written := make(chan struct{})
		l.publisher.block = written
		l.sees(time.Second, recovered(update(), failure("app")))
		l.sees(time.Second, update(failure("app", func(f *diagnosis.Failure) { f.Since = f.Since.Add(time.Minute) })))
		l.want("uid-1: all 1 of app", "uid-1: recovered app")
		close(written)
		l.sees(time.Second)
		l.want("uid-1: clear", "uid-1: all 2 of app")
		l.wantPods(1)
	})
}

func TestWriteErrorsAreTriedAgain(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.publisher.fails = []error{errAPI, errAPI, errAPI}
		l.sees(10*time.Second, update(failure("app")))
		for i, want := range []time.Duration{0, 200 * time.Millisecond, 600 * time.Millisecond, 1400 * time.Millisecond} {
			l.wantAt(i, want)
		}
		l.want(slices.Repeat([]string{"uid-1: all 1 of app"}, 4)...)
		l.wantAsks(1)
	})
}

func TestBackOffOfWritesIsReset(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.publisher.fails = []error{errAPI, errAPI, nil, errAPI}
		l.sees(10*time.Second, update(failure("app")))
		l.want(slices.Repeat([]string{"uid-1: all 1 of app"}, 3)...)
		l.sees(300*time.Millisecond, update(failure("app")))
		l.want(slices.Repeat([]string{"uid-1: all 1 of app"}, 2)...)
	})
}

func TestNotFoundIsNoError(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.publisher.fails = []error{fmt.Errorf("pod shop/web: %w", kube.ErrNotFound), kube.ErrNotFound}
		l.sees(time.Minute, update(failure("app")))
		l.want("uid-1: all 1 of app")
		l.sees(time.Minute, recovered(update(), failure("app")))
		l.want("uid-1: recovered app", "uid-1: clear", "uid-1: forget")
	})
}

func TestFirstVerdictThatCannotBeWritten(t *testing.T) {
	for _, err := range []error{errAPI, kube.ErrNotFound} {
		t.Run(err.Error(), func(t *testing.T) {
			inLoop(t, map[string]time.Duration{"app": 5 * time.Second}, func(l *loop) {
				l.publisher.fails = []error{err}
				l.sees(time.Minute, update(failure("app")))
				l.wantAt(1, 5*time.Second)
				l.want("uid-1: first 1 of app, so far", "uid-1: all 1 of app")
				l.wantAsks(1)
			})
		})
	}
}

func TestAgain(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.sees(time.Second, update(failure("app")))
		l.pods.Again("uid-1", 40*time.Second)
		l.pods.Again("unknown", time.Second)
		l.sees(39 * time.Second)
		l.want("uid-1: all 1 of app")
		l.sees(2 * time.Second)
		l.want("uid-1: all 1 of app")
		l.wantAsks(1)
	})
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	for name, takes := range map[string]time.Duration{"checks that obey": time.Hour, "checks that hang": deaf} {
		t.Run(name, func(t *testing.T) {
			inLoop(t, map[string]time.Duration{"app": takes}, func(l *loop) {
				l.sees(time.Second, update(failure("app")))
				l.want("uid-1: first 1 of app, so far")
				l.cancel()
				<-l.stopped
				l.want()
			})
		})
	}
}

func TestShutdownBeforeTheFirstVerdict(t *testing.T) {
	inLoop(t, map[string]time.Duration{"app": deaf}, func(l *loop) {
		l.sees(patience/2, update(failure("app")))
		l.cancel()
		<-l.stopped
		l.want()
	})
}

func TestShutdownLeavesWhatWaits(t *testing.T) {
	const most = maxCollectingOf
	var all []podwatch.Update
	for i := range most + workers {
		name := fmt.Sprint("c", i)
		all = append(all, update(failure(name, func(f *diagnosis.Failure) { f.UID = name })))
	}
	inLoop(t, nil, func(l *loop) {
		l.collector.quick = deaf
		l.sees(patience/2, all...)
		if n := len(l.collector.asks()); n != most {
			t.Errorf("%d examinations have begun, want %d", n, most)
		}
		l.cancel()
		<-l.stopped
		l.want()
		if n := len(l.collector.asks()); n != most {
			t.Errorf("%d examinations were begun in all, want %d", n, most)
		}
	})
}

// No worker waits for slow checks: of many more pods than there are workers each
// has its first verdict when it is due.
func TestWorkers(t *testing.T) {
	const pods = 5 * workers
	takes := map[string]time.Duration{}
	var all []podwatch.Update
	for i := range pods {
		name := fmt.Sprint("c", i)
		takes[name] = 5 * time.Second
		all = append(all, update(failure(name, func(f *diagnosis.Failure) { f.UID = name })))
	}
	inLoop(t, takes, func(l *loop) {
		l.sees(time.Minute, all...)
		if l.collector.most != pods {
			t.Errorf("got %d pods examined side by side, want %d", l.collector.most, pods)
		}
		for i, line := range l.publisher.lines[:pods] {
			if !strings.HasSuffix(line, ", so far") || l.publisher.at[i] > patience+spread {
				t.Fatalf("line %d is %q, after %s; want a first verdict after %s", i, line, l.publisher.at[i], patience)
			}
		}
		if got := len(l.publisher.lines); got != 2*pods {
			t.Errorf("got %d verdicts, want a first and a final one of %d pods", got, pods)
		}
	})
}

// Many pods at once, with all kinds of updates; for the race detector.
func TestManyPods(t *testing.T) {
	const pods = 200
	uid := func(i int) string { return fmt.Sprint("uid-", i) }
	fail := func(i int) diagnosis.Failure {
		return failure(fmt.Sprint("c", i), func(f *diagnosis.Failure) { f.UID = uid(i) })
	}
	inLoop(t, map[string]time.Duration{"c7": 3 * time.Second}, func(l *loop) {
		var wg sync.WaitGroup
		for i := range pods {
			wg.Go(func() {
				l.pods.Observe(update(fail(i)))
				time.Sleep(time.Duration(i) * time.Millisecond)
				l.pods.Observe(update(fail(i)))
				l.pods.Again(uid(i), time.Duration(i)*time.Millisecond)
			})
		}
		wg.Wait()
		l.sees(10 * time.Second)
		l.wantAsks(pods)
		l.wantPods(pods)
		final := map[string]bool{}
		for _, line := range l.publisher.lines {
			final[line] = true
		}
		for i := range pods {
			wg.Go(func() {
				u := update()
				u.UID = uid(i)
				if u.Gone = i%2 == 0; !u.Gone {
					u.Recovered = []diagnosis.Failure{fail(i)}
				}
				l.pods.Observe(u)
			})
			if want := uid(i) + ": " + allOf(fmt.Sprint("c", i), 1); !final[want] {
				t.Errorf("got no line %q", want)
			}
		}
		wg.Wait()
		l.sees(10 * time.Second)
		l.wantPods(0)
	})
}

// A message is read again only when it changes.
func TestTextIsReadOnce(t *testing.T) {
	t.Parallel()
	f := failure("app")
	first := text{}.of(f)
	f.Since = f.Since.Add(time.Minute)
	if again := first.of(f); again.facts != first.facts {
		t.Error("the same text was read twice")
	}
	f.Message = "connection refused"
	if other := first.of(f); other.facts == first.facts || other.facts.Cause != diagnosis.ConnectionRefused {
		t.Errorf("another text was read as %+v", other.facts)
	}
}

func TestFingerprintTellsFieldsApart(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for name, f := range map[string]diagnosis.Failure{
		"plain":      failure("app"),
		"secrets":    failure("app", func(f *diagnosis.Failure) { f.PullSecrets = []string{"a", "b"} }),
		"no secrets": failure("app", func(f *diagnosis.Failure) { f.PullSecrets = nil }),
		"never":      failure("app", says("ErrImageNeverPull", "")),
		"inspect":    failure("app", says("ImageInspectError", "")),
		"empty":      failure("app", says("ErrImagePull", "")),
		"malformed":  failure("app", says("illegal base64 data at input byte 0", "illegal base64 data at input byte 0")),
		"status 401": failure("app", says("ErrImagePull", "unexpected status from HEAD request to https://hub.test/v2/app/manifests/1: 401 Unauthorized")),
		"status 503": failure("app", says("ErrImagePull", "unexpected status from HEAD request to https://hub.test/v2/app/manifests/1: 503 Service Unavailable")),
	} {
		print := fingerprint(read(f))
		if other, ok := seen[print]; ok {
			t.Errorf("%s and %s: got one fingerprint, want two", name, other)
		}
		seen[print] = name
	}
}
