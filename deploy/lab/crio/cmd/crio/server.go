package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"go.podman.io/image/v5/types"
	"go.podman.io/storage"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// server implements CRI-O's image service, and as much of its runtime service as
// clients that run no containers need.
type server struct {
	runtimeapi.UnimplementedImageServiceServer
	runtimeapi.UnimplementedRuntimeServiceServer
	config    config
	system    *types.SystemContext
	store     storage.Store
	artifacts *artifacts
}

// newServer opens the image store.
func newServer(c config, registries string) (*server, error) {
	store, err := storage.GetStore(storage.StoreOptions{
		GraphRoot: c.CRIO.Root, RunRoot: c.CRIO.RunRoot, GraphDriverName: c.CRIO.StorageDriver,
	})
	if err != nil {
		return nil, fmt.Errorf("image store %s: %w", c.CRIO.Root, err)
	}
	return &server{
		config: c, system: c.systemContext(registries), store: store,
		artifacts: newArtifacts(filepath.Join(c.CRIO.Root, "artifacts")),
	}, nil
}

// Version implements runtimeapi.RuntimeServiceServer.
func (s *server) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{
		Version: "0.1.0", RuntimeName: "cri-o", RuntimeVersion: version, RuntimeApiVersion: "v1",
	}, nil
}

// Status implements runtimeapi.RuntimeServiceServer. With verbose set, it names the
// sandbox image.
func (s *server) Status(_ context.Context, r *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	answer := &runtimeapi.StatusResponse{Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
		{Type: runtimeapi.RuntimeReady, Status: true}, {Type: runtimeapi.NetworkReady, Status: true},
	}}}
	if r.GetVerbose() {
		info, err := json.Marshal(map[string]any{"sandboxImage": s.config.CRIO.Image.PauseImage})
		if err != nil {
			return nil, err
		}
		answer.Info = map[string]string{"config": string(info)}
	}
	return answer, nil
}

// ListPodSandbox implements runtimeapi.RuntimeServiceServer: there are none.
func (s *server) ListPodSandbox(context.Context, *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	return &runtimeapi.ListPodSandboxResponse{}, nil
}

// ListContainers implements runtimeapi.RuntimeServiceServer: there are none.
func (s *server) ListContainers(context.Context, *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	return &runtimeapi.ListContainersResponse{}, nil
}
