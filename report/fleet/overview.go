// Package fleet makes of pods and the reports on them what people read: which pods
// cannot pull, for which causes, and what those of one cause share. It is pure:
// it asks nobody and has no clock. All texts that come from the cluster are made
// printable on their way in.
package fleet

import (
	"cmp"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/whypull/whypull/report"
)

// Schema is the version of the Overview as JSON. Within it fields are only ever
// added.
const Schema = "whypull.dev/pods/v1"

// Overview is what -o json and yaml print.
type Overview struct {
	Schema string  `json:"schema"`
	Groups []Group `json:"groups"`
	Pods   []Pod   `json:"pods"`
}

// Pod is a pod with containers that cannot get their image.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Node      string `json:"node"`
	// Owner is the object that made the pod, as kind/name.
	Owner      string      `json:"owner,omitempty"`
	Containers []Container `json:"containers"`
	// Report is whypull's, if there is one that can be read.
	Report *report.Document `json:"report,omitempty"`
}

// Key is the pod's namespace and name.
func (p Pod) Key() string { return p.Namespace + "/" + p.Name }

// View holds those pods of a list or watch that cannot pull. The zero value is
// empty.
type View struct {
	pods map[types.NamespacedName]*corev1.Pod
}

// Put takes in a pod as it is now.
func (v *View) Put(pod *corev1.Pod) {
	if len(failing(pod)) == 0 {
		v.Delete(pod)
		return
	}
	if v.pods == nil {
		v.pods = map[types.NamespacedName]*corev1.Pod{}
	}
	v.pods[keyOf(pod)] = pod
}

// Delete forgets a pod.
func (v *View) Delete(pod *corev1.Pod) { delete(v.pods, keyOf(pod)) }

// Failing tells that there is a pod that cannot pull.
func (v *View) Failing() bool { return len(v.pods) > 0 }

func keyOf(pod *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
}

// Build returns the overview of the view's pods, and what the fleet tells of
// their images and nodes. Pods are sorted by namespace and name, groups by the
// number of their pods, the biggest first.
func (v *View) Build(fleet *Fleet, now time.Time) Overview {
	o := Overview{Schema: Schema, Pods: []Pod{}}
	for _, key := range slices.SortedFunc(maps.Keys(v.pods), compareNames) {
		o.Pods = append(o.Pods, newPod(v.pods[key], fleet, now))
	}
	o.Groups = groups(o.Pods)
	return o
}

func compareNames(a, b types.NamespacedName) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

func newPod(pod *corev1.Pod, fleet *Fleet, now time.Time) Pod {
	p := Pod{
		Namespace: report.Printable(pod.Namespace), Name: report.Printable(pod.Name), Node: report.Printable(pod.Spec.NodeName),
		Owner: owner(pod), Containers: failing(pod), Report: reported(pod),
	}
	for i := range p.Containers {
		c := &p.Containers[i]
		if c.told == nil {
			c.NoReport = fleet.missing(pod, now)
		}
		c.RunsOn, c.RunsHere = fleet.elsewhere(c.Image, p.Node)
		if c.RunsOn == nil {
			c.RunsOn = []string{}
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
