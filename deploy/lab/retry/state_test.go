package retry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/content"
	contentproxy "github.com/containerd/containerd/v2/core/content/proxy"
	leasesproxy "github.com/containerd/containerd/v2/core/leases/proxy"
	"github.com/containerd/containerd/v2/core/snapshots"
	snapshotsproxy "github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"

	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/deploy/lab/runtimes"
)

// snapshotter is the snapshotter of every runtime in the box.
const snapshotter = "overlayfs"

// state returns everything that a runtime holds, one per line and sorted: namespaces
// with their content, and the files of the stores.
func state(ctx context.Context, r runtimes.Runtime) ([]string, error) {
	conn, err := cri.Connect(r.Socket())
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	all, err := namespacesapi.NewNamespacesClient(conn).List(ctx, &namespacesapi.ListNamespacesRequest{})
	if err != nil {
		return nil, fmt.Errorf("namespaces: %w", err)
	}
	var lines []string
	for _, ns := range all.GetNamespaces() {
		have, err := holdings(namespaces.WithNamespace(ctx, ns.GetName()), conn)
		if err != nil {
			return nil, err
		}
		lines = append(lines, "namespace "+ns.GetName())
		for _, h := range have {
			lines = append(lines, "namespace "+ns.GetName()+" "+h)
		}
	}
	stored, err := stored(r)
	lines = append(lines, stored...)
	slices.Sort(lines)
	return lines, err
}

// holdings returns the content of the namespace of ctx.
func holdings(ctx context.Context, conn grpc.ClientConnInterface) ([]string, error) {
	var lines []string
	images, err := imagesapi.NewImagesClient(conn).List(ctx, &imagesapi.ListImagesRequest{})
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	for _, i := range images.GetImages() {
		lines = append(lines, "image "+i.GetName())
	}
	leases, err := leasesproxy.NewLeaseManager(leasesapi.NewLeasesClient(conn)).List(ctx)
	if err != nil {
		return nil, fmt.Errorf("leases: %w", err)
	}
	for _, l := range leases {
		lines = append(lines, "lease "+l.ID)
	}
	store := contentproxy.NewContentStore(conn)
	blobs := store.Walk(ctx, func(i content.Info) error {
		lines = append(lines, "content "+i.Digest.String())
		return nil
	})
	ingests, err := store.ListStatuses(ctx)
	for _, i := range ingests {
		lines = append(lines, "ingest "+i.Ref)
	}
	layers := snapshotsproxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), snapshotter).Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		lines = append(lines, "snapshot "+i.Name)
		return nil
	})
	return lines, errors.Join(blobs, err, layers)
}

// stored returns the files of blobs and unfinished blobs, and the directories of
// snapshots.
func stored(r runtimes.Runtime) ([]string, error) {
	var lines []string
	for _, part := range []string{
		"io.containerd.content.v1.content/blobs/sha256", "io.containerd.content.v1.content/ingest",
		"io.containerd.snapshotter.v1." + snapshotter + "/snapshots",
	} {
		found, err := filepath.Glob(filepath.Join(r.Root(), part, "*"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, f := range found {
			lines = append(lines, "file "+strings.TrimPrefix(f, r.Root()))
		}
	}
	return lines, nil
}
