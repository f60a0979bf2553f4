package agent

import (
	"slices"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// standing returns the verdict to use after a failure with the fingerprint asked
// was examined again. This is the new verdict (made), unless it is weaker only
// because a pull secret can no longer be read: then it is the previous one, with
// evidence that says since when the secret is unreadable. The returned time is that
// one; zero for a new verdict.
func (j judged) standing(f diagnosis.Failure, asked string, made diagnosis.Verdict, at time.Time) (diagnosis.Verdict, time.Time) {
	unread := j.newlyUnread(made)
	unchanged := j.asked == asked && j.verdict.Failure.Since.Equal(f.Since) && !j.failedSince(f)
	if len(unread) == 0 || !unchanged || !made.Confidence.Weaker(j.verdict.Confidence) {
		return made, time.Time{}
	}
	stands := j.verdict
	stands.Failure = made.Failure
	if !j.unread.IsZero() { // the evidence is there already
		return stands, j.unread
	}
	stands.Evidence = slices.Insert(slices.Clone(stands.Evidence), afterCredentials(stands.Evidence), unreadSince(f, unread, at)...)
	return stands, at
}

// newlyUnread returns the evidence of secrets that are unreadable now and were
// readable for the previous verdict.
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

// unreadSince returns the findings for secrets that have become unreadable at a time.
func unreadSince(f diagnosis.Failure, unread []diagnosis.Evidence, at time.Time) []diagnosis.Finding {
	out := slices.Clone(unread)
	for i, e := range out {
		out[i].Body = &diagnosis.CredentialFacts{Secret: e.Credentials().Secret, UnreadSince: at}
	}
	return diagnosis.Findings(f, out)
}

// afterCredentials returns the index at which to insert more evidence of credentials.
func afterCredentials(all []diagnosis.Finding) int {
	for i, e := range slices.Backward(all) {
		if e.Check == diagnosis.CheckCredentials {
			return i + 1
		}
	}
	return len(all)
}
