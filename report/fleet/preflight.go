package fleet

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/whypull/whypull/agent/diagnosis"
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
