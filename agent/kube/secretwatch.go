package kube

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/whypull/whypull/agent/share"
)

const (
	// openTimeout limits how long the API server may take to accept a watch.
	openTimeout = 30 * time.Second
	// shortestWatch is after how long the API server ends a watch on a secret. Up to
	// as much again is added at random.
	shortestWatch = 5 * time.Minute
	// quietStart is how long a watch may deliver nothing at its start before the
	// secret is read: the API server says nothing about one that does not exist. Where
	// that fails, it is read again after twice as long, up to longestQuiet.
	quietStart   = 2 * time.Second
	longestQuiet = 16 * time.Second
)

// WatchSecret watches one secret until the context or the watch ends. It calls seen
// with the version that SecretVersion would return, first with the current one, then
// after each change. If there is no such secret, seen gets ErrNotFound, with the
// version at which it was deleted if that is known.
//
// The API server sends only the secret's metadata. It ends each watch after a few
// minutes; the error is then nil. Otherwise it is ErrNoAccess if no identity may watch
// the secret, which does not mean that none may read it, or another one.
func (c *Client) WatchSecret(ctx context.Context, namespace, name string, seen func(version string, err error)) error {
	switch {
	case c.access == AccessNone:
		return ErrNoAccess
	case namespace == "" || name == "": // they would select more than one secret
		return fmt.Errorf("secret %q in namespace %q: want both names", name, namespace)
	}
	ctx = share.WithTenant(ctx, namespace)
	if err := c.opening.Wait(ctx); err != nil {
		return err
	}
	length := shortestWatch + rand.N(shortestWatch) //nolint:gosec // jitter, not a secret
	ctx, cancel := context.WithTimeout(ctx, length+endSlack)
	defer cancel()
	tooLate := time.AfterFunc(openTimeout, cancel)
	w, _, err := attempt(c, &c.watching, namespace, func(r rest.Interface) (watch.Interface, error) {
		return r.Get().Namespace(namespace).Resource("secrets").VersionedParams(watchOptions(name, length), metav1.ParameterCodec).
			SetHeader("Accept", secretMetadata).MaxRetries(0).Watch(ctx)
	})
	tooLate.Stop()
	if err != nil {
		return secretError(namespace, name, err)
	}
	defer w.Stop()
	return c.follow(ctx, w, namespace, name, seen)
}

// watchOptions selects one secret, beginning with its state in the API server's cache.
func watchOptions(name string, length time.Duration) *metav1.ListOptions {
	return &metav1.ListOptions{
		Watch: true, ResourceVersion: "0", TimeoutSeconds: new(int64(length / time.Second)),
		FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String(),
	}
}

// follow passes on what a watch delivers until it ends.
func (c *Client) follow(ctx context.Context, w watch.Interface, namespace, name string, seen func(string, error)) error {
	pause := quietStart
	quiet := time.NewTimer(pause)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-quiet.C:
			switch version, err := c.SecretVersion(ctx, namespace, name); {
			case err == nil, errors.Is(err, ErrNotFound):
				seen(version, err)
			case !errors.Is(err, ErrNoAccess):
				pause = min(2*pause, longestQuiet)
				quiet.Reset(pause)
			}
		case e, open := <-w.ResultChan():
			if !open {
				return ctx.Err()
			}
			version, err := versionIn(e, name)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return secretError(namespace, name, err)
			}
			quiet.Stop()
			seen(version, err)
		}
	}
}

// versionIn returns the version of a secret that an event of a watch shows, and
// ErrNotFound if it was deleted.
func versionIn(e watch.Event, name string) (string, error) {
	if e.Type == watch.Error {
		return "", apierrors.FromObject(e.Object)
	}
	m, ok := e.Object.(*metav1.PartialObjectMetadata)
	switch {
	case !ok || m.Name != name: // a response of another kind
		return "", fmt.Errorf("unexpected object in event %s", e.Type)
	case e.Type == watch.Deleted:
		return version(m.ObjectMeta), ErrNotFound
	}
	return version(m.ObjectMeta), nil
}

// Older reports whether version a of a secret is certainly older than version b. A
// watch, and a read of the API server's cache, may lag behind a full read. Resource
// versions of one resource are decimal numbers that grow (KEP-5504).
func Older(a, b string) bool {
	_, a, _ = strings.Cut(a, "/")
	_, b, _ = strings.Cut(b, "/")
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order < 0
}

// secretMetadata requests an object's metadata without its content. It leaves
// out the plain types on purpose: an API server that supports nothing else then
// refuses, and sends no content.
const secretMetadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1," +
	"application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

// SecretVersion returns the version of a secret, without its content, from the API
// server's cache, which may lag behind a full read. The version changes with each
// write, and when the secret is deleted and recreated. It uses the same verb, identity and
// errors as Secret: ErrNotFound, ErrNoAccess, or the API server's.
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
