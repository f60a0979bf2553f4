package probe

import (
	"errors"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/asserttest"
	"github.com/whypull/whypull/cri/critest"
)

// What disturbs pulls is remembered with its end, and goes on until it ends.
func TestDisturbance(t *testing.T) {
	t.Parallel()
	var d disturbance
	at := noon()
	now := func() time.Time { return at }
	if !d.end(at).IsZero() {
		t.Error("disturbed before anything happened")
	}
	d.answered(at.Add(-time.Second), at, nil)
	if !d.end(at).IsZero() {
		t.Error("disturbed by an answer in time")
	}
	d.answered(at, at, errors.New("connection refused"))
	at = at.Add(time.Minute)
	if got := d.end(at); !got.Equal(noon()) {
		t.Errorf("an error: %s", got)
	}
	d.answered(at.Add(-slowRuntime), at, nil)
	if got := d.end(at.Add(time.Hour)); !got.Equal(at) {
		t.Errorf("a late answer: %s", got)
	}
	first, second := d.begin(now), d.begin(now)
	first(true)
	at = at.Add(time.Minute)
	if got := d.end(at.Add(time.Second)); !got.Equal(at.Add(time.Second)) {
		t.Errorf("while a retry runs: %s", got)
	}
	second(true)
	if got := d.end(at.Add(time.Hour)); !got.Equal(at) {
		t.Errorf("after it: %s", got)
	}
	d.begin(func() time.Time { return at.Add(time.Minute) })(false)
	if got := d.end(at.Add(time.Hour)); !got.Equal(at) {
		t.Errorf("after one that disturbed nothing: %s", got)
	}
}

// A pull that receives nothing while whypull's own retry runs, or after the runtime was
// frozen, does not hang; it does when nothing has come for long since.
func TestDisturbedPullDoesNotHang(t *testing.T) {
	t.Parallel()
	n, f, now := begun(t)
	layer := receives(n, f, now.Now())
	comes := func(at time.Time) {
		n.runtime.Receive(critest.Ingest{Ref: "layer-" + layer, Offset: 20, Total: 200, Started: noon(), Updated: at})
	}
	comes(now.Now())
	end := n.collector.disturbed.begin(now.Now)
	now.advance(2 * DefaultStallAfter)
	if got := n.hanging([]diagnosis.Failure{f}); len(got) > 0 {
		t.Errorf("during a retry: %+v", got)
	}
	end(true)
	now.advance(DefaultStallAfter - time.Second)
	if got := n.hanging([]diagnosis.Failure{f}); len(got) > 0 {
		t.Errorf("soon after it: %+v", got)
	}
	now.advance(time.Second)
	if got := n.hanging([]diagnosis.Failure{f}); len(got) != 1 || got[0].Stall != diagnosis.StallTransfer {
		t.Errorf("long after it: %+v", got)
	}
}

// A clock that is set ahead makes pulls look as if they received nothing for long.
func TestClockSetAheadDisturbs(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ahead time.Duration
		want  bool
	}{
		"10 minutes": {10 * time.Minute, true}, "a day": {24 * time.Hour, true}, "a second": {time.Second, false},
		"10 minutes back": {-10 * time.Minute, false},
	} {
		var d disturbance
		now := time.Now()
		d.answered(now, now, nil)
		now = asserttest.ByClock(now.Add(10*time.Second), tc.ahead)
		d.answered(now, now, nil)
		if got := d.end(now).Equal(now); got != tc.want {
			t.Errorf("%s: disturbed: %t, want %t", name, got, tc.want)
		}
		now = now.Add(10 * time.Second)
		d.answered(now, now, nil)
		if d.end(now).Equal(now) {
			t.Errorf("%s: disturbed again", name)
		}
	}
}
