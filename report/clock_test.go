package report

import (
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/cri/asserttest"
)

// run is one run of the agent in a table: its clock, and what it publishes.
type run struct {
	at     time.Duration // since the first run, by the API server's clock
	ahead  time.Duration // of the node's clock
	detail string        // of the evidence
}

// TestOneEventByAnyClock checks that agents with wrong clocks, one after the other, create
// one Event, and that the times in the report are in their order.
func TestOneEventByAnyClock(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for name, runs := range map[string][]run{
		"right":                            {{0, 0, "a"}, {time.Minute, 0, "b"}, {2 * time.Minute, 0, "b"}},
		"ahead at first":                   {{0, 10 * time.Minute, "a"}, {2 * time.Minute, 0, "b"}, {4 * time.Minute, 0, "b"}},
		"ahead at first, nothing new":      {{0, 10 * time.Minute, "a"}, {2 * time.Minute, 0, "a"}, {4 * time.Minute, 0, "a"}, {11 * time.Minute, 0, "a"}},
		"ahead by a day at first":          {{0, day, "a"}, {2 * time.Minute, 0, "b"}, {4 * time.Minute, 0, "c"}},
		"ahead later":                      {{0, 0, "a"}, {2 * time.Minute, 10 * time.Minute, "b"}, {4 * time.Minute, 0, "c"}, {5 * time.Minute, 0, "d"}},
		"behind at first":                  {{0, -10 * time.Minute, "a"}, {2 * time.Minute, 0, "b"}, {4 * time.Minute, 0, "b"}},
		"behind by a day at first":         {{0, -day, "a"}, {2 * time.Minute, 0, "a"}, {4 * time.Minute, 0, "b"}},
		"behind later":                     {{0, 0, "a"}, {2 * time.Minute, -day, "b"}, {4 * time.Minute, 0, "c"}, {5 * time.Minute, 0, "c"}},
		"behind all the time":              {{0, -10 * time.Minute, "a"}, {2 * time.Minute, -10 * time.Minute, "b"}, {12 * time.Minute, -10 * time.Minute, "c"}},
		"the API server's ahead by a day":  {{0, -day, "a"}, {2 * time.Minute, -day, "b"}, {2 * day, -day, "c"}, {2*day + time.Minute, -day, "c"}},
		"the API server's behind by a day": {{0, day, "a"}, {2 * time.Minute, day, "b"}, {2 * day, day, "c"}, {2*day + time.Minute, day, "c"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			begin := d.at
			u := watched()
			u.Created = begin.Add(-5 * time.Second)
			for i, r := range runs {
				d.restart()
				d.at = begin.Add(r.at + r.ahead)
				v := verdict("app", diagnosis.TagNotFound, func(v *diagnosis.Verdict) { v.Evidence[0].Detail = r.detail })
				v.Failure.Since = d.at.Add(-time.Second)
				for range 2 { // the second time after what must not be written at once
					if err := d.try(u, true, v); err != nil {
						t.Error(err)
					}
					d.later(rewriteInterval)
				}
				u.Annotations = d.annotations()
				d.wantInOrder(u, d.at)
				if names := d.eventNames(); len(names) != 1 {
					t.Errorf("run %d: Events %v, want one", i, names)
				}
			}
		})
	}
}

// eventNames returns the names of the Events that the API server has.
func (d *desk) eventNames() map[string]bool {
	names := map[string]bool{}
	for _, e := range d.w.events {
		names[e.Name] = true
	}
	return names
}

// wantInOrder checks that a pod's creation, the incident and the report on it come in this
// order, and that the report is not of a time to come unless the pod is.
func (d *desk) wantInOrder(u podwatch.Update, now time.Time) {
	d.t.Helper()
	doc := d.document()
	at, err := time.Parse(time.RFC3339, doc.ObservedAt)
	if err != nil || at.After(latest(now, u.Created)) {
		d.t.Errorf("the report is of %s, now is %s", doc.ObservedAt, stamp(now))
	}
	for _, c := range doc.Containers {
		since, err := time.Parse(time.RFC3339, c.Since)
		if err != nil || since.After(at) || since.Before(u.Created.Truncate(time.Second)) {
			d.t.Errorf("the pod was created at %s, failed since %s, report of %s", stamp(u.Created), c.Since, doc.ObservedAt)
		}
	}
}

// A second incident is announced, also if the clock is still behind the pod's creation.
func TestSecondIncidentWhileTheClockIsBehind(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	u := watched()
	u.Created = d.at.Add(time.Hour)
	v := verdict("app", diagnosis.TagNotFound)
	for range 2 {
		if err := d.try(u, true, v); err != nil {
			t.Error(err)
		}
		d.later(time.Minute)
		if err := d.p.Recovered(t.Context(), u, v.Failure); err != nil {
			t.Error(err)
		}
		if err := d.try(u, true); err != nil {
			t.Error(err)
		}
		d.later(time.Minute)
		v.Failure.Since = d.at
	}
	if names := d.eventNames(); len(names) != 4 {
		t.Errorf("got Events %v, want two failures and two recoveries", names)
	}
}

// A clock that is set back while the agent runs corrects the times in the report and in the
// metrics, once, and nothing is announced again.
func TestClockIsSetBack(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"10 minutes": 10 * time.Minute, "a day": 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			begin := time.Now()
			u := watched()
			u.Created = begin.Add(-time.Minute)
			v := verdict("app", diagnosis.TagNotFound)
			v.Failure.Since = asserttest.ByClock(begin, ahead)
			d.at = asserttest.ByClock(begin.Add(time.Second), ahead)
			if err := d.try(u, true, v); err != nil {
				t.Fatal(err)
			}
			d.wantTimed(1, 1)
			for range 3 {
				d.at = begin.Add(rewriteInterval + 2*time.Second)
				if err := d.try(u, true, v); err != nil {
					t.Fatal(err)
				}
			}
			d.want("set back", 2, 1)
			d.wantInOrder(u, d.at)
			if c := d.document().Containers[0]; c.Since != stamp(begin) || c.Incident != stamp(begin.Add(ahead)) {
				t.Errorf("since %s, incident %s, want %s and %s", c.Since, c.Incident, stamp(begin), stamp(begin.Add(ahead)))
			}
			validate(t, d.annotations()[ReportAnnotation])
			d.wantTimed(1, 1)
			d.wantDiagnoses(`{cause="TagNotFound",confidence="Confirmed"} 1`)
		})
	}
}

// A report that was taken over while the clock was ahead is rewritten a minute later, and
// not when its time has come again.
func TestClockIsSetBackAfterARestart(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	begin, ahead := time.Now(), 24*time.Hour
	u := watched()
	v := verdict("app", diagnosis.TagNotFound)
	v.Failure.Since = asserttest.ByClock(begin, ahead)
	d.at = asserttest.ByClock(begin.Add(time.Second), ahead)
	if err := d.try(u, true, v); err != nil {
		t.Fatal(err)
	}
	u.Annotations = d.annotations()
	d.restart()
	d.at = asserttest.ByClock(begin.Add(10*time.Second), ahead)
	v.Failure.Since = d.at
	if err := d.try(u, true, v); err != nil {
		t.Fatal(err)
	}
	d.again, d.at = nil, begin.Add(30*time.Second)
	v.Summary = "other"
	if err := d.try(u, true, v); err != nil {
		t.Fatal(err)
	}
	if len(d.again) != 1 || d.again[0] > rewriteInterval {
		t.Errorf("asked again after %v, want within a minute", d.again)
	}
	d.at = begin.Add(time.Minute + 2*time.Second)
	if err := d.try(u, true, v); err != nil {
		t.Fatal(err)
	}
	d.wantInOrder(u, d.at)
	if c := d.document().Containers[0]; c.Since != stamp(begin) || c.Summary != "other" {
		t.Errorf("since %s, %s, want since %s", c.Since, c.Summary, stamp(begin))
	}
}

// Whoever writes a report with times to come on a pod keeps that pod's Event of the same
// cause from being created, and nothing else: not that of another cause or pod.
func TestForgedReportFromTheFuture(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	forged := encode(Document{Schema: Schema, Node: "worker-3", ObservedAt: "9999-12-31T23:59:59Z", Containers: []Container{{
		Name: "app", Kind: "container", Image: failureOf("app").Image, Cause: "TagNotFound", Since: "9999-12-31T23:59:59Z", Incident: "0001-01-01T00:00:00Z",
	}}})
	u := watched()
	u.Annotations = map[string]string{ReportAnnotation: forged, CauseAnnotation: "TagNotFound"}
	if err := d.try(u, true, verdict("app", diagnosis.TagNotFound)); err != nil {
		t.Error(err)
	}
	d.want("the forged cause", 1, 0)
	d.wantInOrder(u, d.at)
	if err := d.try(u, true, verdict("app", diagnosis.AccessDenied), verdict("side", diagnosis.TagNotFound)); err != nil {
		t.Error(err)
	}
	d.want("another cause, another container", 2, 2)
	d.wantInOrder(u, d.at)
	d.recovered(failureOf("app"))
	d.p = d.publisher.Pod("uid-2")
	other := verdict("app", diagnosis.TagNotFound)
	other.Failure.UID = "uid-2"
	if err := d.p.Verdicts(t.Context(), podwatch.Update{UID: "uid-2"}, []diagnosis.Verdict{other}, true); err != nil {
		t.Error(err)
	}
	if n := len(d.w.events); n < 3 || string(d.w.events[n-1].Regarding.UID) != "uid-2" {
		t.Errorf("another pod: %d Events", n)
	}
}

// A pull that goes on is not shown as one of the future.
func TestPullWhoseClockWasAhead(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	begin := time.Now()
	d.at = begin.Add(time.Minute)
	u := pullingUpdate(10)
	u.Pulling[0].Failure.Since = asserttest.ByClock(begin, time.Hour)
	if err := d.try(u, true); err != nil {
		t.Error(err)
	}
	if got := d.document().Pulling[0].Since; got != stamp(begin) {
		t.Errorf("since %s, want %s", got, stamp(begin))
	}
}
