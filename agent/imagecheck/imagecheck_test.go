package imagecheck

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
)

const interval = 24 * time.Hour

// fake is registries, a publisher and a node.
type fake struct {
	mu      sync.Mutex
	answers map[string][]diagnosis.Evidence // by image
	blind   bool
	err     error
	takes   time.Duration // for each question
	busy    bool
	asked   []question
	said    map[string]string    // by pod: causes
	writes  int                  // publications
	refused error                // of a publication
	earlier map[string][]Finding // by uid
	gone    []string
}

type question struct {
	namespace, image string
	at               time.Time
}

func newFake() *fake {
	return &fake{answers: map[string][]diagnosis.Evidence{}, said: map[string]string{}, earlier: map[string][]Finding{}}
}

func (w *fake) Again(_ context.Context, f diagnosis.Failure) ([]diagnosis.Evidence, bool, error) {
	w.mu.Lock()
	w.asked = append(w.asked, question{f.Namespace, f.Image, time.Now()})
	answer, blind, err, takes := w.answers[f.Image], w.blind, w.err, w.takes
	w.mu.Unlock()
	time.Sleep(takes)
	return answer, blind, err
}

func (w *fake) Adopt(pod podwatch.RunningPod) []Finding { return w.earlier[pod.UID] }

func (w *fake) Unavailable(_ context.Context, pod podwatch.RunningPod, verdicts []diagnosis.Verdict) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refused != nil {
		return w.refused
	}
	w.writes++
	var all []string
	for _, v := range verdicts {
		all = append(all, v.Failure.Container+" "+string(v.Cause))
	}
	w.said[pod.Name] = strings.Join(all, ",")
	return nil
}

func (w *fake) Forget(uid string) { w.gone = append(w.gone, uid) }

// set changes the fake while it is used.
func (w *fake) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *fake) questions() []question {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked)
}

// wantQuestions checks how often a registry was asked.
func (w *fake) wantQuestions(t *testing.T, want int) {
	t.Helper()
	if got := len(w.questions()); got != want {
		t.Errorf("%d questions, want %d", got, want)
	}
}

func (w *fake) wantSaid(t *testing.T, when, pod, want string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := w.said[pod]; got != want {
		t.Errorf("%s: %q is said of %s, want %q", when, got, pod, want)
	}
}

// run runs a checker in a bubble until the test ends.
func (w *fake) run(t *testing.T, every time.Duration) *Checker {
	t.Helper()
	busy := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.busy
	}
	c := New(Options{Node: "worker-3", Interval: every, Busy: busy, Log: slog.New(slog.DiscardHandler)}, w, w)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return c
}

// podWith is a running pod whose containers have the images.
func podWith(namespace, name string, images ...string) podwatch.RunningPod {
	u := podwatch.RunningPod{Namespace: namespace, Name: name, UID: "uid-" + name}
	for i, image := range images {
		f := diagnosis.Failure{Namespace: namespace, Pod: name, UID: u.UID, Container: fmt.Sprint("c", i), Kind: diagnosis.KindContainer, PullPolicy: "Always"}
		f.SetImage(podwatch.ImageOf(image))
		u.Images = append(u.Images, f)
	}
	return u
}

// failed is the evidence of a registry that fails with a fault.
func failed(fault diagnosis.Fault) []diagnosis.Evidence {
	return []diagnosis.Evidence{
		{Check: diagnosis.CheckCredentials, Outcome: diagnosis.Failed, Fault: diagnosis.FaultNoCredentials},
		{Check: diagnosis.CheckRegistry, Outcome: diagnosis.Failed, Fault: fault, Endpoint: diagnosis.Endpoint{URL: "https://hub.test"},
			Body: &diagnosis.RegistryFacts{Phase: diagnosis.PhaseManifest, Reference: "hub.test/app:1"}},
	}
}

const (
	app    = "hub.test/app:1"
	tagged = "c0 TagNotFound"
)

// pass lets time pass, and what is due then happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// untilAsked lets time pass until the image's next regular check is over.
func untilAsked(image string) {
	pass(time.Until(Slot("worker-3", image, interval, time.Now())) + 2*gap)
}

// One question stands for all pods with the image, once in each interval, and its answer
// is said of each.
func TestOneQuestionForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newFake()
		w.answers[app] = failed(diagnosis.FaultTagNotFound)
		c := w.run(t, interval)
		for i := range 500 {
			c.Observe(podWith("shop", fmt.Sprint("web-", i), app))
		}
		synctest.Wait()
		w.wantQuestions(t, 0)
		untilAsked(app)
		w.wantQuestions(t, 1)
		w.wantSaid(t, "unavailable", "web-0", tagged)
		w.wantSaid(t, "unavailable", "web-499", tagged)

		w.set(func() { delete(w.answers, app) })
		pass(retry + time.Minute)
		w.wantSaid(t, "available again", "web-499", "")
		before := len(w.questions())
		pass(10 * interval)
		if n := len(w.questions()) - before; n != 10 {
			t.Errorf("%d questions in ten intervals", n)
		}
	})
}

// The checks of a node's images, and of a cluster's nodes, are spread over the interval,
// and a restart changes nothing.
func TestSlots(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const parts, each = 24, 100
	var byNode, byImage [parts]int
	for i := range parts * each {
		at := Slot(fmt.Sprint("worker-", i), app, interval, now)
		byNode[int(at.Sub(now)*parts/interval)%parts]++
		byImage[int(Slot("worker-3", fmt.Sprint("hub.test/app:", i), interval, now).Sub(now)*parts/interval)%parts]++
		if !at.After(now) || at.After(now.Add(interval)) {
			t.Errorf("slot %s is not within the interval", at)
		}
		if again := Slot(fmt.Sprint("worker-", i), app, interval, now.Add(at.Sub(now)/2)); !again.Equal(at) {
			t.Errorf("slot %s, half of the time later %s", at, again)
		}
	}
	for i := range parts {
		if byNode[i] < each/2 || byNode[i] > 2*each || byImage[i] < each/2 || byImage[i] > 2*each {
			t.Errorf("part %d of the interval has %d nodes and %d images, want about %d", i, byNode[i], byImage[i], each)
		}
	}
}

// What a registry says for certain counts at once; what may be over in a moment, after a
// second check.
func TestConfirmation(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault         diagnosis.Fault
		blind         bool
		first, second string
	}{
		"tag":                            {diagnosis.FaultTagNotFound, false, tagged, tagged},
		"tag, with unknown credentials":  {diagnosis.FaultTagNotFound, true, tagged, tagged},
		"gone with all other tags":       {diagnosis.FaultNotFound, false, tagged, tagged},
		"gone, or hidden":                {diagnosis.FaultNotFound, true, "", ""},
		"refused":                        {diagnosis.FaultUnauthorized, false, "c0 AuthenticationRequired", "c0 AuthenticationRequired"},
		"refused, with unknown ones":     {diagnosis.FaultUnauthorized, true, "", ""},
		"broken":                         {diagnosis.FaultServerError, false, "", "c0 RegistryError"},
		"broken, with unknown ones":      {diagnosis.FaultServerError, true, "", "c0 RegistryError"},
		"limit":                          {diagnosis.FaultRateLimited, false, "", ""},
		"what one request does not show": {diagnosis.FaultPlatformMismatch, false, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newFake()
				w.answers[app], w.blind = failed(tc.fault), tc.blind
				c := w.run(t, interval)
				c.Observe(podWith("shop", "web", app))
				untilAsked(app)
				w.wantSaid(t, "first check", "web", tc.first)
				pass(confirm + 2*gap)
				w.wantSaid(t, "second check", "web", tc.second)
			})
		})
	}
}

// A moment's trouble is not said, and does not hide or replace a finding.
func TestTroubleOfAMoment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newFake()
		w.answers[app] = failed(diagnosis.FaultServerError)
		c := w.run(t, interval)
		c.Observe(podWith("shop", "web", app))
		untilAsked(app)
		w.set(func() { delete(w.answers, app) })
		pass(confirm + 2*gap)
		w.wantSaid(t, "over", "web", "")

		w.set(func() { w.answers[app] = failed(diagnosis.FaultTagNotFound) })
		untilAsked(app)
		w.wantSaid(t, "found", "web", tagged)
		w.set(func() { w.answers[app] = failed(diagnosis.FaultServerError) })
		pass(retry)
		w.wantSaid(t, "trouble meanwhile", "web", tagged)
		w.set(func() { w.err = errors.New("postponed") })
		pass(interval)
		w.wantSaid(t, "not asked for a day", "web", tagged)
		w.set(func() { w.err = nil })
		pass(2 * retry)
		w.wantSaid(t, "trouble that lasts", "web", "c0 RegistryError")
	})
}

// While a pod cannot get its image, nothing is asked, but each image an hour late: some
// namespace may have a pod that always fails.
func TestBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newFake()
		w.busy = true
		c := w.run(t, interval)
		c.Observe(podWith("shop", "web", app))
		due := Slot("worker-3", app, interval, time.Now())
		pass(time.Until(due.Add(putOff)) - gap)
		w.wantQuestions(t, 0)
		pass(gap + 2*idle)
		w.wantQuestions(t, 1)
		pass(time.Until(due.Add(interval + putOff/2)))
		w.set(func() { w.busy = false })
		pass(2 * idle)
		w.wantQuestions(t, 2)
	})
}

// A clock that was ahead and is set back does not delay a check by that time.
func TestClockIsSetBack(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{10 * time.Minute, 10 * 24 * time.Hour} {
		w := newFake()
		right := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		now := right.Add(ahead)
		c := New(Options{Node: "worker-3", Interval: interval, Now: func() time.Time { return now }}, w, w)
		c.Observe(podWith("shop", "web", app))
		now = right
		c.next(now)
		now = now.Add(interval)
		if k, _, _ := c.next(now); k.image != app {
			t.Errorf("%s ahead: the check is not due an interval after the clock was set back", ahead)
		}
	}
}

// A namespace with many images at a registry that hangs does not keep another from its
// turn, and what is remembered of it is bounded.
func TestNamespacesTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newFake()
		w.takes = time.Minute
		c := w.run(t, MinInterval)
		for i := range 60 {
			var images []string
			for j := range 16 {
				images = append(images, fmt.Sprintf("evil.test/r%d-%d:1", i, j))
			}
			c.Observe(podWith("evil", fmt.Sprint("evil-", i), images...))
		}
		if n := len(c.images); n != maxImagesOf {
			t.Errorf("%d images of one namespace, want %d", n, maxImagesOf)
		}
		c.Observe(podWith("shop", "web", app))
		start := time.Now()
		pass(6 * time.Hour)
		var last time.Time
		longest := time.Duration(0)
		times := 0
		for _, q := range w.questions() {
			if q.namespace == "shop" {
				times++
				longest = max(longest, q.at.Sub(Slot("worker-3", app, MinInterval, q.at.Add(-MinInterval))))
			}
			if q.at.Sub(last) < w.takes {
				t.Errorf("asked %s after the previous question, which takes %s", q.at.Sub(last), w.takes)
			}
			last = q.at
		}
		if times < 5 || longest > 3*w.takes {
			t.Errorf("asked %d times in %s, at most %s late", times, time.Since(start), longest)
		}
	})
}

func TestImagesAreBounded(t *testing.T) {
	t.Parallel()
	c := New(Options{Node: "worker-3", Interval: interval, Log: slog.New(slog.DiscardHandler)}, nil, nil)
	for i := range 3000 {
		c.Observe(podWith(fmt.Sprint("n", i%10), fmt.Sprint("p", i), fmt.Sprintf("hub.test/r:%d", i)))
	}
	if len(c.images) != maxImages {
		t.Errorf("%d images, want %d", len(c.images), maxImages)
	}
	for i := range 3000 {
		c.Observe(podwatch.RunningPod{UID: fmt.Sprint("uid-p", i), Gone: true})
	}
	if len(c.images)+len(c.pods)+len(c.served) > 0 {
		t.Errorf("%d images, %d pods and %d namespaces are left", len(c.images), len(c.pods), len(c.served))
	}
}

// A changed secret has an unavailable image asked for at once, but not one that was fine,
// and a rejected credential is not tried again before.
func TestReexamine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newFake()
		cred := &diagnosis.CredentialRef{Source: "pull", Key: "hub.test", Order: 1}
		rejects := failed(diagnosis.FaultUnauthorized)
		rejects[0] = diagnosis.Evidence{Check: diagnosis.CheckCredentials, Outcome: diagnosis.Passed, Body: &diagnosis.CredentialFacts{Secret: "pull", Key: "hub.test"}}
		rejects[1].Registry().Credential = cred
		w.answers[app] = rejects
		c := w.run(t, interval)
		c.Observe(podWith("shop", "web", app))
		c.Observe(podWith("shop", "other", "hub.test/other:1"))
		untilAsked(app)
		w.wantSaid(t, "rejected", "web", "c0 CredentialsRejected")
		if f := c.Failing(); len(f) != 1 || f[0].Pod != "web" {
			t.Errorf("what is followed: %v", f)
		}
		asked := func() (n int) {
			for _, q := range w.questions() {
				if q.image == app {
					n++
				}
			}
			return n
		}
		pass(interval / 2)
		if n := asked(); n != 1 {
			t.Errorf("asked %d times within half an interval", n)
		}
		w.set(func() { delete(w.answers, app) })
		c.Reexamine("uid-web", false)
		c.Reexamine("uid-other", false)
		c.Reexamine("unknown", false)
		pass(3 * gap)
		w.wantSaid(t, "after the change", "web", "")
		if n := asked(); n != 2 || len(c.Failing()) != 0 {
			t.Errorf("asked %d times; %v", n, c.Failing())
		}
	})
}

// What changes while a registry is asked is examined again.
func TestChangedMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newFake()
		w.answers[app], w.takes = failed(diagnosis.FaultTagNotFound), time.Minute
		c := w.run(t, interval)
		c.Observe(podWith("shop", "web", app))
		pass(time.Until(Slot("worker-3", app, interval, time.Now())) + 30*time.Second)
		if f := c.Failing(); len(f) != 1 {
			t.Errorf("what is followed while it is asked for: %v", f)
		}
		w.set(func() { delete(w.answers, app) })
		c.Reexamine("uid-web", false)
		pass(3 * time.Minute)
		w.wantSaid(t, "after the change", "web", "")
		w.wantQuestions(t, 2)
	})
}

// A pod that has just got an image that was unavailable has it asked for again.
func TestNewPodOfUnavailableImage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newFake()
		w.answers[app] = failed(diagnosis.FaultTagNotFound)
		c := w.run(t, interval)
		c.Observe(podWith("shop", "web", app))
		untilAsked(app)
		c.Observe(podWith("shop", "late", app))
		pass(3 * gap)
		w.wantSaid(t, "still gone", "late", tagged)
		w.set(func() { delete(w.answers, app) })
		c.Observe(podWith("shop", "later", app))
		pass(3 * gap)
		for _, name := range []string{"web", "late", "later"} {
			w.wantSaid(t, "there again", name, "")
		}
	})
}

// A container that no longer runs, or has another image, is no longer reported.
func TestLeaving(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newFake()
		w.answers[app] = failed(diagnosis.FaultTagNotFound)
		c := w.run(t, interval)
		c.Observe(podWith("shop", "web", app, "hub.test/other:1"))
		c.Observe(podWith("shop", "gone", app))
		untilAsked(app)
		w.wantSaid(t, "unavailable", "web", tagged)
		c.Observe(podWith("shop", "web", "hub.test/other:1"))
		c.Observe(podwatch.RunningPod{UID: "uid-gone", Gone: true})
		pass(3 * gap)
		w.wantSaid(t, "left", "web", "")
		if !slices.Equal(w.gone, []string{"uid-gone"}) || len(c.images) != 1 {
			t.Errorf("forgotten %q, images %v", w.gone, slices.Collect(maps.Keys(c.images)))
		}
	})
}

// A publication that fails is tried again, less and less often.
func TestPublicationIsRetried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newFake()
		w.answers[app], w.refused = failed(diagnosis.FaultTagNotFound), errors.New("503")
		c := w.run(t, interval)
		c.Observe(podWith("shop", "web", app))
		untilAsked(app)
		w.wantSaid(t, "refused", "web", "")
		pass(rewrite / 2)
		w.set(func() { w.refused = nil })
		pass(rewrite + 2*gap)
		w.wantSaid(t, "tried again", "web", tagged)
	})
}

// What an earlier run has found stays until it is examined again, which is soon, and is
// not taken for nothing meanwhile.
func TestAdopt(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer []diagnosis.Evidence
		want   string
	}{"still": {failed(diagnosis.FaultTagNotFound), "c0 TagNotFound"}, "no longer": {nil, ""}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newFake()
				w.answers[app], w.busy = tc.answer, true
				u := podWith("shop", "web", app)
				since := time.Now().Add(-time.Hour)
				w.earlier[u.UID] = []Finding{{Subject: u.Images[0].Subject(), Image: app, Cause: diagnosis.TagNotFound, Since: since}}
				u.Annotation = "a report"
				c := w.run(t, interval)
				c.Observe(u)
				pass(2 * readopt)
				if w.writes != 0 || len(c.Failing()) != 1 {
					t.Errorf("%d publications and %d findings before it is examined", w.writes, len(c.Failing()))
				}
				w.set(func() { w.busy = false })
				pass(2 * readopt)
				w.wantSaid(t, "examined", "web", tc.want)
				if w.writes == 0 {
					t.Error("nothing is published")
				}
				for _, i := range c.images {
					if tc.want != "" && !i.since.Equal(since) {
						t.Errorf("since %s, want %s", i.since, since)
					}
				}
			})
		})
	}
}

// A report that is about nothing any more is removed; with interval 0, each.
func TestStaleReportIsRemoved(t *testing.T) {
	t.Parallel()
	for _, every := range []time.Duration{0, interval} {
		synctest.Test(t, func(t *testing.T) {
			w := newFake()
			u := podWith("shop", "web", app)
			u.Annotation = "a report"
			if every == 0 {
				w.earlier[u.UID] = []Finding{{Subject: u.Images[0].Subject(), Image: app, Cause: diagnosis.TagNotFound}}
			}
			c := w.run(t, every)
			c.Observe(u)
			c.Observe(podWith("shop", "other", app))
			pass(3 * gap)
			if got, there := w.said["web"]; !there || got != "" || w.writes != 1 {
				t.Errorf("interval %s: %d publications, %q", every, w.writes, got)
			}
			if every == 0 && (len(w.asked) > 0 || len(c.images) > 0) {
				t.Errorf("asked %v, images %d", w.asked, len(c.images))
			}
		})
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	if Counts(diagnosis.RateLimited) || Counts("") || !Counts(diagnosis.TagNotFound) || !Counts(diagnosis.DNSFailure) {
		t.Error("the wrong causes count")
	}
}
