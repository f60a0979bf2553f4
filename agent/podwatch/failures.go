// Package podwatch follows the pods of one node and tells which of their
// containers cannot get their image, and which could again.
package podwatch

import (
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/agent/diagnosis"
)

// Failures returns the containers and image volumes of a pod that cannot get
// their image by the pod's own status, in the order of the spec: init,
// regular, ephemeral. An image volume that several containers mount is there
// once. Since is left zero.
func Failures(pod *corev1.Pod) []diagnosis.Failure {
	return failures(pod, func(Key) bool { return false })
}

// failures is Failures with what is known already: open tells of an incident
// that has not ended.
func failures(pod *corev1.Pod, open func(Key) bool) []diagnosis.Failure {
	if over(pod) {
		return nil
	}
	var out []diagnosis.Failure
	for _, c := range containers(pod) {
		if !c.failing() {
			continue
		}
		f := newFailure(pod, c, open)
		if !slices.ContainsFunc(out, func(o diagnosis.Failure) bool { return KeyOf(o) == KeyOf(f) }) {
			out = append(out, f)
		}
	}
	return out
}

// over tells that nobody tries to pull for the pod any more.
func over(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// Key names a container or image volume within a pod.
type Key struct {
	Kind diagnosis.Kind
	Name string
}

// KeyOf returns the failure's key.
func KeyOf(f diagnosis.Failure) Key { return Key{f.Kind, f.Container} }

// container is what the three kinds of containers have in common.
type container struct {
	kind   diagnosis.Kind
	name   string
	image  string
	policy corev1.PullPolicy
	mounts []corev1.VolumeMount
	status *corev1.ContainerStatus
}

func (c container) waiting() *corev1.ContainerStateWaiting {
	if c.status == nil {
		return nil
	}
	return c.status.State.Waiting
}

func (c container) failing() bool {
	w := c.waiting()
	return w != nil && failing(w.Reason, w.Message)
}

func (c container) mountsVolume(name string) bool {
	return slices.ContainsFunc(c.mounts, func(m corev1.VolumeMount) bool { return m.Name == name })
}

func containers(pod *corev1.Pod) []container {
	var out []container
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		out = append(out, container{diagnosis.KindInitContainer, c.Name, c.Image, c.ImagePullPolicy, c.VolumeMounts,
			statusOf(pod.Status.InitContainerStatuses, c.Name)})
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		out = append(out, container{diagnosis.KindContainer, c.Name, c.Image, c.ImagePullPolicy, c.VolumeMounts,
			statusOf(pod.Status.ContainerStatuses, c.Name)})
	}
	for i := range pod.Spec.EphemeralContainers {
		c := &pod.Spec.EphemeralContainers[i]
		out = append(out, container{diagnosis.KindEphemeralContainer, c.Name, c.Image, c.ImagePullPolicy, c.VolumeMounts,
			statusOf(pod.Status.EphemeralContainerStatuses, c.Name)})
	}
	return out
}

func statusOf(all []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	for i := range all {
		if all[i].Name == name {
			return &all[i]
		}
	}
	return nil
}

// failing tells that a waiting reason speaks of the image. The kubelet's
// reasons are single words (images/types.go); since 1.33 the raw text of a
// malformed pull secret's error can stand there too, which is never one word
// and which the message repeats. (A missing RuntimeClass gives a raw reason as
// well, but no message.)
func failing(reason, message string) bool {
	switch reason {
	case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName",
		"ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed":
		return true
	}
	return strings.Contains(reason, " ") && strings.HasSuffix(message, reason)
}

// undecided tells that a waiting reason says nothing of the image: the
// kubelet's defaults, which also stand while a pull is under way.
func undecided(reason string) bool {
	return reason == "" || reason == "ContainerCreating" || reason == "PodInitializing"
}

func newFailure(pod *corev1.Pod, c container, open func(Key) bool) diagnosis.Failure {
	w := c.waiting()
	f := diagnosis.Failure{
		Namespace: pod.Namespace, Pod: pod.Name, UID: string(pod.UID), Node: pod.Spec.NodeName, SandboxUID: sandboxUID(pod),
		Container: c.name, Kind: c.kind, Image: c.image, PullPolicy: string(c.policy),
		Reason: w.Reason, Message: w.Message,
		PullSecrets:    pullSecrets(pod),
		ServiceAccount: pod.Spec.ServiceAccountName,
		Owner:          owner(pod),
		HostNetwork:    pod.Spec.HostNetwork,
	}
	if v := blamedVolume(pod, c, w.Reason+" "+w.Message, open); v != nil {
		return ofVolume(f, v)
	}
	return named(f)
}

// ofVolume makes a container's failure that of an image volume which it mounts.
func ofVolume(f diagnosis.Failure, v *corev1.Volume) diagnosis.Failure {
	f.Kind, f.Container = diagnosis.KindImageVolume, v.Name
	f.Image, f.PullPolicy = v.Image.Reference, string(v.Image.PullPolicy)
	return named(f)
}

// named fills in what the image's name says.
func named(f diagnosis.Failure) diagnosis.Failure {
	f.Registry, f.Repository = "", ""
	if named, err := reference.ParseNormalizedNamed(f.Image); err == nil {
		// Not reference.Domain: it knows no host with an underscore.
		f.Registry, f.Repository, _ = strings.Cut(named.Name(), "/")
	}
	return f
}

// sandboxUID is the pod's uid as the kubelet gives it to the runtime: of a
// static pod, the hash of its manifest (kubelet config.applyDefaults).
func sandboxUID(pod *corev1.Pod) string {
	if hash := pod.Annotations["kubernetes.io/config.hash"]; hash != "" && pod.Annotations[corev1.MirrorPodAnnotationKey] != "" {
		return hash
	}
	return string(pod.UID)
}

func pullSecrets(pod *corev1.Pod) []string {
	var out []string
	for _, s := range pod.Spec.ImagePullSecrets {
		if s.Name != "" { // the kubelet skips entries without a name
			out = append(out, s.Name)
		}
	}
	return out
}

// blamedVolume returns the image volume that a container's waiting message is
// about: the kubelet reports a volume's failed pull on each container that
// mounts it (kuberuntime toKubeContainerImageVolumes), and only the image in
// the text tells it from the container's own. Of several failing volumes the
// one that is mounted last wins. A text that names no image ("pull QPS
// exceeded") is about the volume whose incident is open, if there is one.
func blamedVolume(pod *corev1.Pod, c container, text string, open func(Key) bool) *corev1.Volume {
	if mentions(text, c.image) {
		return nil
	}
	var nameless *corev1.Volume
	for _, m := range slices.Backward(c.mounts) {
		v := imageVolume(pod, m.Name)
		switch {
		case v == nil:
		case mentions(text, v.Image.Reference):
			return v
		case nameless == nil && open(Key{diagnosis.KindImageVolume, v.Name}):
			nameless = v
		}
	}
	return nameless
}

func imageVolume(pod *corev1.Pod, name string) *corev1.Volume {
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.Name == name && v.Image != nil {
			return v
		}
	}
	return nil
}

// mentions tells that a text names an image: as it was written, or as the
// kubelet or the runtime completes it. Of a tag and a digest containerd keeps
// the digest. A bare word may be anything, unless it is quoted.
func mentions(text, image string) bool {
	if strings.Contains(text, strconv.Quote(image)) || strings.ContainsAny(image, "/:@") && names(text, image) {
		return true
	}
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return false
	}
	if digested, ok := named.(reference.Digested); ok {
		return names(text, named.Name()+"@"+digested.Digest().String())
	}
	full := reference.TagNameOnly(named)
	return names(text, full.String()) || reference.IsNameOnly(named) && names(text, image+":latest")
}

// names tells that word stands in text by itself, not as the beginning or the
// end of a longer name.
func names(text, word string) bool {
	for at := 0; word != ""; at++ {
		i := strings.Index(text[at:], word)
		if i < 0 {
			return false
		}
		at += i
		if !continued(text[:at], true) && !continued(text[at+len(word):], false) {
			return true
		}
	}
	return false
}

func continued(s string, atEnd bool) bool {
	if s == "" {
		return false
	}
	b := s[0]
	if atEnd {
		if strings.HasSuffix(s, "://") { // a transport before the name: docker://image
			return false
		}
		b = s[len(s)-1]
	}
	if !atEnd && b == ':' { // "image: not found" ends the name, "image:tag" does not
		return len(s) > 1 && s[1] != ' '
	}
	return b == '/' || b == '.' || b == '-' || b == '_' || b == '@' ||
		b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

// owner is the workload to edit. A ReplicaSet that a Deployment made is named
// after it and the template's hash, which is a label of the pod.
func owner(pod *corev1.Pod) diagnosis.Owner {
	for _, o := range pod.OwnerReferences {
		if o.Controller == nil || !*o.Controller {
			continue
		}
		if hash := pod.Labels["pod-template-hash"]; o.Kind == "ReplicaSet" && hash != "" {
			if name, ok := strings.CutSuffix(o.Name, "-"+hash); ok {
				return diagnosis.Owner{Kind: "Deployment", Name: name}
			}
		}
		return diagnosis.Owner{Kind: qualified(o), Name: o.Name}
	}
	return diagnosis.Owner{}
}

// qualified is the owner's kind, with its group behind it, as kubectl takes it,
// where that is none of Kubernetes' own: others have kinds of the same name.
func qualified(o metav1.OwnerReference) string {
	group, _, found := strings.Cut(o.APIVersion, "/")
	if !found || group == "apps" || group == "batch" {
		return o.Kind
	}
	return o.Kind + "." + group
}
