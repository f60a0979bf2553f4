package scratchpulltest

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	streamingapi "github.com/containerd/containerd/api/services/streaming/v1"
	transferapi "github.com/containerd/containerd/api/services/transfer/v1"
	"github.com/containerd/containerd/api/types"
	transfertypes "github.com/containerd/containerd/api/types/transfer"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// stream is a client's stream that a transfer uses.
type stream struct {
	streamingapi.Streaming_StreamServer
	closed chan struct{}
}

type streamServer struct {
	streamingapi.UnimplementedStreamingServer
	c *Containerd
}

// Stream implements the API.
func (s streamServer) Stream(srv streamingapi.Streaming_StreamServer) error {
	first, err := srv.Recv()
	if err != nil {
		return err
	}
	var init streamingapi.StreamInit
	if err := typeurl.UnmarshalTo(first, &init); err != nil {
		return err
	}
	one := &stream{srv, make(chan struct{})}
	s.c.mu.Lock()
	s.c.streams[key(srv.Context(), init.GetID())] = one
	s.c.mu.Unlock()
	if err := srv.Send(&anypb.Any{TypeUrl: "google.protobuf.Empty"}); err != nil {
		return err
	}
	select {
	case <-srv.Context().Done():
	case <-one.closed:
	}
	return nil
}

// Transfer is one requested pull.
type Transfer struct {
	Reference, HostDir string
	Image              string
	Labels             map[string]string
	Platforms          []string
	Unpack             bool
	Snapshotter        string
	Namespace, Lease   string
	AsksForCredentials bool
	c                  *Containerd
	progress, auth     *stream
}

type transferServer struct {
	transferapi.UnimplementedTransferServer
	c *Containerd
}

// Transfer implements the API: from a registry to the image store.
func (s transferServer) Transfer(ctx context.Context, r *transferapi.TransferRequest) (*emptypb.Empty, error) {
	t := &Transfer{c: s.c, Namespace: header(ctx, "containerd-namespace"), Lease: header(ctx, "containerd-lease")}
	if err := t.read(ctx, r); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	s.c.mu.Lock()
	s.c.transfers = append(s.c.transfers, t)
	pull := s.c.pull
	s.c.mu.Unlock()
	defer close(t.progress.closed)
	if err := pull(ctx, t); err != nil {
		if _, typed := status.FromError(err); !typed {
			err = status.Error(codes.Unknown, err.Error())
		}
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

func (t *Transfer) read(ctx context.Context, r *transferapi.TransferRequest) error {
	var from transfertypes.OCIRegistry
	var to transfertypes.ImageStore
	if err := errors.Join(typeurl.UnmarshalTo(r.GetSource(), &from), typeurl.UnmarshalTo(r.GetDestination(), &to)); err != nil {
		return err
	}
	t.Reference, t.HostDir = from.GetReference(), from.GetResolver().GetHostDir()
	t.Image, t.Labels, t.Unpack = to.GetName(), to.GetLabels(), len(to.GetUnpacks()) > 0
	for _, p := range to.GetPlatforms() {
		t.Platforms = append(t.Platforms, p.GetOS()+"/"+p.GetArchitecture())
	}
	for _, u := range to.GetUnpacks() {
		t.Snapshotter = u.GetSnapshotter()
	}
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.progress = t.c.streams[key(ctx, r.GetOptions().GetProgressStream())]
	t.auth = t.c.streams[key(ctx, from.GetResolver().GetAuthStream())]
	t.AsksForCredentials = t.auth != nil
	if t.progress == nil {
		return errors.New("there is no stream for progress")
	}
	return nil
}

// Tell sends a progress event.
func (t *Transfer) Tell(event, name string, progress, total int64) error {
	a, err := typeurl.MarshalAny(&transfertypes.Progress{Event: event, Name: name, Progress: progress, Total: total})
	if err != nil {
		return err
	}
	return t.progress.Send(typeurl.MarshalProto(a))
}

// Credential requests the credential for a host.
func (t *Transfer) Credential(host string) (user, password string, err error) {
	a, err := typeurl.MarshalAny(&transfertypes.AuthRequest{Host: host, Reference: t.Reference})
	if err != nil {
		return "", "", err
	}
	if err := t.auth.Send(typeurl.MarshalProto(a)); err != nil {
		return "", "", err
	}
	answer, err := t.auth.Recv()
	if err != nil {
		return "", "", err
	}
	var auth transfertypes.AuthResponse
	err = typeurl.UnmarshalTo(answer, &auth)
	return auth.GetUsername(), auth.GetSecret(), err
}

// Put stores a blob under the transfer's lease.
func (t *Transfer) Put(data []byte) (digest.Digest, error) {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	s := t.c.spaces[t.Namespace]
	if s == nil || s.leases[t.Lease] == nil {
		return "", errors.New("lease does not exist: not found")
	}
	d := digest.FromBytes(data)
	s.blobs[d] = blob{data, time.Now()}
	return d, nil
}

// Save creates an image record.
func (t *Transfer) Save(mediaType string, d digest.Digest, size int64) {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.c.space(t.Namespace).images[t.Image] = &types.Descriptor{MediaType: mediaType, Digest: d.String(), Size: size}
}

// Fetch pulls an image of one manifest with layers, with all the events that
// containerd sends, except for its record. It returns the manifest.
func (t *Transfer) Fetch(layers ...[]byte) (digest.Digest, int64, error) {
	config, err := json.Marshal(ocispec.Image{Author: t.Reference})
	if err != nil {
		return "", 0, err
	}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: describe(ocispec.MediaTypeImageConfig, config)}
	m.SchemaVersion = 2
	for _, l := range layers {
		m.Layers = append(m.Layers, describe(ocispec.MediaTypeImageLayerGzip, l))
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		return "", 0, err
	}
	if err := t.Tell("fetching image content", t.Image, 0, 0); err != nil {
		return "", 0, err
	}
	top, err := t.blob("manifest", manifest)
	if err != nil {
		return "", 0, err
	}
	if _, err := t.blob("config", config); err != nil {
		return "", 0, err
	}
	for _, l := range layers {
		if _, err := t.blob("layer", l); err != nil {
			return "", 0, err
		}
	}
	return top, int64(len(manifest)), nil
}

func (t *Transfer) blob(kind string, data []byte) (digest.Digest, error) {
	name, size := kind+"-"+digest.FromBytes(data).String(), int64(len(data))
	if err := t.Tell("waiting", name, 0, size); err != nil {
		return "", err
	}
	d, err := t.Put(data)
	if err != nil {
		return "", err
	}
	return d, t.Tell("complete", name, size, size)
}

func describe(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}
