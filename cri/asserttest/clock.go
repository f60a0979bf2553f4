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
	parts := (*struct { // of a time.Time with a monotonic reading
		wall uint64
		mono int64
		loc  *time.Location
	})(unsafe.Pointer(&t)) // #nosec G103 -- no function of package time does this
	parts.mono -= int64(ahead)
	return t
}
