package agent

import (
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
)

// waits is an update of a pod whose container has begun to wait just now.
func waits(containers ...string) podwatch.Update {
	u := update()
	for _, name := range containers {
		u.Waiting = append(u.Waiting, failure(name, says("ContainerCreating", ""), func(f *diagnosis.Failure) { f.Since = time.Now() }))
	}
	return u
}

// A pod that starts as pods do is not looked at.
func TestWaitingBriefly(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		w := waits("app")
		l.sees(lookAfter-time.Second, w)
		l.wantPods(1)
		started := update()
		started.Started = w.Waiting
		l.sees(time.Minute, started)
		l.want("uid-1: clear", "uid-1: recovered app", "uid-1: clear", "uid-1: forget")
		if l.collector.looks != 0 {
			t.Errorf("%d looks", l.collector.looks)
		}
		l.wantAsks(0)
		l.wantPods(0)
	})
}

// One that waits for long is looked at every so often, and nothing is said as
// long as its pull goes on.
func TestWaitingForLong(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.sees(lookAfter+5*lookAgain, waits("app"))
		if l.collector.looks < 4 || l.collector.looks > 7 {
			t.Errorf("%d looks", l.collector.looks)
		}
		l.wantAsks(0)
		l.wantPods(1)
	})
}

// A pull that hangs is examined once; when it goes on the verdict is taken
// back, and when it hangs again there is a new one.
func TestHanging(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.collector.hang(map[string]diagnosis.Stall{"app": diagnosis.StallTransfer})
		l.sees(lookAfter+3*lookAgain, waits("app", "side"))
		l.want("uid-1: clear", "uid-1: all 1 of app", "uid-1: all 1 of app", "uid-1: all 1 of app", "uid-1: all 1 of app")
		l.wantAsks(1)
		l.collector.hang(nil)
		l.sees(lookAgain + spread)
		l.want("uid-1: clear")
		l.collector.hang(map[string]diagnosis.Stall{"app": diagnosis.StallTransfer})
		l.sees(lookAgain)
		l.want("uid-1: all 2 of app")
	})
}

// A pull that seemed to hang, and of which no check finds why, is not spoken
// of: the pod waits for something else.
func TestHangingForNoReason(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.collector.hang(map[string]diagnosis.Stall{"app": diagnosis.StallUnbegun})
		l.sees(lookAfter+spread, waits("app"))
		l.want("uid-1: clear", "uid-1: clear")
		l.wantAsks(1)
	})
}

// A missing sandbox is told of, and that it is there.
func TestSandboxComes(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.collector.hang(map[string]diagnosis.Stall{"app": diagnosis.StallSandbox})
		l.sees(lookAfter+spread, waits("app"))
		l.want("uid-1: clear", "uid-1: all 1 of POD")
		l.collector.hang(nil)
		l.sees(lookAgain)
		l.want("uid-1: recovered POD", "uid-1: clear")
		l.sees(lookAgain)
		l.want("uid-1: clear")
	})
}

// What fails and what hangs of one pod is told together.
func TestFailingAndHanging(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.collector.hang(map[string]diagnosis.Stall{"side": diagnosis.StallTransfer})
		u := waits("side")
		u.Failures = []diagnosis.Failure{failure("app")}
		l.sees(time.Second, u)
		l.want("uid-1: all 1 of app")
		l.sees(lookAfter)
		l.want("uid-1: all 1 of app, all 1 of side")
	})
}
