package podwatch

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/whypull/whypull/agent/diagnosis"
)

// waiting returns the containers and image volumes of a pod whose image may be
// being pulled according to the pod's status: those that the kubelet starts next
// and that wait without a reason. The order is the kubelet's (kuberuntime
// SyncPod): image volumes, ephemeral containers, init containers one at a time,
// the others. There are at most maxExamined of the volumes, and of the rest. Since
// is zero.
func waiting(pod *corev1.Pod, all []container) []diagnosis.Failure {
	coming := next(all)
	if Over(pod) || pod.Spec.NodeName == "" || len(coming) == 0 {
		return nil
	}
	base := newFailure(pod)
	var out []diagnosis.Failure
	for _, c := range coming[:min(len(coming), maxExamined)] {
		f := sight(*base, c).failure
		f.Message = ""
		out = append(out, f)
	}
	return append(volumesOf(pod, all, out), out...)
}

// next returns the containers that wait without a reason and that the kubelet
// starts next.
func next(all []container) []container {
	var out []container
	initialised := true
	for _, c := range all {
		if c.Kind == diagnosis.KindContainer && !initialised {
			continue
		}
		if idle(c) && (c.Kind != diagnosis.KindInitContainer || initialised) {
			out = append(out, c)
		}
		if c.Kind == diagnosis.KindInitContainer && !past(c) {
			initialised = false
		}
	}
	return out
}

// idle reports whether the kubelet has seen the container and gives no reason why it
// waits: only its defaults, which are also set during a pull.
func idle(c container) bool {
	w := c.waiting()
	return w != nil && slices.Contains([]string{"", "ContainerCreating", "PodInitializing"}, w.Reason)
}

// past reports whether the kubelet goes on to what comes after an init container:
// it has exited with 0 or, as a sidecar, which keeps running, has started.
func past(c container) bool {
	if c.Status == nil {
		return false
	}
	if end := c.Status.State.Terminated; end != nil {
		return end.ExitCode == 0
	}
	sidecar := ptr.Deref(c.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways
	return sidecar && c.Status.State.Running != nil
}

// volumesOf returns the image volumes of a pod in which nothing has started: they
// are pulled before the first container.
func volumesOf(pod *corev1.Pod, all []container, waiting []diagnosis.Failure) []diagnosis.Failure {
	started := func(c container) bool { return c.Status != nil && (c.waiting() == nil || c.Status.RestartCount > 0) }
	if len(waiting) == 0 || slices.ContainsFunc(all, started) {
		return nil
	}
	var out []diagnosis.Failure
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.Image != nil && v.Image.Reference != "" && len(out) < maxExamined {
			out = append(out, ofVolume(waiting[0], v, ImageOf(v.Image.Reference)))
		}
	}
	return out
}
