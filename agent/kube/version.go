package kube

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/whypull/whypull/agent/share"
)

// secretMetadata requests an object's metadata without its content. It leaves
// out the plain types on purpose: an API server that supports nothing else then
// refuses, and sends no content.
const secretMetadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1," +
	"application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

// SecretVersion returns the version of a secret, without its content, from the API
// server's cache, which may lag behind a full read. The version changes with each
// write, and when the secret is deleted and recreated. It uses the same verb, identity and errors as Secret: ErrNotFound,
// ErrNoAccess, or the API server's.
func (c *Client) SecretVersion(ctx context.Context, namespace, name string) (string, error) {
	if c.access == AccessNone {
		return "", ErrNoAccess
	}
	ctx, cancel := context.WithTimeout(share.WithTenant(ctx, namespace), secretTimeout)
	defer cancel()
	m, err := read(c, namespace, func(error) {}, func(r rest.Interface) (*metav1.PartialObjectMetadata, error) {
		m := &metav1.PartialObjectMetadata{}
		return m, r.Get().Namespace(namespace).Resource("secrets").Name(name).
			Param("resourceVersion", "0").SetHeader("Accept", secretMetadata).MaxRetries(1).Do(ctx).Into(m)
	})
	switch {
	case err != nil:
		return "", secretError(namespace, name, err)
	case m.Name != name: // a response of another kind
		return "", fmt.Errorf("secret %s/%s: cannot decode the API server's response", namespace, name)
	}
	return version(m.ObjectMeta), nil
}

// version identifies one state of an object, even if it is deleted and
// recreated.
func version(m metav1.ObjectMeta) string { return string(m.UID) + "/" + m.ResourceVersion }
