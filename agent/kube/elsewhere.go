package kube

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// metadataOnly asks for the metadata of a list's objects without their content;
// an API server that does not know it refuses, and sends no content either.
const metadataOnly = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

// enoughElsewhere bounds the list of secrets of one name: of two, one is in
// another namespace.
const enoughElsewhere = 2

// ExistsElsewhere tells whether a namespace other than this one has a secret of
// this name. It does not tell which: whoever can create pods chooses the name,
// and would learn from the diagnosis what is in namespaces that they cannot see.
// The error is ErrNoAccess without the right to list secrets in all namespaces,
// else the API server's.
//
// The default manifests do not grant that right, and whypull has no component
// for it: RBAC knows neither names nor metadata alone for a list, so it would be
// the right to read every secret of the cluster on every node. Where somebody
// has granted it all the same, whypull can say that a missing secret is in
// another namespace. It is asked for with the agent's own name, never the
// node's, to which the Node authorizer refuses lists; a refusal is remembered
// for fifteen seconds, and longer each time up to ten minutes. It is not tried
// with the accesses AccessNone and AccessImpersonate, which rule it out.
func (c *Client) ExistsElsewhere(ctx context.Context, namespace, secretName string) (bool, error) {
	if c.access == AccessNone || c.access == AccessImpersonate || c.finding.has("") {
		return false, ErrNoAccess
	}
	ctx, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	opts := metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", secretName).String(), Limit: enoughElsewhere,
	}
	body, err := c.core.Get().Resource("secrets").VersionedParams(&opts, metav1.ParameterCodec).
		SetHeader("Accept", metadataOnly).MaxRetries(1).Do(ctx).Raw()
	switch {
	case apierrors.IsForbidden(err):
		c.finding.add("")
		return false, ErrNoAccess
	case err != nil:
		return false, fmt.Errorf("secrets %s in all namespaces: %w", secretName, withoutContent(err))
	}
	c.finding.forget("")
	return listsOther(body, namespace, secretName)
}

// listsOther tells whether a list has a secret of the name in another namespace.
func listsOther(body []byte, namespace, secretName string) (bool, error) {
	var list struct {
		Items []struct {
			Metadata struct{ Namespace, Name string }
		}
	}
	if json.Unmarshal(body, &list) != nil {
		return false, fmt.Errorf("secrets %s in all namespaces: the API server's answer cannot be read", secretName)
	}
	for _, item := range list.Items {
		if item.Metadata.Name == secretName && item.Metadata.Namespace != namespace {
			return true, nil
		}
	}
	return false, nil
}
