package provider

import (
	"context"
	"errors"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/cri/credential"
)

// Accounts are the service accounts of the node's pods.
type Accounts interface {
	Account(ctx context.Context, namespace, name string) (kube.Account, error)
	Token(ctx context.Context, r kube.TokenRequest) (kube.Token, error)
}

// account is what a plugin gets of a pod's service account; the zero value for nothing.
// An answer depends on all of it (generateServiceAccountCacheKey).
type account struct {
	Namespace, Name, UID string
	Annotations          map[string]string
	// PodUID is that of the pod for whose token alone an answer serves. The kubelet gives
	// a pod the same token for most of an hour, so that the pod stands for it.
	PodUID string
}

// bearer is a token of a service account with what it is for.
type bearer struct {
	token   string
	expires time.Time
}

// account returns what a plugin gets of a pod's service account, or why it is not run
// (pluginProvider.provide).
func (r *Runner) account(ctx context.Context, p kubelet.Plugin, f diagnosis.Failure) (account, *Answer) {
	switch {
	case p.Token == nil:
		return account{}, nil
	case f.ServiceAccount == "" && p.Token.AccountNeeded:
		return account{}, &Answer{Run: diagnosis.ProviderNoAccount}
	case f.ServiceAccount == "":
		return account{}, nil
	case r.accounts == nil || f.UID == "":
		return account{}, &Answer{Run: diagnosis.ProviderWantsToken}
	}
	found, err := r.accounts.Account(ctx, f.Namespace, f.ServiceAccount)
	if err != nil {
		return account{}, &Answer{Run: unavailable(err)}
	}
	a := account{Namespace: f.Namespace, Name: f.ServiceAccount, UID: found.UID, Annotations: map[string]string{}}
	for _, key := range p.Token.Required {
		value, ok := found.Annotations[key]
		if !ok {
			return account{}, &Answer{Run: diagnosis.ProviderNoAnnotation, Annotation: key}
		}
		a.Annotations[key] = value
	}
	for _, key := range p.Token.Optional {
		if value, ok := found.Annotations[key]; ok {
			a.Annotations[key] = value
		}
	}
	if p.Token.ByToken {
		a.PodUID = f.UID
	}
	return a, nil
}

// bearer requests the token that a plugin gets with an account; none without one.
func (r *Runner) bearer(ctx context.Context, p kubelet.Plugin, a account, f diagnosis.Failure) (bearer, diagnosis.ProviderRun) {
	if a.Name == "" {
		return bearer{}, ""
	}
	t, err := r.accounts.Token(ctx, kube.TokenRequest{
		Namespace: a.Namespace, Account: a.Name, AccountUID: a.UID,
		Pod: f.Pod, PodUID: f.UID, Audience: p.Token.Audience,
	})
	if err != nil {
		return bearer{}, unavailable(err)
	}
	return bearer{t.Value.Reveal(), t.Expires}, ""
}

// unavailable returns why there is no service account or no token.
func unavailable(err error) diagnosis.ProviderRun {
	switch {
	case errors.Is(err, kube.ErrNotFound):
		return diagnosis.ProviderAccountMissing
	case errors.Is(err, kube.ErrTokenAccess):
		return diagnosis.ProviderWantsToken
	case errors.Is(err, kube.ErrAudience):
		return diagnosis.ProviderAudience
	}
	return diagnosis.ProviderNoToken
}

// limit applies what the kubelet does to the answer to a token: one that serves for more
// than the token may not have it as a password; another does not outlive it.
func (b bearer) limit(a *Answer, p kubelet.Plugin, now time.Time) *Answer {
	switch {
	case b.token == "" || a.failed():
	case p.Token.ByToken:
		a.life = min(a.life, b.expires.Sub(now))
	case b.isPassword(a.Credentials.Reveal()):
		return &Answer{Run: diagnosis.ProviderInvalid}
	}
	return a
}

func (b bearer) isPassword(all map[string]credential.Credential) bool {
	for _, c := range all {
		if _, password := c.Reveal(); password == b.token {
			return true
		}
	}
	return false
}
