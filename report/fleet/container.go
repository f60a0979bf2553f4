package fleet

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/diagnosis/message"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/report"
)

// Container is a container or image volume whose image cannot be pulled.
type Container struct {
	Name       string `json:"name"`
	Kind       string `json:"kind"`
	Image      string `json:"image"`
	Registry   string `json:"registry,omitempty"`
	Repository string `json:"repository,omitempty"`
	// Reason and Message are the kubelet's, without credentials.
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Cause is whypull's; empty without a report.
	Cause string `json:"cause,omitempty"`
	// NoReport is why there is no report; empty if there is one.
	NoReport string `json:"noReport,omitempty"`
	// RunsOn lists the other nodes on which a container runs, or has run, with
	// this image; sorted.
	RunsOn []string `json:"runsOn"`
	// RunsHere reports the same for the pod's own node.
	RunsHere bool `json:"runsHere"`

	verdict *report.Container // from the report
	secrets []string          // the pod's pull secrets
	begin   time.Time         // since when it fails; without a report, the pod's last change
}

// parseReport returns a pod's report in an annotation; nil if it has none or an invalid
// one.
func parseReport(pod *corev1.Pod, annotation string) *report.Document {
	text, there := pod.Annotations[annotation]
	if !there {
		return nil
	}
	d, err := report.Parse(text)
	if err != nil {
		return nil
	}
	d = d.Printable()
	return &d
}

// failing returns the pod's containers whose image cannot be pulled: those that
// the pod's status says so about, and those in the report that are still
// waiting. The status says nothing while the kubelet retries, and before there
// is a sandbox.
func failing(pod *corev1.Pod) []Container {
	if podwatch.Over(pod) {
		return nil
	}
	doc := parseReport(pod, report.ReportAnnotation)
	var out []Container
	for _, f := range podwatch.Failures(pod) {
		verdict := verdictOf(doc, pod, f)
		c := newContainer(attribute(pod, f, verdict))
		c.verdict = verdict
		out = addContainer(out, c)
	}
	if doc == nil {
		return out
	}
	for i := range doc.Containers {
		if f, ok := stillWaiting(pod, doc.Containers[i]); ok {
			c := newContainer(f)
			c.verdict = &doc.Containers[i]
			out = addContainer(out, c)
		}
	}
	return out
}

// addContainer adds a container that is not in the list yet. A report entry
// counts once, whichever container's status led to it.
func addContainer(all []Container, c Container) []Container {
	if c.verdict != nil {
		c.Name, c.Kind, c.Cause = c.verdict.Name, c.verdict.Kind, cmp.Or(c.verdict.Cause, string(diagnosis.Unknown))
	}
	if slices.ContainsFunc(all, func(o Container) bool { return o.Name == c.Name && o.Kind == c.Kind }) {
		return all
	}
	return append(all, c)
}

func newContainer(f diagnosis.Failure) Container {
	image := podwatch.ImageOf(f.Image) // the failure may be of another image than the one it was created for
	c := Container{
		Name: report.Printable(f.Container), Kind: string(f.Kind), Image: report.Printable(image.Written),
		Reason: report.Printable(message.Redact(f.Reason)), Message: report.Printable(message.Redact(f.Message)), RunsOn: []string{},
	}
	for _, s := range f.PullSecrets {
		c.secrets = append(c.secrets, report.Printable(s))
	}
	c.Registry, c.Repository = image.Registry, image.Repository
	return c
}

// verdictOf returns the report's entry on a failing container: under its name,
// or under that of an image volume that it mounts, because a status without an
// image name does not distinguish the two.
func verdictOf(doc *report.Document, pod *corev1.Pod, f diagnosis.Failure) *report.Container {
	if doc == nil {
		return nil
	}
	mounts := mountsOf(pod, f)
	for i := range doc.Containers {
		c := &doc.Containers[i]
		if c.Kind == string(f.Kind) && c.Name == f.Container && sameImage(c.Image, f.Image) ||
			c.Kind == string(diagnosis.KindImageVolume) && slices.Contains(mounts, c.Name) {
			return c
		}
	}
	return nil
}

// attribute moves a container's failure to the image volume that the report
// blames.
func attribute(pod *corev1.Pod, f diagnosis.Failure, verdict *report.Container) diagnosis.Failure {
	if verdict == nil || verdict.Kind == string(f.Kind) {
		return f
	}
	for _, v := range pod.Spec.Volumes {
		if v.Image != nil && v.Name == verdict.Name {
			f.Kind, f.Container, f.Image = diagnosis.KindImageVolume, v.Name, v.Image.Reference
		}
	}
	return f
}

// sameImage reports whether a report entry, which truncates long names and has no
// credentials, is about the image. An image can change while the pod stays.
func sameImage(inReport, image string) bool {
	image = report.Printable(podwatch.ImageOf(image).Written)
	begin, cut := strings.CutSuffix(inReport, "…")
	return inReport == image || cut && strings.HasPrefix(image, begin)
}

// mountsOf returns the names of the volumes that a failing container mounts.
func mountsOf(pod *corev1.Pod, f diagnosis.Failure) []string {
	var out []string
	for _, s := range podwatch.Slots(pod) {
		if s.Kind != f.Kind || s.Name != f.Container {
			continue
		}
		for _, m := range s.VolumeMounts {
			out = append(out, m.Name)
		}
	}
	return out
}

// stillWaiting reports whether a container of the report does not have its
// image yet according to the pod's status, and returns its failure. Without an
// agent, annotations are not removed after a recovery.
func stillWaiting(pod *corev1.Pod, c report.Container) (diagnosis.Failure, bool) {
	for _, s := range podwatch.Slots(pod) {
		image, about := isAbout(s, pod, c)
		if !about || !pending(s.Status) || !sameImage(c.Image, image) {
			continue
		}
		f := failureOf(pod, c, image)
		if s.Status != nil && s.Status.State.Waiting != nil {
			f.Reason, f.Message = s.Status.State.Waiting.Reason, s.Status.State.Waiting.Message
		}
		return f, true
	}
	return diagnosis.Failure{}, false
}

// failureOf returns the failure that a report's entry is about.
func failureOf(pod *corev1.Pod, c report.Container, image string) diagnosis.Failure {
	f := diagnosis.Failure{Container: c.Name, Kind: diagnosis.Kind(c.Kind), Image: image}
	for _, ref := range pod.Spec.ImagePullSecrets {
		f.PullSecrets = append(f.PullSecrets, ref.Name)
	}
	return f
}

// isAbout reports whether the report's container is the slot's or a volume that it
// mounts, and returns its image.
func isAbout(s podwatch.Slot, pod *corev1.Pod, c report.Container) (string, bool) {
	if c.Kind != string(diagnosis.KindImageVolume) {
		return s.Image, string(s.Kind) == c.Kind && report.Printable(s.Name) == c.Name
	}
	for _, v := range pod.Spec.Volumes {
		mounts := func(m corev1.VolumeMount) bool { return m.Name == v.Name }
		if v.Image != nil && report.Printable(v.Name) == c.Name && slices.ContainsFunc(s.VolumeMounts, mounts) {
			return v.Image.Reference, true
		}
	}
	return "", false
}

// pending reports whether a container has never had its image: it waits for a
// reason that precedes or accompanies the pull.
func pending(s *corev1.ContainerStatus) bool {
	if s == nil {
		return true
	}
	w := s.State.Waiting
	return w != nil && (w.Reason == "" || w.Reason == "ContainerCreating" || w.Reason == "PodInitializing") ||
		s.State == corev1.ContainerState{}
}
