package critest

import (
	"context"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Sandbox is a sandbox of the fake runtime.
type Sandbox struct {
	ID      string
	PodUID  string
	Attempt uint32
	Created int64 // nanoseconds since 1970
	// NotReady is the sandbox's state.
	NotReady bool
	// Stops makes a sandbox that is listed as ready not ready in
	// PodSandboxStatus.
	Stops bool
	// HostNetwork gives it the node's network namespace.
	HostNetwork bool
	// Annotations are those of the pod.
	Annotations map[string]string
	// Info is the text under "info" in verbose responses; empty: none.
	Info string
}

// AddSandbox adds sandboxes to the runtime.
func (r *Runtime) AddSandbox(sandboxes ...Sandbox) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sandboxes = append(r.sandboxes, sandboxes...)
}

func (s Sandbox) labels() map[string]string {
	return map[string]string{"io.kubernetes.pod.uid": s.PodUID}
}

func (s Sandbox) metadata() *runtime.PodSandboxMetadata {
	return &runtime.PodSandboxMetadata{Name: "pod", Namespace: "default", Uid: s.PodUID, Attempt: s.Attempt}
}

func (s Sandbox) options() *runtime.NamespaceOption {
	o := &runtime.NamespaceOption{Pid: runtime.NamespaceMode_CONTAINER}
	if s.HostNetwork {
		o.Network = runtime.NamespaceMode_NODE
	}
	return o
}

func state(notReady bool) runtime.PodSandboxState {
	if notReady {
		return runtime.PodSandboxState_SANDBOX_NOTREADY
	}
	return runtime.PodSandboxState_SANDBOX_READY
}

// ListPodSandbox implements CRI, with the filter's labels.
func (r *Runtime) ListPodSandbox(ctx context.Context, req *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error) {
	if _, err := r.enter(ctx, "ListPodSandbox"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	resp := &runtime.ListPodSandboxResponse{}
	for _, s := range r.sandboxes {
		if matches(s.labels(), req.GetFilter().GetLabelSelector()) {
			resp.Items = append(resp.Items, &runtime.PodSandbox{
				Id: s.ID, Metadata: s.metadata(), State: state(s.NotReady), CreatedAt: s.Created, Labels: s.labels(), Annotations: s.Annotations,
			})
		}
	}
	return resp, nil
}

func matches(labels, selector map[string]string) bool {
	for key, want := range selector {
		if labels[key] != want {
			return false
		}
	}
	return true
}

// PodSandboxStatus implements CRI.
func (r *Runtime) PodSandboxStatus(ctx context.Context, req *runtime.PodSandboxStatusRequest) (*runtime.PodSandboxStatusResponse, error) {
	if _, err := r.enter(ctx, "PodSandboxStatus"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.sandboxes, func(s Sandbox) bool { return s.ID == req.GetPodSandboxId() })
	if i < 0 {
		return nil, status.Error(codes.NotFound, "no such sandbox")
	}
	s := r.sandboxes[i]
	resp := &runtime.PodSandboxStatusResponse{Status: &runtime.PodSandboxStatus{
		Id: s.ID, Metadata: s.metadata(), State: state(s.NotReady || s.Stops), CreatedAt: s.Created, Labels: s.labels(), Annotations: s.Annotations,
		Linux: &runtime.LinuxPodSandboxStatus{Namespaces: &runtime.Namespace{Options: s.options()}},
	}}
	if req.GetVerbose() && s.Info != "" {
		resp.Info = map[string]string{"info": s.Info}
	}
	return resp, nil
}
