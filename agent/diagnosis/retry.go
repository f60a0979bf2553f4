package diagnosis

import "slices"

// WantsRetry tells whether the pull, tried again, can add to what is known: the
// checks leave the cause open or contradict the runtime, or the failure came
// after the manifest.
func WantsRetry(f Failure, evidence []Evidence) bool {
	x := &facts{Failure: f, all: sorted(evidence)}
	if f.PullPolicy == "Never" || f.Stall != "" || f.Kind == KindSandbox || f.Unrecorded() || x.unread() || x.limited() {
		return false
	}
	cause, confidence := x.judged()
	if slices.Contains(beyondPull(), cause) || x.down() {
		return false
	}
	switch reading := x.reading(); {
	case cause == Unknown, cause == NotReproducible, x.message().AfterManifest, slices.Contains(laterSteps(), cause):
		return true
	case confidence == Confirmed:
		return false
	default:
		return reading != Unknown && !akin(reading, cause)
	}
}

// beyondPull are causes of which a pull tells no more.
func beyondPull() []Cause {
	return []Cause{
		InvalidImageName, ShortNameAmbiguous, ImageNotPresent, ImageNotVerifiedForPod, SignatureRejected, PolicyBlocked,
		PullSecretMalformed, CredentialProviderFailed, RateLimited, PullThrottled, RegistryConfigInvalid, PlatformMismatch,
	}
}

// laterSteps are causes of what comes after the manifest, which only a pull
// meets.
func laterSteps() []Cause {
	return []Cause{ContentCorrupt, ImageStoreCorrupt, DiskFull, RuntimeError, PullTimeout, UnsupportedFormat}
}

// limited tells that somebody wants to be left alone.
func (x *facts) limited() bool { return x.has(CheckRegistry, FaultRateLimited) }

// CauseOf is the cause that a fault of a registry stands for by itself, "" for
// none.
func CauseOf(f Fault) Cause {
	if f == "" {
		return ""
	}
	c := pointsTo(f)
	if !slices.ContainsFunc(Catalogue(), func(e Entry) bool { return e.Cause == c }) {
		return Unknown
	}
	return c
}

// retried holds what the rules say against the pull tried again. What a check
// has found by itself, typed, stands; what rests on the runtime's words, or on
// nothing, does not stand against its deed. Of several logins' failures the one
// that tells most decides.
func (x *facts) retried(cause Cause, confidence Confidence) (Cause, Confidence) {
	all := x.retries()
	failed := x.failedRetries()
	switch {
	case len(all) == 0, confidence == Confirmed && cause != NotReproducible:
		return cause, confidence
	case slices.ContainsFunc(all, func(e Evidence) bool { return sound(e) && refutes(e, cause) }):
		return NotReproducible, Confirmed
	case len(failed) == 0 && cause == NotReproducible && x.failedAgain():
		return Unknown, Suspected // in words that nobody knows
	case len(failed) == 0:
		return cause, confidence
	}
	told := mostTelling(failed)
	same := func(e Evidence) bool { return e.Cause == cause }
	if told != cause && akin(told, cause) && !slices.ContainsFunc(failed, same) {
		return cause, confidence // texts are coarser than facts
	}
	return told, Confirmed
}

// retries is the evidence of the pull tried again.
func (x *facts) retries() []Evidence {
	return filter(x.of(CheckPull), func(e Evidence) bool { return e.Retried })
}

// failedRetries are those that fail at the image's own registry, or at the node,
// in a way that is known.
func (x *facts) failedRetries() []Evidence {
	return filter(x.retries(), func(e Evidence) bool { return faulty(e) && !e.Mirror && e.Cause != "" && e.Cause != Unknown })
}

// mostTelling is the cause of the attempt that came furthest: one with a login
// that is refused says less than one with a login that is taken, and that says
// less than one that fails over anything else. Of those that say as much it is
// the first.
func mostTelling(failed []Evidence) Cause {
	return slices.MaxFunc(failed, func(a, b Evidence) int { return telling(a.Cause) - telling(b.Cause) }).Cause
}

// telling is the place of a cause among those that a login decides, as the rules
// have them; all others come after these.
func telling(c Cause) int {
	order := []Cause{AuthenticationRequired, CredentialsRejected, DeniedOrNotFound, AccessDenied, CredentialsExpired, RepositoryNotFound, TagNotFound}
	if i := slices.Index(order, c); i >= 0 {
		return i
	}
	return len(order)
}

// refutes tells that a pull tried again which passes speaks against a cause. A
// replay (Evidence.Content) stores nothing and has the runtime do nothing, so it
// does not against what is wrong on the node itself.
func refutes(e Evidence, cause Cause) bool {
	return !e.Content || !slices.Contains([]Cause{DiskFull, ImageStoreCorrupt, RuntimeError}, cause)
}

// failedAgain tells that the pull, tried again with every login, failed.
func (x *facts) failedAgain() bool {
	all := x.retries()
	return slices.ContainsFunc(all, faulty) && !slices.ContainsFunc(all, sound)
}

// asWell adds to a sentence that the pull was tried again and failed.
func (x *facts) asWell() string {
	if x.failedAgain() {
		return "; pulled again, it fails as well"
	}
	return ""
}

// down tells that the runtime does not answer.
func (x *facts) down() bool {
	_, ok := x.noted(CheckImage, FaultRuntimeUnready)
	return ok
}
