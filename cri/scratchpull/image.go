package scratchpull

import (
	"context"
	"fmt"
	"time"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// checkImage returns an error if what was pulled is not an image for the
// platform. The transfer service stores anything; CRI looks for the
// configuration afterwards (internal/cri/server/images, PullImage) and uses
// this text.
func (p *Puller) checkImage(ctx context.Context, t target) error {
	ctx = p.inNamespace(ctx)
	record, err := p.images.Get(ctx, &imagesapi.GetImageRequest{Name: t.named.String()})
	if missing(err) {
		return ErrInterrupted
	}
	if err != nil {
		return callError(ctx, "Get image", err)
	}
	top := record.GetImage().GetTarget()
	_, err = images.Config(ctx, manifestsOnly{p.content}, ocispec.Descriptor{
		MediaType: top.GetMediaType(), Digest: digest.Digest(top.GetDigest()), Size: top.GetSize(),
	}, platforms.Only(platforms.DefaultSpec()))
	if ctx.Err() != nil {
		return fmt.Errorf("containerd: %s: %w", OpTransfer, ctx.Err())
	}
	if err != nil {
		e := newError(OpTransfer, err)
		e.Text = "get image config descriptor: " + e.Text
		return e
	}
	return nil
}

// manifestsOnly provides only content that is small enough for a manifest.
type manifestsOnly struct{ content.Provider }

// ReaderAt implements content.Provider.
func (m manifestsOnly) ReaderAt(ctx context.Context, d ocispec.Descriptor) (content.ReaderAt, error) {
	r, err := m.Provider.ReaderAt(ctx, d)
	if err != nil {
		return nil, err
	}
	if r.Size() > maxManifest {
		_ = r.Close()
		return nil, fmt.Errorf("%s is too large for a manifest", d.Digest)
	}
	return r, nil
}

// onNode returns which of the blobs another namespace held before the pull
// started: with the sharing policy "shared" they are not fetched again. Errors
// count as absent, because the pull's result does not depend on it.
func (p *Puller) onNode(ctx context.Context, digests []digest.Digest, begun time.Time) map[digest.Digest]bool {
	had := map[digest.Digest]bool{}
	if len(digests) == 0 {
		return had
	}
	all, err := p.namespaces.List(ctx, &namespacesapi.ListNamespacesRequest{})
	if err != nil {
		return had
	}
	var filters []string
	for _, d := range digests {
		filters = append(filters, "digest=="+d.String())
	}
	for _, ns := range all.GetNamespaces() {
		if ns.GetName() == p.namespace {
			continue
		}
		_ = p.content.Walk(namespaces.WithNamespace(ctx, ns.GetName()), func(i content.Info) error {
			had[i.Digest] = had[i.Digest] || i.CreatedAt.Before(begun)
			return nil
		}, filters...)
	}
	return had
}
