package report

import (
	"slices"
	"time"
)

// clockSkew is by how much the clocks of a node and of the API server may differ. A report
// that is older than its pod by more came with the pod's manifest, which somebody has made
// of another pod; of a time that is further ahead than that, a clock was wrong.
const clockSkew = time.Minute

// reportTime returns the time of a report that is made now: not before the pod was created,
// so that a report from a node whose clock is behind the API server's is not taken for
// another pod's.
func reportTime(created, now time.Time) time.Time { return latest(created, now) }

// shownSince returns since when something has lasted, for the report and the metrics: by the
// clock as it is now if that has been set back since, not before the pod was created, and
// not later than the report. The times must have monotonic clock readings to show that.
func shownSince(since, created, now time.Time) time.Time {
	if again := now.Add(since.Sub(now)); since.Round(0).Sub(again.Round(0)) > clockSkew {
		since = again
	}
	return earliest(latest(since, created), reportTime(created, now))
}

// adoptable returns the start of an incident in a pod's report, and ok if there is one. A
// report of the agent's own may have times that are to come, because the clock was ahead,
// and whoever may write to a pod can forge its report: so the start is never before the pod
// was created nor later than now.
func adoptable(text string, created, now time.Time) (since time.Time, ok bool) {
	since, err := time.Parse(time.RFC3339, text)
	return shownSince(now.Add(since.Sub(now)), created, now), err == nil
}

func latest(a, b time.Time) time.Time { return slices.MaxFunc([]time.Time{a, b}, time.Time.Compare) }

func earliest(a, b time.Time) time.Time {
	return slices.MinFunc([]time.Time{a, b}, time.Time.Compare)
}
