package cri

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs/pkg/errgrpc"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/cri/oci"
)

// Limits on what is read of a content store.
const (
	maxManifests    = 32      // of one repository, the newest
	maxManifestSize = 4 << 20 // bytes; containerd accepts none that is larger
	maxStoreEntries = 10_000  // of one listing
)

// namespace is the containerd namespace of everything pulled over CRI
// (constants.K8sContainerdNamespace).
const namespace = "k8s.io"

// Ingest is content that the runtime is receiving.
type Ingest struct {
	// Digest is the blob's digest; empty if the ingest's name does not contain
	// it.
	Digest string
	// Offset is the number of bytes received.
	Offset int64
	// Started is when the ingest began, and Updated when it was last written
	// to: containerd writes each MiB (content.Copy).
	Started, Updated time.Time
}

// Stored is a manifest that the runtime has, with the blobs that it refers to.
type Stored struct {
	Fetched time.Time // when it, or its label, was last written
	Blobs   []StoredBlob
}

// StoredBlob is a blob that a manifest refers to: its config, or a layer.
type StoredBlob struct {
	Digest  string
	Size    int64
	Present bool
}

// SandboxReady reports whether a pod has a sandbox that is ready. podUID is as
// in Sandbox. Errors are of type *Error.
func (r *Runtime) SandboxReady(ctx context.Context, podUID string) (bool, error) {
	_, err := r.sandboxID(ctx, podUID)
	if errors.Is(err, ErrNoSandbox) || errors.Is(err, ErrSandboxNotReady) {
		return false, nil
	}
	return err == nil, err
}

// Ingests returns what the runtime is receiving for CRI images, the oldest
// first. It asks containerd's content service; for other runtimes the error is
// of kind KindUnimplemented. Errors are of type *Error.
func (r *Runtime) Ingests(ctx context.Context) ([]Ingest, error) {
	ctx, cancel := context.WithTimeout(inNamespace(ctx), callTimeout)
	defer cancel()
	statuses, err := r.content.ListStatuses(ctx)
	if err != nil {
		return nil, contentError("ListStatuses", err)
	}
	var out []Ingest
	for _, s := range statuses {
		out = append(out, Ingest{Digest: digestOfRef(s.Ref), Offset: s.Offset, Started: s.StartedAt, Updated: s.UpdatedAt})
	}
	sort.SliceStable(out, func(i, j int) bool {
		return cmp.Or(out[i].Started.Compare(out[j].Started), strings.Compare(out[i].Digest, out[j].Digest)) < 0
	})
	return out, nil
}

func inNamespace(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, namespace)
}

// contentError converts an error of containerd's client, which has lost the
// gRPC code, to an Error.
func contentError(op string, err error) *Error { return callError(op, errgrpc.ToGRPC(err)) }

// digestOfRef returns the digest in the name of an ingest, such as
// layer-sha256:… (remotes.MakeRefKey); empty if there is none.
func digestOfRef(ref string) string {
	i := strings.Index(ref, "sha256:")
	if i < 0 || len(ref)-i != len("sha256:")+64 {
		return ""
	}
	return ref[i:]
}

// Stored returns the manifests that the runtime has fetched from a repository,
// the newest first, at most 32. registry is the image's registry, as in its
// name. Errors are of type *Error; see Ingests.
func (r *Runtime) Stored(ctx context.Context, registry, repository string) ([]Stored, error) {
	ctx, cancel := context.WithTimeout(inNamespace(ctx), callTimeout)
	defer cancel()
	// containerd labels fetched content with the host of the image's registry,
	// without the port; the value lists the repositories
	// (docker.AppendDistributionSourceLabel).
	label := labels.LabelDistributionSource + "." + (&url.URL{Host: registry}).Hostname()
	infos, err := r.list(ctx, fmt.Sprintf("labels.%q", label))
	if err != nil {
		return nil, err
	}
	infos = slices.DeleteFunc(infos, func(i content.Info) bool {
		return i.Size > maxManifestSize || !slices.Contains(strings.Split(i.Labels[label], ","), repository)
	})
	sort.SliceStable(infos, func(i, j int) bool { return infos[i].UpdatedAt.After(infos[j].UpdatedAt) })
	var out []Stored
	for _, i := range infos {
		if len(out) == maxManifests {
			break
		}
		if blobs := r.manifest(ctx, i); len(blobs) > 0 {
			out = append(out, Stored{Fetched: i.UpdatedAt, Blobs: blobs})
		}
	}
	return out, r.markPresent(ctx, out)
}

// manifest returns the blobs that an image manifest refers to; nil if the
// content is something else: an index, a config, a small layer.
func (r *Runtime) manifest(ctx context.Context, i content.Info) []StoredBlob {
	data, err := r.read(ctx, i)
	if err != nil {
		return nil // it may have been deleted in the meantime
	}
	m, err := oci.ReadManifest(data)
	if err != nil || digestOfRef(m.Config.Digest.String()) == "" { // an image's config has a field of that name
		return nil
	}
	blobs := []StoredBlob{{Digest: m.Config.Digest.String(), Size: m.Config.Size}}
	for _, l := range m.Layers {
		d := l.Digest.String()
		if digestOfRef(d) != "" && !slices.ContainsFunc(blobs, func(b StoredBlob) bool { return b.Digest == d }) {
			blobs = append(blobs, StoredBlob{Digest: d, Size: l.Size})
		}
	}
	return blobs
}

// read reads a blob, unless its first byte shows that it is not JSON.
func (r *Runtime) read(ctx context.Context, i content.Info) ([]byte, error) {
	blob, err := r.content.ReaderAt(ctx, ocispec.Descriptor{Digest: i.Digest, Size: i.Size})
	if err != nil {
		return nil, err
	}
	defer func() { _ = blob.Close() }()
	data := make([]byte, 1, max(i.Size, 1))
	if _, err := blob.ReadAt(data, 0); err != nil || data[0] != '{' {
		return nil, errors.New("not a manifest")
	}
	data = data[:cap(data)]
	_, err = blob.ReadAt(data, 0)
	return data, err
}

// Present returns the digests of which the runtime has blobs for CRI images.
// Errors are of type *Error; see Ingests.
func (r *Runtime) Present(ctx context.Context, digests []string) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(inNamespace(ctx), callTimeout)
	defer cancel()
	return r.present(ctx, digests)
}

func (r *Runtime) present(ctx context.Context, digests []string) (map[string]bool, error) {
	present := map[string]bool{}
	var filters []string
	for _, d := range digests {
		if d != "" && digestOfRef(d) == d { // any other text could be another filter
			filters = append(filters, "digest=="+d)
		}
	}
	if len(filters) == 0 { // an empty filter would match everything
		return present, nil
	}
	infos, err := r.list(ctx, filters...)
	if err != nil {
		return nil, err
	}
	for _, i := range infos {
		present[i.Digest.String()] = true
	}
	return present, nil
}

// markPresent sets Present on the blobs that the runtime has.
func (r *Runtime) markPresent(ctx context.Context, all []Stored) error {
	var digests []string
	for _, s := range all {
		for _, b := range s.Blobs {
			digests = append(digests, b.Digest)
		}
	}
	present, err := r.present(ctx, digests)
	if err != nil {
		return err
	}
	for _, s := range all {
		for i := range s.Blobs {
			s.Blobs[i].Present = present[s.Blobs[i].Digest]
		}
	}
	return nil
}

// list returns the content that matches one of the filters.
func (r *Runtime) list(ctx context.Context, filters ...string) ([]content.Info, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	enough := errors.New("enough")
	var out []content.Info
	err := r.content.Walk(ctx, func(i content.Info) error {
		if len(out) == maxStoreEntries {
			return enough
		}
		out = append(out, i)
		return nil
	}, filters...)
	if err != nil && !errors.Is(err, enough) {
		return nil, contentError("List", err)
	}
	return out, nil
}
