package agent

import (
	"slices"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// standing returns the verdict to use after a failure with the fingerprint asked
// was examined again. This is the new verdict (made), unless it is weaker only
// because something can no longer be looked at: then it is the previous one, with
// evidence that says since when. The returned time is that one; zero for a new verdict.
func (j judged) standing(f diagnosis.Failure, asked string, made diagnosis.Verdict, at time.Time) (diagnosis.Verdict, time.Time) {
	lost := j.newlyLost(made)
	unchanged := j.asked == asked && j.verdict.Failure.Since.Equal(f.Since) && !j.failedSince(f)
	if len(lost) == 0 || !unchanged || !made.Confidence.Weaker(j.verdict.Confidence) {
		return made, time.Time{}
	}
	stands := j.verdict
	stands.Failure = made.Failure
	if !j.unread.IsZero() { // the evidence is there already
		return stands, j.unread
	}
	stands.Evidence = slices.Clone(stands.Evidence)
	for _, e := range lost {
		e.LostSince = at
		stands.Evidence = slices.Insert(stands.Evidence, after(e.Check, stands.Evidence), diagnosis.Findings(f, []diagnosis.Evidence{e})...)
	}
	return stands, at
}

// newlyLost returns the evidence of what cannot be looked at now and could be for the
// previous verdict.
func (j judged) newlyLost(made diagnosis.Verdict) []diagnosis.Evidence {
	var out []diagnosis.Evidence
	for _, e := range made.Evidence {
		before := slices.ContainsFunc(j.verdict.Evidence, func(old diagnosis.Finding) bool {
			return old.Lost() && old.Check == e.Check && old.Endpoint == e.Endpoint && secretOf(old.Evidence) == secretOf(e.Evidence)
		})
		if e.Lost() && (!before || !j.unread.IsZero()) {
			out = append(out, e.Evidence)
		}
	}
	return out
}

// secretOf returns the secret that evidence is about; "" for none.
func secretOf(e diagnosis.Evidence) string {
	if e.Check != diagnosis.CheckCredentials {
		return ""
	}
	return e.Credentials().Secret
}

// after returns the index at which to insert more evidence of a check.
func after(check diagnosis.Check, all []diagnosis.Finding) int {
	for i, e := range slices.Backward(all) {
		if e.Check == check {
			return i + 1
		}
	}
	return len(all)
}
