package registry

import (
	"context"
	"net/http"
	"slices"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/cri/credential"
)

// AuthRequired is an endpoint's 401 to a request for a repository without credentials.
// It is the answer to every such request, and says how credentials are to be sent.
type AuthRequired struct {
	endpoint, repository string
	reply                reply
}

// ProbeAfter is Probe for an endpoint that has refused a request without
// credentials: the request is not made again. With nil, or the 401 of
// another endpoint or repository, it is Probe.
func (e Endpoint) ProbeAfter(ctx context.Context, required *AuthRequired, ref reference.Named, cred *credential.Credential) Answer {
	ctx, cancel := context.WithTimeout(quiet(ctx), e.Settings.Timeouts.Total)
	defer cancel()
	c := newConversation(ctx, e, ref, cred)
	defer c.close()
	if required != nil && required.endpoint == e.String() && required.repository == c.repository {
		c.answer.Auth.Required = required
	}
	c.hold(ctx)
	return c.finish()
}

// newAuthRequired returns the 401 in a reply; nil for one that came from another place,
// or from another scheme, than was asked.
func (c *conversation) newAuthRequired(r reply) *AuthRequired {
	if r.url.Host != c.endpoint.Host || r.url.Scheme != c.endpoint.Scheme || r.response.Request.Response != nil {
		return nil
	}
	// Of the request nothing is kept that may be secret.
	const key = "Www-Authenticate"
	r.header, r.body = http.Header{key: slices.Clone(r.header.Values(key))}, nil // without the array of all headers
	r.response = &http.Response{StatusCode: r.status, Header: r.header, Request: &http.Request{Method: r.method, URL: r.url}}
	return &AuthRequired{c.endpoint.String(), c.repository, r}
}
