package report

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

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/whypull/whypull/agent"
	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/report/metrics"
)

// writer is an API server that keeps what is written to it and can be made to
// fail.
type writer struct {
	mu          sync.Mutex
	patches     []map[string]*string
	conditions  []*corev1.PodCondition // one per patch; nil for none
	pods        []string
	events      []*eventsv1.Event
	annotateErr error
	eventErr    error
}

func (w *writer) PatchPod(_ context.Context, namespace, pod, uid string, change kube.PodChange) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.annotateErr != nil {
		return w.annotateErr
	}
	w.patches = append(w.patches, change.Annotations)
	w.conditions = append(w.conditions, change.Condition)
	w.pods = append(w.pods, namespace+"/"+pod+" "+uid)
	return nil
}

func (w *writer) Event(_ context.Context, e *eventsv1.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.eventErr != nil {
		return w.eventErr
	}
	w.events = append(w.events, e)
	return nil
}

// desk is a publisher with a manual clock.
type desk struct {
	t         *testing.T
	publisher *Publisher
	p         agent.PodPublisher // for pod uid-1
	metrics   *metrics.Agent
	w         *writer
	at        time.Time
	again     []time.Duration
	busy      bool
	condition bool // it is written
}

// Again implements Queue.
func (d *desk) Again(uid string, after time.Duration) {
	if uid != "uid-1" {
		d.t.Errorf("asked again for %q, want uid-1", uid)
	}
	d.again = append(d.again, after)
}

// Busy implements Queue.
func (d *desk) Busy() bool { return d.busy }

// without turns the condition off.
func without() bool { return false }

// quiet is an empty queue.
type quiet struct{}

func (quiet) Again(string, time.Duration) {}
func (quiet) Busy() bool                  { return false }

func newDesk(t *testing.T) *desk {
	d := &desk{t: t, w: &writer{}, at: began().Add(time.Second)}
	d.restart()
	return d
}

// restart replaces the publisher, as a restart of the agent does.
func (d *desk) restart() {
	d.metrics = metrics.New("v1")
	d.publisher = NewPublisher(d.w, d, d.metrics, slog.New(slog.DiscardHandler), "worker-3", func() bool { return d.condition })
	d.publisher.now = func() time.Time { return d.at }
	d.p = d.publisher.Pod("uid-1")
}

// TestEventsAfterOthersAnnotations checks that Events wait once while other pods are
// queued, and come even if nothing else is new.
func TestEventsAfterOthersAnnotations(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.busy = true
	v := verdict("app", diagnosis.TagNotFound)
	d.publish(true, v)
	d.want("while others wait", 1, 0)
	d.wantAgain("while others wait", eventDelay)
	d.publish(true, v)
	d.want("when the watch shows the annotations", 1, 0)
	d.wantAgain("when the watch shows the annotations", eventDelay)
	d.later(eventDelay)
	d.publish(true, v)
	d.want("when they are due, whoever waits then", 1, 1)
	d.publish(true, v)
	d.wantAgain("when all is said")
	d.later(rewriteInterval)
	d.publish(true, verdict("app", diagnosis.AuthenticationRequired))
	d.want("another cause", 2, 1)
	d.wantAgain("another cause", eventDelay)
	d.busy = false
	d.publish(true, verdict("app", diagnosis.AuthenticationRequired))
	d.want("when nobody waits any more", 2, 2)
	d.later(rewriteInterval)
	d.publish(true, verdict("app", diagnosis.RepositoryNotFound))
	d.want("while nobody waits", 3, 3)
	d.wantAgain("while nobody waits")
}

// TestDeletion checks that nothing is written to a pod that is being deleted, unless that
// takes long.
func TestDeletion(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.publish(true, verdict("app", diagnosis.TagNotFound))
	leaving := watched()
	leaving.Deleting = true
	for _, left := range []time.Duration{deletionTime, deletionTime / 2} {
		if err := d.try(leaving, true); !errors.Is(err, agent.ErrDeferred) {
			t.Errorf("got error %v, want %v", err, agent.ErrDeferred)
		}
		d.want("being deleted", 1, 1)
		d.wantFailing()
		d.wantAgain("being deleted", left)
		d.later(deletionTime / 2)
	}
	if err := d.try(leaving, true); err != nil {
		t.Errorf("got error %v, want none", err)
	}
	d.want("still there", 2, 1)
	if got := d.annotations(); len(got) != 0 {
		t.Errorf("got annotations %v, want none", got)
	}
}

func (d *desk) later(by time.Duration) { d.at = d.at.Add(by) }

// publish publishes verdicts on the pod as the watch has it.
func (d *desk) publish(final bool, verdicts ...diagnosis.Verdict) {
	d.t.Helper()
	if err := d.try(watched(), final, verdicts...); err != nil {
		d.t.Errorf("got error %v, want none", err)
	}
}

// recovered publishes the recovery of a container.
func (d *desk) recovered(f diagnosis.Failure) {
	d.t.Helper()
	if err := d.p.Recovered(d.t.Context(), watched(), f); err != nil {
		d.t.Errorf("got error %v, want none", err)
	}
}

func (d *desk) try(u podwatch.Update, final bool, verdicts ...diagnosis.Verdict) error {
	return d.p.Verdicts(d.t.Context(), u, verdicts, final)
}

// want checks the number of patches and Events.
func (d *desk) want(what string, patches, events int) {
	d.t.Helper()
	if got := len(d.w.patches); got != patches {
		d.t.Errorf("%s: got %d patches, want %d", what, got, patches)
	}
	if got := len(d.w.events); got != events {
		d.t.Errorf("%s: got %d events, want %d", what, got, events)
	}
}

func (d *desk) wantAgain(what string, want ...time.Duration) {
	d.t.Helper()
	if !slices.Equal(d.again, want) {
		d.t.Errorf("%s: got %v, want %v", what, d.again, want)
	}
	d.again = nil
}

func (d *desk) annotations() map[string]string { return d.w.annotations() }

// annotations returns the pod's annotations after all patches.
func (w *writer) annotations() map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]string{}
	for _, patch := range w.patches {
		for k, v := range patch {
			if v == nil {
				delete(out, k)
			} else {
				out[k] = *v
			}
		}
	}
	return out
}

func (d *desk) document() Document {
	d.t.Helper()
	doc, err := Parse(d.annotations()[ReportAnnotation])
	if err != nil {
		d.t.Fatal(err)
	}
	return doc
}

func (d *desk) wantMetric(want string, names ...string) {
	d.t.Helper()
	if err := testutil.GatherAndCompare(d.metrics.Gatherer(), strings.NewReader(want), names...); err != nil {
		d.t.Error(err)
	}
}

// wantDiagnoses takes the labels and the value of each series.
func (d *desk) wantDiagnoses(series ...string) {
	d.t.Helper()
	const name = "whypull_diagnoses_total"
	text := "# HELP " + name + " Number of verdicts, by cause and confidence.\n# TYPE " + name + " counter\n"
	for _, s := range series {
		text += name + s + "\n"
	}
	d.wantMetric(text, name)
}

func (d *desk) wantWrites(success, failed int) {
	d.t.Helper()
	d.wantMetric(fmt.Sprintf(`
# HELP whypull_api_writes_total Number of write requests to the API server, by result.
# TYPE whypull_api_writes_total counter
whypull_api_writes_total{result="error"} %d
whypull_api_writes_total{result="success"} %d
`, failed, success), "whypull_api_writes_total")
}

// wantTimed checks how often the time to diagnosis was measured, and the sum.
func (d *desk) wantTimed(count int, sum float64) {
	d.t.Helper()
	families, err := d.metrics.Gatherer().Gather()
	if err != nil {
		d.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "whypull_time_to_diagnosis_seconds" {
			continue
		}
		h := f.GetMetric()[0].GetHistogram()
		if h.GetSampleCount() != uint64(count) || h.GetSampleSum() != sum {
			d.t.Errorf("time to diagnosis: got %d, %v, want %d, %v", h.GetSampleCount(), h.GetSampleSum(), count, sum)
		}
	}
}

func (d *desk) wantFailing(lines ...string) {
	d.t.Helper()
	want := ""
	for _, l := range lines {
		want += "whypull_failing_containers" + l + "\n"
	}
	if want != "" {
		want = "# HELP whypull_failing_containers Number of containers on this node that cannot get their image, by cause and registry.\n" +
			"# TYPE whypull_failing_containers gauge\n" + want
	}
	d.wantMetric(want, "whypull_failing_containers")
}

func verdict(name string, cause diagnosis.Cause, edits ...func(*diagnosis.Verdict)) diagnosis.Verdict {
	v := diagnosis.Verdict{
		Failure: failureOf(name), Cause: cause, Confidence: diagnosis.Confirmed, Summary: name + " fails: " + string(cause),
		Remedy:   []string{"kubectl get pod"},
		Evidence: []diagnosis.Finding{{Evidence: diagnosis.Evidence{Check: diagnosis.CheckRegistry, Outcome: diagnosis.Failed, Fault: "TagNotFound"}, Detail: "no such tag"}},
	}
	for _, edit := range edits {
		edit(&v)
	}
	return v
}

// guess makes a verdict a first one: the slow checks are still running.
func guess(v *diagnosis.Verdict) {
	v.Confidence = diagnosis.Suspected
	v.Evidence = []diagnosis.Finding{{Evidence: diagnosis.Evidence{Check: diagnosis.CheckRegistry, Outcome: diagnosis.NotRun, Fault: diagnosis.FaultPending}}}
}

func wording(summary string) func(*diagnosis.Verdict) {
	return func(v *diagnosis.Verdict) { v.Summary = summary }
}

func sinceLater(by time.Duration) func(*diagnosis.Verdict) {
	return func(v *diagnosis.Verdict) { v.Failure.Since = v.Failure.Since.Add(by) }
}

func image(name string) func(*diagnosis.Verdict) {
	return func(v *diagnosis.Verdict) { v.Failure.Image = name }
}

func TestVerdictIsWrittenOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.publish(true, verdict("app", diagnosis.TagNotFound))
	d.want("first", 1, 1)
	if got := d.w.pods[0]; got != "shop/web uid-1" {
		t.Errorf("got pod %q, want shop/web uid-1", got)
	}
	want := map[string]string{"whypull.dev/cause": "TagNotFound", "whypull.dev/summary": "app fails: TagNotFound"}
	for k, v := range want {
		if got := d.annotations()[k]; got != v {
			t.Errorf("%s: got %q, want %q", k, got, v)
		}
	}
	if c := d.document().Containers; len(c) != 1 || c[0].Name != "app" || c[0].Since != "2026-01-02T03:04:01Z" || d.document().Node != "worker-3" {
		t.Errorf("got %+v, want app since 2026-01-02T03:04:01Z on worker-3", d.document())
	}
	if e := d.w.events[0]; e.Reason != "TagNotFound" || e.Type != "Warning" || e.Regarding.Name != "web" {
		t.Errorf("got event %s %s of %s, want Warning TagNotFound of web", e.Type, e.Reason, e.Regarding.Name)
	}
	for range 3 {
		d.later(time.Hour)
		d.publish(true, verdict("app", diagnosis.TagNotFound))
	}
	d.want("the same again", 1, 1)
	d.wantAgain("the same again")
	d.wantWrites(2, 0)
	d.wantTimed(1, 1)
}

func TestSameCauseWithinAMinute(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.publish(true, verdict("app", diagnosis.TagNotFound))
	d.later(20 * time.Second)
	other := verdict("app", diagnosis.TagNotFound, wording("other words"))
	d.publish(true, other)
	d.want("too early", 1, 1)
	d.wantAgain("too early", 40*time.Second)
	d.later(40 * time.Second)
	d.publish(true, other)
	d.want("a minute later", 2, 1)
	d.wantAgain("a minute later")
	if got := d.annotations()[SummaryAnnotation]; got != "other words" {
		t.Errorf("got %q, want the other words", got)
	}
}

func TestPutOffWriteThatIsNeededNoMore(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	same := verdict("app", diagnosis.TagNotFound)
	d.publish(true, same)
	d.publish(true, verdict("app", diagnosis.TagNotFound, wording("other words")))
	d.later(time.Minute)
	d.publish(true, same)
	d.want("back to the first", 1, 1)
}

func TestAnotherCauseIsWrittenAtOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for i, c := range []diagnosis.Cause{diagnosis.TagNotFound, diagnosis.DNSFailure, diagnosis.TagNotFound} {
		d.later(time.Second)
		d.publish(true, verdict("app", c))
		d.want(fmt.Sprint("cause ", i+1), i+1, i+1)
	}
	d.wantAgain("causes change")
	d.wantDiagnoses(`{cause="DNSFailure",confidence="Confirmed"} 1`, `{cause="TagNotFound",confidence="Confirmed"} 2`)
	d.wantTimed(1, 2)
}

func TestFinalReplacesFirstAtOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []diagnosis.Cause{diagnosis.TagNotFound, diagnosis.AuthenticationRequired} {
		d := newDesk(t)
		d.publish(false, verdict("app", c, guess))
		d.want("first", 1, 0)
		d.wantFailing(`{cause="` + string(c) + `",registry="hub.test"} 1`)
		d.later(time.Second)
		d.publish(true, verdict("app", diagnosis.TagNotFound))
		d.want("final", 2, 1)
		d.wantAgain("final")
		d.wantFailing(`{cause="TagNotFound",registry="hub.test"} 1`)
		d.later(time.Second)
		d.publish(true, verdict("app", diagnosis.TagNotFound, wording("other")))
		d.want("then the minute counts", 2, 1)
		d.wantTimed(1, 1)
		d.wantDiagnoses(`{cause="TagNotFound",confidence="Confirmed"} 1`)
	}
}

func TestFinalThatSaysTheSameAsTheFirst(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	v := verdict("app", diagnosis.TagNotFound)
	d.publish(false, v)
	d.publish(true, v)
	d.want("the same", 1, 1)
	d.publish(true, verdict("app", diagnosis.TagNotFound, wording("other")))
	d.want("the minute counts", 1, 1)
}

// A registry that hangs is examined again every five minutes, and each time the
// quick checks are done first: their verdict does not replace the final one.
func TestFirstDoesNotReplaceFinal(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	final := verdict("app", diagnosis.ConnectionTimeout)
	d.publish(true, final)
	for range 3 {
		d.later(5 * time.Minute)
		d.publish(false, verdict("app", diagnosis.AuthenticationRequired, guess))
		d.wantFailing(`{cause="ConnectionTimeout",registry="hub.test"} 1`)
		d.publish(true, final)
	}
	d.want("refreshed", 1, 1)
}

func TestFirstOfSomethingNew(t *testing.T) {
	t.Parallel()
	final, first := verdict("app", diagnosis.TagNotFound), verdict("app", diagnosis.AuthenticationRequired, guess)
	tests := map[string]struct {
		verdicts []diagnosis.Verdict
		want     int
	}{
		"the same image":    {[]diagnosis.Verdict{first}, 1},
		"another image":     {[]diagnosis.Verdict{verdict("app", diagnosis.AuthenticationRequired, guess, image("x"))}, 2},
		"another container": {[]diagnosis.Verdict{final, verdict("side", diagnosis.AuthenticationRequired, guess)}, 2},
		"another kind": {[]diagnosis.Verdict{verdict("app", diagnosis.AuthenticationRequired, guess, func(v *diagnosis.Verdict) {
			v.Failure.Kind = diagnosis.KindImageVolume
		})}, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.publish(true, final)
			d.publish(false, tt.verdicts...)
			d.want("first", tt.want, 1)
		})
	}
}

// A first verdict on another image is on the pod: the earlier final one is
// not there any more.
func TestFirstAfterTheImageWasEditedToAndFro(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.publish(true, verdict("app", diagnosis.TagNotFound))
	d.publish(false, verdict("app", diagnosis.AuthenticationRequired, guess, image("x"), wording("x")))
	d.publish(false, verdict("app", diagnosis.AuthenticationRequired, guess, wording("to and fro")))
	d.want("to and fro", 3, 1)
	if got := d.annotations()[SummaryAnnotation]; got != "to and fro" {
		t.Errorf("got %q, want what is said of the image as it is now", got)
	}
}

func TestEventsPerVerdictAndIncident(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		second []diagnosis.Verdict
		want   int // events after both
	}{
		"the same":            {[]diagnosis.Verdict{verdict("app", diagnosis.TagNotFound)}, 1},
		"other words":         {[]diagnosis.Verdict{verdict("app", diagnosis.TagNotFound, wording("other"))}, 1},
		"another confidence":  {[]diagnosis.Verdict{verdict("app", diagnosis.TagNotFound, func(v *diagnosis.Verdict) { v.Confidence = diagnosis.Likely })}, 1},
		"another cause":       {[]diagnosis.Verdict{verdict("app", diagnosis.DNSFailure)}, 2},
		"another container":   {[]diagnosis.Verdict{verdict("app", diagnosis.TagNotFound), verdict("side", diagnosis.TagNotFound)}, 2},
		"no recovery between": {[]diagnosis.Verdict{verdict("app", diagnosis.TagNotFound, sinceLater(time.Minute))}, 1},
		"another image":       {[]diagnosis.Verdict{verdict("app", diagnosis.TagNotFound, image("x"), sinceLater(time.Minute))}, 2},
		"a volume, same name": {[]diagnosis.Verdict{verdict("app", diagnosis.TagNotFound, func(v *diagnosis.Verdict) { v.Failure.Kind = diagnosis.KindImageVolume })}, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.publish(true, verdict("app", diagnosis.TagNotFound))
			for range 2 {
				d.later(time.Hour)
				d.publish(true, tt.second...)
			}
			d.want("both", len(d.w.patches), tt.want)
			if got := names(d.w.events); got != tt.want {
				t.Errorf("got %d different names, want %d", got, tt.want)
			}
		})
	}
}

func names(events []*eventsv1.Event) int {
	seen := map[string]bool{}
	for _, e := range events {
		seen[e.Name] = true
	}
	return len(seen)
}

func TestEventThatCannotBeRecorded(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.w.eventErr = errAPI
	d.publish(true, verdict("app", diagnosis.TagNotFound)) // no error: the annotation is there
	d.want("refused", 1, 0)
	d.wantWrites(1, 1)
	d.w.eventErr = nil
	d.later(time.Minute)
	d.publish(true, verdict("app", diagnosis.TagNotFound))
	d.want("next time", 1, 1)
	d.wantDiagnoses(`{cause="TagNotFound",confidence="Confirmed"} 1`)
}

// An Event that was held back is recorded later, and was no request before.
func TestEventThatIsHeldBack(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.w.eventErr = kube.ErrUnguarded
	d.publish(true, verdict("app", diagnosis.TagNotFound))
	d.want("held back", 1, 0)
	d.wantWrites(1, 0)
	d.w.eventErr = nil
	d.later(time.Minute)
	d.publish(true, verdict("app", diagnosis.TagNotFound))
	d.want("next time", 1, 1)
}

func TestAnnotationsThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		err     error
		counted int
	}{
		"conflict":  {errors.New("the UID in the precondition does not match"), 1},
		"not found": {fmt.Errorf("pod: %w", kube.ErrNotFound), 0},
		"held back": {kube.ErrUnguarded, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, final := range []bool{true, false} {
				d := newDesk(t)
				d.w.annotateErr = tt.err
				if err := d.try(watched(), final, verdict("app", diagnosis.TagNotFound)); !errors.Is(err, tt.err) {
					t.Errorf("got error %v, want %v", err, tt.err)
				}
				d.want("refused", 0, 0)
				d.wantWrites(0, tt.counted)
				d.wantTimed(0, 0)
				d.recovered(failureOf("app"))
				d.want("recovered, nothing published before", 0, 0)
				d.w.annotateErr = nil
				d.later(time.Second)
				d.publish(true, verdict("app", diagnosis.TagNotFound))
				d.want("tried again", 1, 1)
				d.wantTimed(1, 2)
			}
		})
	}
}

// restarted returns a desk whose agent has published a verdict and was restarted.
func restarted(t *testing.T, final bool, verdicts ...diagnosis.Verdict) (*desk, podwatch.Update) {
	t.Helper()
	d := newDesk(t)
	d.publish(final, verdicts...)
	d.restart()
	d.later(10 * time.Minute)
	u := watched()
	u.Annotations = d.annotations()
	return d, u
}

func TestRestartedAgentSaysNothingTwice(t *testing.T) {
	t.Parallel()
	old := []diagnosis.Verdict{verdict("app", diagnosis.TagNotFound), verdict("side", diagnosis.DNSFailure)}
	d, u := restarted(t, true, old...)
	// For the new agent the incident has only just begun.
	now := []diagnosis.Verdict{
		verdict("app", diagnosis.TagNotFound, sinceLater(10*time.Minute)),
		verdict("side", diagnosis.DNSFailure, sinceLater(10*time.Minute)),
	}
	if err := d.try(u, false, verdict("app", diagnosis.AuthenticationRequired, guess), now[1]); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := d.try(u, true, now...); err != nil {
			t.Error(err)
		}
	}
	d.want("the same as before", 1, 2)
	d.wantTimed(0, 0)
	d.wantWrites(0, 0)
	d.wantMetric("", "whypull_diagnoses_total")
	d.wantFailing(`{cause="DNSFailure",registry="hub.test"} 1`, `{cause="TagNotFound",registry="hub.test"} 1`)

	now[0] = verdict("app", diagnosis.AccessDenied, sinceLater(10*time.Minute))
	if err := d.try(u, true, now...); err != nil {
		t.Error(err)
	}
	d.want("another cause", 2, 3)
	for _, c := range d.document().Containers {
		if c.Since != "2026-01-02T03:04:01Z" {
			t.Errorf("%s: got since %s, want the first agent's", c.Name, c.Since)
		}
	}
	d.wantTimed(0, 0)
	const start = "whypull_pod_failure_start_timestamp_seconds"
	d.wantMetric(`
# HELP `+start+` Unix time since which the container cannot get its image, with the labels of whypull_pod_failure_info.
# TYPE `+start+` gauge
`+start+`{cause="AccessDenied",container_name="app",pod_name="web",pod_namespace="shop",registry="hub.test"} 1.767323041e+09
`+start+`{cause="DNSFailure",container_name="side",pod_name="web",pod_namespace="shop",registry="hub.test"} 1.767323041e+09
`, start)
}

// An agent that is killed when it has written a report creates its Event when it is started
// again, with the same name as before; the API server keeps one of them. A verdict in other
// words might have another name.
func TestKilledBeforeTheEvent(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	v := verdict("app", diagnosis.TagNotFound)
	d.w.eventErr = errAPI
	d.publish(true, v)
	d.w.eventErr = nil
	u := watched()
	u.Annotations = d.annotations()
	for _, tt := range []struct {
		what   string
		after  time.Duration
		now    diagnosis.Verdict
		events int
	}{
		{"other words", time.Second, verdict("app", diagnosis.TagNotFound, sinceLater(time.Second), wording("other")), 0},
		{"the Event is missing", time.Minute, verdict("app", diagnosis.TagNotFound, sinceLater(time.Minute)), 1},
		{"the Event is there", time.Minute, verdict("app", diagnosis.TagNotFound, sinceLater(2*time.Minute)), 2},
		{"an old report", 10 * time.Minute, verdict("app", diagnosis.TagNotFound, sinceLater(12*time.Minute)), 2},
	} {
		d.restart()
		d.later(tt.after)
		for range 2 {
			if err := d.try(u, true, tt.now); err != nil {
				t.Error(err)
			}
		}
		d.want(tt.what, 1, tt.events)
	}
	for _, e := range d.w.events {
		if want := failureEvent(v, d.at); e.Name != want.Name || e.Note != want.Note {
			t.Errorf("Event %s %q, want %s %q", e.Name, e.Note, want.Name, want.Note)
		}
	}
}

func TestRestartedAgentAndTheMinute(t *testing.T) {
	t.Parallel()
	d, u := restarted(t, true, verdict("app", diagnosis.TagNotFound))
	d.later(-10*time.Minute + 15*time.Second)
	if err := d.try(u, true, verdict("app", diagnosis.TagNotFound, wording("other"))); err != nil {
		t.Error(err)
	}
	d.want("within the minute", 1, 1)
	d.wantAgain("within the minute", 45*time.Second)
	d.at = d.at.Add(-24 * time.Hour) // the clock was set back
	if err := d.try(u, true, verdict("app", diagnosis.TagNotFound, wording("other"))); err != nil {
		t.Error(err)
	}
	d.wantAgain("clock set back", time.Minute)
}

func TestRestartedAgentWithAnotherImage(t *testing.T) {
	t.Parallel()
	d, u := restarted(t, true, verdict("app", diagnosis.TagNotFound))
	edited := verdict("app", diagnosis.TagNotFound, image("hub.test/app:2"), sinceLater(10*time.Minute))
	if err := d.try(u, true, edited); err != nil {
		t.Error(err)
	}
	d.want("another image", 2, 2)
	if got := d.document().Containers[0].Since; got != "2026-01-02T03:14:01Z" {
		t.Errorf("got since %s, want the new incident's", got)
	}
	d.later(time.Minute)
	back := verdict("app", diagnosis.TagNotFound, sinceLater(11*time.Minute))
	if err := d.try(u, true, back); err != nil {
		t.Error(err)
	}
	d.want("the first image again", 3, 3)
	if got := d.document().Containers[0].Since; got != "2026-01-02T03:15:01Z" {
		t.Errorf("got since %s, want the newest incident's, not the first agent's", got)
	}
}

func TestRestartedAgentAndARecovery(t *testing.T) {
	t.Parallel()
	d, u := restarted(t, true, verdict("app", diagnosis.TagNotFound))
	now := verdict("app", diagnosis.TagNotFound, sinceLater(10*time.Minute))
	if err := d.try(u, true, now); err != nil {
		t.Error(err)
	}
	d.recovered(now.Failure)
	d.want("recovered", 1, 2)
	before := d.p
	d.p = d.publisher.Pod("uid-1") // as if the agent was killed before the report was removed
	healthy := now.Failure
	healthy.Since = time.Time{}
	if err := d.p.Recovered(t.Context(), u, healthy); err != nil {
		t.Error(err)
	}
	if e := d.w.events; len(e) != 3 || e[1].Name != e[2].Name {
		t.Errorf("got Events %v, want the last two with the same name", e)
	}
	d.p, d.w.events = before, d.w.events[:2]
	d.later(2 * time.Minute)
	again := verdict("app", diagnosis.TagNotFound, sinceLater(12*time.Minute), wording("again"))
	if err := d.try(u, true, again); err != nil {
		t.Error(err)
	}
	d.want("fails again", 2, 3)
	if got := d.document().Containers[0].Since; got != "2026-01-02T03:16:01Z" {
		t.Errorf("got since %s, want the new incident's", got)
	}
}

func TestRestartedAgentAfterAFirstVerdict(t *testing.T) {
	t.Parallel()
	d, u := restarted(t, false, verdict("app", diagnosis.TagNotFound, guess))
	d.later(-10*time.Minute + time.Second)
	if err := d.try(u, true, verdict("app", diagnosis.TagNotFound, sinceLater(10*time.Minute))); err != nil {
		t.Error(err)
	}
	d.want("the final one, at once", 2, 1)
	if got := d.document().Containers[0].Since; got != "2026-01-02T03:04:01Z" {
		t.Errorf("got since %s, want the first agent's", got)
	}
}

// What an agent has said whose clock was ahead is not said again.
func TestClockWasAhead(t *testing.T) {
	t.Parallel()
	d, u := restarted(t, true, verdict("app", diagnosis.TagNotFound, sinceLater(time.Hour)))
	if err := d.try(u, true, verdict("app", diagnosis.TagNotFound, sinceLater(10*time.Minute))); err != nil {
		t.Error(err)
	}
	d.want("the same verdict", 1, 1)
}

// A container that got its image while no agent ran has recovered, also if the clock of the
// last one was ahead.
func TestRecoveredWhoseClockWasAhead(t *testing.T) {
	t.Parallel()
	v := verdict("app", diagnosis.TagNotFound, sinceLater(time.Hour))
	d, u := restarted(t, true, v)
	if err := d.p.Recovered(t.Context(), u, v.Failure); err != nil {
		t.Error(err)
	}
	if e := d.w.events; len(e) != 2 || e[1].Reason != "ImagePullRecovered" {
		t.Errorf("got Events %v, want a recovery", e)
	}
}

// Who may change a pod's annotations does not set when its incident begins to a time that
// is to come.
func TestForgedBeginning(t *testing.T) {
	t.Parallel()
	d, u := restarted(t, true, verdict("app", diagnosis.TagNotFound))
	u.Annotations[ReportAnnotation] = strings.ReplaceAll(u.Annotations[ReportAnnotation], stamp(began()), stamp(began().Add(time.Hour)))
	if err := d.try(u, true, verdict("app", diagnosis.AccessDenied, sinceLater(10*time.Minute))); err != nil {
		t.Error(err)
	}
	if got := d.document().Containers[0].Since; got != "2026-01-02T03:14:01Z" {
		t.Errorf("got since %s, want the incident's", got)
	}
}

// Nor to a time before the pod was created.
func TestForgedEarlyBeginning(t *testing.T) {
	t.Parallel()
	d, u := restarted(t, true, verdict("app", diagnosis.TagNotFound, sinceLater(-1000*time.Hour)))
	u.Created = began().Add(-time.Minute)
	if err := d.try(u, true, verdict("app", diagnosis.AccessDenied, sinceLater(10*time.Minute))); err != nil {
		t.Error(err)
	}
	if got := d.document().Containers[0].Since; got != "2026-01-02T03:03:01Z" {
		t.Errorf("got since %s, want the pod's creation", got)
	}
}

// A manifest that was made of another pod has that one's report, in which nothing is said
// of the pod that is created from it.
func TestReportOlderThanThePod(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		created time.Duration // after the report
		writes  int
	}{
		"its own":               {-time.Hour, 1},
		"by clocks that differ": {clockSkew, 1},
		"another pod's":         {clockSkew + time.Second, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, u := restarted(t, true, verdict("app", diagnosis.TagNotFound))
			u.Created = d.at.Add(tt.created - 10*time.Minute)
			if err := d.try(u, true, verdict("app", diagnosis.TagNotFound)); err != nil {
				t.Error(err)
			}
			d.want("after the same verdict", tt.writes, tt.writes)
		})
	}
}

// What has whypull's keys goes from a pod that does not fail, whoever wrote it: it may
// have been forged, or be of a release that was rolled back. Other keys stay.
func TestForeignAnnotations(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		annotations map[string]string
		goes        bool
	}{
		"none":           {nil, false},
		"another key":    {map[string]string{Prefix + "note": "by hand"}, false},
		"another schema": {map[string]string{ReportAnnotation: `{"schema":"whypull.dev/v2","containers":7}`, CauseAnnotation: "x"}, true},
		"no JSON":        {map[string]string{ReportAnnotation: "by hand"}, true},
		"empty object":   {map[string]string{ReportAnnotation: "{}"}, true},
		"no report":      {map[string]string{CauseAnnotation: "TagNotFound"}, true},
		"a sentence":     {map[string]string{SummaryAnnotation: "run this"}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			u := watched()
			u.Annotations = tt.annotations
			if err := d.try(u, true); err != nil {
				t.Error(err)
			}
			removed := 0
			if tt.goes {
				removed = 1
				d.wantRemoved()
			}
			d.want("healthy", removed, 0)
			if err := d.try(u, true, verdict("app", diagnosis.TagNotFound)); err != nil {
				t.Error(err)
			}
			d.want("failing", removed+1, 1)
		})
	}
}

func TestReportWithoutTimesIsNoReasonToPanic(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	u := watched()
	u.Annotations = map[string]string{ReportAnnotation: `{"schema":"whypull.dev/v1","containers":[{"name":"app","kind":"container","cause":"TagNotFound"}]}`}
	if err := d.try(u, true, verdict("app", diagnosis.TagNotFound)); err != nil {
		t.Error(err)
	}
	d.want("failing", 1, 1)
}

// wantRemoved checks that the last patch removes exactly our three keys.
func (d *desk) wantRemoved() {
	d.t.Helper()
	last := d.w.patches[len(d.w.patches)-1]
	want := []string{"whypull.dev/cause", "whypull.dev/report", "whypull.dev/summary"}
	if got := slices.Sorted(maps.Keys(last)); !slices.Equal(got, want) {
		d.t.Errorf("got keys %q, want %q", got, want)
	}
	for k, v := range last {
		if v != nil {
			d.t.Errorf("%s: got %q, want null", k, *v)
		}
	}
}

func TestRecoveredPod(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	v := verdict("app", diagnosis.TagNotFound)
	d.publish(true, v)
	d.later(time.Minute)
	d.recovered(v.Failure)
	d.publish(true)
	d.want("recovered", 2, 2)
	d.wantRemoved()
	d.wantFailing()
	if e := d.w.events[1]; e.Type != "Normal" || e.Reason != "ImagePullRecovered" {
		t.Errorf("got event %s %s, want Normal ImagePullRecovered", e.Type, e.Reason)
	}
	d.publish(true)
	d.want("recovered, published again", 2, 2)
}

// An agent whose rights were taken announces a recovery when it has them again. Where
// it may never create Events, the annotations are removed all the same.
func TestRecoveryWithoutRights(t *testing.T) {
	t.Parallel()
	forbidden := apierrors.NewForbidden(schema.GroupResource{}, "x", errors.New("no"))
	for name, want := range map[string]int{"taken for a while": 2, "never had": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			v := verdict("app", diagnosis.TagNotFound)
			d.publish(true, v)
			d.later(time.Minute)
			d.w.eventErr, d.w.annotateErr = forbidden, forbidden
			d.recovered(v.Failure)
			if err := d.try(watched(), true); err == nil {
				t.Error("no error")
			}
			d.w.annotateErr = nil
			if want == 2 {
				d.w.eventErr = nil
			} else {
				for range lateEvents {
					if err := d.try(watched(), true); !errors.Is(err, agent.ErrDeferred) {
						t.Errorf("got error %v, want that the Event is deferred", err)
					}
				}
				d.wantAgain(name, append([]time.Duration{lateEvent}, slices.Repeat([]time.Duration{latestEvent}, lateEvents-1)...)...)
			}
			d.publish(true)
			d.wantRemoved()
			d.want(name, 2, want)
			d.publish(true)
			d.want(name+", published again", 2, want)
		})
	}
}

// The Event of a recovery that was refused does not wait with the annotations of a pod that
// is being deleted: it may be gone before they are removed.
func TestRefusedRecoveryOfADeletedPod(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	v := verdict("app", diagnosis.TagNotFound)
	d.publish(true, v)
	d.w.eventErr = apierrors.NewForbidden(schema.GroupResource{}, "x", errors.New("no"))
	d.recovered(v.Failure)
	leaving := watched()
	leaving.Deleting = true
	for _, events := range []int{1, 2, 2} {
		if err := d.try(leaving, true); !errors.Is(err, agent.ErrDeferred) {
			t.Errorf("got error %v, want %v", err, agent.ErrDeferred)
		}
		d.want("being deleted", 1, events)
		d.w.eventErr = nil
	}
}

// A policy may refuse Events only, for a while. What happened meanwhile is said afterwards,
// once.
func TestEventsThatAreRefusedForAWhile(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	app, side := verdict("app", diagnosis.TagNotFound), verdict("side", diagnosis.TagNotFound)
	d.publish(true, app)
	d.w.eventErr = apierrors.NewForbidden(schema.GroupResource{}, "x", errors.New("no"))
	d.later(time.Minute)
	d.recovered(app.Failure)
	d.publish(true, side)
	d.wantAgain("refused", 10*time.Second, 20*time.Second) // the recovery, and the verdict
	d.w.eventErr = nil
	d.publish(true, side)
	d.publish(true, side)
	d.wantAgain("said")
	d.want("said", 2, 3)
	if a, b := d.w.events[1].Reason, d.w.events[2].Reason; a != RecoveredReason || b != "TagNotFound" {
		t.Errorf("Events %s and %s", a, b)
	}
}

// A container that was given another image has not recovered, although nothing is known of
// that image yet: it has when it gets it.
func TestRecoveryWithAnotherImage(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	v := verdict("app", diagnosis.TagNotFound)
	d.publish(true, v)
	u := watched()
	waiting := v.Failure
	waiting.Image = "hub.test/app:2"
	u.Waiting = []diagnosis.Failure{waiting}
	if err := d.try(u, true); err != nil {
		t.Error(err)
	}
	d.wantRemoved()
	d.want("image edited", 2, 1)
	d.recovered(waiting)
	d.want("recovered", 2, 2)
	if got, want := d.w.events[1].Note, "container app has its image hub.test/app:2"; got != want {
		t.Errorf("got note %q, want %q", got, want)
	}
	d.recovered(waiting)
	d.want("recovered again", 2, 2)
}

// After a restart of the node, a container waits for its new sandbox. It has not recovered,
// and if it fails as before, that is not said again.
func TestRestartOfTheNode(t *testing.T) {
	t.Parallel()
	v := verdict("app", diagnosis.TagNotFound)
	for name, again := range map[string][]diagnosis.Verdict{"it has its image": nil, "it fails again": {v}} {
		d, u := restarted(t, true, v)
		u.Waiting = []diagnosis.Failure{v.Failure}
		d.later(2 * time.Minute)
		if err := d.try(u, true); err != nil {
			t.Error(err)
		}
		d.wantRemoved()
		if len(again) > 0 {
			d.later(2 * time.Minute)
			if err := d.try(watched(), true, again...); err != nil {
				t.Error(err)
			}
		}
		d.want(name, 2+len(again), 1)
		d.recovered(v.Failure)
		d.want(name+", recovered", 2+len(again), 2)
	}
}

// A version of whypull with another schema may have been there before.
func TestReportOfAnotherSchema(t *testing.T) {
	t.Parallel()
	for schema, events := range map[string]int{"whypull.dev/v2": 2, "whypull.dev/v0": 2, "other.dev/v1": 3} {
		v := verdict("app", diagnosis.TagNotFound)
		d, u := restarted(t, true, v)
		u.Annotations = maps.Clone(u.Annotations)
		u.Annotations[ReportAnnotation] = strings.Replace(u.Annotations[ReportAnnotation], Schema, schema, 1)
		d.later(2 * time.Minute)
		if err := d.try(u, true, v); err != nil {
			t.Error(err)
		}
		if got := d.document().Schema; got != Schema {
			t.Errorf("after %s: schema %s", schema, got)
		}
		d.recovered(v.Failure)
		d.want("after "+schema, 2, events)
	}
}

// A container that got its image while no agent ran has recovered, once, however often
// the agent is restarted: the Event's name is derived from the report. A container of
// which the report says nothing has not.
func TestRecoveredWhileTheAgentWasAway(t *testing.T) {
	t.Parallel()
	d, u := restarted(t, true, verdict("app", diagnosis.TagNotFound))
	healthy := func(name string) diagnosis.Failure {
		f := failureOf(name)
		f.Since, f.Image = time.Time{}, "hub.test/app:2"
		return f
	}
	d.w.eventErr = kube.ErrUnguarded
	if err := d.p.Recovered(t.Context(), u, healthy("app")); !errors.Is(err, kube.ErrUnguarded) {
		t.Errorf("while nothing may be written: %v", err)
	}
	d.w.eventErr = nil
	for _, name := range []string{"side", "app", "app"} {
		if err := d.p.Recovered(t.Context(), u, healthy(name)); err != nil {
			t.Error(err)
		}
	}
	d.want("recovered", 1, 2)
	d.restart()
	if err := d.p.Recovered(t.Context(), u, healthy("app")); err != nil {
		t.Error(err)
	}
	if a, b := d.w.events[1], d.w.events[2]; a.Name != b.Name || a.Reason != RecoveredReason || a.Note != "container app has its image hub.test/app:2" {
		t.Errorf("Events %s %s %q and %s", a.Name, a.Reason, a.Note, b.Name)
	}
	if err := d.try(u, true); err != nil {
		t.Error(err)
	}
	d.want("removed", 2, 3)
	d.wantRemoved()
}

// An Event that the API server does not accept is not tried again, and one that it may
// accept later is.
func TestRecoveryThatCannotBeRecorded(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err   error
		again bool
	}{
		"held back":   {kube.ErrUnguarded, true},
		"unreachable": {errors.New("connection refused"), true},
		"busy":        {apierrors.NewTooManyRequests("busy", 1), true},
		"forbidden":   {apierrors.NewForbidden(schema.GroupResource{Resource: "events"}, "x", errors.New("no")), false},
		"gone":        {apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "x"), false},
	} {
		d := newDesk(t)
		v := verdict("app", diagnosis.TagNotFound)
		d.publish(true, v)
		d.w.eventErr = tt.err
		if err := d.p.Recovered(t.Context(), watched(), v.Failure); (err != nil) != tt.again {
			t.Errorf("%s: %v", name, err)
		}
		d.w.eventErr = nil
		d.recovered(v.Failure)
		events := 1
		if tt.again {
			events = 2
		}
		d.want(name, 1, events)
	}
}

func TestRemovalThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.publish(true, verdict("app", diagnosis.TagNotFound))
	d.w.annotateErr = errAPI
	if err := d.try(watched(), true); !errors.Is(err, errAPI) {
		t.Errorf("got error %v, want %v", err, errAPI)
	}
	d.wantFailing()
	d.w.annotateErr = nil
	d.publish(true)
	d.want("again", 2, 1)
	d.wantRemoved()
}

// A pod that fails again before it was forgotten gets its annotations and its
// Event again, with the same verdict or another.
func TestFailsAgainAfterRemoval(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	v := verdict("app", diagnosis.TagNotFound)
	d.publish(true, v)
	d.publish(true) // withdrawn: the image was edited, nothing has recovered
	d.want("cleared", 2, 1)
	d.later(time.Second)
	d.publish(true, verdict("app", diagnosis.TagNotFound, sinceLater(time.Second)))
	d.want("fails again", 3, 2)
	d.wantTimed(2, 2)
}

func TestRecoveredContainerOfAPodThatStillFails(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	app, side := verdict("app", diagnosis.TagNotFound), verdict("side", diagnosis.DNSFailure)
	d.publish(true, app, side)
	d.want("both", 1, 2)
	d.recovered(app.Failure)
	d.publish(true, side)
	d.want("one left", 2, 3)
	if got := d.annotations()[CauseAnnotation]; got != "DNSFailure" {
		t.Errorf("got cause %q, want DNSFailure", got)
	}
	d.publish(true, verdict("app", diagnosis.TagNotFound, sinceLater(time.Minute)), side)
	d.want("fails again", 3, 4)
}

func TestRecoveredBeforeAnythingWasPublished(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.recovered(failureOf("app"))
	d.want("unknown pod", 0, 0)
	d.publish(true, verdict("side", diagnosis.TagNotFound))
	d.recovered(failureOf("app"))
	d.want("unknown container", 1, 1)
	d.recovered(failureOf("side"))
	d.want("known", 1, 2)
	d.recovered(failureOf("side"))
	d.want("twice", 1, 2)
}

func TestRecoveredAfterAFirstVerdict(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.publish(false, verdict("app", diagnosis.TagNotFound, guess))
	d.recovered(failureOf("app"))
	d.want("the annotation had it", 1, 1)
}

func TestTimeIsMeasuredWhenItIsWritten(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	app := verdict("app", diagnosis.TagNotFound)
	d.publish(true, app)
	d.wantTimed(1, 1)
	d.later(9 * time.Second)
	side := verdict("side", diagnosis.TagNotFound, sinceLater(9*time.Second))
	d.publish(true, app, side) // put off: the same cause within the minute
	d.want("deferred", 1, 2)
	d.wantTimed(1, 1)
	d.later(51 * time.Second)
	d.publish(true, app, side)
	d.want("written", 2, 2)
	d.wantTimed(2, 1+52)
}

func TestForgetting(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.publish(true, verdict("app", diagnosis.TagNotFound))
	d.wantFailing(`{cause="TagNotFound",registry="hub.test"} 1`)
	d.p.Forget()
	d.publisher.Pod("unknown").Forget()
	d.wantFailing()
	d.p = d.publisher.Pod("uid-1")
	d.publish(true, verdict("app", diagnosis.TagNotFound)) // the same name and uid: another life
	d.want("another life", 2, 2)
}

func TestVerdictsAreNotChanged(t *testing.T) {
	t.Parallel()
	d, u := restarted(t, true, verdict("app", diagnosis.TagNotFound))
	v := []diagnosis.Verdict{verdict("app", diagnosis.TagNotFound, sinceLater(time.Hour))}
	if err := d.p.Verdicts(t.Context(), u, v, true); err != nil {
		t.Error(err)
	}
	if got, want := v[0].Failure.Since, began().Add(time.Hour); !got.Equal(want) {
		t.Errorf("got since %v, want %v", got, want)
	}
}

func TestPublisherWithManyPods(t *testing.T) {
	t.Parallel()
	w := &writer{}
	p := NewPublisher(w, quiet{}, metrics.New("v1"), slog.New(slog.DiscardHandler), "worker-3", without)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			u := watched()
			u.UID = fmt.Sprint("uid-", i)
			p := p.Pod(u.UID)
			v := verdict("app", diagnosis.TagNotFound, func(v *diagnosis.Verdict) { v.Failure.UID = u.UID })
			for _, verdicts := range [][]diagnosis.Verdict{{v}, {v}, nil} {
				if len(verdicts) == 0 {
					if err := p.Recovered(t.Context(), u, v.Failure); err != nil {
						t.Error(err)
					}
				}
				if err := p.Verdicts(t.Context(), u, verdicts, true); err != nil {
					t.Error(err)
				}
			}
			p.Forget()
		})
	}
	wg.Wait()
	if len(w.patches) != 100 || len(w.events) != 100 {
		t.Errorf("got %d patches, %d events, want 100, 100", len(w.patches), len(w.events))
	}
}

// collector answers at once.
type collector struct{}

func (collector) Follow(context.Context, []diagnosis.Failure) ([]diagnosis.Failure, []diagnosis.Progress, error) {
	return nil, nil, nil
}

func (collector) Collect(context.Context, diagnosis.Failure, bool) ([]diagnosis.Evidence, <-chan []diagnosis.Evidence) {
	found := []diagnosis.Evidence{{Check: diagnosis.CheckMessage, Outcome: diagnosis.Inconclusive, Body: &diagnosis.MessageFacts{Text: "it says nothing"}}}
	all := make(chan []diagnosis.Evidence, 1)
	all <- found
	return found, all
}

// The agent with its publisher, as in production.
func TestAgentWithPublisher(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, pods := &writer{}, agent.NewPods()
		p := NewPublisher(w, pods, metrics.New("v1"), slog.New(slog.DiscardHandler), "worker-3", without)
		a := agent.New(pods, "", collector{}, p, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			a.Run(ctx)
		}()
		defer func() {
			cancel()
			<-stopped
		}()
		see := func(f diagnosis.Failure) {
			u := watched(f)
			u.SeenAt, u.Annotations = time.Now(), w.annotations()
			pods.Observe(u)
		}
		see(failureOf("app"))
		time.Sleep(time.Second)
		// Every examination finds another message, but nothing is written twice in a minute.
		for i := range 30 {
			f := failureOf("app")
			f.PullPolicy = []string{"Always", "Never"}[i%2]
			see(f)
			time.Sleep(10 * time.Second)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if got := len(w.patches); got < 4 || got > 6 {
			t.Errorf("got %d patches in five minutes, want about 5", got)
		}
		if got := len(w.events); got != 1 {
			t.Errorf("got %d events, want 1", got)
		}
	})
}

// The durations of a probe's phases are in the log, in order, and not in the
// report, which would change with them.
func TestTimingsAreLogged(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	w := &writer{}
	p := NewPublisher(w, quiet{}, metrics.New("v1"), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), "worker-3", without)
	v := verdict("app", diagnosis.TagNotFound, func(v *diagnosis.Verdict) {
		v.Evidence = []diagnosis.Finding{{Evidence: diagnosis.Evidence{
			Check: diagnosis.CheckRegistry, Outcome: diagnosis.Failed, Fault: diagnosis.FaultTagNotFound, Endpoint: diagnosis.Endpoint{URL: "https://hub.test"},
			Body: &diagnosis.RegistryFacts{Timings: map[diagnosis.Phase]time.Duration{diagnosis.PhaseManifest: 3 * time.Millisecond, diagnosis.PhaseDNS: time.Millisecond, diagnosis.PhaseTLS: 2 * time.Millisecond}},
		}}}
	})
	if err := p.Pod("uid-1").Verdicts(t.Context(), watched(), []diagnosis.Verdict{v}, true); err != nil {
		t.Fatal(err)
	}
	const want = "endpoint=https://hub.test outcome=Failed fault=TagNotFound phases.dns=1ms phases.tls=2ms phases.manifest=3ms"
	if !strings.Contains(log.String(), want) {
		t.Errorf("log %s", log.String())
	}
	for _, patch := range w.patches {
		if report := patch["whypull.dev/report"]; report == nil || strings.Contains(*report, "ms") {
			t.Errorf("patch %+v", patch)
		}
	}
}

var errAPI = errors.New("the API server has a bad day")

func began() time.Time { return time.Date(2026, 1, 2, 3, 4, 1, 0, time.UTC) }

func failureOf(name string) diagnosis.Failure {
	return diagnosis.Failure{
		Namespace: "shop", Pod: "web", UID: "uid-1", Node: "worker-3", Container: name, Kind: diagnosis.KindContainer,
		Image: "hub.test/" + name + ":1", Registry: "hub.test", Repository: name, PullPolicy: "Always",
		Reason: "ErrImagePull", Message: "dial tcp: lookup hub.test: no such host", PullSecrets: []string{"regcred"}, Since: began(),
	}
}

// watched returns the update of a pod from the watch, as it was before anything was
// written to it.
func watched(failures ...diagnosis.Failure) podwatch.Update {
	return podwatch.Update{Namespace: "shop", Name: "web", UID: "uid-1", Failures: failures, SeenAt: began()}
}
