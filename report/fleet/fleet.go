package fleet

import (
	"cmp"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/report"
)

// The labels of the agent's own pods in the manifests.
const (
	nameLabel      = "app.kubernetes.io/name"
	componentLabel = "app.kubernetes.io/component"
	agentName      = "whypull"
	agentComponent = "agent"
)

// AgentSelector selects the agents' pods by label.
const AgentSelector = nameLabel + "=" + agentName + "," + componentLabel + "=" + agentComponent

// AgentNamespace is the agents' namespace in the manifests.
const AgentNamespace = "whypull"

// Fleet holds what pods reveal about nodes: which images they run, and whether
// a whypull agent is there.
type Fleet struct {
	// Complete reports whether the pods of all namespaces were added, or at
	// least all agents.
	Complete bool

	runs      map[string]map[string]bool // image → nodes
	agents    map[string]map[string]bool // node → agent → whether it is ready
	reporting map[string]bool            // nodes of pods with a report
}

// Add adds a pod's information. It replaces what the same pod contributed about
// its agent.
func (f *Fleet) Add(pod *corev1.Pod) {
	node := report.Printable(pod.Spec.NodeName)
	if node == "" {
		return
	}
	for _, s := range podwatch.Slots(pod) {
		if hadImage(s.Status) {
			set(&f.runs, normalized(s.Image), node, true)
		}
	}
	if pod.Annotations[report.ReportAnnotation] != "" {
		if f.reporting == nil {
			f.reporting = map[string]bool{}
		}
		f.reporting[node] = true
	}
	switch {
	case isAgent(pod) && podwatch.Over(pod):
		f.Remove(pod)
	case isAgent(pod):
		set(&f.agents, node, keyOf(pod).String(), ready(pod))
	}
}

// Remove removes what a deleted pod contributed about its agent.
func (f *Fleet) Remove(pod *corev1.Pod) {
	delete(f.agents[report.Printable(pod.Spec.NodeName)], keyOf(pod).String())
}

func set(all *map[string]map[string]bool, key, member string, value bool) {
	if *all == nil {
		*all = map[string]map[string]bool{}
	}
	if (*all)[key] == nil {
		(*all)[key] = map[string]bool{}
	}
	(*all)[key][member] = value
}

// hadImage reports whether the container's image was pulled: it runs or has
// run.
func hadImage(s *corev1.ContainerStatus) bool {
	if s == nil || s.ImageID == "" {
		return false
	}
	w := s.State.Waiting
	return s.State.Running != nil || s.State.Terminated != nil ||
		w != nil && w.Reason == "CrashLoopBackOff" && s.LastTerminationState.Terminated != nil
}

// normalized returns the image's full name, as the runtime completes it.
func normalized(image string) string {
	return cmp.Or(podwatch.ImageOf(image).Reference(), image)
}

func isAgent(pod *corev1.Pod) bool {
	return pod.Labels[nameLabel] == agentName && pod.Labels[componentLabel] == agentComponent
}

func ready(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// otherNodes returns the other nodes that run an image, sorted, and whether
// this one does.
func (f *Fleet) otherNodes(image, node string) ([]string, bool) {
	nodes := f.runs[normalized(image)]
	others := slices.Sorted(maps.Keys(nodes))
	return slices.DeleteFunc(others, func(n string) bool { return n == node }), nodes[node]
}

// reportGrace is how long to wait for a pod's first report.
const reportGrace = 15 * time.Second

// noReportReason returns why a container has no report.
func (f *Fleet) noReportReason(pod *corev1.Pod, now time.Time) string {
	if reason := reportProblem(pod); reason != "" {
		return reason
	}
	node := report.Printable(pod.Spec.NodeName)
	agents := f.agents[node]
	known := f.Complete || len(f.agents) > 0 // including agents that are gone
	switch {
	case f.Complete && len(f.agents) == 0 && len(f.reporting) == 0:
		return "no whypull agent runs in the cluster"
	case known && len(agents) == 0 && !f.reporting[node]:
		return "no whypull agent runs on node " + node
	case len(agents) > 0 && !slices.Contains(slices.Collect(maps.Values(agents)), true):
		return "the whypull agent on node " + node + " is not ready"
	case now.Sub(lastChange(pod)) < reportGrace:
		return "pending: the pod changed less than 15 s ago"
	case len(agents) > 0 || f.reporting[node]:
		return "the whypull agent on node " + node + " has not reported"
	}
	return "no whypull agent has reported; without permission to list agent pods it is unknown whether one runs on node " + node
}

// reportProblem returns why the pod's report does not cover the container; ""
// if the pod has no report.
func reportProblem(pod *corev1.Pod) string {
	text, there := pod.Annotations[report.ReportAnnotation]
	if !there {
		return ""
	}
	d, err := report.Parse(text)
	switch {
	case err != nil:
		return "the report is invalid: " + clip(report.Printable(err.Error()), 160)
	case d.Omitted > 0:
		return "the pod's report is full and omits it"
	}
	return "the pod's report does not cover it yet"
}

// lastChange returns the newest of a pod's timestamps.
func lastChange(pod *corev1.Pod) time.Time {
	newest := pod.CreationTimestamp.Time
	for _, c := range pod.Status.Conditions {
		if t := c.LastTransitionTime.Time; t.After(newest) {
			newest = t
		}
	}
	return newest
}

// clip truncates a text to at most n runes.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
