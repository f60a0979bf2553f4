package diagnosis

import (
	"cmp"
	"sort"
	"time"
)

// Kind is the kind of thing in a pod whose image is wanted.
type Kind string

// The kinds, as the report's contract names them.
const (
	KindContainer          Kind = "container"
	KindInitContainer      Kind = "initContainer"
	KindEphemeralContainer Kind = "ephemeralContainer"
	KindImageVolume        Kind = "imageVolume"
	// KindSandbox is the pod's sandbox itself, whose image is the node's.
	KindSandbox Kind = "sandbox"
)

// Words returns the kind as people write it.
func (k Kind) Words() string { return cmp.Or(kindWords[k], "container") }

var kindWords = map[Kind]string{ //nolint:gochecknoglobals // never written
	KindInitContainer: "init container", KindEphemeralContainer: "ephemeral container", KindImageVolume: "image volume",
}

// Failure is one container, or image volume, of a pod that cannot get its
// image, as in the pod's API object.
type Failure struct {
	Namespace, Pod, UID, Node string
	// Platform is the node's.
	Platform Platform
	// SandboxUID is the pod's uid as the runtime knows it: of a static pod that
	// is not the API object's.
	SandboxUID string
	// Container is the container's name, or the volume's for KindImageVolume; for
	// KindSandbox it is SandboxName.
	Container string
	Kind      Kind
	// Image is the reference as the pod's spec has it.
	Image string
	// Registry is the image's normalized registry host[:port] and Repository
	// the path on it; both empty when the reference does not parse.
	Registry, Repository string
	// PullPolicy is Always, IfNotPresent or Never; as defaulted by the API
	// server.
	PullPolicy string
	// Reason and Message are the waiting state's, as the kubelet wrote them.
	Reason, Message string
	// Facts are what they say; nil where nobody has read them yet.
	Facts *MessageFacts
	// PullSecrets are the distinct names in spec.imagePullSecrets, in their order.
	PullSecrets []string
	// MoreSecrets is how many names there are beyond those, which are not examined.
	MoreSecrets int
	// ServiceAccount is the pod's.
	ServiceAccount string
	// Owner says who made the pod, so that a remedy names what to edit.
	Owner Owner
	// Manager is what keeps the owner, or the pod, as it is in some source; as far as
	// the pod's own labels and annotations show it.
	Manager Manager
	// NameServers are those that the pod's own spec chooses (dnsConfig).
	NameServers []string
	// Stall says how the pull hangs of a container that waits without a reason;
	// empty for one that fails.
	Stall Stall
	// Queue names the pods that wait for a stalled pull, or the pull that it waits
	// for, in words for the pod's report; "" if there are none.
	Queue string
	// Offline reports whether there is no pod in a cluster and no text of a kubelet:
	// the image is that of a manifest, or of a command line.
	Offline bool
	// Since is when the failure was first seen; of a pull that hangs, when the
	// container was first seen to wait.
	Since time.Time
	// Incident identifies the incident: it is what Since was when the incident began, and is
	// not corrected where the clock turns out to have been wrong. Zero: it is Since.
	Incident time.Time
	// Attempts is how many of the kubelet's attempts are known to have failed; 0 if
	// nobody counted from the first.
	Attempts int
	// NextTry is when the kubelet's back-off for the image ends, after which it
	// tries again with its next look at the pod; zero if that is not known. It
	// stays the same until then.
	NextTry time.Time
}

// Subject names what a failure is of: a container, an image volume or the
// sandbox of one pod.
type Subject struct {
	UID  string // of the pod
	Kind Kind
	Name string
}

// Subject returns what the failure is of.
func (f Failure) Subject() Subject { return Subject{f.UID, f.Kind, f.Container} }

// SortFailures sorts failures by what they are of. sort.Slice and its kind keep the
// binary smaller than package slices does, whose sorts are compiled for each type.
func SortFailures(all []Failure) {
	sort.Slice(all, func(i, j int) bool {
		a, b := all[i].Subject(), all[j].Subject()
		return cmp.Or(cmp.Compare(a.UID, b.UID), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) < 0
	})
}

// Ref returns the image with its parts.
func (f Failure) Ref() Image {
	if f.Registry == "" {
		return Image{Written: f.Image}
	}
	return NewImage(f.Image, f.Registry+"/"+f.Repository)
}

// SetImage makes the failure one of another image.
func (f *Failure) SetImage(i Image) {
	f.Image, f.Registry, f.Repository = i.Written, i.Registry, i.Repository
}

// SandboxName stands for a container's name where the sandbox is meant; the
// kubelet's own name for it.
const SandboxName = "POD"

// Stall is the way in which a pull hangs that has not failed.
type Stall string

// The ways.
const (
	StallSandbox  Stall = "sandbox"  // there is no sandbox, and its image is not on the node
	StallUnbegun  Stall = "unbegun"  // no byte of the image has come
	StallTransfer Stall = "transfer" // bytes have come, and then no more
	StallBehind   Stall = "behind"   // another image's transfer has stalled, and nothing else is received
)

// Owner is the workload that has to be edited to change a pod for good. The
// zero value is a pod that nobody manages.
type Owner struct {
	Kind, Name string
	// CronJob is the CronJob that has presumably created the Job, by the Job's name; ""
	// for none. Only the Job names its owner, and whypull does not read it.
	CronJob string
}
