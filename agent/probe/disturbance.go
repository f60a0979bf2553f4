package probe

import (
	"sync"
	"time"
)

// slowRuntime is the time from which an answer of the runtime counts as late: it was
// stopped or frozen, and so were its pulls.
const slowRuntime = 5 * time.Second

// disturbance remembers when pulls of the kubelet last had a reason to receive nothing
// that is neither the registry's nor the network's: the runtime did not answer, or a
// pull retry of whypull used its downloads. Nor can it be seen whether they do when the
// clock has been set ahead: the last byte seems to be long ago. The zero value is ready to use.
type disturbance struct {
	mu    sync.Mutex
	going int       // disturbances that have not ended
	last  time.Time // end of the last one
	seen  time.Time // the last answer
}

// begin records that a disturbance may begin. The function that it returns records its end,
// and whether there was one.
func (d *disturbance) begin(now func() time.Time) (end func(disturbed bool)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.going++
	return func(disturbed bool) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.going--
		if disturbed {
			d.last = now()
		}
	}
}

// answered records how the runtime answered a call that was made at a time.
func (d *disturbance) answered(made, now time.Time, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ahead := now.Round(0).Sub(d.seen.Round(0)) - now.Sub(d.seen) // of the monotonic clock, which no one sets
	if err != nil || now.Sub(made) >= slowRuntime || !d.seen.IsZero() && ahead > clockJump {
		d.last = now
	}
	d.seen = now
}

// end returns when the last disturbance ended: now if one goes on, and the zero time if
// there was none.
func (d *disturbance) end(now time.Time) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.going > 0 {
		return now
	}
	return d.last
}
