package podwatch

import (
	"slices"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// The kubelet's back-off between two attempts to pull an image for a pod
// (kubelet.go, imageBackOffPeriod and MaxImageBackOff; flowcontrol.Backoff): it
// doubles with each failed attempt and is reset after twice the maximum without
// an attempt.
const (
	firstBackOff   = 10 * time.Second
	longestBackOff = 300 * time.Second
	backOffReset   = 2 * longestBackOff
	// betweenSyncs is about the time from a pod's failed sync to the next one
	// (pod_workers.go: backOffPeriod plus up to half of it as jitter).
	betweenSyncs = 12 * time.Second
	// slowAttempt is what an attempt may take from the end of the back-off to its failure: a
	// sync, and a connection that times out.
	slowAttempt = 45 * time.Second
)

// tries counts the failed attempts to pull one image for one pod. The kubelet
// counts them per image as written in the spec, over all containers.
type tries struct {
	seen int       // 0: unknown
	last time.Time // when the last failure was seen
}

// add returns t with one more attempt, which failed at the given time.
func (t tries) add(at time.Time) tries {
	if at.Sub(t.last) > backOffReset {
		return tries{1, at}
	}
	return tries{t.seen + 1, at}
}

// shown adds an attempt that the pod's status shows. The kubelet writes the
// status before it pulls (kubelet.go, SyncPod), so an attempt shows up one sync
// late; only the first is seen at once, because the new sandbox causes another
// sync.
func (t tries) shown(at time.Time) tries {
	if t.seen == 0 {
		return t.add(at)
	}
	return t.failed(latest(t.next(), at.Add(-betweenSyncs)))
}

// failed is add, but the number of attempts is unknown from then on if there was time for
// another one: on a busy node the status shows few.
func (t tries) failed(at time.Time) tries {
	soon := t.add(t.next())
	if at.Sub(t.last) <= backOffReset && at.After(soon.next().Add(slowAttempt)) {
		return tries{}
	}
	return t.add(at)
}

// hidden adds an attempt that the pod's status did not show: when the kubelet is
// seen backing off and the back-off after the last known attempt was already
// over by that sync, there was another attempt that failed with the same message.
func (t tries) hidden(waitsAt time.Time) tries {
	if t.seen == 0 || waitsAt.Add(-betweenSyncs).Before(t.next()) {
		return t
	}
	return t.failed(latest(t.last, waitsAt.Add(-2*betweenSyncs)))
}

func latest(a, b time.Time) time.Time { return slices.MaxFunc([]time.Time{a, b}, time.Time.Compare) }

// next returns when the back-off ends; zero if unknown.
func (t tries) next() time.Time {
	if t.seen == 0 {
		return time.Time{}
	}
	d := firstBackOff
	for i := 1; i < t.seen && d < longestBackOff; i++ {
		d *= 2
	}
	return t.last.Add(min(d, longestBackOff))
}

// count returns the attempts of a pod in its new state and sets Attempts and
// NextTry of its failures. When an incident first appears in a list (listed), the number of
// attempts so far is unknown, and stays unknown.
func (p *tracked) count(u Update, incidents map[diagnosis.Subject]diagnosis.Failure, listed bool) map[string]tries {
	out := map[string]tries{}
	for _, f := range u.Failures {
		if _, done := out[f.Image]; done || !backsOff(f.Reason) {
			continue
		}
		was, known := p.tries[f.Image]
		switch {
		case known && was.seen == 0:
			out[f.Image] = was
		case known && p.beginsToWait(u.Failures, f.Image):
			out[f.Image] = was.hidden(u.SeenAt)
		case known && !p.triedAgain(u.Failures, f.Image):
			out[f.Image] = was
		case !known && listed:
			out[f.Image] = tries{}
		default:
			out[f.Image] = was.shown(u.SeenAt)
		}
	}
	for i := range u.Failures {
		f := &u.Failures[i]
		f.NextTry, f.Attempts = time.Time{}, 0
		if backsOff(f.Reason) {
			f.NextTry, f.Attempts = out[f.Image].next(), out[f.Image].seen
		}
		incidents[f.Subject()] = *f
	}
	return out
}

// triedAgain reports whether one of the image's failures shows a new attempt.
func (p *tracked) triedAgain(now []diagnosis.Failure, image string) bool {
	for _, f := range now {
		if f.Image != image || !attempted(f.Reason) {
			continue
		}
		was, open := p.incidents[f.Subject()]
		if !open || was.Reason != f.Reason || was.Message != f.Message {
			return true
		}
	}
	return false
}

// beginsToWait reports whether one of the image's failures went from an attempt
// to ImagePullBackOff.
func (p *tracked) beginsToWait(now []diagnosis.Failure, image string) bool {
	return !p.triedAgain(now, image) && slices.ContainsFunc(now, func(f diagnosis.Failure) bool {
		was, open := p.incidents[f.Subject()]
		return f.Image == image && open && f.Reason == "ImagePullBackOff" && attempted(was.Reason)
	})
}

// attempted reports whether a waiting reason is the result of an attempt to pull.
func attempted(reason string) bool {
	return reason == "ErrImagePull" || reason == "RegistryUnavailable" || reason == "SignatureValidationFailed"
}

// backsOff reports whether the kubelet backs off between attempts. For the other
// reasons it does not get as far as pulling and checks again at every sync.
func backsOff(reason string) bool { return attempted(reason) || reason == "ImagePullBackOff" }
