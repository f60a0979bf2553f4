package diagnosis

import "time"

// Kind is the kind of thing in a pod whose image is wanted.
type Kind string

// The kinds, as the report's contract names them.
const (
	KindContainer          Kind = "container"
	KindInitContainer      Kind = "initContainer"
	KindEphemeralContainer Kind = "ephemeralContainer"
	KindImageVolume        Kind = "imageVolume"
)

// Failure is one container, or image volume, of a pod that cannot get its
// image, as the pod's own object tells it.
type Failure struct {
	Namespace, Pod, UID, Node string
	// Container is the container's name, or the volume's for KindImageVolume.
	Container string
	Kind      Kind
	// Image is the reference as the pod's spec has it.
	Image string
	// Registry is the image's normalised registry host[:port] and Repository
	// the path on it; both empty when the reference does not parse.
	Registry, Repository string
	// PullPolicy is Always, IfNotPresent or Never; as defaulted by the API
	// server.
	PullPolicy string
	// Reason and Message are the waiting state's, as the kubelet wrote them.
	Reason, Message string
	// PullSecrets are the names in spec.imagePullSecrets, in their order.
	PullSecrets []string
	// ServiceAccount is the pod's.
	ServiceAccount string
	// Owner says who made the pod, so that a remedy names what to edit.
	Owner Owner
	// HostNetwork tells that the pod has the node's network.
	HostNetwork bool
	// Since is when the failure was first seen.
	Since time.Time
}

// Owner is the workload that has to be edited to change a pod for good. The
// zero value is a pod that nobody manages.
type Owner struct {
	Kind, Name string
}
