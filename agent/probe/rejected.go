package probe

import (
	"crypto/sha256"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/whypull/whypull/cri/registry"
)

const (
	// A credential that a registry has rejected is not tried there again, for any
	// image, for firstRejection, and after each further rejection for twice as long,
	// up to maxRejection: each try counts against the account, which may get locked.
	firstRejection = 15 * time.Minute
	maxRejection   = time.Hour
	// maxRejections bounds the rejections that are remembered. Without room for one
	// more the oldest goes of the tenant that has most.
	maxRejections = 1000
)

// rejectionKey is one credential at one endpoint: a digest under a key of this
// process, so that a changed secret is another.
type rejectionKey struct {
	endpoint, upstream string
	cred               [sha256.Size]byte
}

// rejection is the last time that an endpoint, or its token server, rejected a
// credential.
type rejection struct {
	answer registry.Answer
	tenant string
	at     time.Time
	wait   time.Duration // from at until it may be tried again
}

func (r rejection) until() time.Time { return r.at.Add(r.wait) }

// next returns how long to wait if the next try is rejected too.
func (r rejection) next() time.Duration { return min(max(2*r.wait, firstRejection), maxRejection) }

// over reports whether a rejection is too old to matter: the next one is then treated
// as the first.
func (r rejection) over(now time.Time) bool { return !now.Before(r.at.Add(2 * maxRejection)) }

// rejections remembers which credentials were rejected. The zero value is ready.
type rejections struct {
	mu  sync.Mutex
	all map[rejectionKey]rejection
}

// rejects reports whether an answer rejects the credential itself, and not what it
// is used for: it is not known, or the password is wrong, or it has expired.
func rejects(a registry.Answer) bool {
	switch {
	case a.Fault != registry.FaultUnauthorized || !a.Auth.CredentialSent || a.Redirects.Via != "":
		return false
	case a.Phase == registry.PhaseToken:
		return a.Status != http.StatusForbidden || a.Auth.Standing == registry.StandingRefused // see meant
	}
	return a.Phase == registry.PhasePing || a.Phase == registry.PhaseManifest
}

// accepts reports whether an endpoint, or its token server, accepted the credential,
// whatever it is used for.
func accepts(a *registry.Answer) bool {
	missing := a.Phase == registry.PhaseManifest && a.Status == http.StatusNotFound
	return a.Auth.CredentialSent && (a.Found || a.Auth.TokenIssued || missing) && !rejects(*a)
}

// note remembers an answer that rejects a credential.
func (r *rejections) note(key rejectionKey, a registry.Answer, tenant string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.all, func(_ rejectionKey, one rejection) bool { return one.over(now) })
	if r.all == nil {
		r.all = map[rejectionKey]rejection{}
	}
	r.all[key] = rejection{answer: general(a), tenant: tenant, at: now, wait: r.all[key].next()}
	if len(r.all) > maxRejections {
		dropOldest(r.all, func(one rejection) (string, time.Time, bool) { return one.tenant, one.at, true })
	}
}

// accepted forgets a rejection: the endpoint has accepted the credential since.
func (r *rejections) accepted(key rejectionKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, key)
}

// dropOldest drops the entry with the earliest time of the tenant that has most. of says
// whose an entry is, its time, and whether it may be dropped.
func dropOldest[K comparable, V any](all map[K]V, of func(V) (tenant string, at time.Time, counts bool)) {
	has, most := map[string]int{}, 0
	for _, v := range all {
		if tenant, _, counts := of(v); counts {
			has[tenant]++
			most = max(most, has[tenant])
		}
	}
	var oldest K
	var first time.Time
	for key, v := range all {
		if tenant, at, counts := of(v); counts && has[tenant] == most && (first.IsZero() || at.Before(first)) {
			oldest, first = key, at
		}
	}
	delete(all, oldest)
}

// of returns the rejection of a credential that may not be tried again yet.
func (r *rejections) of(key rejectionKey, now time.Time) (rejection, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one, known := r.all[key]
	return one, known && now.Before(one.until())
}

// general is an answer without what it says of one image.
func general(a registry.Answer) registry.Answer {
	a.Content = registry.Content{Platform: a.Content.Platform}
	a.Auth.Exists, a.Auth.Required = false, nil
	return a
}
