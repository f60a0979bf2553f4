package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// metadataOnly asks for the metadata of a list's objects without their content;
// an API server that does not know it refuses, and sends no content either.
const metadataOnly = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

// mostElsewhere bounds the list of secrets of one name.
const mostElsewhere = 100

// NamespacesOf returns the namespaces that have a secret of this name, sorted,
// at most a hundred. The error is ErrNoAccess without the right to list secrets
// in all namespaces, else the API server's.
//
// The default manifests do not grant that right, and whypull has no component
// for it: RBAC knows neither names nor metadata alone for a list, so it would be
// the right to read every secret of the cluster on every node. Where somebody
// has granted it all the same, whypull can say that a missing secret is in
// another namespace. It is asked for with the agent's own name, never the
// node's, to which the Node authorizer refuses lists; a refusal is remembered
// for ten minutes. It is not tried with the accesses AccessNone and
// AccessImpersonate, which rule it out.
func (c *Client) NamespacesOf(ctx context.Context, secretName string) ([]string, error) {
	if c.access == AccessNone || c.access == AccessImpersonate || c.finding.has("") {
		return nil, ErrNoAccess
	}
	ctx, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	opts := metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", secretName).String(), Limit: mostElsewhere,
	}
	body, err := c.core.Get().Resource("secrets").VersionedParams(&opts, metav1.ParameterCodec).
		SetHeader("Accept", metadataOnly).MaxRetries(1).Do(ctx).Raw()
	switch {
	case apierrors.IsForbidden(err):
		c.finding.add("")
		return nil, ErrNoAccess
	case err != nil:
		return nil, fmt.Errorf("namespaces with a secret %s: %w", secretName, withoutContent(err))
	}
	return namespaces(body, secretName)
}

func namespaces(body []byte, secretName string) ([]string, error) {
	var list struct {
		Items []struct {
			Metadata struct{ Namespace, Name string }
		}
	}
	if json.Unmarshal(body, &list) != nil {
		return nil, fmt.Errorf("namespaces with a secret %s: the API server's answer cannot be read", secretName)
	}
	var out []string
	for _, item := range list.Items {
		if item.Metadata.Name == secretName {
			out = append(out, item.Metadata.Namespace)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
