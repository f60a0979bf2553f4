package fleet

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/report"
)

// The labels of the agent's own pods, as the manifests have them.
const (
	nameLabel      = "app.kubernetes.io/name"
	componentLabel = "app.kubernetes.io/component"
	agentName      = "whypull"
	agentComponent = "agent"
)

// AgentSelector selects the agents' pods by their labels.
const AgentSelector = nameLabel + "=" + agentName + "," + componentLabel + "=" + agentComponent

// AgentNamespace is where the manifests put the agents.
const AgentNamespace = "whypull"

// Fleet is what pods tell of nodes: which images they run, and whether whypull
// is there.
type Fleet struct {
	// Complete tells that the pods of all namespaces were added, or at least all
	// of the agents'.
	Complete bool

	runs      map[string]map[string]bool // image → nodes
	agents    map[string]map[string]bool // node → agent → is ready
	reporting map[string]bool            // nodes of pods with a report
}

// Add takes in what a pod tells; it replaces what the same pod told before of
// its agent.
func (f *Fleet) Add(pod *corev1.Pod) {
	node := report.Printable(pod.Spec.NodeName)
	if node == "" {
		return
	}
	for _, s := range slots(pod) {
		if ran(s.status) {
			put(&f.runs, normalized(s.image), node, true)
		}
	}
	if pod.Annotations[report.ReportAnnotation] != "" {
		if f.reporting == nil {
			f.reporting = map[string]bool{}
		}
		f.reporting[node] = true
	}
	switch {
	case isAgent(pod) && over(pod):
		f.Remove(pod)
	case isAgent(pod):
		put(&f.agents, node, keyOf(pod).String(), ready(pod))
	}
}

// Remove takes back what a deleted pod told of its agent.
func (f *Fleet) Remove(pod *corev1.Pod) {
	delete(f.agents[report.Printable(pod.Spec.NodeName)], keyOf(pod).String())
}

func put(all *map[string]map[string]bool, key, member string, value bool) {
	if *all == nil {
		*all = map[string]map[string]bool{}
	}
	if (*all)[key] == nil {
		(*all)[key] = map[string]bool{}
	}
	(*all)[key][member] = value
}

// ran tells that the container has had its image: it runs or has run.
func ran(s *corev1.ContainerStatus) bool {
	if s == nil || s.ImageID == "" {
		return false
	}
	w := s.State.Waiting
	return s.State.Running != nil || s.State.Terminated != nil ||
		w != nil && w.Reason == "CrashLoopBackOff" && s.LastTerminationState.Terminated != nil
}

// normalized is the image's full name, as the runtime completes it.
func normalized(image string) string {
	parsed, err := podwatch.ParseImage(image)
	if err != nil {
		return image
	}
	return parsed.Reference()
}

func isAgent(pod *corev1.Pod) bool {
	return pod.Labels[nameLabel] == agentName && pod.Labels[componentLabel] == agentComponent
}

func ready(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// elsewhere returns the nodes but this one that run an image, sorted, and
// whether this one does.
func (f *Fleet) elsewhere(image, node string) ([]string, bool) {
	nodes := f.runs[normalized(image)]
	others := slices.Sorted(maps.Keys(nodes))
	return slices.DeleteFunc(others, func(n string) bool { return n == node }), nodes[node]
}

// grace is how long whypull is given for a first report.
const grace = 15 * time.Second

// missing says why a container has no report.
func (f *Fleet) missing(pod *corev1.Pod, now time.Time) string {
	if reason := unusable(pod); reason != "" {
		return reason
	}
	node := report.Printable(pod.Spec.NodeName)
	agents := f.agents[node]
	known := f.Complete || len(f.agents) > 0 // of agents that have gone, too
	switch {
	case f.Complete && len(f.agents) == 0 && len(f.reporting) == 0:
		return "no whypull agent is in the cluster"
	case known && len(agents) == 0 && !f.reporting[node]:
		return "no whypull agent is on node " + node
	case len(agents) > 0 && !slices.Contains(slices.Collect(maps.Values(agents)), true):
		return "the whypull agent on node " + node + " is not ready"
	case now.Sub(changed(pod)) < grace:
		return "too new: the pod changed less than 15 s ago"
	case len(agents) > 0 || f.reporting[node]:
		return "the whypull agent on node " + node + " has not reported"
	}
	return "no whypull agent has reported; whether one is on node " + node + " takes the right to list its pods"
}

// unusable says why the pod's report, if there is one, does not tell of the
// container.
func unusable(pod *corev1.Pod) string {
	text, there := pod.Annotations[report.ReportAnnotation]
	if !there {
		return ""
	}
	d, err := report.Parse(text)
	switch {
	case err != nil:
		return "the report cannot be read: " + clip(report.Printable(err.Error()), 160)
	case d.Omitted > 0:
		return "the pod's report had no room for it"
	}
	return "the pod's report does not have it yet"
}

// changed is the newest of a pod's times.
func changed(pod *corev1.Pod) time.Time {
	newest := pod.CreationTimestamp.Time
	for _, c := range pod.Status.Conditions {
		if t := c.LastTransitionTime.Time; t.After(newest) {
			newest = t
		}
	}
	return newest
}

// clip cuts a text to at most n runes.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
