package probe

import (
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

	"github.com/whypull/whypull/cri/registry"
)

const (
	// rejectedFor is how long a credential that a registry has rejected is not tried
	// again there, for any image: each try counts against the account, which may be
	// locked for it.
	rejectedFor = time.Hour
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

// rejection is that an endpoint, or its token server, has rejected a credential.
type rejection struct {
	answer registry.Answer
	tenant string
	at     time.Time
}

func (r rejection) until() time.Time { return r.at.Add(rejectedFor) }

// rejections remember which credentials were rejected. The zero value is ready.
type rejections struct {
	mu  sync.Mutex
	all map[rejectionKey]rejection
}

// rejects reports whether an answer rejects the credential itself, and not what it
// is used for: it is not known, or the password is wrong, or it has expired.
func rejects(a registry.Answer) bool {
	switch {
	case a.Fault != registry.FaultUnauthorized || !a.CredentialSent || a.Via != "":
		return false
	case a.Phase == registry.PhaseToken:
		return a.Status != http.StatusForbidden || a.Standing == registry.StandingRefused // see meant
	}
	return a.Phase == registry.PhasePing || a.Phase == registry.PhaseManifest
}

// note remembers an answer that rejects a credential.
func (r *rejections) note(key rejectionKey, a registry.Answer, tenant string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[rejectionKey]rejection{}
	}
	r.all[key] = rejection{answer: general(a), tenant: tenant, at: now}
	r.drop(now)
}

// drop forgets what is over, and one that is not if there are too many.
func (r *rejections) drop(now time.Time) {
	has, most := map[string]int{}, 0
	for key, one := range r.all {
		if !now.Before(one.until()) {
			delete(r.all, key)
			continue
		}
		has[one.tenant]++
		most = max(most, has[one.tenant])
	}
	if len(r.all) <= maxRejections {
		return
	}
	var oldest rejectionKey
	var at time.Time
	for key, one := range r.all {
		if has[one.tenant] == most && (at.IsZero() || one.at.Before(at)) {
			oldest, at = key, one.at
		}
	}
	delete(r.all, oldest)
}

// of returns the rejection that still counts.
func (r *rejections) of(key rejectionKey, now time.Time) (rejection, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one, known := r.all[key]
	return one, known && now.Before(one.until())
}

// general is an answer without what it says of one image.
func general(a registry.Answer) registry.Answer {
	a.Blob, a.Digest, a.MediaType, a.Exists = "", "", "", ""
	a.Tags, a.Platforms, a.Looked = nil, nil, 0
	a.Parts, a.Compressed, a.Source, a.Missed = nil, 0, 0, nil
	a.AuthRequired = nil
	return a
}
