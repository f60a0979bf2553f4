package podwatch

import (
	"slices"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// The kubelet's back-off between two attempts to pull an image for a pod
// (kubelet.go, imageBackOffPeriod and MaxImageBackOff; flowcontrol.Backoff): it
// doubles with each failed attempt, and is forgotten when there was none for
// twice the longest.
const (
	firstBackOff   = 10 * time.Second
	longestBackOff = 300 * time.Second
	backOffForgot  = 2 * longestBackOff
	// betweenSyncs is about how long after a failed sync of a pod the next one
	// comes (pod_workers.go: backOffPeriod, and up to half as much more).
	betweenSyncs = 12 * time.Second
)

// tries are the failed attempts to pull one image for one pod. The kubelet
// counts them by the image as the spec has it, for all containers together.
type tries struct {
	seen int       // 0: how many there were is not known
	last time.Time // when the last one was seen to fail
}

// failedOnceMore adds an attempt.
func (t tries) failedOnceMore(at time.Time) tries {
	if at.Sub(t.last) > backOffForgot {
		return tries{1, at}
	}
	return tries{t.seen + 1, at}
}

// shown adds the attempt that a status shows. The kubelet writes a pod's status
// before it tries (kubelet.go, SyncPod), so that an attempt is seen with the
// sync after it; only the first one is seen at once, since the new sandbox causes
// another sync.
func (t tries) shown(at time.Time) tries {
	if t.seen == 0 {
		return t.failedOnceMore(at)
	}
	return t.failedOnceMore(latest(t.next(), at.Add(-betweenSyncs)))
}

// hidden adds the attempt that no status has shown: where the kubelet waits, and
// by the sync of which that is told the wait for the last attempt that was seen
// was over, there was another one, which failed with the same words.
func (t tries) hidden(waitsAt time.Time) tries {
	if t.seen == 0 || waitsAt.Add(-betweenSyncs).Before(t.next()) {
		return t
	}
	return t.failedOnceMore(latest(t.last, waitsAt.Add(-2*betweenSyncs)))
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// next is when the back-off ends; zero if that is not known.
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

// count carries the attempts of a pod on to its new state, and fills the
// NextTry of its failures. An incident that a list shows for the first time may
// have had any number of attempts, and so may all that follow it.
func (p *tracked) count(u Update, incidents map[diagnosis.Subject]diagnosis.Failure, listed bool) map[string]tries {
	out := map[string]tries{}
	for _, f := range u.Failures {
		if _, done := out[f.Image]; done || !backsOff(f.Reason) {
			continue
		}
		was, known := p.triesOf(f.Image)
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
		f.NextTry = time.Time{}
		if backsOff(f.Reason) {
			f.NextTry = out[f.Image].next()
		}
		incidents[f.Subject()] = *f
	}
	return out
}

func (p *tracked) triesOf(image string) (tries, bool) {
	if p == nil {
		return tries{}, false
	}
	t, ok := p.tries[image]
	return t, ok
}

// triedAgain tells that one of the image's failures shows an attempt that was
// not there before.
func (p *tracked) triedAgain(now []diagnosis.Failure, image string) bool {
	for _, f := range now {
		if f.Image != image || !attempted(f.Reason) {
			continue
		}
		was, open := p.incident(f.Subject())
		if !open || was.Reason != f.Reason || was.Message != f.Message {
			return true
		}
	}
	return false
}

// beginsToWait tells that what showed an attempt, of the image's failures, now
// shows that the kubelet waits.
func (p *tracked) beginsToWait(now []diagnosis.Failure, image string) bool {
	return !p.triedAgain(now, image) && slices.ContainsFunc(now, func(f diagnosis.Failure) bool {
		was, open := p.incident(f.Subject())
		return f.Image == image && open && f.Reason == "ImagePullBackOff" && attempted(was.Reason)
	})
}

// attempted tells that a reason is what an attempt to pull has ended in.
func attempted(reason string) bool {
	return reason == "ErrImagePull" || reason == "RegistryUnavailable" || reason == "SignatureValidationFailed"
}

// backsOff tells that the kubelet waits between attempts. Where it does not come
// to pulling at all it looks again with every sync of the pod.
func backsOff(reason string) bool { return attempted(reason) || reason == "ImagePullBackOff" }
