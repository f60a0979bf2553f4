// Package fleet turns pods and their reports into what people read: which pods
// cannot pull their images, for which causes, and what pods with the same cause
// have in common. Apart from Client it does no I/O and has no clock. It makes
// all text from the cluster printable.
package fleet

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/report"
)

// Schema is the version of the Overview as JSON. Within a version fields are
// only ever added.
const Schema = "whypull.dev/pods/v1"

// Overview is what -o json and -o yaml print.
type Overview struct {
	Schema string `json:"schema"`
	// Preflight reports whether the pods run, and have images that could not be pulled
	// again; else they cannot pull.
	Preflight bool    `json:"preflight,omitempty"`
	Groups    []Group `json:"groups"`
	Pods      []Pod   `json:"pods"`
}

// Pod is a pod with containers whose image cannot be pulled.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Node      string `json:"node"`
	// Owner is the pod's controller, as kind/name.
	Owner string `json:"owner,omitempty"`
	// ManagedBy is what keeps the pod's owner, or the pod, as it is in some source, such
	// as "Argo CD application web"; empty if none is known.
	ManagedBy  string      `json:"managedBy,omitempty"`
	Containers []Container `json:"containers"`
	// Report is whypull's report, if there is a valid one.
	Report *report.Document `json:"report,omitempty"`

	source   string          // where to change it
	workload diagnosis.Owner // what has to be edited to change the pod for good
	secrets  []string        // the names of its pull secrets
}

// SetManager sets what manages the pod.
func (p *Pod) SetManager(m diagnosis.Manager) { p.ManagedBy, p.source = m.String(), m.Source() }

// Key returns the pod's namespace/name.
func (p Pod) Key() string { return p.Namespace + "/" + p.Name }

// View holds the pods of a list or watch that cannot pull their images, or, with
// Preflight, that run and could not pull them again. The zero value is empty.
type View struct {
	Preflight bool

	pods map[types.NamespacedName]*corev1.Pod
}

// Put adds or updates a pod.
func (v *View) Put(pod *corev1.Pod) {
	if all, _ := v.containers(pod); len(all) == 0 {
		v.Delete(pod)
		return
	}
	if v.pods == nil {
		v.pods = map[types.NamespacedName]*corev1.Pod{}
	}
	v.pods[keyOf(pod)] = pod
}

// containers returns the containers of a pod that the view is about, and their report; nil
// if there is no valid one.
func (v *View) containers(pod *corev1.Pod) ([]Container, *report.Document) {
	if v.Preflight {
		doc := parseReport(pod, report.UnavailableAnnotation)
		return unavailable(pod, doc), doc
	}
	doc := parseReport(pod, report.ReportAnnotation)
	return failing(pod, doc), doc
}

// Delete removes a pod.
func (v *View) Delete(pod *corev1.Pod) { delete(v.pods, keyOf(pod)) }

// Only returns a view of the pods that keep selects.
func (v *View) Only(keep func(*corev1.Pod) bool) *View {
	out := &View{Preflight: v.Preflight, pods: maps.Clone(v.pods)}
	maps.DeleteFunc(out.pods, func(_ types.NamespacedName, pod *corev1.Pod) bool { return !keep(pod) })
	return out
}

// Has reports whether a pod, as namespace/name, cannot pull its images.
func (v *View) Has(key string) bool {
	namespace, name, _ := strings.Cut(key, "/")
	_, there := v.pods[types.NamespacedName{Namespace: namespace, Name: name}]
	return there
}

// Failing reports whether any pod cannot pull its images.
func (v *View) Failing() bool { return len(v.pods) > 0 }

func keyOf(pod *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
}

// Build returns the overview of the view's pods, with what the fleet knows
// about their images and nodes. Pods are sorted by namespace and name, groups
// by their number of pods, the largest first.
func (v *View) Build(fleet *Fleet, now time.Time) Overview {
	o := Overview{Schema: Schema, Preflight: v.Preflight, Pods: []Pod{}}
	for _, key := range slices.SortedFunc(maps.Keys(v.pods), compareNames) {
		o.Pods = append(o.Pods, v.newPod(v.pods[key], fleet, now))
	}
	o.Groups = groups(o.Pods)
	return o
}

func compareNames(a, b types.NamespacedName) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

func (v *View) newPod(pod *corev1.Pod, fleet *Fleet, now time.Time) Pod {
	p := Pod{
		Namespace: report.Printable(pod.Namespace), Name: report.Printable(pod.Name), Node: report.Printable(pod.Spec.NodeName),
		Owner: owner(pod), workload: workload(pod), secrets: pullSecrets(pod),
	}
	p.Containers, p.Report = v.containers(pod)
	p.SetManager(diagnosis.ManagerOf(pod.Labels, pod.Annotations))
	for i := range p.Containers {
		c := &p.Containers[i]
		c.begin = begin(c.verdict.Since, pod)
		if c.Cause == "" {
			c.NoReport = fleet.noReportReason(pod, now)
		}
		if !v.Preflight { // nodes that run an image need not be able to pull it again
			nodes, here := fleet.otherNodes(c.Image, p.Node)
			c.RunsOn, c.RunsHere = append(c.RunsOn, nodes...), here
		}
	}
	return p
}

func owner(pod *corev1.Pod) string {
	if o := metav1.GetControllerOf(pod); o != nil {
		return report.Printable(o.Kind + "/" + o.Name)
	}
	return ""
}

// pullSecrets returns the names of a pod's pull secrets, each once.
func pullSecrets(pod *corev1.Pod) []string {
	var out []string
	for _, ref := range pod.Spec.ImagePullSecrets {
		if ref.Name != "" && !slices.Contains(out, ref.Name) {
			out = append(out, ref.Name)
		}
	}
	return out
}
