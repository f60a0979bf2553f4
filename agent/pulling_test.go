package agent

import (
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// The progress of a pull is published at each check, without an examination.
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

// Failures, hanging pulls and progress are published together.
func TestPullingWithFailing(t *testing.T) {
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

// A runtime that does not answer does not take back that a pull hangs. What started in
// the meantime does.
func TestHangingWhileTheRuntimeIsDown(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.collector.hang(map[string]diagnosis.Stall{"app": diagnosis.StallTransfer, "side": diagnosis.StallTransfer})
		w := waits("app", "side")
		l.sees(lookAfter+spread, w)
		l.want("uid-1: clear", "uid-1: all 1 of app, all 1 of side")
		l.collector.stop(true)
		l.sees(time.Minute)
		l.publisher.mu.Lock()
		lines := l.publisher.lines
		l.publisher.lines, l.publisher.at = nil, nil
		l.publisher.mu.Unlock()
		for _, line := range lines {
			if line != "uid-1: all 1 of app, all 1 of side" {
				t.Errorf("while the runtime is down: %s", line)
			}
		}
		w.Waiting = w.Waiting[:1]
		l.sees(time.Second, w)
		l.want("uid-1: all 1 of app")
		l.collector.stop(false)
		l.collector.hang(nil)
		l.sees(lookAgain)
		l.want("uid-1: clear")
	})
}

// After a restart of the agent the pulls of a pod with a report are checked at
// once, although for the new agent it has only just begun to wait.
func TestPullingThroughARestart(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.collector.pull(map[string]int64{"app": 31})
		u := waits("app")
		u.Annotations = map[string]string{"report": "31"}
		l.sees(time.Second, u)
		l.want("uid-1: 31 bytes of app")
	})
}
