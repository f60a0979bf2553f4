package agent

import (
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
)

// waits returns an update of a pod whose container has just begun to wait.
func waits(containers ...string) podwatch.Update {
	u := update()
	for _, name := range containers {
		u.Waiting = append(u.Waiting, failure(name, says("ContainerCreating", ""), func(f *diagnosis.Failure) { f.Since = time.Now() }))
	}
	return u
}

// The pulls of a pod that starts quickly are not checked.
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

// The pull of a container that waits for long is checked at intervals; nothing is
// published while it makes progress.
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

// A hanging pull is examined once. When it continues, the verdict is withdrawn;
// when it hangs again, there is a new one.
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

// A pull that seems to hang and for which no check finds a cause is not published:
// the pod waits for something else.
func TestHangingForNoReason(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.collector.hang(map[string]diagnosis.Stall{"app": diagnosis.StallUnbegun})
		l.sees(lookAfter+spread, waits("app"))
		l.want("uid-1: clear", "uid-1: clear")
		l.wantAsks(1)
	})
}

// A missing sandbox image and its recovery are published.
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

// Failures and hanging pulls of one pod are published together.
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
