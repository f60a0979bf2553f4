package podwatch

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/whypull/whypull/agent/diagnosis"
)

// clocked is a tracker with a manual clock.
type clocked struct {
	tracker *Tracker
	at      time.Time
	last    Update
}

func newClocked() *clocked {
	c := &clocked{at: start()}
	c.tracker = NewTracker("whypull.dev/", func() time.Time { return c.at }, func(u Update) { c.last = u })
	return c
}

// sees passes a pod to the tracker so long after the start, and returns when the
// kubelet tries next, as long after the start; -1 if unknown.
func (c *clocked) sees(t *testing.T, after time.Duration, p *corev1.Pod) []time.Duration {
	t.Helper()
	c.at = start().Add(after)
	c.tracker.Update(p)
	return nextOf(c.last.Failures)
}

func nextOf(failures []diagnosis.Failure) []time.Duration {
	var out []time.Duration
	for _, f := range failures {
		next := time.Duration(-1)
		if !f.NextTry.IsZero() {
			next = f.NextTry.Sub(start())
		}
		out = append(out, next)
	}
	return out
}

func wantNext(t *testing.T, what string, got []time.Duration, want ...time.Duration) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
}

const unknownTry = time.Duration(-1)

// The back-off doubles with each failed attempt that is seen and stays the
// same in between.
func TestNextTry(t *testing.T) {
	t.Parallel()
	c := newClocked()
	failed, waiting := waits("ErrImagePull", "not found"), waits("ImagePullBackOff", backOff)
	c.sees(t, 0, newPod(app(waits("ContainerCreating", ""))))
	wantNext(t, "first", c.sees(t, time.Second, newPod(app(failed))), 11*time.Second)
	next := 11 * time.Second
	for i, d := range []time.Duration{20, 40, 80, 160, 300, 300, 300} {
		wantNext(t, "waiting", c.sees(t, next-9*time.Second, newPod(app(waiting))), next)
		wantNext(t, "still waiting", c.sees(t, next-1, newPod(app(waiting))), next)
		seen := next + 3*time.Second + betweenSyncs // it tried three seconds late, and the next sync shows it
		next += 3*time.Second + d*time.Second
		wantNext(t, "failed", c.sees(t, seen, newPod(app(failed))), next)
		wantNext(t, "seen again", c.sees(t, seen+1, newPod(app(failed))), next)
		if got := c.last.Failures[0].Attempts; got != i+2 {
			t.Errorf("%d attempts, want %d", got, i+2)
		}
		if i == 3 {
			failed = waits("RegistryUnavailable", "dial tcp")
		}
	}
}

// On a busy node the status shows few attempts. If there was time for another one between
// two that are seen, nobody knows how many there were.
func TestMissedAttempts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ seen, next time.Duration }{
		"a slow one": {88 * time.Second, 96 * time.Second},
		"another":    {89 * time.Second, unknownTry},
		"many":       {5 * time.Minute, unknownTry},
	} {
		c := newClocked()
		c.sees(t, 0, newPod(app(waits("ContainerCreating", ""))))
		wantNext(t, name+", first", c.sees(t, time.Second, newPod(app(waits("ErrImagePull", "not found")))), 11*time.Second)
		c.sees(t, 5*time.Second, newPod(app(waits("ImagePullBackOff", backOff))))
		wantNext(t, name, c.sees(t, tc.seen, newPod(app(waits("ErrImagePull", "not found")))), tc.next)
		if tc.next != unknownTry {
			continue
		}
		c.sees(t, tc.seen+5*time.Second, newPod(app(waits("ImagePullBackOff", backOff))))
		wantNext(t, name+", then", c.sees(t, tc.seen+50*time.Second, newPod(app(waits("ErrImagePull", "not found")))), unknownTry)
		if got := c.last.Failures[0].Attempts; got != 0 {
			t.Errorf("%s: %d attempts, want 0 for unknown", name, got)
		}
	}
}

// Another message with the same reason is another attempt, even without a back-off
// in between.
func TestNextTryWithoutBackOffBetween(t *testing.T) {
	t.Parallel()
	c := newClocked()
	wantNext(t, "first", c.sees(t, 0, newPod(app(waits("ErrImagePull", "one")))), 10*time.Second)
	wantNext(t, "second", c.sees(t, 12*time.Second, newPod(app(waits("ErrImagePull", "two")))), 30*time.Second)
}

// If the agent starts too late to see how often the kubelet has tried, the number
// is unknown and stays unknown.
func TestNextTryOfOldIncident(t *testing.T) {
	t.Parallel()
	c := newClocked()
	c.at = start()
	list(Stores{c.tracker}, newPod(app(waits("ErrImagePull", "x"))))
	wantNext(t, "listed", nextOf(c.last.Failures), unknownTry)
	wantNext(t, "waiting", c.sees(t, time.Second, newPod(app(waits("ImagePullBackOff", backOff)))), unknownTry)
	wantNext(t, "failed again", c.sees(t, time.Minute, newPod(app(waits("ErrImagePull", "x")))), unknownTry)
	if got := c.last.Failures[0].Attempts; got != 0 {
		t.Errorf("%d attempts of an unknown number", got)
	}
	c.sees(t, 2*time.Minute, newPod(app(runs())))
	wantNext(t, "a new incident", c.sees(t, time.Hour, newPod(app(waits("ErrImagePull", "x")))), time.Hour+10*time.Second)
}

// A later list does not make a known number unknown.
func TestNextTryAfterRelist(t *testing.T) {
	t.Parallel()
	c := newClocked()
	c.sees(t, 0, newPod(app(waits("ErrImagePull", "x"))))
	list(Stores{c.tracker}, newPod(app(waits("ImagePullBackOff", backOff))))
	wantNext(t, "listed again", nextOf(c.last.Failures), 10*time.Second)
}

// The kubelet counts per image: containers with the same one share the back-off,
// others have their own, and so has another image in the same container.
func TestNextTryIsOfAnImage(t *testing.T) {
	t.Parallel()
	c := newClocked()
	pod := func(first, second corev1.ContainerState, other string) *corev1.Pod {
		return newPod(app(first), withContainer("side", other, second))
	}
	failed, waiting := waits("ErrImagePull", "x"), waits("ImagePullBackOff", backOff)
	wantNext(t, "same image", c.sees(t, 0, pod(failed, waiting, image)), 10*time.Second, 10*time.Second)
	wantNext(t, "second attempt", c.sees(t, 12*time.Second, pod(waiting, failed, image)), 30*time.Second, 30*time.Second)

	c = newClocked()
	c.sees(t, 0, pod(failed, waits("ContainerCreating", ""), image+"1"))
	wantNext(t, "another image", c.sees(t, 4*time.Second, pod(waiting, failed, image+"1")), 10*time.Second, 14*time.Second)
	wantNext(t, "replaced image", c.sees(t, time.Minute, newPod(wanting(image+"2"), app(failed))), 70*time.Second)
}

// Where the kubelet does not get as far as pulling, there is no back-off either.
func TestNoNextTry(t *testing.T) {
	t.Parallel()
	for _, reason := range []string{"InvalidImageName", "ErrImageNeverPull", "ImageInspectError"} {
		wantNext(t, reason, newClocked().sees(t, 0, newPod(app(waits(reason, "x")))), unknownTry)
	}
}

// After twice the longest back-off the kubelet starts over.
func TestBackOffReset(t *testing.T) {
	t.Parallel()
	at := start()
	was := tries{seen: 6, last: at}
	if got := was.add(at.Add(backOffReset)).seen; got != 7 {
		t.Errorf("in time: %d attempts", got)
	}
	if got := was.add(at.Add(backOffReset + 1)).seen; got != 1 {
		t.Errorf("later: %d attempts", got)
	}
	if got := (tries{seen: 1000, last: at}).next(); !got.Equal(at.Add(longestBackOff)) {
		t.Errorf("after many attempts %v", got)
	}
}

// The second attempt fails with the same message, and the status stays the same
// until the kubelet reports the back-off.
func TestHiddenAttempt(t *testing.T) {
	t.Parallel()
	failed, waiting := newPod(app(waits("ErrImagePull", "not found"))), newPod(app(waits("ImagePullBackOff", backOff)))
	for _, tt := range []struct {
		name     string
		waitsAt  time.Duration
		want     time.Duration
		attempts int
	}{
		{"reported at once", time.Second, 10 * time.Second, 1},
		{"reported with the next sync", 15 * time.Second, 10 * time.Second, 1},
		{"after a hidden attempt", 24 * time.Second, 20 * time.Second, 2},
		{"after one that took a while", 60 * time.Second, 56 * time.Second, 2},
	} {
		c := newClocked()
		c.sees(t, 0, failed)
		wantNext(t, tt.name, c.sees(t, tt.waitsAt, waiting), tt.want)
		wantNext(t, tt.name+", still", c.sees(t, tt.waitsAt+1, waiting), tt.want)
		third := tt.want + time.Minute
		wantNext(t, tt.name+", next", c.sees(t, third, failed), third-betweenSyncs+firstBackOff<<tt.attempts)
	}
}

// TestRecordedIncident replays what a kubelet 1.37 wrote, whose third attempt was at 39
// seconds by its Events.
func TestRecordedIncident(t *testing.T) {
	t.Parallel()
	c := newClocked()
	failed, waiting := newPod(app(waits("ErrImagePull", "not found"))), newPod(app(waits("ImagePullBackOff", backOff)))
	for _, step := range []struct {
		at   time.Duration
		pod  *corev1.Pod
		want time.Duration
	}{{1, failed, 11}, {1, waiting, 11}, {28, failed, 36}, {39, waiting, 36}, {49, failed, 77}, {63, waiting, 77}} {
		wantNext(t, "recorded", c.sees(t, step.at*time.Second, step.pod), step.want*time.Second)
	}
}

// An unknown number of attempts is not guessed.
func TestHiddenAttemptOfOldIncident(t *testing.T) {
	t.Parallel()
	if got := (tries{}).hidden(start()); got != (tries{}) {
		t.Errorf("got %+v", got)
	}
}
