package report

import (
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
)

// pullingUpdate returns an update of a pod whose container app is being pulled.
func pullingUpdate(done int64) podwatch.Update {
	u := watched()
	f := failureOf("app")
	f.Reason, f.Message = "ContainerCreating", ""
	u.Waiting, u.Pulling = []diagnosis.Failure{f}, []diagnosis.Progress{{Failure: f, Done: done, Total: 100}}
	return u
}

func (d *desk) pulling(done int64) *desk {
	d.t.Helper()
	if err := d.try(pullingUpdate(done), true); err != nil {
		d.t.Error(err)
	}
	return d
}

// A pod that only pulls has no cause and no Event, and its annotations are
// rewritten at most once a minute; when the pull is done they are removed without a
// recovery.
func TestPublishPulling(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.pulling(10)
	d.want("first", 1, 0)
	a := d.annotations()
	if _, ok := a[CauseAnnotation]; ok || a[SummaryAnnotation] != "pulling 10 of 100 B" || len(d.document().Pulling) != 1 {
		t.Errorf("got %v", a)
	}
	d.later(10 * time.Second)
	d.pulling(20)
	d.want("too soon", 1, 0)
	d.wantAgain("too soon", 50*time.Second)
	d.later(50 * time.Second)
	d.pulling(30)
	d.want("a minute later", 2, 0)
	d.later(time.Hour)
	d.pulling(30)
	d.want("nothing new", 2, 0)
	d.recovered(failureOf("app"))
	d.publish(true)
	d.want("done", 3, 0)
	if got := d.annotations(); len(got) > 0 {
		t.Errorf("got %v", got)
	}
}

// A stalled pull is a failure, published at once; so is its progress later, which
// removes the cause.
func TestPublishStallAndGoOn(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.pulling(10)
	d.later(10 * time.Second)
	stall := verdict("app", diagnosis.PullStalled)
	d.publish(true, stall)
	d.want("stalled", 2, 1)
	if d.annotations()[CauseAnnotation] != "PullStalled" || len(d.document().Pulling) > 0 {
		t.Errorf("got %v", d.annotations())
	}
	d.later(10 * time.Second)
	d.pulling(20)
	d.want("goes on", 3, 1)
	if _, ok := d.annotations()[CauseAnnotation]; ok {
		t.Errorf("got %v", d.annotations())
	}
	d.recovered(stall.Failure)
	d.want("has its image", 3, 2)
}

// A restarted agent continues where the first stopped: it writes no sooner, keeps
// Since, and removes the annotations when the pull is done.
func TestPublishPullingThroughARestart(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.pulling(10)
	d.restart()
	again := func(done int64) {
		t.Helper()
		u := pullingUpdate(done)
		u.Annotations = d.annotations()
		u.Pulling[0].Failure.Since = d.at
		if err := d.try(u, true); err != nil {
			t.Error(err)
		}
	}
	d.later(10 * time.Second)
	again(20)
	d.want("too soon", 1, 0)
	d.later(time.Minute)
	again(30)
	d.want("a minute later", 2, 0)
	if g := d.document().Pulling[0]; g.DoneBytes != 30 || g.Since != began().Format(time.RFC3339) {
		t.Errorf("got %+v", g)
	}
	d.restart()
	u := watched()
	u.Annotations = d.annotations()
	d.recovered(failureOf("app"))
	if err := d.try(u, true); err != nil {
		t.Error(err)
	}
	d.want("done", 3, 0)
	if got := d.annotations(); len(got) > 0 {
		t.Errorf("got %v", got)
	}
}

// A failure of a pod with a running pull is published as usual and stays when the pull is done.
func TestPublishPullingBesideFailing(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	v := verdict("side", diagnosis.TagNotFound)
	if err := d.try(pullingUpdate(10), true, v); err != nil {
		t.Fatal(err)
	}
	d.want("both", 1, 1)
	if doc := d.document(); len(doc.Containers) != 1 || len(doc.Pulling) != 1 {
		t.Errorf("got %+v", doc)
	}
	d.later(time.Minute)
	d.publish(true, v)
	d.want("one", 2, 1)
	if doc := d.document(); len(doc.Containers) != 1 || len(doc.Pulling) != 0 {
		t.Errorf("got %+v", doc)
	}
}
