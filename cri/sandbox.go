package cri

import (
	"cmp"
	"context"
	"errors"
	"slices"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// podUIDLabel is the label by which the kubelet finds the sandboxes of a pod
// (kubelet/types, KubernetesPodUIDLabel).
const podUIDLabel = "io.kubernetes.pod.uid"

// ErrNoSandbox tells that the runtime has no sandbox of the pod: it was never
// made, for want of the sandbox's image or of a pod network, or it is gone.
var ErrNoSandbox = errors.New("the runtime has no sandbox of the pod")

// ErrSandboxNotReady tells that the runtime has sandboxes of the pod, and that
// none of them runs.
var ErrSandboxNotReady = errors.New("no sandbox of the pod is ready")

// DNS is what a pod's resolv.conf is made of.
type DNS struct {
	Servers  []string // IP addresses
	Searches []string // domains to search in
	Options  []string // as in resolv.conf, like ndots:5
}

// Sandbox is the environment that the containers of a pod share.
type Sandbox struct {
	ID string
	// HostNetwork tells that the pod has the node's own network.
	HostNetwork bool
	// NetNS is the file of the pod's network namespace, a path of the node.
	// Empty for a pod with the node's network, and where the runtime does not
	// tell it.
	NetNS string
	// DNS is what the kubelet wants in the pod's resolv.conf.
	DNS DNS
	// DNSTold tells that the runtime told DNS: containerd does, CRI-O does not.
	DNSTold bool
	// ResolvConf is the pod's resolv.conf, a path of the node; empty where the
	// runtime does not tell it.
	ResolvConf string
}

// Sandbox asks for the sandbox of a pod that runs: the one of the highest
// attempt and, among those, the newest. podUID is the pod's uid as the kubelet
// gives it to the runtime: that of static pods is in the annotation
// kubernetes.io/config.hash, not in their metadata.
//
// What the runtime does not tell, or tells in a form that is not known, is left
// empty. Errors are ErrNoSandbox, ErrSandboxNotReady or of type *Error.
func (r *Runtime) Sandbox(ctx context.Context, podUID string) (Sandbox, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
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

// sandboxID gives the id of the pod's sandbox that runs. The kubelet makes a new
// one with a higher attempt when it finds one broken, and removes the old one
// later.
func (r *Runtime) sandboxID(ctx context.Context, podUID string) (string, error) {
	if podUID == "" {
		return "", ErrNoSandbox // no label is not any label
	}
	resp, err := r.runtime.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{
		Filter: &runtime.PodSandboxFilter{LabelSelector: map[string]string{podUIDLabel: podUID}},
	})
	if err != nil {
		return "", callError("ListPodSandbox", err)
	}
	all := slices.DeleteFunc(resp.GetItems(), func(s *runtime.PodSandbox) bool { return s.GetLabels()[podUIDLabel] != podUID })
	if len(all) == 0 {
		return "", ErrNoSandbox
	}
	ready := slices.DeleteFunc(all, func(s *runtime.PodSandbox) bool { return s.GetState() != runtime.PodSandboxState_SANDBOX_READY })
	if len(ready) == 0 {
		return "", ErrSandboxNotReady
	}
	return slices.MaxFunc(ready, byAge).GetId(), nil
}

func byAge(a, b *runtime.PodSandbox) int {
	return cmp.Or(
		cmp.Compare(a.GetMetadata().GetAttempt(), b.GetMetadata().GetAttempt()),
		cmp.Compare(a.GetCreatedAt(), b.GetCreatedAt()),
		cmp.Compare(a.GetId(), b.GetId()),
	)
}

// sandboxOf reads the answer. Whether the pod has the node's network is what its
// options say: CRI-O lists a namespace for such a pod too.
func sandboxOf(id string, resp *runtime.PodSandboxStatusResponse) Sandbox {
	network := resp.GetStatus().GetLinux().GetNamespaces().GetOptions().GetNetwork()
	info := parseSandboxInfo(resp.GetInfo()["info"])
	s := Sandbox{ID: id, HostNetwork: network == runtime.NamespaceMode_NODE, ResolvConf: info.resolvConf(id)}
	s.DNS, s.DNSTold = info.dns()
	if !s.HostNetwork {
		s.NetNS = info.netNS()
	}
	return s
}
