// Package critest is a container runtime for tests: a CRI server on a real unix
// socket with the images and sandboxes that the test adds, and with scripted
// faults.
package critest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	content "github.com/containerd/containerd/api/services/content/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Fault is how the runtime misbehaves. The zero value is a healthy runtime.
type Fault struct {
	// Code, if not OK, is what every call returns. codes.Unavailable is a
	// runtime that is shutting down; to simulate one that is gone, use Stop.
	Code codes.Code
	// Delay is how long every call takes.
	Delay time.Duration
	// NotReady makes the RuntimeReady condition false.
	NotReady bool
	// NotFound makes ImageStatus return the code NotFound for a missing image,
	// instead of the empty response that CRI demands.
	NotFound bool
	// Of, if not empty, is the only method that fails with Code.
	Of string
}

// Runtime is the fake runtime.
type Runtime struct {
	runtime.UnimplementedImageServiceServer
	runtime.UnimplementedRuntimeServiceServer

	// Socket is the path of the socket.
	Socket string
	// Name and Release are what the runtime reports. Set them before the first
	// call.
	Name, Release string
	// SandboxImage is what a verbose status says, as CRI-O has it; "" says nothing.
	SandboxImage string

	tb          testing.TB
	mu          sync.Mutex
	images      []*runtime.Image
	sandboxes   []Sandbox
	blobs       []Blob
	ingests     []Ingest
	filesystems *runtime.ImageFsInfoResponse
	fault       Fault
	calls       map[string]int
	server      *grpc.Server
}

// New starts a runtime with the images. It stops with the test.
func New(tb testing.TB, images ...*runtime.Image) *Runtime {
	tb.Helper()
	// Not tb.TempDir: a socket's path is limited to 107 bytes.
	dir, err := os.MkdirTemp("", "cri")
	if err != nil {
		tb.Fatal(err)
	}
	r := &Runtime{tb: tb, Socket: filepath.Join(dir, "cri.sock"), Name: "containerd", Release: "v2.4.2", images: images, calls: map[string]int{}}
	tb.Cleanup(func() {
		r.Stop()
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	r.Start()
	return r
}

// NewImage returns an image with names with tags and names with digests.
func NewImage(id string, tags, digests []string) *runtime.Image {
	return &runtime.Image{Id: id, RepoTags: tags, RepoDigests: digests, Size: 4096}
}

// Start listens on the socket again after Stop.
func (r *Runtime) Start() {
	r.tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", r.Socket)
	if err != nil {
		r.tb.Fatal(err)
	}
	server := grpc.NewServer()
	runtime.RegisterImageServiceServer(server, r)
	runtime.RegisterRuntimeServiceServer(server, r)
	content.RegisterContentServer(server, store{r: r})
	r.mu.Lock()
	r.server = server
	r.mu.Unlock()
	go func() { _ = server.Serve(l) }()
}

// Stop closes the socket and every connection.
func (r *Runtime) Stop() {
	r.mu.Lock()
	server := r.server
	r.mu.Unlock()
	server.Stop()
}

// Set sets how the runtime misbehaves.
func (r *Runtime) Set(f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = f
}

// Add adds images to the runtime.
func (r *Runtime) Add(images ...*runtime.Image) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images = append(r.images, images...)
}

// Calls returns how often a CRI method was called.
func (r *Runtime) Calls(method string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls[method]
}

func (r *Runtime) enter(ctx context.Context, method string) (Fault, error) {
	r.mu.Lock()
	r.calls[method]++
	f := r.fault
	r.mu.Unlock()
	select {
	case <-time.After(f.Delay):
	case <-ctx.Done():
		return f, status.FromContextError(ctx.Err()).Err()
	}
	if f.Code != codes.OK && (f.Of == "" || f.Of == method) {
		return f, status.Error(f.Code, "simulated fault")
	}
	return f, nil
}

// ImageStatus implements CRI.
func (r *Runtime) ImageStatus(ctx context.Context, req *runtime.ImageStatusRequest) (*runtime.ImageStatusResponse, error) {
	f, err := r.enter(ctx, "ImageStatus")
	if err != nil {
		return nil, err
	}
	if img := r.find(req.GetImage().GetImage()); img != nil {
		return &runtime.ImageStatusResponse{Image: img}, nil
	}
	if f.NotFound {
		return nil, status.Error(codes.NotFound, "no such image")
	}
	return &runtime.ImageStatusResponse{}, nil
}

func (r *Runtime) find(ref string) *runtime.Image {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, img := range r.images {
		if slices.Contains(slices.Concat([]string{img.GetId()}, img.GetRepoTags(), img.GetRepoDigests()), ref) {
			return img
		}
	}
	return nil
}

// ListImages implements CRI.
func (r *Runtime) ListImages(ctx context.Context, _ *runtime.ListImagesRequest) (*runtime.ListImagesResponse, error) {
	if _, err := r.enter(ctx, "ListImages"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return &runtime.ListImagesResponse{Images: r.images}, nil
}

// Version implements CRI.
func (r *Runtime) Version(ctx context.Context, _ *runtime.VersionRequest) (*runtime.VersionResponse, error) {
	if _, err := r.enter(ctx, "Version"); err != nil {
		return nil, err
	}
	return &runtime.VersionResponse{
		Version: "0.1.0", RuntimeName: r.Name, RuntimeVersion: r.Release, RuntimeApiVersion: "v1",
	}, nil
}

// Status implements CRI.
func (r *Runtime) Status(ctx context.Context, req *runtime.StatusRequest) (*runtime.StatusResponse, error) {
	f, err := r.enter(ctx, "Status")
	if err != nil {
		return nil, err
	}
	resp := &runtime.StatusResponse{Status: &runtime.RuntimeStatus{Conditions: []*runtime.RuntimeCondition{
		{Type: runtime.RuntimeReady, Status: !f.NotReady},
	}}}
	if r.SandboxImage != "" && req.GetVerbose() {
		resp.Info = map[string]string{"config": fmt.Sprintf(`{"sandboxImage":%q}`, r.SandboxImage)}
	}
	return resp, nil
}
