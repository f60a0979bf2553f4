package podwatch

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestWaiting(t *testing.T) {
	t.Parallel()
	creating, initialising := waits("ContainerCreating", ""), waits("PodInitializing", "")
	for name, tc := range map[string]struct {
		pod  *corev1.Pod
		want string // kind/name/image of each
	}{
		"not seen by the kubelet": {newPod(), ""},
		"being created":           {newPod(app(creating)), "container/app/" + image},
		"runs":                    {newPod(app(runs())), ""},
		"fails":                   {newPod(app(waits("ErrImagePull", "x"))), ""},
		"crashes":                 {newPod(app(waits("CrashLoopBackOff", "x"))), ""},
		"deleted":                 {newPod(app(creating), deleted), ""},
		"over":                    {newPod(app(creating), phase(corev1.PodFailed)), ""},
		"an init container first": {newPod(withInit("one", "hub.test/1", initialising), withInit("two", "hub.test/2", initialising), app(initialising)), "initContainer/one/hub.test/1"},
		"the second init container": {newPod(withInit("one", "hub.test/1", ends("Completed")), withInit("two", "hub.test/2", initialising), app(initialising)),
			"initContainer/two/hub.test/2"},
		"an init container runs":       {newPod(withInit("one", "hub.test/1", runs()), app(initialising)), ""},
		"an init container has failed": {newPod(withInit("one", "hub.test/1", failedEnd()), app(initialising)), ""},
		"a sidecar runs":               {newPod(sidecar("one", "hub.test/1", runs()), app(initialising)), "container/app/" + image},
		"a sidecar starts":             {newPod(sidecar("one", "hub.test/1", initialising), app(initialising)), "initContainer/one/hub.test/1"},
		"ephemeral, with another that runs": {newPod(app(runs()), withEphemeral("debug", "hub.test/d", creating)),
			"ephemeralContainer/debug/hub.test/d"},
		"an image volume comes first": {newPod(withVolume("model", "hub.test/m"), app(creating)), "imageVolume/model/hub.test/m container/app/" + image},
		"an image volume of a pod that has begun": {newPod(withVolume("model", "hub.test/m"), app(creating), withContainer("side", "hub.test/s", runs())),
			"container/app/" + image},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, f := range waiting(tc.pod, containers(tc.pod)) {
				got = append(got, string(f.Kind)+"/"+f.Container+"/"+f.Image)
				if f.Registry != "hub.test" || f.Message != "" || f.SandboxUID == "" {
					t.Errorf("%+v", f)
				}
			}
			if s := strings.Join(got, " "); s != tc.want {
				t.Errorf("got %q, want %q", s, tc.want)
			}
		})
	}
}

func failedEnd() corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Error", ExitCode: 1}}
}

func sidecar(name, image string, s corev1.ContainerState) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		withInit(name, image, s)(p)
		always := corev1.ContainerRestartPolicyAlways
		p.Spec.InitContainers[len(p.Spec.InitContainers)-1].RestartPolicy = &always
	}
}

// TestWaitingSince checks that Since is the time of the first update for as long as the
// container wants the same image.
func TestWaitingSince(t *testing.T) {
	t.Parallel()
	w := newWatch(t)
	creating := waits("ContainerCreating", "")
	first := w.sees(newPod(app(creating))).Waiting[0].Since
	if second := w.sees(newPod(app(creating))).Waiting[0].Since; !second.Equal(first) || first.IsZero() {
		t.Errorf("first %s, then %s", first, second)
	}
	if other := w.sees(newPod(wanting("hub.test/b"), app(creating))).Waiting[0].Since; !other.After(first) {
		t.Errorf("another image has waited since %s, the first since %s", other, first)
	}
	w.wantPods(1)
	if u := w.sees(newPod(wanting("hub.test/b"), app(runs()))); len(u.Started) != 1 || !u.Started[0].Since.After(first.Add(-time.Second)) {
		t.Errorf("%+v", u)
	}
	w.wantPods(0)
}

// TestSandboxUID checks that a static pod has its manifest's hash, as in the runtime.
func TestSandboxUID(t *testing.T) {
	t.Parallel()
	mirror := newPod(annotated("kubernetes.io/config.hash", "hash-1", "kubernetes.io/config.mirror", "hash-1"), app(waits("ErrImagePull", "x")))
	if got := Failures(mirror)[0].SandboxUID; got != "hash-1" {
		t.Errorf("static pod: %q", got)
	}
	claimed := newPod(annotated("kubernetes.io/config.hash", "hash-1"), app(waits("ErrImagePull", "x")))
	if got := Failures(claimed)[0].SandboxUID; got != "uid-1" {
		t.Errorf("a pod with an annotation of that name: %q", got)
	}
}
