package kube

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/whypull/whypull/agent/diagnosis"
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
)

// tokenSeconds is how long a token is valid: the shortest time that the API server
// allows. The kubelet requests an hour.
const tokenSeconds = 600

// maxTokenSeconds is the longest time for which the API server issues tokens (authentication
// validation): 2³² seconds.
const maxTokenSeconds = 1 << 32

// Account is the part of a service account that credential provider plugins need.
type Account struct {
	UID         string
	Annotations map[string]string
}

// Token is a token of a service account.
type Token struct {
	Value credential.Redacted[string]
	// Expires is when it expires by this machine's clock, whatever the API server's says.
	Expires time.Time
}

// accountMetadata requests only the metadata of a service account.
const accountMetadata = runtime.ContentTypeJSON + ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

// Account reads the service account of a failing pod. The error is ErrNotFound,
// ErrTokenAccess, or the API server's.
func (c *Client) Account(ctx context.Context, f diagnosis.Failure) (Account, error) {
	var m metav1.PartialObjectMetadata
	err := c.onlyAsNode(ctx, f, c.asNode.Get().SetHeader("Accept", accountMetadata), &m)
	if err == nil && m.Name != f.ServiceAccount { // a response of another kind
		err = errUndecodable
	}
	return Account{UID: string(m.UID), Annotations: m.Annotations}, err
}

// Token requests a token of a failing pod's service account that is bound to the pod. The
// API server issues none for accounts and pods of other nodes, or for audiences that the
// kubelet may not request (admission plugin NodeRestriction). The error is ErrNotFound,
// ErrTokenAccess, ErrAudience, or the API server's; it never contains a token.
func (c *Client) Token(ctx context.Context, f diagnosis.Failure, accountUID, audience string) (Token, error) {
	body, err := json.Marshal(newTokenRequest(f, accountUID, audience))
	if err != nil { // texts can be encoded
		return Token{}, errUndecodable
	}
	var out authenticationv1.TokenRequest
	requested := time.Now()
	err = c.onlyAsNode(ctx, f, c.asNode.Post().SubResource("token").Body(body).
		SetHeader("Content-Type", runtime.ContentTypeJSON).SetHeader("Accept", runtime.ContentTypeJSON), &out)
	if err == nil && out.Status.Token == "" {
		err = errUndecodable
	}
	seconds := min(max(ptr.Deref(out.Spec.ExpirationSeconds, tokenSeconds), 0), maxTokenSeconds) // the API server may have changed it
	return Token{Value: credential.Redact(out.Status.Token), Expires: requested.Add(time.Duration(seconds) * time.Second)}, err
}

// onlyAsNode makes a request about a service account, which is one of asNode's, and
// decodes the answer. No other identity makes it: nothing would limit the agent's own
// account to the pods of the node, and the kubelet's certificate is for secrets only. The
// error cannot quote a response. The Node authorizer needs no patience here: the kubelet
// has made the same requests before the pull could fail.
func (c *Client) onlyAsNode(ctx context.Context, f diagnosis.Failure, r *rest.Request, out any) error {
	if c.access != AccessAuto && c.access != AccessImpersonate || c.tokenRefusals.has(f.Namespace) {
		return ErrTokenAccess
	}
	ctx, cancel := context.WithTimeout(share.WithTenant(ctx, f.Namespace), secretTimeout)
	defer cancel()
	answer := r.Namespace(f.Namespace).Resource("serviceaccounts").Name(f.ServiceAccount).MaxRetries(1).Do(ctx)
	err := answer.Error()
	if impersonationRefused(err) {
		c.tokenRefusals.add(f.Namespace)
		return ErrTokenAccess
	}
	c.tokenRefusals.Reset(f.Namespace)
	switch {
	case err == nil:
		if data, err := answer.Raw(); err != nil || json.Unmarshal(data, out) != nil {
			return errUndecodable
		}
		return nil
	case apierrors.IsNotFound(err):
		return ErrNotFound
	// For an audience that no volume of the pod has (NodeRestriction.validateNodeServiceAccountAudience).
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), " is not authorized to request tokens for audience "):
		return ErrAudience
	}
	return withoutContent(err)
}

// newTokenRequest returns the request as the kubelet makes it
// (serviceAccountProvider.getServiceAccountToken).
func newTokenRequest(f diagnosis.Failure, accountUID, audience string) *authenticationv1.TokenRequest {
	return &authenticationv1.TokenRequest{
		TypeMeta:   metav1.TypeMeta{Kind: "TokenRequest", APIVersion: authenticationv1.SchemeGroupVersion.String()},
		ObjectMeta: metav1.ObjectMeta{UID: types.UID(accountUID)},
		Spec: authenticationv1.TokenRequestSpec{
			Audiences: []string{audience}, ExpirationSeconds: new(int64(tokenSeconds)),
			BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: f.Pod, UID: types.UID(f.UID)},
		},
	}
}
