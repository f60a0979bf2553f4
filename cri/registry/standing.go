package registry

import (
	"context"
	"net/http"

	"github.com/containerd/containerd/v2/core/remotes/docker/auth"
	"github.com/distribution/reference"

	"github.com/whypull/whypull/cri/credential"
)

// Standing is what a token server says of a credential, or of none, that it has
// refused a token for a repository.
type Standing string

// The standings. "" is for a question that was not asked or not answered.
const (
	// StandingAccepted: the token server gives a token that is for no repository.
	StandingAccepted Standing = "accepted"
	// StandingRefused: it gives none, and answers another client differently.
	StandingRefused Standing = "refused"
)

// Standing asks the token server for a token without a scope. It is for after Probe
// was refused a token with the status 403, which says neither whether the
// credential is good nor whether there is such a repository.
//
// It is one request of the registry, for its challenge, and one of the token
// server with the credential; where that is refused, one without.
func (e Endpoint) Standing(ctx context.Context, ref reference.Named, cred *credential.Credential) Standing {
	ctx, cancel := context.WithTimeout(quiet(ctx), e.Settings.Timeouts.Total)
	defer cancel()
	c := newConversation(ctx, e, ref, cred)
	defer c.close()
	ask := func() (reply, error) { return c.manifest(ctx, http.MethodHead, PhasePing) }
	if e.Settings.Pings {
		ask = func() (reply, error) { return c.pinged(ctx) }
	}
	r, err := ask()
	if err != nil || r.status != http.StatusUnauthorized || c.challenged(ctx, r) != nil || c.answer.Auth.Scheme != SchemeBearer {
		return ""
	}
	status := c.tokenStatus(ctx, r, cred)
	switch {
	case status == http.StatusOK:
		return StandingAccepted
	case status != http.StatusUnauthorized && status != http.StatusForbidden:
		return ""
	case sends(cred) && c.tokenStatus(ctx, r, nil) == status: // it answers everybody so
		return ""
	}
	return StandingRefused
}

// tokenStatus is the status with which the token server of a challenge answers a
// request without a scope; 0 if it gives none.
func (c *conversation) tokenStatus(ctx context.Context, r reply, cred *credential.Credential) int {
	var to auth.TokenOptions
	for _, challenge := range auth.ParseAuthHeader(r.header) {
		if challenge.Scheme == auth.BearerAuth {
			to = auth.TokenOptions{Realm: challenge.Parameters["realm"], Service: challenge.Parameters["service"]}
			break
		}
	}
	if sends(cred) {
		to.Username, to.Secret = cred.Reveal()
	}
	ctx = withAside(c.notes.traceAside(ctx), PhaseToken)
	c.notes.begin()
	_, err := auth.FetchToken(ctx, tokenClient(guard{next: c.transport, notes: c.notes, room: c.room}), c.tokenHeader(), to)
	if err == nil {
		return http.StatusOK
	}
	return unexpectedStatus(err)
}
