package report

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/podwatch"
)

// counts are the metrics of an UnavailablePublisher.
type counts struct {
	causes map[string]string // by uid
	writes []string
}

func (c *counts) Unavailable(uid string, verdicts []diagnosis.Verdict) {
	if len(verdicts) == 0 {
		delete(c.causes, uid)
		return
	}
	c.causes[uid] = Causes(verdicts)
}

func (c *counts) Wrote(err error) {
	result := "ok"
	if err != nil {
		result = err.Error()
	}
	c.writes = append(c.writes, result)
}

// runs is a publisher with what it writes to.
type runs struct {
	*UnavailablePublisher
	w      *writer
	counts *counts
	at     time.Time
}

func newRuns() *runs {
	r := &runs{w: &writer{}, counts: &counts{causes: map[string]string{}}, at: observed()}
	r.UnavailablePublisher = NewUnavailablePublisher(r.w, r.counts, slog.New(slog.DiscardHandler), "worker-3")
	r.now = func() time.Time { return r.at }
	return r
}

// annotation returns the value last written; "" if it was removed.
func (r *runs) annotation(t *testing.T) string {
	t.Helper()
	if len(r.w.patches) == 0 {
		t.Fatal("nothing is written")
	}
	patch := r.w.patches[len(r.w.patches)-1]
	text, there := patch[UnavailableAnnotation]
	if len(patch) != 1 || !there {
		t.Errorf("patch %v, want the one annotation", patch)
	}
	if text == nil {
		return ""
	}
	validate(t, *text)
	return *text
}

// runningWeb is the pod of newVerdict.
func runningWeb(annotation string) podwatch.RunningPod {
	f := newVerdict().Failure
	f.Reason, f.Message = "", ""
	return podwatch.RunningPod{Namespace: f.Namespace, Name: f.Pod, UID: f.UID, Images: []diagnosis.Failure{f}, Annotation: annotation}
}

func (r *runs) publish(t *testing.T, verdicts ...diagnosis.Verdict) {
	t.Helper()
	if err := r.Unavailable(t.Context(), runningWeb(""), verdicts); err != nil {
		t.Error(err)
	}
}

func (r *runs) want(t *testing.T, when string, patches, events int) {
	t.Helper()
	if len(r.w.patches) != patches || len(r.w.events) != events {
		t.Errorf("%s: %d patches and %d Events, want %d and %d", when, len(r.w.patches), len(r.w.events), patches, events)
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	r := newRuns()
	r.publish(t)
	r.want(t, "pullable", 0, 0)
	gone := newVerdict(cause(diagnosis.TagNotFound))
	r.publish(t, gone)
	r.want(t, "unavailable", 1, 1)
	doc, err := Parse(r.annotation(t))
	if err != nil || len(doc.Containers) != 1 || doc.Containers[0].Cause != "TagNotFound" || doc.Node != "worker-3" {
		t.Errorf("report %+v, %v", doc, err)
	}
	e := r.w.events[0]
	checkEvent(t, e)
	if e.Type != "Warning" || e.Reason != "ImageUnavailable" || !strings.HasPrefix(e.Note, "container app runs, but its image could not be pulled again (TagNotFound): ") {
		t.Errorf("Event %s %s %q", e.Type, e.Reason, e.Note)
	}
	r.at = r.at.Add(time.Hour)
	r.publish(t, gone)
	r.want(t, "the same again", 1, 1)
	r.publish(t, newVerdict(cause(diagnosis.TagNotFound), summary("tag 1 does not exist; closest tags: 2")))
	r.want(t, "another summary", 2, 1)
	r.publish(t, newVerdict(cause(diagnosis.AccessDenied)))
	r.want(t, "another cause", 3, 2)
	if got := r.counts.causes[gone.Failure.UID]; got != "AccessDenied" {
		t.Errorf("metrics: %q", got)
	}
	r.publish(t)
	r.want(t, "available again", 4, 2)
	if r.annotation(t) != "" || len(r.counts.causes) > 0 || len(r.pods) > 0 {
		t.Errorf("left: %q, %v, %v", r.annotation(t), r.counts.causes, r.pods)
	}
	r.publish(t)
	r.want(t, "still", 4, 2)
	r.publish(t, gone)
	r.want(t, "unavailable again", 5, 3)
	r.Forget(gone.Failure.UID)
	if len(r.counts.causes)+len(r.pods) > 0 {
		t.Error("a pod that is gone is remembered")
	}
}

// The report of many containers stays within its limit, and says how many are left out.
func TestUnavailableIsBounded(t *testing.T) {
	t.Parallel()
	r := newRuns()
	var all []diagnosis.Verdict
	for i := range 16 {
		all = append(all, newVerdict(container(strings.Repeat("c", 40)+string(rune('a'+i)))))
	}
	r.publish(t, all...)
	text := r.annotation(t)
	if len(text) > reportLimit {
		t.Errorf("%d bytes", len(text))
	}
	if doc, err := Parse(text); err != nil || len(doc.Containers)+doc.Omitted != 16 {
		t.Errorf("%d containers, %d left out, %v", len(doc.Containers), doc.Omitted, err)
	}
}

// A write that fails is made up for, and nothing is said twice.
func TestUnavailableAfterErrors(t *testing.T) {
	t.Parallel()
	r := newRuns()
	gone := []diagnosis.Verdict{newVerdict(cause(diagnosis.TagNotFound))}
	publish := func() error { return r.Unavailable(t.Context(), runningWeb(""), gone) }
	r.w.annotateErr = kube.ErrUnguarded
	if err := publish(); !errors.Is(err, kube.ErrUnguarded) {
		t.Errorf("got %v", err)
	}
	r.w.annotateErr, r.w.eventErr = nil, errors.New("503")
	if err := publish(); err == nil {
		t.Error("no error though there is no Event")
	}
	r.want(t, "the Event failed", 1, 0)
	r.w.eventErr = nil
	if err := publish(); err != nil {
		t.Error(err)
	}
	r.want(t, "both", 1, 1)
	if !slices.Equal(r.counts.writes, []string{"ok", "503", "ok"}) {
		t.Errorf("writes %q", r.counts.writes)
	}
	r.w.annotateErr, gone = kube.ErrNotFound, nil
	if err := publish(); err != nil {
		t.Errorf("the pod is gone: %v", err)
	}
}

// A later run of the agent goes on where the earlier one stopped.
func TestUnavailableAdopts(t *testing.T) {
	t.Parallel()
	first := newRuns()
	gone := newVerdict(cause(diagnosis.TagNotFound))
	first.publish(t, gone)
	text := first.annotation(t)

	r := newRuns()
	found := r.Adopt(runningWeb(text))
	if len(found) != 1 || found[0].Subject != gone.Failure.Subject() || found[0].Cause != diagnosis.TagNotFound || !found[0].Since.Equal(gone.Failure.Since) {
		t.Errorf("findings %+v", found)
	}
	if r.counts.causes[gone.Failure.UID] != "TagNotFound" {
		t.Errorf("metrics %v", r.counts.causes)
	}
	late := runningWeb(text)
	late.Created = since().Add(time.Second)
	if found := newRuns().Adopt(late); len(found) != 1 || !found[0].Since.Equal(late.Created) {
		t.Errorf("from before the pod was created: %+v", found)
	}
	r.publish(t, gone)
	r.want(t, "the same", 0, 0)
	r.publish(t)
	r.want(t, "available again", 1, 0)
	if r.annotation(t) != "" {
		t.Error("the annotation is not removed")
	}
}

// What an agent has found whose clock was ahead is not announced again, and its report is
// written again with the right times.
func TestUnavailableWhenTheClockWasAhead(t *testing.T) {
	t.Parallel()
	first := newRuns()
	first.now = func() time.Time { return observed().Add(24 * time.Hour) }
	gone := newVerdict(cause(diagnosis.TagNotFound))
	gone.Failure.Since = first.now()
	first.publish(t, gone)

	r := newRuns()
	found := r.Adopt(runningWeb(first.annotation(t)))
	if len(found) != 1 || !found[0].Since.Equal(observed()) {
		t.Errorf("findings %+v, want one since now", found)
	}
	r.publish(t, gone)
	r.publish(t, gone)
	r.want(t, "the same", 1, 0)
	doc, err := Parse(r.annotation(t))
	if err != nil || doc.ObservedAt != stamp(observed()) || doc.Containers[0].Since != stamp(observed()) {
		t.Errorf("%v: report of %s, since %s", err, doc.ObservedAt, doc.Containers[0].Since)
	}
}

// Whoever may write to a pod can write any report.
func TestUnavailableAdoptsNoNonsense(t *testing.T) {
	t.Parallel()
	first := newRuns()
	first.publish(t, newVerdict(cause(diagnosis.TagNotFound)))
	text := first.annotation(t)
	for name, forged := range map[string]string{
		"no JSON":          "{",
		"another schema":   `{"schema":"whypull.dev/v9"}`,
		"unknown cause":    strings.ReplaceAll(text, "TagNotFound", "Nonsense"),
		"a cause of never": strings.ReplaceAll(text, "TagNotFound", "RateLimited"),
		"another image":    strings.ReplaceAll(text, "nginx:1.12.1", "nginx:1.12.2"),
		"no time":          strings.ReplaceAll(text, stamp(since()), "yesterday"),
	} {
		r := newRuns()
		if found := r.Adopt(runningWeb(forged)); len(found) > 0 || len(r.counts.causes) > 0 {
			t.Errorf("%s: %+v, %v", name, found, r.counts.causes)
		}
		r.publish(t)
		if r.want(t, name, 1, 0); r.annotation(t) != "" {
			t.Errorf("%s: it is not removed", name)
		}
	}
}

// The agent's loop and the plugin do not take the annotation for a failure's report.
func TestUnavailableAnnotationIsNoFailure(t *testing.T) {
	t.Parallel()
	if strings.HasPrefix(UnavailableAnnotation, Prefix) {
		t.Errorf("%s has the prefix of a failing pod's annotations", UnavailableAnnotation)
	}
	if annotated(map[string]string{UnavailableAnnotation: "{}"}) {
		t.Error("it counts as a failing pod's")
	}
}
