package diagnosis

import (
	"cmp"
	"slices"
)

// WantsRetry reports whether the pull, tried again, can add to what is known: the
// checks leave the cause open or contradict the runtime, or the failure came
// after the manifest.
func WantsRetry(f Failure, evidence []Evidence) bool {
	x := newFacts(f, sorted(evidence))
	if f.PullPolicy == "Never" || f.Stall != "" || f.Kind == KindSandbox || x.intentUnrecorded() || x.unread() || x.limited() {
		return false
	}
	cause, confidence := x.judged()
	if x.row(cause).retry == retryShowsNoMore || x.down() {
		return false
	}
	switch reading := x.reading(); {
	case cause == Unknown, cause == NotReproducible, x.message().AfterManifest, x.row(cause).retry == retryShowsIt:
		return true
	case confidence == Confirmed:
		return false
	default:
		return reading != Unknown && !x.akin(reading, cause)
	}
}

// limited reports whether somebody wants to be left alone.
func (x *facts) limited() bool { return x.has(CheckRegistry, FaultRateLimited) }

// retries is the evidence of the pull tried again.
func (x *facts) retries() []*Evidence {
	return filter(x.of(CheckPull), func(e *Evidence) bool { return e.Pull().Retry != nil })
}

// failedRetries are those that fail at the upstream registry, or at the node, in
// a way that is known.
func (x *facts) failedRetries() []*Evidence {
	return filter(x.retries(), func(e *Evidence) bool { return e.failed() && !e.Endpoint.Mirror && supported(e.Retry().Cause) })
}

// mostTelling is the cause of the attempt that came furthest: one whose
// credentials are refused says less than one whose credentials are accepted, and
// that says less than one that fails over anything else. Of those that say as much
// it is the first.
func (x *facts) mostTelling(failed []*Evidence) Cause {
	return slices.MaxFunc(failed, func(a, b *Evidence) int { return x.telling(a) - x.telling(b) }).Retry().Cause
}

// telling is how far an attempt came.
func (x *facts) telling(e *Evidence) int {
	const others = 100
	return cmp.Or(x.row(e.Retry().Cause).Rank, others)
}

// refutes reports whether a pull tried again which passes speaks against a cause.
func (x *facts) refutes(e *Evidence, cause Cause) bool {
	return e.Retry().Replay == nil || !x.beyondReplay(cause)
}

func (x *facts) beyondReplay(cause Cause) bool {
	return x.row(cause).beyondReplay || x.outside() || cause == ProxyFailed && !x.replayedBehindProxy()
}

// outside reports whether the runtime's text may be about a foreign layer, which is on a
// server that is not asked.
func (x *facts) outside() bool {
	return x.message().AfterManifest && slices.ContainsFunc(x.of(CheckRegistry), func(e *Evidence) bool { return e.Registry().Outside })
}

// replayedBehindProxy reports whether a replay which passes has come through a proxy.
func (x *facts) replayedBehindProxy() bool {
	return slices.ContainsFunc(x.retries(), func(e *Evidence) bool {
		return e.passed() && e.Retry().Replay != nil && e.Retry().Replay.Proxy != ""
	})
}

// onlyReplayed reports whether the pull passes when it is tried again by a replay
// alone, which does not speak against what the runtime's text is about.
func (x *facts) onlyReplayed() bool {
	passed := filter(x.retries(), (*Evidence).passed)
	replayed := func(e *Evidence) bool { return e.Retry().Replay != nil }
	return len(passed) > 0 && !slices.ContainsFunc(passed, func(e *Evidence) bool { return !replayed(e) }) &&
		(x.beyondReplay(x.reading()) || x.brokenOff())
}

// brokenOff reports whether by the runtime's text the connection was lost after the
// manifest, so that it may have been in the middle of a layer.
func (x *facts) brokenOff() bool {
	return x.message().AfterManifest && x.row(x.reading()).kin&kinConnection != 0
}

// cutOff reports whether transfers of layers are broken off again and again of which only
// the ends were asked for: what lies between the node and the registry may end those that
// are long.
func (x *facts) cutOff() bool {
	const again = 3
	return x.Attempts >= again && x.brokenOff() && x.onlyReplayed()
}

// failedAgain reports whether the retried pull failed with all credentials.
func (x *facts) failedAgain() bool {
	all := x.retries()
	return slices.ContainsFunc(all, (*Evidence).failed) && !slices.ContainsFunc(all, (*Evidence).passed)
}

// asWell adds to a sentence that the pull was tried again and failed.
func (x *facts) asWell() string {
	if x.failedAgain() {
		return "; a retried pull fails too"
	}
	if x.cutOff() {
		return "; so far each attempt breaks off, although the ends of all layers can be fetched"
	}
	return ""
}

// down reports whether the runtime does not answer.
func (x *facts) down() bool {
	_, ok := x.noted(CheckImage, FaultRuntimeUnready)
	return ok
}
