package scratchpull

import (
	"context"
	"time"

	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
)

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
