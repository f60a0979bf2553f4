// Package podwatch follows the pods of one node and reports which of their
// containers cannot get their image and which have recovered.
package podwatch

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/diagnosis/message"
)

// Limits on what is examined of one pod: its spec may hold whatever fits into an
// API object.
const (
	maxExamined = 16  // containers, and image volumes; a verdict takes 15 KB, and a report names fewer
	maxSecrets  = 32  // distinct pull secrets
	maxName     = 253 // bytes of an object's name; none has a longer one
)

// Limits on what is kept of the texts of one pod, in bytes.
const (
	maxHost       = 259      // of a registry: a name in DNS, and a port
	maxImage      = 1 << 10  // of a name; one that can be pulled has fewer, with host, path, tag and digest
	maxMessage    = 4 << 10  // of a waiting state; those of runtimes have a quarter of that
	maxAnnotation = 16 << 10 // of whypull, which writes a quarter of that
)

// Failures returns the containers and image volumes that cannot get their image
// according to the pod's status, in the order of the spec: init, regular,
// ephemeral. An image volume that several containers mount is returned once. Since is
// zero. An agent examines only the first of many.
func Failures(pod *corev1.Pod) []diagnosis.Failure {
	all, _ := sightings(pod, containers(pod), math.MaxInt)
	return settle(all, func(diagnosis.Subject) bool { return false })
}

// sighting is a container whose status shows a failed pull, with the image that
// the message names.
type sighting struct {
	failure diagnosis.Failure // the container's own, or that of the volume whose image the message names
	// volumes are the image volumes that may have failed instead, most likely
	// first; only when the message names no image.
	volumes []diagnosis.Failure
}

// sightings returns the failed pulls that the pod's status shows, in the order of
// the spec, and the number of failing containers beyond most.
func sightings(pod *corev1.Pod, all []container, most int) (out []sighting, more int) {
	if Over(pod) {
		return nil, 0
	}
	var base *diagnosis.Failure
	for _, c := range all {
		switch {
		case !c.failing():
		case len(out) == most:
			more++
		default:
			if base == nil {
				base = newFailure(pod)
			}
			out = append(out, sight(*base, c))
		}
	}
	return out, more
}

// settle returns the failure of each sighting, without duplicates. A message that
// names no image ("pull QPS exceeded") is taken to be about the volume with an
// open incident, if there is one.
func settle(all []sighting, open func(diagnosis.Subject) bool) []diagnosis.Failure {
	var out []diagnosis.Failure
	for _, s := range all {
		f := s.failure
		if i := slices.IndexFunc(s.volumes, func(v diagnosis.Failure) bool { return open(v.Subject()) }); i >= 0 {
			f = s.volumes[i]
		}
		if !slices.ContainsFunc(out, func(o diagnosis.Failure) bool { return o.Subject() == f.Subject() }) {
			out = append(out, f)
		}
	}
	return out
}

// Over reports whether the kubelet has stopped pulling for the pod.
func Over(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// Slot is a container of a pod's spec, of whichever kind, and its status.
type Slot struct {
	*corev1.Container

	Kind diagnosis.Kind
	// Status is nil if the pod's status does not have the container.
	Status *corev1.ContainerStatus
}

// Slots returns the containers of a pod in the order of its spec: init, regular,
// ephemeral.
func Slots(pod *corev1.Pod) []Slot {
	var out []Slot
	add := func(kind diagnosis.Kind, all []corev1.Container, statuses []corev1.ContainerStatus) {
		status := byName(statuses)
		for i := range all {
			out = append(out, Slot{&all[i], kind, status[all[i].Name]})
		}
	}
	add(diagnosis.KindInitContainer, pod.Spec.InitContainers, pod.Status.InitContainerStatuses)
	add(diagnosis.KindContainer, pod.Spec.Containers, pod.Status.ContainerStatuses)
	status := byName(pod.Status.EphemeralContainerStatuses)
	for i := range pod.Spec.EphemeralContainers {
		c := (*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		out = append(out, Slot{c, diagnosis.KindEphemeralContainer, status[c.Name]})
	}
	return out
}

// container is a container with the image volumes that it mounts, in the order of its
// mounts; at most maxExamined.
type container struct {
	Slot

	images []*imageVolume
}

// imageVolume is an image volume with its image, parsed.
type imageVolume struct {
	*corev1.Volume
	image diagnosis.Image
}

func (c container) waiting() *corev1.ContainerStateWaiting {
	if c.Status == nil {
		return nil
	}
	return c.Status.State.Waiting
}

// has reports whether the container's image is that of a failure, as ParseImage left it.
func (c container) has(image string) bool {
	return c.Image == image || ImageOf(c.Image).Written == image
}

func (c container) failing() bool {
	w := c.waiting()
	return w != nil && (failing(w.Reason, w.Message) || c.cannotMount())
}

// cannotMount reports whether the container cannot be created because the runtime
// does not support image volumes. The reason stands for many other errors, so the
// text has to show it, and the container has to mount such a volume.
func (c container) cannotMount() bool {
	w := c.waiting()
	return w != nil && w.Reason == createContainerError && len(c.images) > 0 &&
		message.Read(w.Reason, w.Message).Cause == diagnosis.ImageVolumeUnsupported
}

// createContainerError is the waiting reason where the runtime has refused to create
// a container, which comes after all pulls (kuberuntime startContainer).
const createContainerError = "CreateContainerError"

func containers(pod *corev1.Pod) []container {
	slots, images := Slots(pod), imageVolumes(pod)
	out := make([]container, len(slots))
	for i, s := range slots {
		out[i] = container{s, mounted(images, s.VolumeMounts)}
	}
	return out
}

// imageVolumes returns the pod's image volumes by name, at most maxExamined.
func imageVolumes(pod *corev1.Pod) map[string]*imageVolume {
	var out map[string]*imageVolume
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Image == nil || out[v.Name] != nil || len(out) == maxExamined {
			continue
		}
		if out == nil {
			out = map[string]*imageVolume{}
		}
		out[v.Name] = &imageVolume{v, ImageOf(v.Image.Reference)}
	}
	return out
}

// mounted returns the image volumes among the mounts of a container.
func mounted(images map[string]*imageVolume, mounts []corev1.VolumeMount) []*imageVolume {
	if len(images) == 0 {
		return nil
	}
	var out []*imageVolume
	for _, m := range mounts {
		if v := images[m.Name]; v != nil && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// byName returns container statuses by name: the first of each. A pod can have thousands,
// in another order than its spec, so a search for each container would take long.
func byName(all []corev1.ContainerStatus) map[string]*corev1.ContainerStatus {
	out := make(map[string]*corev1.ContainerStatus, len(all))
	for i := range slices.Backward(all) {
		out[all[i].Name] = &all[i]
	}
	return out
}

// failing reports whether a waiting reason is about the image. Since 1.33 the reason
// can also be the raw error of a malformed pull secret, which has several words and
// is repeated in the message. (A missing RuntimeClass gives a raw reason too, but no
// message.)
func failing(reason, message string) bool {
	return slices.Contains(imageReasons, reason) || strings.Contains(reason, " ") && strings.HasSuffix(message, reason)
}

// imageReasons are the kubelet's reasons (images/types.go).
var imageReasons = []string{ //nolint:gochecknoglobals // never written
	"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName",
	"ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed",
}

// sight returns what a container's waiting state shows. The kubelet reports a
// volume's failed pull on each container that mounts it (kuberuntime
// toKubeContainerImageVolumes); only the image in the message distinguishes it
// from the container's own. Of several failing volumes the last mounted wins.
func sight(base diagnosis.Failure, c container) sighting {
	s, w := sighting{failure: ofContainer(base, c)}, c.waiting()
	s.failure.Reason, s.failure.Message = bounded(w.Reason), bounded(w.Message)
	if c.cannotMount() { // names no image; the runtime fails over the first of them
		v := c.images[0]
		return sighting{failure: ofVolume(s.failure, v.Volume, v.image)}
	}
	text, image := s.failure.Reason+" "+s.failure.Message, s.failure.Ref()
	if len(c.images) == 0 || mentions(text, image) || !image.Valid() && strings.Contains(text, strconv.Quote(c.Image)) {
		return s
	}
	for _, v := range slices.Backward(c.images) {
		of := ofVolume(s.failure, v.Volume, v.image)
		if mentions(text, v.image) {
			return sighting{failure: of}
		}
		s.volumes = append(s.volumes, of)
	}
	return s
}

// newFailure returns what the failures of one pod have in common.
func newFailure(pod *corev1.Pod) *diagnosis.Failure {
	f := &diagnosis.Failure{
		Namespace: pod.Namespace, Pod: pod.Name, UID: string(pod.UID), Node: pod.Spec.NodeName, SandboxUID: sandboxUID(pod),
		ServiceAccount: pod.Spec.ServiceAccountName,
		Owner:          OwnerOf(pod),
		Manager:        diagnosis.ManagerOf(pod.Labels, pod.Annotations),
	}
	if pod.Spec.DNSConfig != nil {
		f.NameServers = pod.Spec.DNSConfig.Nameservers
	}
	f.PullSecrets, f.MoreSecrets = pullSecrets(pod)
	return f
}

// ofContainer returns a copy of a pod's failure, changed into that of a container.
func ofContainer(f diagnosis.Failure, c container) diagnosis.Failure {
	f.Container, f.Kind, f.PullPolicy = c.Name, c.Kind, string(c.ImagePullPolicy)
	f.SetImage(ImageOf(c.Image))
	return f
}

// bounded returns a text of a waiting state: of a long one its beginning and its end, since
// a server's words stand between those of the runtime.
func bounded(text string) string {
	if len(text) > maxMessage {
		text = message.Redact(text) // while it is whole: half of a credential does not look like one
	}
	if len(text) <= maxMessage {
		return text
	}
	const end = maxMessage / 4
	return strings.ToValidUTF8(diagnosis.Clip(text, maxMessage-end)+text[len(text)-end:], "")
}

// ofVolume returns a copy of a container's failure, changed into that of an image
// volume that the container mounts.
func ofVolume(f diagnosis.Failure, v *corev1.Volume, image diagnosis.Image) diagnosis.Failure {
	f.Kind, f.Container, f.PullPolicy = diagnosis.KindImageVolume, v.Name, string(v.Image.PullPolicy)
	f.SetImage(image)
	return f
}

// ParseImage parses an image reference by the rules of the kubelet and the
// runtimes (github.com/distribution/reference), which take a host of any length. On
// error the image has only Written set, without the login that somebody may have put
// into it, and not longer than maxImage.
func ParseImage(written string) (diagnosis.Image, error) {
	err := errLongName
	if len(written) < maxImage {
		var named reference.Named
		if named, err = reference.ParseNormalizedNamed(written); err == nil {
			// Not reference.Domain: it knows no host with an underscore.
			image := diagnosis.NewImage(written, named.Name())
			if len(image.Registry) <= maxHost {
				return image, nil
			}
			err = errLongName
		}
	}
	return diagnosis.Image{Written: diagnosis.Clip(message.RedactImage(written), maxImage)}, err
}

var errLongName = fmt.Errorf("%w: it is longer than a name can be", reference.ErrReferenceInvalidFormat)

// ImageOf is ParseImage without the error; see diagnosis.Image.Valid.
func ImageOf(written string) diagnosis.Image {
	image, _ := ParseImage(written)
	return image
}

// sandboxUID returns the pod's UID as the kubelet passes it to the runtime: for a
// static pod, the hash of its manifest (kubelet config.applyDefaults).
func sandboxUID(pod *corev1.Pod) string {
	if hash := pod.Annotations["kubernetes.io/config.hash"]; hash != "" && len(hash) <= maxName && pod.Annotations[corev1.MirrorPodAnnotationKey] != "" {
		return hash
	}
	return string(pod.UID)
}

// pullSecrets returns the distinct names in spec.imagePullSecrets, at most
// maxSecrets, and the number of entries with other names.
func pullSecrets(pod *corev1.Pod) (names []string, more int) {
	for _, s := range pod.Spec.ImagePullSecrets {
		switch {
		case s.Name == "", slices.Contains(names, s.Name): // the kubelet skips entries without a name
		case len(names) == maxSecrets, len(s.Name) > maxName:
			more++
		default:
			names = append(names, s.Name)
		}
	}
	return names, more
}

// mentions reports whether a message names an image, as written or as the kubelet
// or the runtime completes it. With both a tag and a digest, containerd names only
// the digest. A bare word counts only in quotes.
func mentions(text string, image diagnosis.Image) bool {
	if strings.Contains(text, strconv.Quote(image.Written)) || strings.ContainsAny(image.Written, "/:@") && containsName(text, image.Written) {
		return true
	}
	switch {
	case !image.Valid():
		return false
	case image.Digest != "":
		return containsName(text, image.Name()+"@"+image.Digest)
	}
	return containsName(text, image.Reference()) || image.Tag == "" && containsName(text, image.Written+":latest")
}

// containsName reports whether text contains name, not as part of a longer name.
func containsName(text, word string) bool {
	for at := 0; word != ""; at++ {
		i := strings.Index(text[at:], word)
		if i < 0 {
			return false
		}
		at += i
		if !endsInName(text[:at]) && !beginsInName(text[at+len(word):]) {
			return true
		}
	}
	return false
}

// endsInName reports whether text ends with the beginning of a longer name. A transport, as
// in docker://image, is not part of a name.
func endsInName(text string) bool {
	return text != "" && !strings.HasSuffix(text, "://") && inName(text[len(text)-1])
}

// beginsInName reports whether text begins with the rest of a longer name, such as ":tag"; a
// colon before a space, as in "image: not found", is not part of it.
func beginsInName(text string) bool {
	if strings.HasPrefix(text, ":") {
		return len(text) > 1 && text[1] != ' '
	}
	return text != "" && inName(text[0])
}

func inName(b byte) bool {
	return strings.IndexByte("/.-_@", b) >= 0 || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

// hashes are the labels of a pod with the hash of its template, and the kinds whose
// ReplicaSets have it at the end of their names.
var hashes = map[string]string{ //nolint:gochecknoglobals // never written
	"pod-template-hash": "Deployment", "rollouts-pod-template-hash": diagnosis.KindRollout,
}

// OwnerOf returns the workload to edit. The ReplicaSet of a Deployment, or of a Rollout,
// is named after it plus the template's hash, which is also a label of the pod.
func OwnerOf(pod *corev1.Pod) diagnosis.Owner {
	o := metav1.GetControllerOf(pod)
	if o == nil || max(len(o.APIVersion), len(o.Kind), len(o.Name)) > 2*maxName { // the API server bounds none of them
		return diagnosis.Owner{}
	}
	for label, kind := range hashes {
		hash := pod.Labels[label]
		if name, ok := strings.CutSuffix(o.Name, "-"+hash); ok && hash != "" && o.Kind == "ReplicaSet" {
			return diagnosis.Owner{Kind: kind, Name: name}
		}
	}
	out := diagnosis.Owner{Kind: qualified(*o), Name: o.Name}
	if out.Kind == "Job" {
		out.CronJob = cronJobOf(o.Name, pod.CreationTimestamp.Time)
	}
	return out
}

// oldestSchedule is how long before a pod its Job can have been scheduled, as far as a
// remedy is concerned: Jobs that replace their pods for longer are rare.
const oldestSchedule = 31 * 24 * time.Hour

// cronJobOf returns the CronJob that has created a Job of this name, by its form, with a pod
// that was created at this time; "" for other names. A CronJob appends the minutes from 1970
// to the scheduled time (pkg/controller/cronjob, getJobName).
func cronJobOf(job string, created time.Time) string {
	i := strings.LastIndexByte(job, '-')
	if i <= 0 || created.IsZero() {
		return ""
	}
	minutes, err := strconv.ParseUint(job[i+1:], 10, 32)
	if err != nil {
		return ""
	}
	scheduled := time.Unix(0, 0).Add(time.Duration(minutes) * time.Minute)
	if age := created.Sub(scheduled); age < 0 || age > oldestSchedule {
		return ""
	}
	return job[:i]
}

// qualified returns the owner's kind as kubectl takes it, with the API group
// appended ("Service.serving.knative.dev") unless it is a built-in one.
func qualified(o metav1.OwnerReference) string {
	group, _, found := strings.Cut(o.APIVersion, "/")
	if !found || group == "apps" || group == "batch" {
		return o.Kind
	}
	return o.Kind + "." + group
}
