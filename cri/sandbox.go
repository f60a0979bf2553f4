package cri

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// podUIDLabel is the label by which the kubelet finds the sandboxes of a pod
// (kubelet/types, KubernetesPodUIDLabel).
const podUIDLabel = "io.kubernetes.pod.uid"

// ErrNoSandbox means that the runtime has no sandbox of the pod: none was
// created, for example because the sandbox image or the pod network is missing,
// or it was removed.
var ErrNoSandbox = errors.New("the runtime has no sandbox of the pod")

// ErrSandboxNotReady means that the runtime has sandboxes of the pod, but none
// is running.
var ErrSandboxNotReady = errors.New("no sandbox of the pod is ready")

// DNS holds the settings for a pod's resolv.conf.
type DNS struct {
	Servers  []string `json:"servers"`  // IP addresses
	Searches []string `json:"searches"` // search domains
	Options  []string `json:"options"`  // as in resolv.conf, such as ndots:5
}

// Sandbox is the environment that the containers of a pod share.
type Sandbox struct {
	ID string
	// HostNetwork reports whether the pod uses the node's network.
	HostNetwork bool
	// NetNS is the path on the node of the pod's network namespace; empty if
	// the pod uses the node's network or the runtime does not report it.
	NetNS string
	// DNS is what the kubelet wants in the pod's resolv.conf, as containerd reports it and
	// CRI-O does not.
	DNS DNS
	// ResolvConf is the path on the node of the pod's resolv.conf; empty if the
	// runtime does not report it.
	ResolvConf string
}

// Sandbox returns the running sandbox of a pod: the one with the highest
// attempt and, among those, the newest. podUID is the pod's UID as the kubelet
// passes it to the runtime; for static pods that is the annotation
// kubernetes.io/config.hash, not metadata.uid.
//
// Fields that the runtime does not report, or reports in an unknown form, are
// empty. Errors are ErrNoSandbox, ErrSandboxNotReady or of type *Error.
func (r *Runtime) Sandbox(ctx context.Context, podUID string) (Sandbox, error) {
	id, err := r.sandboxID(ctx, podUID)
	if err != nil {
		return Sandbox{}, err
	}
	resp, err := r.runtime.PodSandboxStatus(ctx, &runtime.PodSandboxStatusRequest{PodSandboxId: id, Verbose: true})
	if notFound(err) {
		return Sandbox{}, ErrNoSandbox // removed since it was listed
	}
	if err != nil {
		return Sandbox{}, callError("PodSandboxStatus", err)
	}
	if resp.GetStatus().GetState() != runtime.PodSandboxState_SANDBOX_READY {
		return Sandbox{}, ErrSandboxNotReady
	}
	return sandboxOf(id, resp), nil
}

// sandboxID returns the ID of the pod's running sandbox. When the kubelet finds
// a broken sandbox, it creates a new one with a higher attempt and removes the
// old one later.
func (r *Runtime) sandboxID(ctx context.Context, podUID string) (string, error) {
	if podUID == "" {
		return "", ErrNoSandbox // an empty label value would not select this pod
	}
	items, err := r.sandboxes(ctx, podUID)
	if err != nil {
		return "", callError("ListPodSandbox", err)
	}
	var all []*runtime.PodSandbox
	for _, s := range items {
		if s.GetLabels()[podUIDLabel] == podUID {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return "", ErrNoSandbox
	}
	ready := slices.DeleteFunc(all, func(s *runtime.PodSandbox) bool { return s.GetState() != runtime.PodSandboxState_SANDBOX_READY })
	if len(ready) == 0 {
		return "", ErrSandboxNotReady
	}
	return slices.MaxFunc(ready, byAge).GetId(), nil
}

const (
	// maxShared is the size in bytes of the largest list of all sandboxes. It has the pods'
	// annotations, of which whoever creates a pod may write 256 KiB.
	maxShared = 1 << 20
	// largeLife is for how long no list of all is asked for after one that was larger.
	largeLife = time.Minute
)

// sandboxes returns the sandboxes of a pod, and maybe others', which nobody may change. A
// runtime goes through all of them for any list, so that calls at the same time share one
// of all.
func (r *Runtime) sandboxes(ctx context.Context, podUID string) ([]*runtime.PodSandbox, error) {
	list := func(ctx context.Context, of *runtime.PodSandboxFilter, o ...grpc.CallOption) ([]*runtime.PodSandbox, error) {
		resp, err := r.runtime.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{Filter: of}, o...)
		return resp.GetItems(), err
	}
	defer r.listing.Add(-1)
	if r.listing.Add(1) > 1 && time.Now().After(*r.large.Load()) {
		shared := r.lists.DoChan("", func() (any, error) {
			return list(context.WithoutCancel(ctx), nil, grpc.MaxCallRecvMsgSize(maxShared))
		})
		select {
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		case all := <-shared:
			if status.Code(all.Err) != codes.ResourceExhausted {
				return all.Val.([]*runtime.PodSandbox), all.Err
			}
			until := time.Now().Add(largeLife)
			r.large.Store(&until)
		}
	}
	return list(ctx, &runtime.PodSandboxFilter{LabelSelector: map[string]string{podUIDLabel: podUID}})
}

func byAge(a, b *runtime.PodSandbox) int {
	return cmp.Or(
		cmp.Compare(a.GetMetadata().GetAttempt(), b.GetMetadata().GetAttempt()),
		cmp.Compare(a.GetCreatedAt(), b.GetCreatedAt()),
		cmp.Compare(a.GetId(), b.GetId()),
	)
}

// sandboxOf converts the response. Whether the pod uses the node's network
// depends on the options, because CRI-O lists a namespace for such a pod too.
func sandboxOf(id string, resp *runtime.PodSandboxStatusResponse) Sandbox {
	network := resp.GetStatus().GetLinux().GetNamespaces().GetOptions().GetNetwork()
	info := parseSandboxInfo(resp.GetInfo()["info"])
	s := Sandbox{ID: id, HostNetwork: network == runtime.NamespaceMode_NODE, DNS: info.dns(), ResolvConf: info.resolvConf(id)}
	if !s.HostNetwork {
		s.NetNS = info.netNS()
	}
	return s
}
