package kube

import (
	"context"
	"errors"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
)

// ErrUnauthenticated is returned for a token that is not valid.
var ErrUnauthenticated = errors.New("token is not valid")

// ErrForbidden is returned for a valid token whose user may not read the path.
var ErrForbidden = errors.New("no right to read the path")

// The limit on reviews per second; one token takes two. It bounds the load that
// made-up tokens put on the API server.
const (
	reviewRate  = 4
	reviewBurst = 20
)

// Authorize returns nil if the user of a bearer token may get a non-resource path,
// such as /metrics. The error is ErrUnauthenticated or ErrForbidden, or another one
// if the API server made no decision. No error contains the token.
func (c *Client) Authorize(ctx context.Context, token, path string) error {
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	if err := c.tokens.Post().Resource("tokenreviews").Body(review).MaxRetries(0).Do(ctx).Into(review); err != nil {
		return fmt.Errorf("token review: %w", withoutContent(err))
	}
	if !review.Status.Authenticated {
		return ErrUnauthenticated
	}
	access := &authorizationv1.SubjectAccessReview{Spec: accessOf(review.Status.User, path)}
	if err := c.rights.Post().Resource("subjectaccessreviews").Body(access).MaxRetries(0).Do(ctx).Into(access); err != nil {
		return fmt.Errorf("subject access review: %w", withoutContent(err))
	}
	if !access.Status.Allowed {
		return ErrForbidden
	}
	return nil
}

// accessOf returns the question whether a user may get the path.
func accessOf(user authenticationv1.UserInfo, path string) authorizationv1.SubjectAccessReviewSpec {
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range user.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	return authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, Groups: user.Groups, UID: user.UID, Extra: extra,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: "get"},
	}
}
