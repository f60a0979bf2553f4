package registry

import (
	"context"
	"errors"
	"net/http"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/auth"
	"github.com/containerd/errdefs"
)

// askAfterPing is ask like CRI-O: only the response to /v2/ decides whether a credential is
// sent, and a later 401 is final. On error the answer is already filled in.
func (c *conversation) askAfterPing(ctx context.Context, method string) (reply, error) {
	if err := c.ping(ctx); err != nil {
		return reply{}, err
	}
	r, err := c.manifest(ctx, method, PhaseManifest)
	if err != nil {
		c.failed(ctx, err)
	}
	return r, err
}

// errPing means that the response to /v2/ makes the pull fail.
var errPing = errors.New("neither 200 nor 401")

// ping requests /v2/ (docker_client.go, detectPropertiesHelper): over https and, for an
// insecure registry, over http after any failure. If both fail, the first failure counts,
// unless the server does not speak TLS.
func (c *conversation) ping(ctx context.Context) error {
	r, err := c.pinged(ctx)
	if err != nil && c.endpoint.HTTPFallback {
		phase := c.notes.now().phase
		c.endpoint.Scheme = "http"
		again, secondErr := c.pinged(ctx)
		if secondErr == nil || faultOf(err, phase) == FaultHTTPSMismatch {
			r, err = again, secondErr
		} else {
			c.endpoint.Scheme = "https"
			c.answer.Endpoint = c.endpoint.String()
			c.notes.setPhase(phase)
		}
	}
	switch {
	case errors.Is(err, errPing):
		c.badPing(ctx, r)
		return err
	case err != nil:
		c.failed(ctx, err)
		return err
	}
	c.hasPinged = true
	return c.pingChallenge(ctx, r)
}

// pinged makes the request, without a credential and without ?ns=.
func (c *conversation) pinged(ctx context.Context) (reply, error) {
	req, err := http.NewRequestWithContext(c.notes.trace(ctx, PhasePing), http.MethodGet, c.endpoint.String()+"/v2/", http.NoBody)
	if err != nil {
		return reply{}, err
	}
	req.Header = c.header()
	defer c.notes.measure(PhasePing)
	resp, err := c.do(req)
	if err != nil {
		return reply{}, err
	}
	r := c.receive(resp, maxBody)
	if err := noRoom(r.broken); err != nil {
		return r, err
	}
	if r.status != http.StatusOK && r.status != http.StatusUnauthorized {
		return r, errPing
	}
	return r, nil
}

// badPing fills in the answer for a status that ends the pull. A 404 means that the registry's
// API is missing, not the image.
func (c *conversation) badPing(ctx context.Context, r reply) {
	c.read(r)
	fault := c.meaning(r)
	switch {
	case r.page() && (fault == "" || fault == FaultNotFound):
		fault = FaultWebPage
	case fault == "", fault == FaultNotFound:
		fault = FaultUnexpectedAnswer
	}
	if r.status == http.StatusBadRequest && c.speaksTLS(ctx, fault) {
		fault = FaultHTTPSMismatch
	}
	c.conclude(PhasePing, fault, r.status, nil)
}

// pingChallenge prepares the response to a challenge. If CRI-O does not support it or has no
// credential, it makes anonymous requests (setupRequestAuth). On error the answer is already
// filled in.
func (c *conversation) pingChallenge(ctx context.Context, r reply) error {
	if len(auth.ParseAuthHeader(r.header)) == 0 {
		return nil
	}
	err := c.challenged(ctx, r)
	if err == nil || errors.Is(err, docker.ErrInvalidAuthorization) || errdefs.IsNotImplemented(err) {
		return nil
	}
	c.refused(r, err)
	return err
}
