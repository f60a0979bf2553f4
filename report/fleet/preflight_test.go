package fleet

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/report"
)

// withUnavailable adds a report on images that could not be pulled again.
func withUnavailable(containers ...report.Container) edit {
	return func(p *corev1.Pod) {
		d := report.Document{Schema: report.Schema, Node: p.Spec.NodeName, ObservedAt: "2026-01-02T11:56:03Z", Containers: containers}
		text, err := json.Marshal(d)
		if err != nil {
			text = []byte(err.Error())
		}
		annotated(report.UnavailableAnnotation, string(text))(p)
	}
}

// gonePod returns a running pod whose container app has an image that is gone.
func gonePod(name string, edits ...edit) *corev1.Pod {
	p := runningPod(name, edits...)
	withUnavailable(verdict(diagnosis.TagNotFound, "tag 1 does not exist in hub.test/app", about(p.Spec.Containers[0].Image)))(p)
	return p
}

// preflight returns the overview of running pods.
func preflight(pods ...*corev1.Pod) Overview {
	v := View{Preflight: true}
	var f Fleet
	for _, p := range pods {
		v.Put(p)
		f.Add(p)
	}
	return v.Build(&f, noon())
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	failing := failingPod("broken", diagnosis.TagNotFound, "x")
	o := preflight(gonePod("web-1"), gonePod("web-2", on("worker-2")), runningPod("fine"), failing)
	if !o.Preflight || len(o.Pods) != 2 || len(o.Groups) != 1 || o.Groups[0].Cause != "TagNotFound" || len(o.Groups[0].Nodes) != 2 {
		t.Errorf("overview %+v", o)
	}
	table := o.Table(Layout{Width: 100}, noon(), "shop", "", false)
	for _, want := range []string{"2 pods on 2 nodes: TagNotFound, image", "2 running pods in namespace shop could not pull their images again, for 1 reason.", "kubectl why-pull --preflight -n shop POD"} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
	if strings.Contains(table, "same image runs") {
		t.Errorf("nodes that run the image are listed:\n%s", table)
	}
	if story := o.Pods[0].Story(Layout{}, noon(), false); !strings.Contains(story, "TagNotFound") || strings.Contains(story, "kubelet says") || strings.Contains(story, "another container") {
		t.Errorf("story:\n%s", story)
	}
	if got := preflight(runningPod("fine")).Table(Layout{}, noon(), "", "", false); got != "No running pod in any namespace is reported to have an image that could not be pulled again.\n" {
		t.Errorf("without pods: %q", got)
	}
	if o := overview(gonePod("web-1")); len(o.Pods) != 0 || o.Preflight {
		t.Errorf("without --preflight: %+v", o.Pods)
	}
	if got := preflight(gonePod("web-1")).Select([]string{"DNSFailure"}, 0, noon()); !got.Preflight || len(got.Pods) != 0 {
		t.Errorf("with another cause: %+v", got)
	}
}

// A report that no longer fits the pod does not count.
func TestPreflightStale(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]edit{
		"fails now": func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0] = waiting("ImagePullBackOff", backoff)
			p.Status.ContainerStatuses[0].Name = "app"
		},
		"another image": func(p *corev1.Pod) { p.Spec.Containers[0].Image = "hub.test/app:2" },
		"another name":  func(p *corev1.Pod) { p.Spec.Containers[0].Name = "other" },
		"has ended":     phase(corev1.PodSucceeded),
		"pending again": phase(corev1.PodPending),
		"is deleted":    func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} },
		"nonsense":      annotated(report.UnavailableAnnotation, "{"),
		"other schema":  annotated(report.UnavailableAnnotation, `{"schema":"whypull.dev/v9"}`),
		"of a failure": func(p *corev1.Pod) {
			p.Annotations[report.ReportAnnotation] = p.Annotations[report.UnavailableAnnotation]
			delete(p.Annotations, report.UnavailableAnnotation)
		},
		"no annotations": func(p *corev1.Pod) { p.Annotations = nil },
	} {
		p := gonePod("web")
		edit(p)
		if o := preflight(p); len(o.Pods) != 0 {
			t.Errorf("%s: %+v", name, o.Pods)
		}
	}
}

// Control characters in a forged report do not reach the terminal.
func TestPreflightIsPrintable(t *testing.T) {
	t.Parallel()
	p := runningPod("web")
	withUnavailable(verdict(diagnosis.TagNotFound, "\x1b[31mred\u202e", about(p.Spec.Containers[0].Image)))(p)
	o := preflight(p)
	if text := o.Table(Layout{}, noon(), "shop", "", true) + o.Pods[0].Story(Layout{}, noon(), true); strings.ContainsAny(text, "\x1b\u202e") {
		t.Errorf("%q", text)
	}
	if lines := o.Pods[0].Lines(); !slices.Equal(lines, []string{"shop/web container app: TagNotFound, red"}) {
		t.Errorf("lines %q", lines)
	}
}
