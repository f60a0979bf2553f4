package scratchpulltest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

type versionServer struct {
	versionapi.UnimplementedVersionServer
	c *Containerd
}

// Version implements the API.
func (s versionServer) Version(context.Context, *emptypb.Empty) (*versionapi.VersionResponse, error) {
	return &versionapi.VersionResponse{Version: s.c.version}, nil
}

type namespaceServer struct {
	namespacesapi.UnimplementedNamespacesServer
	c *Containerd
}

// Get implements the API.
func (s namespaceServer) Get(_ context.Context, r *namespacesapi.GetNamespaceRequest) (*namespacesapi.GetNamespaceResponse, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.c.spaces[r.GetName()] == nil {
		return nil, notFound(r.GetName())
	}
	return &namespacesapi.GetNamespaceResponse{Namespace: &namespacesapi.Namespace{Name: r.GetName()}}, nil
}

// List implements the API.
func (s namespaceServer) List(context.Context, *namespacesapi.ListNamespacesRequest) (*namespacesapi.ListNamespacesResponse, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	var out namespacesapi.ListNamespacesResponse
	for name := range s.c.spaces {
		out.Namespaces = append(out.Namespaces, &namespacesapi.Namespace{Name: name})
	}
	return &out, nil
}

// Delete implements the API.
func (s namespaceServer) Delete(_ context.Context, r *namespacesapi.DeleteNamespaceRequest) (*emptypb.Empty, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	space := s.c.spaces[r.GetName()]
	if space == nil {
		return nil, notFound(r.GetName())
	}
	if len(space.images) > 0 || len(space.blobs) > 0 || len(space.ingests) > 0 {
		return nil, status.Error(codes.FailedPrecondition, "namespace must be empty")
	}
	delete(s.c.spaces, r.GetName())
	return &emptypb.Empty{}, nil
}

type leaseServer struct {
	leasesapi.UnimplementedLeasesServer
	c *Containerd
}

// Create implements the API.
func (s leaseServer) Create(ctx context.Context, r *leasesapi.CreateRequest) (*leasesapi.CreateResponse, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	l := &leasesapi.Lease{ID: r.GetID(), Labels: r.GetLabels()}
	s.c.space(header(ctx, "containerd-namespace")).leases[l.GetID()] = l
	return &leasesapi.CreateResponse{Lease: l}, nil
}

// Delete implements the API.
func (s leaseServer) Delete(ctx context.Context, r *leasesapi.DeleteRequest) (*emptypb.Empty, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	all := s.c.of(ctx).leases
	if all[r.GetID()] == nil {
		return nil, notFound(r.GetID())
	}
	delete(all, r.GetID())
	if r.GetSync() {
		s.c.collect()
	}
	return &emptypb.Empty{}, nil
}

// List implements the API.
func (s leaseServer) List(ctx context.Context, _ *leasesapi.ListRequest) (*leasesapi.ListResponse, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	var out leasesapi.ListResponse
	for _, l := range s.c.of(ctx).leases {
		out.Leases = append(out.Leases, l)
	}
	return &out, nil
}

type imageServer struct {
	imagesapi.UnimplementedImagesServer
	c *Containerd
}

// Get implements the API.
func (s imageServer) Get(ctx context.Context, r *imagesapi.GetImageRequest) (*imagesapi.GetImageResponse, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	target := s.c.of(ctx).images[r.GetName()]
	if target == nil {
		return nil, notFound(r.GetName())
	}
	return &imagesapi.GetImageResponse{Image: &imagesapi.Image{Name: r.GetName(), Target: target}}, nil
}

// List implements the API.
func (s imageServer) List(ctx context.Context, _ *imagesapi.ListImagesRequest) (*imagesapi.ListImagesResponse, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	var out imagesapi.ListImagesResponse
	for name, target := range s.c.of(ctx).images {
		out.Images = append(out.Images, &imagesapi.Image{Name: name, Target: target})
	}
	return &out, nil
}

// Delete implements the API.
func (s imageServer) Delete(ctx context.Context, r *imagesapi.DeleteImageRequest) (*emptypb.Empty, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	delete(s.c.of(ctx).images, r.GetName())
	return &emptypb.Empty{}, nil
}

type contentServer struct {
	contentapi.UnimplementedContentServer
	c *Containerd
}

// Info implements the API.
func (s contentServer) Info(ctx context.Context, r *contentapi.InfoRequest) (*contentapi.InfoResponse, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	b, there := s.c.of(ctx).blobs[digest.Digest(r.GetDigest())]
	if !there {
		return nil, notFound(r.GetDigest())
	}
	return &contentapi.InfoResponse{Info: &contentapi.Info{Digest: r.GetDigest(), Size: int64(len(b.data))}}, nil
}

// List implements the API, with filters by digest.
func (s contentServer) List(r *contentapi.ListContentRequest, out contentapi.Content_ListServer) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	var list contentapi.ListContentResponse
	for d, b := range s.c.of(out.Context()).blobs {
		if len(r.GetFilters()) == 0 || slices.Contains(r.GetFilters(), "digest=="+d.String()) {
			list.Info = append(list.Info, &contentapi.Info{Digest: d.String(), Size: int64(len(b.data)), CreatedAt: timestamppb.New(b.created)})
		}
	}
	return out.Send(&list)
}

// ListStatuses implements the API, without filters.
func (s contentServer) ListStatuses(ctx context.Context, _ *contentapi.ListStatusesRequest) (*contentapi.ListStatusesResponse, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	var out contentapi.ListStatusesResponse
	for ref, bytes := range s.c.of(ctx).ingests {
		out.Statuses = append(out.Statuses, &contentapi.Status{Ref: ref, Offset: bytes})
	}
	return &out, nil
}

// Read implements the API.
func (s contentServer) Read(r *contentapi.ReadContentRequest, out contentapi.Content_ReadServer) error {
	s.c.mu.Lock()
	b, there := s.c.of(out.Context()).blobs[digest.Digest(r.GetDigest())]
	s.c.mu.Unlock()
	if !there || r.GetOffset() > int64(len(b.data)) {
		return notFound(r.GetDigest())
	}
	data := b.data[r.GetOffset():]
	return out.Send(&contentapi.ReadContentResponse{Offset: r.GetOffset(), Data: data})
}

// key returns the key of a stream.
func key(ctx context.Context, id string) string {
	return fmt.Sprint(strings.TrimSpace(header(ctx, "containerd-namespace")), " ", id)
}
