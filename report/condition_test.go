package report

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/agent"
	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
)

// newConditionDesk returns a publisher that writes the condition.
func newConditionDesk(t *testing.T) *desk {
	d := newDesk(t)
	d.condition = true
	return d
}

// wantCondition checks the condition in the last patch, and returns it.
func (d *desk) wantCondition(what string, status corev1.ConditionStatus, reason, message string) corev1.PodCondition {
	d.t.Helper()
	got := d.w.conditions[len(d.w.conditions)-1]
	if got == nil {
		d.t.Fatalf("%s: no condition, want %s", what, status)
	}
	if got.Type != PullableCondition || got.Status != status || got.Reason != reason || got.Message != message {
		d.t.Errorf("%s: got %+v, want %s %s: %s", what, got, status, reason, message)
	}
	return *got
}

// having is the pod as the watch shows it now, with what has been written to it.
func (d *desk) having(conditions ...corev1.PodCondition) podwatch.Update {
	u := d.seen(d.annotations())
	u.Conditions = conditions
	return u
}

const (
	recoveredMessage = "the image that could not be pulled is there"
	withdrawnMessage = "the pod ended, its image was changed, or the pull goes on"
)

// The condition is in the same patch as the annotations: false with the verdict's cause
// and summary, and true when the image is there. The time of its last transition changes
// only with its status.
func TestConditionOfAnIncident(t *testing.T) {
	t.Parallel()
	d := newConditionDesk(t)
	d.publish(true, verdict("app", diagnosis.TagNotFound), verdict("side", diagnosis.DNSFailure))
	d.want("verdict", 1, 2)
	first := d.wantCondition("verdict", corev1.ConditionFalse, "TagNotFound", "app fails: TagNotFound (and 1 more)")
	if !first.LastTransitionTime.Time.Equal(d.at) {
		t.Errorf("last transition %s, want %s", first.LastTransitionTime, d.at)
	}
	d.later(time.Hour)
	if err := d.try(d.having(first), true, verdict("app", diagnosis.TagNotFound), verdict("side", diagnosis.DNSFailure)); err != nil {
		t.Error(err)
	}
	d.want("the same", 1, 2)
	d.publish(true, verdict("side", diagnosis.DNSFailure))
	second := d.wantCondition("another cause", corev1.ConditionFalse, "DNSFailure", "side fails: DNSFailure")
	if !second.LastTransitionTime.Equal(&first.LastTransitionTime) {
		t.Errorf("last transition %s, want %s", second.LastTransitionTime, first.LastTransitionTime)
	}
	d.later(time.Minute)
	d.recovered(failureOf("side"))
	d.publish(true)
	d.want("recovered", 3, 3)
	d.wantRemoved()
	if last := d.wantCondition("recovered", corev1.ConditionTrue, "ImagePullRecovered", recoveredMessage); !last.LastTransitionTime.Time.Equal(d.at) {
		t.Errorf("last transition %s, want %s", last.LastTransitionTime, d.at)
	}
	d.publish(true)
	d.want("over", 3, 3)
}

// Without the image, the end of a failure is not the good news; the image is, when it
// comes.
func TestConditionOfAWithdrawnFailure(t *testing.T) {
	t.Parallel()
	d := newConditionDesk(t)
	d.publish(true, verdict("app", diagnosis.TagNotFound), verdict("side", diagnosis.DNSFailure))
	d.recovered(failureOf("app"))
	d.publish(true, verdict("side", diagnosis.DNSFailure))
	d.publish(true)
	d.wantCondition("withdrawn", corev1.ConditionUnknown, "ImagePullFailureWithdrawn", withdrawnMessage)
	n := len(d.w.patches)
	d.publish(true)
	d.want("still unknown", n, 3)
	d.later(rewriteInterval)
	d.recovered(failureOf("side"))
	d.publish(true)
	d.wantCondition("the image", corev1.ConditionTrue, "ImagePullRecovered", recoveredMessage)
}

// While a pull that had failed goes on, the pod has a report without a cause, and the
// condition is unknown.
func TestConditionOfAPullThatGoesOn(t *testing.T) {
	t.Parallel()
	d := newConditionDesk(t)
	u := watched()
	u.Pulling = []diagnosis.Progress{{Failure: failureOf("app"), Done: 1, Total: 2}}
	if err := d.try(u, true); err != nil {
		t.Error(err)
	}
	if c := d.w.conditions[0]; c != nil {
		t.Errorf("a pull that never failed has the condition %+v", c)
	}
	d.publish(true, verdict("app", diagnosis.PullStalled))
	d.wantCondition("stalled", corev1.ConditionFalse, "PullStalled", "app fails: PullStalled")
	d.later(rewriteInterval)
	if err := d.try(u, true); err != nil {
		t.Error(err)
	}
	d.wantCondition("goes on", corev1.ConditionUnknown, "ImagePullFailureWithdrawn", withdrawnMessage)
	d.recovered(failureOf("app"))
	d.publish(true)
	d.wantCondition("done", corev1.ConditionTrue, "ImagePullRecovered", recoveredMessage)
}

// A condition that somebody has changed or removed is written again, but not more often
// than once in 20 seconds; what the watch shows of the agent's own is left alone.
func TestEditedConditionIsWrittenAgain(t *testing.T) {
	t.Parallel()
	d := newConditionDesk(t)
	v := verdict("app", diagnosis.TagNotFound)
	d.publish(true, v)
	honest := d.wantCondition("first", corev1.ConditionFalse, "TagNotFound", "app fails: TagNotFound")
	d.later(10 * time.Second)
	if err := d.try(d.having(honest), true, v); err != nil {
		t.Error(err)
	}
	lie := honest
	lie.Status = corev1.ConditionTrue
	for i, conditions := range [][]corev1.PodCondition{{lie}, nil} {
		if err := d.try(d.having(conditions...), true, v); err != nil {
			t.Error(err)
		}
		d.want("too soon", 1+i, 1)
		d.later(restoreInterval)
		if err := d.try(d.having(conditions...), true, v); err != nil {
			t.Error(err)
		}
		d.want("after it", 2+i, 1)
		if got := d.wantCondition("again", corev1.ConditionFalse, "TagNotFound", "app fails: TagNotFound"); !got.LastTransitionTime.Equal(&honest.LastTransitionTime) {
			t.Errorf("last transition %s, want %s", got.LastTransitionTime, honest.LastTransitionTime)
		}
	}
}

// An agent that was restarted takes over the condition of an earlier run; one that is
// turned on later adds it to the reports that are there.
func TestConditionAfterARestart(t *testing.T) {
	t.Parallel()
	d := newConditionDesk(t)
	v := verdict("app", diagnosis.TagNotFound)
	d.publish(true, v)
	honest := d.wantCondition("first", corev1.ConditionFalse, "TagNotFound", "app fails: TagNotFound")
	d.restart()
	d.later(10 * time.Minute)
	if err := d.try(d.having(honest), true, v); err != nil {
		t.Error(err)
	}
	d.want("the same", 1, 1)
	d.restart()
	if err := d.try(d.having(), true, v); err != nil {
		t.Error(err)
	}
	d.want("turned on", 2, 1)
	d.wantCondition("turned on", corev1.ConditionFalse, "TagNotFound", "app fails: TagNotFound")

	d.restart()
	d.later(10 * time.Minute)
	u := d.having(honest)
	if err := d.p.Recovered(t.Context(), u, failureOf("app")); err != nil { // it is healthy
		t.Error(err)
	}
	if err := d.try(u, true); err != nil {
		t.Error(err)
	}
	d.wantRemoved()
	d.wantCondition("recovered meanwhile", corev1.ConditionTrue, "ImagePullRecovered", recoveredMessage)
}

// A forged condition of a pod that does not fail becomes unknown, at most once a minute.
func TestForgedConditionOfAPodThatDoesNotFail(t *testing.T) {
	t.Parallel()
	d := newConditionDesk(t)
	lie := corev1.PodCondition{Type: PullableCondition, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(began())}
	for range 2 {
		u := watched()
		u.SeenAt, u.Conditions = d.at, []corev1.PodCondition{lie}
		d.p = d.publisher.Pod("uid-1")                                     // the loop has dropped the pod
		if err := d.try(u, true); err != nil && err != agent.ErrDeferred { //nolint:errorlint // returned as it is
			t.Error(err)
		}
	}
	d.want("forged", 1, 0)
	d.wantCondition("forged", corev1.ConditionUnknown, "ImagePullFailureWithdrawn", withdrawnMessage)
}

// No condition is written while it is turned off, and none to a pod whose readiness
// depends on it.
func TestNoCondition(t *testing.T) {
	t.Parallel()
	for name, setUp := range map[string]func(*desk, *podwatch.Update){
		"off": func(*desk, *podwatch.Update) {},
		"readiness gate": func(d *desk, u *podwatch.Update) {
			d.condition = true
			u.ReadinessGates = []corev1.PodConditionType{PullableCondition}
		},
	} {
		d, u := newDesk(t), watched()
		setUp(d, &u)
		for _, verdicts := range [][]diagnosis.Verdict{{verdict("app", diagnosis.TagNotFound)}, nil} {
			if err := d.try(u, true, verdicts...); err != nil {
				t.Error(err)
			}
		}
		d.want(name, 2, 1)
		for _, c := range d.w.conditions {
			if c != nil {
				t.Errorf("%s: condition %+v", name, c)
			}
		}
	}
}
