package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/whypull/whypull/agent/share"
	"github.com/whypull/whypull/cri/credential"
)

// Errors of Account and Token.
var (
	// ErrTokenAccess is returned where the agent may not act as its node for this.
	ErrTokenAccess = errors.New("not allowed to request tokens of service accounts")
	// ErrAudience is returned for an audience for which nodes may not request tokens.
	ErrAudience = errors.New("nodes may not request tokens for the audience")

	errUndecodable = errors.New("cannot decode the API server's response")
	errGone        = errors.New("the pod or the service account is gone")
)

// tokenSeconds is how long a token is valid: the shortest time that the API server
// allows. The kubelet requests an hour.
const tokenSeconds = 600

// Account is the part of a service account that credential provider plugins need.
type Account struct {
	UID         string
	Annotations map[string]string
}

// TokenRequest describes a token of a pod's service account.
type TokenRequest struct {
	Namespace, Account, AccountUID, Pod, PodUID, Audience string
}

// Token is a token of a service account.
type Token struct {
	Value   credential.Redacted[string]
	Expires time.Time
}

// Account reads a service account, of which it requests only the metadata. The error is
// ErrNotFound, ErrTokenAccess, or the API server's.
func (c *Client) Account(ctx context.Context, namespace, name string) (Account, error) {
	m := &metav1.PartialObjectMetadata{}
	err := c.onlyAsNode(ctx, namespace, func(ctx context.Context) error {
		return c.asNode.Get().Namespace(namespace).Resource("serviceaccounts").Name(name).
			SetHeader("Accept", secretMetadata).MaxRetries(1).Do(ctx).Into(m)
	})
	if err == nil && m.Name != name { // a response of another kind
		err = errUndecodable
	}
	if err != nil {
		return Account{}, fmt.Errorf("read service account %s/%s: %w", namespace, name, err)
	}
	return Account{UID: string(m.UID), Annotations: m.Annotations}, nil
}

// Token requests a token that is bound to a pod of the node. The API server makes none
// for accounts and pods of other nodes, or for audiences that the kubelet may not
// request (admission plugin NodeRestriction). The error is ErrTokenAccess, ErrAudience,
// or the API server's; it never contains a token.
func (c *Client) Token(ctx context.Context, r TokenRequest) (Token, error) {
	body, err := json.Marshal(newTokenObject(r))
	if err != nil {
		return Token{}, fmt.Errorf("encode the token request: %w", err)
	}
	var out tokenObject
	err = c.onlyAsNode(ctx, r.Namespace, func(ctx context.Context) error {
		answer := c.asNode.Post().Namespace(r.Namespace).Resource("serviceaccounts").Name(r.Account).SubResource("token").
			SetHeader("Content-Type", runtime.ContentTypeJSON).SetHeader("Accept", runtime.ContentTypeJSON).
			Body(body).MaxRetries(1).Do(ctx)
		if err := answer.Error(); err != nil {
			return err
		}
		data, err := answer.Raw()
		if err != nil || json.Unmarshal(data, &out) != nil || out.Status.Token == "" {
			return errUndecodable
		}
		return nil
	})
	if errors.Is(err, ErrNotFound) { // the pod, or the account that was there when it was read
		err = errGone
	}
	if err != nil {
		return Token{}, fmt.Errorf("request a token of service account %s/%s: %w", r.Namespace, r.Account, err)
	}
	return Token{Value: credential.Redact(out.Status.Token), Expires: out.Status.ExpirationTimestamp}, nil
}

// onlyAsNode makes a request as the node, impersonated by the agent's own account. No
// other identity makes it: nothing would limit the agent's own account to the pods of
// the node, and the kubelet's certificate is for secrets only. The error cannot quote a
// response.
func (c *Client) onlyAsNode(ctx context.Context, namespace string, ask func(context.Context) error) error {
	if c.access != AccessAuto && c.access != AccessImpersonate || c.tokenRefusals.has(namespace) {
		return ErrTokenAccess
	}
	ctx, cancel := context.WithTimeout(share.WithTenant(ctx, namespace), secretTimeout)
	defer cancel()
	err := ask(ctx)
	if unrelatedToNode(err) {
		if err := c.awaitAuthorizer(ctx); err != nil {
			return err
		}
		err = ask(ctx)
	}
	if impersonationRefused(err) {
		c.tokenRefusals.add(namespace)
		return ErrTokenAccess
	}
	c.tokenRefusals.forget(namespace)
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err):
		return ErrNotFound
	case audienceRefused(err):
		return ErrAudience
	}
	return withoutContent(err)
}

// audienceRefused reports whether the API server lets no node request tokens for an
// audience that no volume of the pod has (NodeRestriction.validateNodeServiceAccountAudience).
func audienceRefused(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), " is not authorized to request tokens for audience ")
}

// tokenObject is the part of authentication.k8s.io/v1's TokenRequest that is needed here.
type tokenObject struct {
	Kind       string `json:"kind"`
	APIVersion string `json:"apiVersion"`
	Metadata   struct {
		UID string `json:"uid"`
	} `json:"metadata"`
	Spec struct {
		Audiences         []string `json:"audiences"`
		ExpirationSeconds int64    `json:"expirationSeconds"`
		BoundObjectRef    struct {
			Kind       string `json:"kind"`
			APIVersion string `json:"apiVersion"`
			Name       string `json:"name"`
			UID        string `json:"uid"`
		} `json:"boundObjectRef"`
	} `json:"spec"`
	Status struct {
		Token               string    `json:"token"`
		ExpirationTimestamp time.Time `json:"expirationTimestamp,omitzero"`
	} `json:"status,omitzero"`
}

// newTokenObject returns the request as the kubelet makes it
// (serviceAccountProvider.getServiceAccountToken).
func newTokenObject(r TokenRequest) tokenObject {
	var o tokenObject
	o.Kind, o.APIVersion, o.Metadata.UID = "TokenRequest", "authentication.k8s.io/v1", r.AccountUID
	o.Spec.Audiences, o.Spec.ExpirationSeconds = []string{r.Audience}, tokenSeconds
	o.Spec.BoundObjectRef.Kind, o.Spec.BoundObjectRef.APIVersion = "Pod", "v1"
	o.Spec.BoundObjectRef.Name, o.Spec.BoundObjectRef.UID = r.Pod, r.PodUID
	return o
}
