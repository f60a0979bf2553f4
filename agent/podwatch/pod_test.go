package podwatch

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/whypull/whypull/agent/diagnosis"
)

// image is the image of the pods of these tests, unless set.
const image = "hub.test/team/app:1.0"

// newPod returns a pod with one container, app, that has no status yet.
func newPod(edits ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "uid-1"},
		Spec: corev1.PodSpec{
			NodeName: "worker-3", ServiceAccountName: "default",
			Containers: []corev1.Container{{Name: "app", Image: image, ImagePullPolicy: corev1.PullIfNotPresent}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

func waits(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func runs() corev1.ContainerState {
	return corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
}

func ends(reason string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: reason}}
}

// app gives the container app a state.
func app(s corev1.ContainerState) func(*corev1.Pod) { return status("app", s) }

// status gives a regular container a state, and makes its status if need be.
func status(name string, s corev1.ContainerState) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		if old := byName(p.Status.ContainerStatuses)[name]; old != nil {
			old.State = s
			return
		}
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: name, State: s})
	}
}

// withContainer adds a regular container with a state.
func withContainer(name, image string, s corev1.ContainerState, mounts ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name, Image: image, VolumeMounts: mountsOf(mounts)})
		status(name, s)(p)
	}
}

func withInit(name, image string, s corev1.ContainerState) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: name, Image: image, ImagePullPolicy: corev1.PullAlways})
		p.Status.InitContainerStatuses = append(p.Status.InitContainerStatuses, corev1.ContainerStatus{Name: name, State: s})
	}
}

func withEphemeral(name, image string, s corev1.ContainerState) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{
			EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name, Image: image}})
		p.Status.EphemeralContainerStatuses = append(p.Status.EphemeralContainerStatuses, corev1.ContainerStatus{Name: name, State: s})
	}
}

// withVolume adds an image volume that app mounts.
func withVolume(name, image string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		unmounted(name, image)(p)
		p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, mountsOf([]string{name})...)
	}
}

// unmounted adds an image volume that no container mounts.
func unmounted(name, image string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			Image: &corev1.ImageVolumeSource{Reference: image, PullPolicy: corev1.PullAlways}}})
	}
}

func mountsOf(names []string) []corev1.VolumeMount {
	var out []corev1.VolumeMount
	for _, n := range names {
		out = append(out, corev1.VolumeMount{Name: n, MountPath: "/" + n})
	}
	return out
}

func wanting(image string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Image = image }
}

func phase(ph corev1.PodPhase) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.Phase = ph }
}

func deleted(p *corev1.Pod) {
	p.DeletionTimestamp = &metav1.Time{Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func uid(u string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.UID = types.UID(u) } }

func annotated(kv ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Annotations = map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			p.Annotations[kv[i]] = kv[i+1]
		}
	}
}

func ownedBy(kind, name string, controller *bool, labels map[string]string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Labels = labels
		p.OwnerReferences = append(p.OwnerReferences, metav1.OwnerReference{Kind: kind, Name: name, Controller: controller})
	}
}

func only(t *testing.T, p *corev1.Pod) diagnosis.Failure {
	t.Helper()
	got := Failures(p)
	if len(got) != 1 {
		t.Fatalf("got %d failures, want 1: %+v", len(got), got)
	}
	return got[0]
}

// A failure knows which name servers the pod's own spec chooses.
func TestNameServers(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "hub.test/app:1"}}, DNSConfig: &corev1.PodDNSConfig{Nameservers: []string{"169.254.169.254"}}},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "app",
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "x"}}}}},
	}
	all := Failures(pod)
	if len(all) != 1 || !slices.Equal(all[0].NameServers, []string{"169.254.169.254"}) {
		t.Errorf("got %+v", all)
	}
}
