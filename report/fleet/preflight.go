package fleet

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/report"
)

// unavailable returns the containers of a running pod whose image could not be pulled
// again by the agent's report, and that do not fail already. Without an agent, or with one
// that no longer checks, the report is not removed: it is one of its time.
func unavailable(pod *corev1.Pod, doc *report.Document) []Container {
	if doc == nil || podwatch.Over(pod) || pod.Status.Phase != corev1.PodRunning {
		return nil
	}
	fails := failing(pod)
	var out []Container
	for i := range doc.Containers {
		entry := &doc.Containers[i]
		image, there := imageOf(pod, *entry)
		now := func(c Container) bool { return c.Kind == entry.Kind && c.Name == entry.Name }
		if !there || !sameImage(entry.Image, image) || slices.ContainsFunc(fails, now) {
			continue
		}
		c := newContainer(failureOf(pod, *entry, image))
		c.verdict = entry
		out = addContainer(out, c)
	}
	return out
}

// imageOf returns the image of the container or volume that a report's entry is about.
func imageOf(pod *corev1.Pod, entry report.Container) (string, bool) {
	for _, s := range podwatch.Slots(pod) {
		if image, about := isAbout(s, pod, entry); about {
			return image, true
		}
	}
	return "", false
}
