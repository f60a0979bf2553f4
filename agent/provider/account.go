package provider

import (
	"context"
	"errors"
	"slices"
	"time"

	"k8s.io/utils/ptr"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/kubelet"
)

// Accounts are the service accounts of the node's pods.
type Accounts interface {
	Account(ctx context.Context, f diagnosis.Failure) (kube.Account, error)
	Token(ctx context.Context, f diagnosis.Failure, accountUID, audience string) (kube.Token, error)
}

// account is what a plugin gets of a pod's service account; nil for nothing.
// An answer depends on all of it (generateServiceAccountCacheKey).
type account struct {
	Namespace, Name, UID string
	Annotations          map[string]string
	// PodUID is that of the pod for whose token alone an answer serves. The kubelet gives
	// a pod the same token for most of an hour, so that the pod stands for it.
	PodUID string
}

// account returns what a plugin gets of a pod's service account, or why it is not run
// (pluginProvider.provide) and which annotation the account lacks.
func (r *Runner) account(ctx context.Context, t *kubelet.TokenAttributes, f diagnosis.Failure) (_ *account, why diagnosis.ProviderRun, lacks string) {
	switch {
	case t == nil, f.ServiceAccount == "" && !ptr.Deref(t.RequireAccount, false):
		return nil, "", ""
	case f.ServiceAccount == "":
		return nil, diagnosis.ProviderNoAccount, ""
	case r.accounts == nil || f.UID == "" || t.CacheType == "": // what the kubelet makes of it is not known
		return nil, diagnosis.ProviderWantsToken, ""
	}
	found, err := r.accounts.Account(ctx, f)
	if err != nil {
		return nil, r.unavailable(err), ""
	}
	a := &account{Namespace: f.Namespace, Name: f.ServiceAccount, UID: found.UID, Annotations: map[string]string{}}
	for i, key := range slices.Concat(t.Required, t.Optional) {
		value, ok := found.Annotations[key]
		switch {
		case ok:
			a.Annotations[key] = value
		case i < len(t.Required):
			return nil, diagnosis.ProviderNoAnnotation, key
		}
	}
	if t.CacheType == kubelet.CacheByToken {
		a.PodUID = f.UID
	}
	return a, "", ""
}

// unavailable returns why there is no service account or no token.
func (r *Runner) unavailable(err error) diagnosis.ProviderRun {
	switch {
	case errors.Is(err, kube.ErrNotFound):
		return diagnosis.ProviderAccountMissing
	case errors.Is(err, kube.ErrTokenAccess):
		return diagnosis.ProviderWantsToken
	case errors.Is(err, kube.ErrAudience):
		return diagnosis.ProviderAudience
	}
	r.log.Info("no token for a credential provider", "err", err)
	return diagnosis.ProviderNoToken
}

// limit applies what the kubelet does to the answer to a token: one that serves for more
// than the token may not have it as a password; another does not outlive it.
func (a *Answer) limit(t *kubelet.TokenAttributes, token kube.Token, now time.Time) {
	if t.CacheType == kubelet.CacheByToken {
		a.life = min(a.life, token.Expires.Sub(now))
		return
	}
	for _, c := range a.Credentials.Reveal() {
		if _, password := c.Reveal(); password == token.Value.Reveal() {
			*a = Answer{Run: diagnosis.ProviderInvalid}
		}
	}
}
