package kube

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/whypull/whypull/agent/share"
)

// metadataOnly requests only the metadata of a list's objects. An API server
// that does not support it refuses and sends no content either.
const metadataOnly = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

// maxListed limits the list of secrets of one name: of two, one is in another
// namespace.
const maxListed = 2

// ExistsElsewhere reports whether another namespace has a secret of this name.
// It does not say which one: whoever can create pods chooses the name, and
// could use the diagnosis to probe namespaces that they cannot see. The error
// is ErrNoAccess without the right to list secrets in all namespaces, else the
// API server's.
//
// The default manifests do not grant that right, and whypull ships no component
// for it: RBAC cannot limit a list to names or metadata, so it would mean that
// every node may read every secret of the cluster. If an administrator has
// granted it anyway, whypull can say that a missing secret exists in another
// namespace. The request uses the agent's own identity, because the Node
// authorizer refuses lists to nodes. A refusal is remembered for fifteen
// seconds, and twice as long each time, up to ten minutes. Only
// AccessAuto and AccessDirect allow the request.
func (c *Client) ExistsElsewhere(ctx context.Context, namespace, secretName string) (bool, error) {
	if c.access != AccessAuto && c.access != AccessDirect || c.listRefusals.has("") {
		return false, ErrNoAccess
	}
	ctx, cancel := context.WithTimeout(share.WithTenant(ctx, namespace), secretTimeout)
	defer cancel()
	opts := metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", secretName).String(), Limit: maxListed,
	}
	var list metav1.PartialObjectMetadataList
	err := c.core.Get().Resource("secrets").VersionedParams(&opts, metav1.ParameterCodec).
		SetHeader("Accept", metadataOnly).MaxRetries(1).Do(ctx).Into(&list)
	switch {
	case apierrors.IsForbidden(err):
		c.listRefusals.add("")
		return false, ErrNoAccess
	case err != nil:
		return false, fmt.Errorf("list secrets %s in all namespaces: %w", secretName, withoutContent(err))
	}
	c.listRefusals.Reset("")
	return slices.ContainsFunc(list.Items, func(m metav1.PartialObjectMetadata) bool {
		return m.Name == secretName && m.Namespace != namespace
	}), nil
}
