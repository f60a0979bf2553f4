package imagecheck

import (
	"slices"

	"github.com/whypull/whypull/agent/diagnosis"
)

// weigh returns how much a verdict on evidence counts; blind is that of Prober.Again.
func weigh(v diagnosis.Verdict, evidence []diagnosis.Evidence, blind bool) diagnosis.Weight {
	w := v.Cause.Entry().Weight
	if v.Cause == diagnosis.TagNotFound && !blind && slices.ContainsFunc(evidence, missing) {
		return w
	}
	if v.Confidence != diagnosis.Confirmed || blind && w == diagnosis.CountsOnceWithCredentials {
		return diagnosis.CountsNever
	}
	return w
}

// missing reports whether a registry has no manifest, though it does not say whether it
// has the repository: only what is missing is in doubt.
func missing(e diagnosis.Evidence) bool {
	return e.Check == diagnosis.CheckRegistry && e.Outcome == diagnosis.Failed && e.Fault == diagnosis.FaultNotFound && !e.Endpoint.Unloaded
}

// Counts reports whether an image can be unavailable for a cause.
func Counts(c diagnosis.Cause) bool { return c.Entry().Weight != diagnosis.CountsNever }

// rejected reports whether a cause is that of a credential which is sent again only with
// the next regular check, or when it changes: each try counts against the account.
func rejected(c diagnosis.Cause) bool {
	return slices.Contains([]diagnosis.Cause{diagnosis.CredentialsRejected, diagnosis.CredentialsExpired, diagnosis.AccessDenied}, c)
}
