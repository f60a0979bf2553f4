package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
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
	review := &tokenReview{TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview"}}
	review.Spec.Token = token
	if err := ask(ctx, c.tokens.Post().Resource("tokenreviews"), review); err != nil {
		return fmt.Errorf("token review: %w", withoutContent(err))
	}
	if !review.Status.Authenticated {
		return ErrUnauthenticated
	}
	access := accessReview(review.Status.User, path)
	if err := ask(ctx, c.rights.Post().Resource("subjectaccessreviews"), access); err != nil {
		return fmt.Errorf("subject access review: %w", withoutContent(err))
	}
	if !access.Status.Allowed {
		return ErrForbidden
	}
	return nil
}

// ask posts a review and replaces it with the API server's response.
func ask(ctx context.Context, r *rest.Request, review any) error {
	data, err := post(ctx, r.MaxRetries(0), review)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, review)
}

// tokenReview is the part of a TokenReview that whypull needs.
type tokenReview struct {
	metav1.TypeMeta
	Spec struct {
		Token string `json:"token,omitempty"`
	} `json:"spec"`
	Status struct {
		Authenticated bool `json:"authenticated,omitempty"`
		User          user `json:"user"`
	} `json:"status"`
}

// user is the UserInfo of a TokenReview.
type user struct {
	Username string              `json:"username,omitempty"`
	UID      string              `json:"uid,omitempty"`
	Groups   []string            `json:"groups,omitempty"`
	Extra    map[string][]string `json:"extra,omitempty"`
}

// subjectAccessReview is the part of a SubjectAccessReview that whypull needs.
type subjectAccessReview struct {
	metav1.TypeMeta
	Spec struct {
		User                  string                `json:"user,omitempty"`
		UID                   string                `json:"uid,omitempty"`
		Groups                []string              `json:"groups,omitempty"`
		Extra                 map[string][]string   `json:"extra,omitempty"`
		NonResourceAttributes nonResourceAttributes `json:"nonResourceAttributes"`
	} `json:"spec"`
	Status struct {
		Allowed bool `json:"allowed,omitempty"`
	} `json:"status"`
}

type nonResourceAttributes struct {
	Path string `json:"path"`
	Verb string `json:"verb"`
}

// accessReview returns the question whether a user may get the path.
func accessReview(u user, path string) *subjectAccessReview {
	review := &subjectAccessReview{TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SubjectAccessReview"}}
	review.Spec.User, review.Spec.UID, review.Spec.Groups, review.Spec.Extra = u.Username, u.UID, u.Groups, u.Extra
	review.Spec.NonResourceAttributes = nonResourceAttributes{Path: path, Verb: "get"}
	return review
}
