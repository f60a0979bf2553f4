package podwatch

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/agent/diagnosis"
)

// naming adds pull secrets to a pod.
func naming(names ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		for _, n := range names {
			p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: n})
		}
	}
}

func numbered(prefix string, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprint(prefix, i))
	}
	return out
}

// crowded is a pod of many containers that all fail, and that mount many image
// volumes.
func crowded(containers, volumes int) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		names := numbered("v", volumes)
		for _, n := range names {
			unmounted(n, "hub.test/"+n+":1")(p)
		}
		for _, n := range numbered("c", containers) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: n, Image: "hub.test/" + n + ":1", VolumeMounts: mountsOf(names)})
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: n, State: waits("ErrImagePull", "pull QPS exceeded")})
		}
	}
}

// undecidedAll has all containers wait without a reason.
func undecidedAll(p *corev1.Pod) {
	for i := range p.Status.ContainerStatuses {
		p.Status.ContainerStatuses[i].State = waits("ContainerCreating", "")
	}
}

// allocated returns how many bytes a function allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestPullSecretsAreDistinctAndBounded(t *testing.T) {
	t.Parallel()
	long := string(slices.Repeat([]byte("x"), maxName+1))
	for name, tc := range map[string]struct {
		names []string
		want  int
		more  int
	}{
		"none":            {nil, 0, 0},
		"twice":           {[]string{"a", "b", "a"}, 2, 0},
		"one many times":  {slices.Repeat([]string{"a"}, 100_000), 1, 0},
		"as many as read": {numbered("s", maxSecrets), maxSecrets, 0},
		"many":            {numbered("s", 60_000), maxSecrets, 60_000 - maxSecrets},
		"no secret's":     {[]string{"a", long}, 1, 1},
	} {
		f := only(t, newPod(app(waits("ErrImagePull", "x")), naming(tc.names...)))
		if len(f.PullSecrets) != tc.want || f.MoreSecrets != tc.more {
			t.Errorf("%s: got %d secrets and %d more, want %d and %d", name, len(f.PullSecrets), f.MoreSecrets, tc.want, tc.more)
		}
	}
}

// What a pod may hold does not decide how much is done with it.
func TestHostilePodIsBounded(t *testing.T) { // measures allocations, so not in parallel
	for name, pod := range map[string]*corev1.Pod{
		"one secret, 100,000 times": newPod(app(waits("ErrImagePull", "x")), naming(slices.Repeat([]string{"regcred"}, 100_000)...)),
		"many secrets, containers":  newPod(app(waits("ErrImagePull", "x")), naming(numbered("secret-", 60_000)...), crowded(200, 0)),
		"many image volumes":        newPod(app(waits("ErrImagePull", "x")), crowded(200, 200)),
		"many containers":           newPod(app(waits("ErrImagePull", "x")), crowded(5000, 0)),
		"many that wait":            newPod(app(waits("ContainerCreating", "")), naming(numbered("secret-", 60_000)...), crowded(5000, 0), undecidedAll),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWatch(t)
			var u Update
			if got := allocated(func() { u = w.sees(pod) }); got > 16<<20 {
				t.Errorf("%d bytes were allocated for one status", got)
			}
			if n := len(u.Failures) + len(u.Waiting); n == 0 || n > maxExamined {
				t.Errorf("%d failing and %d waiting containers are examined, want at most %d", len(u.Failures), len(u.Waiting), maxExamined)
			}
		})
	}
}

// Of texts as long as an API object may have them only a bounded part is kept.
func TestLongTextsAreBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a1.", 100_000)
	for name, image := range map[string]string{
		"valid": long + "test/app:1", "not valid": "hub.test/" + long + "App:::1", "with a login": "joe:" + long + "@hub.test/App",
	} {
		pod := newPod(wanting(image), app(waits("ErrImagePull", "failed to pull "+image+": "+image)))
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: long, Controller: new(true)}}
		pod.Annotations = map[string]string{
			"kubernetes.io/config.hash": long, corev1.MirrorPodAnnotationKey: long, "argocd.argoproj.io/tracking-id": "web:" + long,
			"whypull.dev/report": long, "whypull.dev/other": long,
		}
		for i := range 10_000 {
			pod.Spec.ReadinessGates = append(pod.Spec.ReadinessGates, corev1.PodReadinessGate{ConditionType: corev1.PodConditionType(fmt.Sprint("whypull.dev/", i))})
		}
		u := newWatch(t).sees(pod)
		if kept := len(fmt.Sprint(u)); len(u.Failures) != 1 || kept > 32<<10 {
			t.Errorf("%s: %d failures, %d bytes are kept", name, len(u.Failures), kept)
		}
		if f := u.Failures[0]; f.Ref().Valid() || len(f.Image) > maxImage {
			t.Errorf("%s: image %.60s…", name, f.Image)
		}
		running := runningPod(func(p *corev1.Pod) { p.Annotations = map[string]string{checked: long} })
		NewRunning(checked, true, func(u RunningPod) {
			if len(u.Annotation) > maxAnnotation {
				t.Errorf("%d bytes of an annotation are kept", len(u.Annotation))
			}
		}).observe(NewRunning(checked, true, nil).newRunningPod(running))
	}
}

// What is beyond the bound is counted; it stays so when the kubelet gives no
// reason for a while.
// TestLongMessageKeepsItsEnd checks that the page of a mirror does not hide what the
// runtime says behind it, and that no credential is cut in two.
func TestLongMessageKeepsItsEnd(t *testing.T) {
	t.Parallel()
	page := strings.Repeat(`<a href="https://joe:hunter2@mirror.test/">page</a> `, 400)
	text := "(Mirrors also failed: [mirror.test/app: status 200: " + page + "]): hub.test/app: reading manifest v9 in hub.test/app: manifest unknown"
	f := Failures(newPod(app(waits("ErrImagePull", text))))[0]
	if len(f.Message) > maxMessage || !strings.HasPrefix(f.Message, "(Mirrors also failed") || !strings.HasSuffix(f.Message, "manifest unknown") || strings.Contains(f.Message, "hunter2") {
		t.Errorf("%d bytes: %q", len(f.Message), f.Message)
	}
}

func TestContainersBeyondTheBound(t *testing.T) {
	t.Parallel()
	w := newWatch(t)
	u := w.sees(newPod(app(waits("ErrImagePull", "x")), crowded(99, 0)))
	if len(u.Failures) != maxExamined || u.Unexamined != 100-maxExamined {
		t.Errorf("got %d failures and %d more, want %d and %d", len(u.Failures), u.Unexamined, maxExamined, 100-maxExamined)
	}
	if f := u.Failures[0]; f.Container != "app" || f.Kind != diagnosis.KindContainer {
		t.Errorf("got %s first, want the pod's order", f.Container)
	}
	quiet := newPod(app(waits("ContainerCreating", "")), crowded(99, 0))
	for i := range quiet.Status.ContainerStatuses {
		if i < maxExamined {
			quiet.Status.ContainerStatuses[i].State = waits("ContainerCreating", "")
		}
	}
	if u = w.sees(quiet); len(u.Failures) > maxExamined {
		t.Errorf("got %d failures after the first ones give no reason, want at most %d", len(u.Failures), maxExamined)
	}
}

// Of a pod of many containers that run, only so many are passed on as one report can name,
// and those that it names are among them.
func TestHealthyIsBounded(t *testing.T) { // measures allocations, so not in parallel
	pod := newPod(app(runs()), crowded(5000, 20))
	for i := range pod.Status.ContainerStatuses {
		pod.Status.ContainerStatuses[i].State = runs()
	}
	pod.Annotations = map[string]string{"whypull.dev/report": `{"containers":[{"name":"c4999"}]}`}
	w := newWatch(t)
	var all []Update
	if got := allocated(func() { all = w.lists(pod) }); got > 16<<20 {
		t.Errorf("%d bytes were allocated for one status", got)
	}
	if len(all) != 1 || len(all[0].Healthy) > 2*maxExamined+1 || !slices.ContainsFunc(all[0].Healthy, func(f diagnosis.Failure) bool { return f.Container == "c4999" }) {
		t.Errorf("%d updates: %d healthy, want at most %d with c4999", len(all), len(all[0].Healthy), 2*maxExamined+1)
	}
}
