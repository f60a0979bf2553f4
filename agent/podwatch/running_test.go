package podwatch

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// The interfaces that the reflector uses.
var (
	_ cache.TransformingStore      = Stores{}
	_ cache.ReflectorBookmarkStore = Stores{}
)

const checked = "check.whypull.dev/report"

// runningPod is a pod with containers of all kinds and an image volume, which has started.
func runningPod(edits ...func(*corev1.Pod)) *corev1.Pod {
	started := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u-1"},
		Spec: corev1.PodSpec{
			NodeName:         "worker-3",
			ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}},
			InitContainers:   []corev1.Container{{Name: "init", Image: "hub.test/init:1", ImagePullPolicy: corev1.PullAlways}},
			Containers: []corev1.Container{
				{Name: "app", Image: "hub.test/app:1", ImagePullPolicy: corev1.PullAlways, VolumeMounts: []corev1.VolumeMount{{Name: "data"}}},
				{Name: "cached", Image: "hub.test/cached:1", ImagePullPolicy: corev1.PullIfNotPresent},
				{Name: "local", Image: "hub.test/local:1", ImagePullPolicy: corev1.PullNever},
			},
			EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "hub.test/debug:1", ImagePullPolicy: corev1.PullAlways}}},
			Volumes:             []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "hub.test/data:1", PullPolicy: corev1.PullAlways}}}},
		},
		Status: corev1.PodStatus{
			Phase:                      corev1.PodRunning,
			InitContainerStatuses:      []corev1.ContainerStatus{{Name: "init", State: ended}},
			ContainerStatuses:          []corev1.ContainerStatus{{Name: "app", State: started}, {Name: "cached", State: started}, {Name: "local", State: started}},
			EphemeralContainerStatuses: []corev1.ContainerStatus{{Name: "debug", State: started}},
		},
	}
	for _, edit := range edits {
		edit(pod)
	}
	return pod
}

// images returns the images of a pod as "kind name image policy".
func images(u RunningPod) []string {
	var out []string
	for _, f := range u.Images {
		out = append(out, fmt.Sprintln(f.Kind, f.Container, f.Image, f.PullPolicy, f.Registry, f.PullSecrets, f.Reason))
	}
	return out
}

func TestRunningImages(t *testing.T) {
	t.Parallel()
	const (
		initImage = "initContainer init hub.test/init:1 Always hub.test [pull] \n"
		app       = "container app hub.test/app:1 Always hub.test [pull] \n"
		cached    = "container cached hub.test/cached:1 IfNotPresent hub.test [pull] \n"
		data      = "imageVolume data hub.test/data:1 Always hub.test [pull] \n"
	)
	state := func(s corev1.ContainerState) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Status.ContainerStatuses[0].State = s }
	}
	waiting := func(reason string) func(*corev1.Pod) {
		return state(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "m"}})
	}
	for name, tc := range map[string]struct {
		edit func(*corev1.Pod)
		want []string
	}{
		"all":         {func(*corev1.Pod) {}, []string{initImage, app, cached, data}},
		"crashes":     {waiting("CrashLoopBackOff"), []string{initImage, app, cached, data}},
		"cannot pull": {waiting("ImagePullBackOff"), []string{initImage, cached}},
		"pulls":       {waiting("ContainerCreating"), []string{initImage, cached}},
		"pending":     {func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }, nil},
		"has ended":   {func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }, nil},
		"bad name":    {func(p *corev1.Pod) { p.Spec.Containers[0].Image = "A//b" }, []string{initImage, cached, data}},
	} {
		var got []RunningPod
		r := NewRunning(checked, true, func(u RunningPod) { got = append(got, u) })
		r.Update(runningPod(tc.edit))
		if len(got) == 0 {
			got = []RunningPod{{}}
		}
		if all := images(got[0]); !slices.Equal(all, tc.want) {
			t.Errorf("%s: got %q, want %q", name, all, tc.want)
		}
	}
}

func TestRunningIsBounded(t *testing.T) {
	t.Parallel()
	pod := runningPod()
	for i := range 3 * maxExamined {
		name := fmt.Sprint("c", i)
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: name, Image: "hub.test/" + name, ImagePullPolicy: corev1.PullAlways})
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})
	}
	if n := len(startable(pod)); n != maxExamined {
		t.Errorf("%d images of a pod, want %d", n, maxExamined)
	}
}

func TestRunningLife(t *testing.T) {
	t.Parallel()
	var got []string
	r := NewRunning(checked, true, func(u RunningPod) {
		got = append(got, fmt.Sprintln(u.Namespace, u.Name, u.UID, len(u.Images), u.Annotation, u.Gone))
	})
	want := func(when string, lines ...string) {
		t.Helper()
		if !slices.Equal(got, lines) {
			t.Errorf("%s: got %q, want %q", when, got, lines)
		}
		got = nil
	}
	pending := func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }
	deleted := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }
	recreated := func(p *corev1.Pod) { p.UID = "u-2" }
	annotated := func(p *corev1.Pod) { p.Annotations = map[string]string{checked: "{}"} }

	r.Update(runningPod(pending))
	want("pending")
	r.Update(runningPod())
	want("running", "shop web u-1 4  false\n")
	r.Update(runningPod(pending, annotated))
	want("no longer running", "shop web u-1 0 {} false\n")
	r.Update(runningPod(recreated))
	want("created again", "shop web u-1 0  true\n", "shop web u-2 4  false\n")
	r.Update(runningPod(recreated, deleted))
	want("being deleted", "shop web u-2 0  true\n")
	r.Delete(runningPod(recreated))
	want("deleted")
	list(Stores{r}, runningPod(annotated))
	want("listed", "shop web u-1 4 {} false\n")
	list(Stores{r})
	want("no longer listed", "shop web u-1 0  true\n")

	off := NewRunning(checked, false, r.emit)
	off.Update(runningPod())
	want("without images")
	off.Update(runningPod(annotated))
	want("without images, with a report", "shop web u-1 0 {} false\n")
}

// The tracker of failing pods does not take the report on a running pod for one of its own.
func TestReportOnRunningPodIsNone(t *testing.T) {
	t.Parallel()
	w := newWatch(t)
	pod := runningPod(func(p *corev1.Pod) { p.Annotations = map[string]string{"preflight.whypull.dev/report": "{}"} })
	all := w.updates(func() { list(Stores{w.tracker, NewRunning(checked, true, func(RunningPod) {})}, pod) })
	if len(all) > 0 {
		t.Errorf("got %+v", all)
	}
	if synced, _ := w.tracker.Synced(); !synced {
		t.Error("the tracker has not got the list")
	}
	before := w.at
	if err := (Stores{w.tracker}).Bookmark("2"); err != nil || !w.at.After(before) {
		t.Errorf("the tracker has not got the bookmark: %v", err)
	}
}
