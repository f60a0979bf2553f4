package scratchpull

import (
	"context"
	"time"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
)

const (
	// sweepAttempts is how often to try the removal: an interrupted pull may
	// still be writing.
	sweepAttempts = 8
	// sweepWait is the wait before the second attempt; it grows by as much each
	// time.
	sweepWait = 100 * time.Millisecond
)

// sweep removes the namespace and everything in it.
func (p *Puller) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(p.inNamespace(ctx), cleanupTimeout)
	defer cancel()
	_, err := p.namespaces.Get(ctx, &namespacesapi.GetNamespaceRequest{Name: p.namespace})
	if missing(err) {
		return nil
	}
	if err != nil {
		return callError(ctx, "Get namespace", err)
	}
	for i := 1; ; i++ {
		op, err := p.removeAll(ctx)
		if err == nil {
			return nil
		}
		if i == sweepAttempts || !isKind(err, errdefs.IsFailedPrecondition) {
			return callError(ctx, op, err)
		}
		select {
		case <-time.After(time.Duration(i) * sweepWait):
		case <-ctx.Done():
		}
	}
}

// removeAll removes what holds content, has the garbage collector remove the
// content, and removes the namespace. op is the call that failed. A namespace
// that is not empty gives an error of kind FailedPrecondition (core/metadata,
// namespaceStore.Delete).
func (p *Puller) removeAll(ctx context.Context) (op string, err error) {
	steps := []struct {
		op string
		do func(context.Context) error
	}{
		{"Delete images", p.removeImages},
		{"Delete leases", p.removeLeases},
		{"Collect garbage", p.collect},
		{"Delete namespace", func(ctx context.Context) error {
			_, err := p.namespaces.Delete(ctx, &namespacesapi.DeleteNamespaceRequest{Name: p.namespace})
			return err
		}},
	}
	for _, s := range steps {
		if err := s.do(ctx); err != nil && !missing(err) {
			return s.op, err
		}
	}
	return "", nil
}

func (p *Puller) removeImages(ctx context.Context) error {
	all, err := p.images.List(ctx, &imagesapi.ListImagesRequest{})
	if err != nil {
		return err
	}
	for _, i := range all.GetImages() {
		if _, err := p.images.Delete(ctx, &imagesapi.DeleteImageRequest{Name: i.GetName()}); err != nil && !missing(err) {
			return err
		}
	}
	return nil
}

func (p *Puller) removeLeases(ctx context.Context) error {
	all, err := p.leases.List(ctx)
	if err != nil {
		return err
	}
	for _, l := range all {
		if err := p.leases.Delete(ctx, l); err != nil && !missing(err) {
			return err
		}
	}
	return nil
}

// collect waits for a complete run of the garbage collector. Deleting a lease
// is the only call that can wait for one.
func (p *Puller) collect(ctx context.Context) error {
	l, err := p.leases.Create(ctx, leases.WithRandomID(), leases.WithExpiration(leaseMargin))
	if err != nil {
		return err
	}
	return p.leases.Delete(ctx, l, leases.SynchronousDelete)
}

func missing(err error) bool { return isKind(err, errdefs.IsNotFound) }
