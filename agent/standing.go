package agent

import (
	"slices"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// standing returns the verdict to go on with after a failure was examined again,
// whose fingerprint is asked:
// the new one, or the one that stands where the new one is weaker for want of a
// pull secret that could be read before. The verdict that stands then says since
// when the secret could not be read, which is returned, too; else the zero time.
func (j judged) standing(f diagnosis.Failure, asked string, made diagnosis.Verdict, at time.Time) (diagnosis.Verdict, time.Time) {
	unread := j.newlyUnread(made)
	unchanged := j.asked == asked && j.verdict.Failure.Since.Equal(f.Since) && !j.failedSince(f)
	if len(unread) == 0 || !unchanged || !made.Confidence.Weaker(j.verdict.Confidence) {
		return made, time.Time{}
	}
	stands := j.verdict
	stands.Failure = made.Failure
	if !j.unread.IsZero() { // it says so already
		return stands, j.unread
	}
	stands.Evidence = slices.Insert(slices.Clone(stands.Evidence), afterCredentials(stands.Evidence), unreadSince(f, unread, at)...)
	return stands, at
}

// newlyUnread returns the evidence of secrets that could not be read, of those
// that the verdict that stands was made with.
func (j judged) newlyUnread(made diagnosis.Verdict) []diagnosis.Evidence {
	var out []diagnosis.Evidence
	for _, e := range made.Evidence {
		before := slices.ContainsFunc(j.verdict.Evidence, func(old diagnosis.Finding) bool {
			return unreadable(old.Evidence) && old.Credentials().Secret == e.Credentials().Secret
		})
		if unreadable(e.Evidence) && (!before || !j.unread.IsZero()) {
			out = append(out, e.Evidence)
		}
	}
	return out
}

func unreadable(e diagnosis.Evidence) bool { return e.Fault == diagnosis.FaultSecretUnreadable }

// unreadSince returns what is said of secrets that could be read before.
func unreadSince(f diagnosis.Failure, unread []diagnosis.Evidence, at time.Time) []diagnosis.Finding {
	out := slices.Clone(unread)
	for i, e := range out {
		out[i].Body = &diagnosis.CredentialFacts{Secret: e.Credentials().Secret, UnreadSince: at}
	}
	return diagnosis.Findings(f, out)
}

// afterCredentials is where evidence of credentials goes that comes later.
func afterCredentials(all []diagnosis.Finding) int {
	for i, e := range slices.Backward(all) {
		if e.Check == diagnosis.CheckCredentials {
			return i + 1
		}
	}
	return len(all)
}
