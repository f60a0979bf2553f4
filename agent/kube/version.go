package kube

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// secretMetadata asks for an object's metadata without its content. The plain
// types are left out on purpose: an API server that knows no other answer
// refuses, and no content moves.
const secretMetadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1," +
	"application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

// SecretVersion tells which version of a secret there is, and reads nothing of
// its content: the version is another one after each write, and after the secret
// was made anew. The verb and the identity are those of Secret, and so are the
// errors: ErrNotFound, ErrNoAccess, or the API server's.
func (c *Client) SecretVersion(ctx context.Context, namespace, name string) (string, error) {
	if c.access == AccessNone {
		return "", ErrNoAccess
	}
	ctx, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	m, err := read(c, namespace, func(error) {}, func(r rest.Interface) (*metav1.PartialObjectMetadata, error) {
		m := &metav1.PartialObjectMetadata{}
		return m, r.Get().Namespace(namespace).Resource("secrets").Name(name).
			SetHeader("Accept", secretMetadata).MaxRetries(1).Do(ctx).Into(m)
	})
	switch {
	case err != nil:
		return "", secretError(namespace, name, err)
	case m.Name != name: // an answer of another kind
		return "", fmt.Errorf("secret %s/%s: the API server's answer cannot be read", namespace, name)
	}
	return version(m.ObjectMeta), nil
}

// version tells two states of an object apart, also when it was deleted and made
// anew in between.
func version(m metav1.ObjectMeta) string { return string(m.UID) + "/" + m.ResourceVersion }
