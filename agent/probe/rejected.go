package probe

import (
	"context"
	"net/http"
	"time"

	"github.com/whypull/whypull/cri/registry"
)

const (
	// A credential that a registry has rejected is not tried there again, for any
	// image, for firstRejection, and after each further rejection for twice as long,
	// up to maxRejection: each try counts against the account, which may get locked.
	firstRejection = 15 * time.Minute
	maxRejection   = time.Hour
	// maxRejections bounds the rejections that are remembered.
	maxRejections = 1000
)

// rejection is the last time that an endpoint, or its token server, rejected a
// credential.
type rejection struct {
	answer registry.Answer
	at     time.Time
	wait   time.Duration // from at until it may be tried again
}

func (r *rejection) until() time.Time { return r.at.Add(r.wait) }

// life returns how long a rejection is remembered: later, the next one is treated as the
// first. The zero value is none.
func (r *rejection) life() time.Duration {
	if r.wait == 0 {
		return 0
	}
	return 2 * maxRejection
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

// noteRejection remembers an answer that rejects a credential.
func (a *asker) noteRejection(ctx context.Context, key question, answer registry.Answer) {
	wait := firstRejection
	if last, known := a.rejected.Peek(key); known {
		wait = min(2*last.Value.wait, maxRejection)
	}
	a.rejected.Put(ctx, key, &rejection{answer: general(answer), at: a.now(), wait: wait})
}

// rejection returns the rejection of a credential that may not be tried again yet; nil if
// there is none.
func (a *asker) rejection(key question) *rejection {
	last, known := a.rejected.Peek(key)
	if !known || !a.now().Before(last.Value.until()) {
		return nil
	}
	return last.Value
}

// general is an answer without what it says of one image.
func general(a registry.Answer) registry.Answer {
	a.Content = registry.Content{Platform: a.Content.Platform}
	a.Auth.Exists, a.Auth.Required = false, nil
	return a
}
