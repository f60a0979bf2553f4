package asserttest

import (
	"time"
	"unsafe"
)

// ByClock returns a time as it is read from a wall clock that is ahead by some time; the
// monotonic clock is the same. Of two such times, one of another clock, package time returns
// the true distance, but their texts are as far apart as those clocks say.
func ByClock(t time.Time, ahead time.Duration) time.Time {
	t = t.Add(ahead)
	parts := (*[2]int64)(unsafe.Pointer(&t)) // #nosec G103 -- no function of package time does this
	parts[1] -= int64(ahead)                 // the monotonic reading
	return t
}
