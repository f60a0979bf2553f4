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

	verdict report.Container // the report's entry; zero without a report
	begin   time.Time        // since when it fails; without a report, the pod's last change
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
// the pod's status says so about, and those in the report (nil for none) that are still
// waiting. The status says nothing while the kubelet retries, and before there
// is a sandbox.
func failing(pod *corev1.Pod, doc *report.Document) []Container {
	if podwatch.Over(pod) {
		return nil
	}
	var out []Container
	for _, f := range podwatch.Failures(pod) {
		f, verdict := reported(pod, doc, f)
		out = add(out, f, verdict)
	}
	if doc == nil {
		return out
	}
	for i := range doc.Containers {
		if f, ok := stillWaiting(pod, doc.Containers[i]); ok {
			out = add(out, f, &doc.Containers[i])
		}
	}
	return out
}

// add adds a failing container with the report's entry on it, if any, unless it is in
// the list. An entry counts once, whichever container's status led to it.
func add(all []Container, f diagnosis.Failure, verdict *report.Container) []Container {
	image := podwatch.ImageOf(f.Image) // the failure may be of another image than the one it was created for
	c := Container{
		Name: report.Printable(f.Container), Kind: string(f.Kind), Image: report.Printable(image.Written),
		Registry: image.Registry, Repository: image.Repository,
		Reason: report.Printable(message.Redact(f.Reason)), Message: report.Printable(message.Redact(f.Message)),
		RunsOn: []string{},
	}
	if verdict != nil {
		c.verdict = *verdict
		c.Name, c.Kind, c.Cause = verdict.Name, verdict.Kind, cmp.Or(verdict.Cause, string(diagnosis.Unknown))
	}
	if slices.ContainsFunc(all, func(o Container) bool { return o.Name == c.Name && o.Kind == c.Kind }) {
		return all
	}
	return append(all, c)
}

// reported returns the report's entry on a failing container, and the failure that it is
// about: the container's, or that of an image volume that it mounts, because a status
// without an image name does not distinguish the two.
func reported(pod *corev1.Pod, doc *report.Document, f diagnosis.Failure) (diagnosis.Failure, *report.Container) {
	if doc == nil {
		return f, nil
	}
	other := func(s podwatch.Slot) bool { return s.Kind != f.Kind || s.Name != f.Container }
	slots := slices.DeleteFunc(podwatch.Slots(pod), other)
	for i := range doc.Containers {
		c := &doc.Containers[i]
		if c.Kind == string(f.Kind) && c.Name == f.Container && sameImage(c.Image, f.Image) {
			return f, c
		}
		if image, mounted := imageOf(pod, slots, *c); mounted && c.Kind == string(diagnosis.KindImageVolume) {
			f.Kind, f.Container, f.Image = diagnosis.KindImageVolume, c.Name, image
			return f, c
		}
	}
	return f, nil
}

// sameImage reports whether a report entry, which truncates long names and has no
// credentials, is about the image. An image can change while the pod stays.
func sameImage(inReport, image string) bool {
	image = report.Printable(podwatch.ImageOf(image).Written)
	begin, cut := strings.CutSuffix(inReport, "…")
	return inReport == image || cut && strings.HasPrefix(image, begin)
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
		f := diagnosis.Failure{Container: c.Name, Kind: diagnosis.Kind(c.Kind), Image: image}
		if s.Status != nil && s.Status.State.Waiting != nil {
			f.Reason, f.Message = s.Status.State.Waiting.Reason, s.Status.State.Waiting.Message
		}
		return f, true
	}
	return diagnosis.Failure{}, false
}

// imageOf returns the image of the first of the containers, or of a volume that it mounts,
// that the report's entry is about.
func imageOf(pod *corev1.Pod, slots []podwatch.Slot, c report.Container) (string, bool) {
	for _, s := range slots {
		if image, about := isAbout(s, pod, c); about {
			return image, true
		}
	}
	return "", false
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

// unavailable returns the containers of a running pod whose image could not be pulled
// again by the agent's report, and that do not fail already. Without an agent, or with one
// that no longer checks, the report is not removed: it is one of its time.
func unavailable(pod *corev1.Pod, doc *report.Document) []Container {
	if doc == nil || podwatch.Over(pod) || pod.Status.Phase != corev1.PodRunning {
		return nil
	}
	fails, slots := failing(pod, parseReport(pod, report.ReportAnnotation)), podwatch.Slots(pod)
	var out []Container
	for i := range doc.Containers {
		entry := &doc.Containers[i]
		image, there := imageOf(pod, slots, *entry)
		now := func(c Container) bool { return c.Kind == entry.Kind && c.Name == entry.Name }
		if there && sameImage(entry.Image, image) && !slices.ContainsFunc(fails, now) {
			out = add(out, diagnosis.Failure{Container: entry.Name, Kind: diagnosis.Kind(entry.Kind), Image: image}, entry)
		}
	}
	return out
}
