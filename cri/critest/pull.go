package critest

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// OnPull says what PullImage does; nil: nothing, and it succeeds.
func (r *Runtime) OnPull(pull func(ref, user, password string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pull = pull
}

// PullImage implements CRI.
func (r *Runtime) PullImage(ctx context.Context, req *runtime.PullImageRequest) (*runtime.PullImageResponse, error) {
	if _, err := r.enter(ctx, "PullImage"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	pull := r.pull
	r.mu.Unlock()
	if pull != nil {
		if err := pull(req.GetImage().GetImage(), req.GetAuth().GetUsername(), req.GetAuth().GetPassword()); err != nil {
			return nil, err
		}
	}
	return &runtime.PullImageResponse{ImageRef: "sha256:1"}, nil
}
