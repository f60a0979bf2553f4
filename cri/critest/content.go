package critest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	content "github.com/containerd/containerd/api/services/content/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Blob is content that the runtime has.
type Blob struct {
	Data    []byte
	Labels  map[string]string
	Fetched time.Time
	digest  string // set by Hold, since a large blob takes long
}

// Digest returns the digest of the blob's data.
func (b Blob) Digest() string {
	if b.digest != "" {
		return b.digest
	}
	sum := sha256.Sum256(b.Data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Ingest is content that the runtime is receiving.
type Ingest struct {
	Ref              string
	Offset, Total    int64
	Started, Updated time.Time
}

// store is containerd's content service for the namespace k8s.io.
type store struct {
	content.UnimplementedContentServer
	r *Runtime
}

// Hold adds blobs to the runtime.
func (r *Runtime) Hold(blobs ...Blob) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range blobs {
		b.digest = b.Digest()
		r.blobs = append(r.blobs, b)
	}
}

// Receive sets the ingests in progress.
func (r *Runtime) Receive(ingests ...Ingest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ingests = ingests
}

func (s store) enter(ctx context.Context, method string) error {
	if _, err := s.r.enter(ctx, method); err != nil {
		return err
	}
	md, _ := metadata.FromIncomingContext(ctx)
	if ns := md.Get("containerd-namespace"); len(ns) != 1 || ns[0] != "k8s.io" {
		return status.Error(codes.FailedPrecondition, "namespace is required")
	}
	if s.r.Name != "containerd" {
		return status.Error(codes.Unimplemented, "unknown service")
	}
	return nil
}

// ListStatuses implements containerd's content service.
func (s store) ListStatuses(ctx context.Context, _ *content.ListStatusesRequest) (*content.ListStatusesResponse, error) {
	if err := s.enter(ctx, "ListStatuses"); err != nil {
		return nil, err
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	resp := &content.ListStatusesResponse{}
	for _, i := range s.r.ingests {
		resp.Statuses = append(resp.Statuses, &content.Status{
			Ref: i.Ref, Offset: i.Offset, Total: i.Total, StartedAt: timestamppb.New(i.Started), UpdatedAt: timestamppb.New(i.Updated),
		})
	}
	return resp, nil
}

// List implements containerd's content service for the filters that whypull
// uses: existing labels and digests.
func (s store) List(req *content.ListContentRequest, stream content.Content_ListServer) error {
	if err := s.enter(stream.Context(), "List"); err != nil {
		return err
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	for _, b := range s.r.blobs {
		for _, f := range req.GetFilters() {
			label, isLabel := strings.CutPrefix(f, "labels.")
			if isLabel && b.Labels[strings.Trim(label, `"`)] != "" || f == "digest=="+b.Digest() {
				if err := stream.Send(&content.ListContentResponse{Info: []*content.Info{b.info()}}); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// Info implements containerd's content service.
func (s store) Info(ctx context.Context, req *content.InfoRequest) (*content.InfoResponse, error) {
	if err := s.enter(ctx, "Info"); err != nil {
		return nil, err
	}
	b, err := s.find(req.GetDigest())
	if err != nil {
		return nil, err
	}
	return &content.InfoResponse{Info: b.info()}, nil
}

func (b Blob) info() *content.Info {
	return &content.Info{Digest: b.Digest(), Size: int64(len(b.Data)), Labels: b.Labels, UpdatedAt: timestamppb.New(b.Fetched)}
}

func (s store) find(digest string) (Blob, error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	for _, b := range s.r.blobs {
		if b.Digest() == digest {
			return b, nil
		}
	}
	return Blob{}, status.Error(codes.NotFound, "no such content")
}

// Read implements containerd's content service, in parts of 1 KiB.
func (s store) Read(req *content.ReadContentRequest, stream content.Content_ReadServer) error {
	if err := s.enter(stream.Context(), "Read"); err != nil {
		return err
	}
	b, err := s.find(req.GetDigest())
	if err != nil {
		return err
	}
	at := req.GetOffset()
	if at > int64(len(b.Data)) {
		return status.Error(codes.OutOfRange, "read past object length")
	}
	data := b.Data[at:]
	if size := req.GetSize(); size > 0 && size < int64(len(data)) {
		data = data[:size]
	}
	for part := range slices.Chunk(data, 1<<10) {
		if err := stream.Send(&content.ReadContentResponse{Offset: at, Data: part}); err != nil {
			return err
		}
		at += int64(len(part))
	}
	return nil
}
