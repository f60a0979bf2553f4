package agent

import (
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/report"
)

// A pull that goes on is told at each look, and not examined.
func TestPulling(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.collector.pull(map[string]int64{"app": 31})
		w := waits("app")
		l.sees(lookAfter+lookAgain+spread, w)
		l.want("uid-1: clear", "uid-1: 31 bytes of app", "uid-1: 31 bytes of app")
		l.wantAsks(0)
		l.wantPods(1)
		started := update()
		started.Started = w.Waiting
		l.sees(time.Minute, started)
		l.want("uid-1: recovered app", "uid-1: clear", "uid-1: forget")
		l.wantPods(0)
	})
}

// What fails, what hangs and what goes on is told together.
func TestPullingBesideFailing(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.collector.pull(map[string]int64{"side": 31})
		l.collector.hang(map[string]diagnosis.Stall{"slow": diagnosis.StallTransfer})
		u := waits("side", "slow")
		u.Failures = []diagnosis.Failure{failure("app")}
		l.sees(time.Second, u)
		l.want("uid-1: all 1 of app")
		l.sees(lookAfter)
		l.want("uid-1: all 1 of app, all 1 of slow, 31 bytes of side")
	})
}

// After a restart of the agent a pod that has been told of is looked at at once:
// for the new agent it has only just begun to wait.
func TestPullingThroughARestart(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.collector.pull(map[string]int64{"app": 31})
		u := waits("app")
		u.Annotations = newDesk(t).pulling(31).annotations()
		l.sees(time.Second, u)
		l.want("uid-1: 31 bytes of app")
	})
}

// pulls is an update of a pod whose container app is pulled.
func pulls(done int64) podwatch.Update {
	u := update()
	f := failure("app", says("ContainerCreating", ""))
	u.Waiting, u.Pulling = []diagnosis.Failure{f}, []diagnosis.Progress{{Failure: f, Done: done, Total: 100}}
	return u
}

func (d *desk) pulling(done int64) *desk {
	d.t.Helper()
	if err := d.try(pulls(done), true); err != nil {
		d.t.Error(err)
	}
	return d
}

// A pod that only pulls has no cause and no Event, and is rewritten once a
// minute; when it is done nothing is left, and nothing has recovered.
func TestPublishPulling(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.pulling(10)
	d.want("first", 1, 0)
	a := d.annotations()
	if _, ok := a[report.CauseAnnotation]; ok || a[report.SummaryAnnotation] != "pulling 10 of 100 B" || len(d.document().Pulling) != 1 {
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
	d.p.Recovered(t.Context(), failure("app"))
	d.publish(true)
	d.want("done", 3, 0)
	if got := d.annotations(); len(got) > 0 {
		t.Errorf("got %v", got)
	}
}

// A pull that stalls is a failure, told at once; so is that it goes on, and the
// cause is gone then.
func TestPublishStallAndGoOn(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.pulling(10)
	d.later(10 * time.Second)
	stall := verdict("app", diagnosis.PullStalled)
	d.publish(true, stall)
	d.want("stalled", 2, 1)
	if d.annotations()[report.CauseAnnotation] != "PullStalled" || len(d.document().Pulling) > 0 {
		t.Errorf("got %v", d.annotations())
	}
	d.later(10 * time.Second)
	d.pulling(20)
	d.want("goes on", 3, 1)
	if _, ok := d.annotations()[report.CauseAnnotation]; ok {
		t.Errorf("got %v", d.annotations())
	}
	d.p.Recovered(t.Context(), stall.Failure)
	d.want("has its image", 3, 2)
}

// Another agent goes on where the first has stopped: it writes no sooner, keeps
// the beginning, and takes the annotations off when all is done.
func TestPublishPullingThroughARestart(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.pulling(10)
	d.restart()
	again := func(done int64) {
		t.Helper()
		u := pulls(done)
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
	u := update()
	u.Annotations = d.annotations()
	d.p.Recovered(t.Context(), failure("app"))
	if err := d.try(u, true); err != nil {
		t.Error(err)
	}
	d.want("done", 3, 0)
	if got := d.annotations(); len(got) > 0 {
		t.Errorf("got %v", got)
	}
}

// What fails beside a pull is told as ever, and stays when the pull is done.
func TestPublishPullingBesideFailing(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	v := verdict("side", diagnosis.TagNotFound)
	if err := d.try(pulls(10), true, v); err != nil {
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
