package kube

import (
	"context"
	"fmt"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
)

// The limit on reviews per second; one token takes two. It bounds the load that
// made-up tokens put on the API server.
const (
	reviewRate  = 4
	reviewBurst = 20
)

// Authorize returns the HTTP status for a request of a non-resource path, such as
// /metrics, with a bearer token: 200, 401 for a token that is not valid, or 403 if its user
// may not get the path. With an error the API server made no decision. No error contains
// the token.
func (c *Client) Authorize(ctx context.Context, token, path string) (status int, err error) {
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	if err := c.tokens.Post().Resource("tokenreviews").Body(review).MaxRetries(0).Do(ctx).Into(review); err != nil {
		return 0, fmt.Errorf("token review: %w", withoutContent(err))
	}
	if !review.Status.Authenticated {
		return http.StatusUnauthorized, nil
	}
	access := &authorizationv1.SubjectAccessReview{Spec: accessOf(review.Status.User, path)}
	if err := c.rights.Post().Resource("subjectaccessreviews").Body(access).MaxRetries(0).Do(ctx).Into(access); err != nil {
		return 0, fmt.Errorf("subject access review: %w", withoutContent(err))
	}
	if !access.Status.Allowed {
		return http.StatusForbidden, nil
	}
	return http.StatusOK, nil
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
