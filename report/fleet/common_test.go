package fleet

import (
	"encoding/json"
	"flag"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/asserttest"
	"github.com/whypull/whypull/report"
)

//go:generate go test . -update
var update = flag.Bool("update", false, "update the golden files")

// noon is the time of all tests.
func noon() time.Time { return time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC) }

const (
	image   = "hub.test/team/app:1.2"
	backoff = `Back-off pulling image "hub.test/team/app:1.2": ErrImagePull: failed to pull and unpack image "hub.test/team/app:1.2": failed to resolve image: unexpected status from HEAD request to https://hub.test/v2/team/app/manifests/1.2: 401 Unauthorized`
)

type edit func(*corev1.Pod)

// testPod returns a pod in namespace shop on node worker-1 with a container
// app.
func testPod(name string, edits ...edit) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.Time{Time: noon().Add(-time.Hour)}},
		Spec: corev1.PodSpec{NodeName: "worker-1", Containers: []corev1.Container{
			{Name: "app", Image: image, ImagePullPolicy: corev1.PullIfNotPresent}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, e := range edits {
		e(p)
	}
	return p
}

func on(node string) edit           { return func(p *corev1.Pod) { p.Spec.NodeName = node } }
func in(namespace string) edit      { return func(p *corev1.Pod) { p.Namespace = namespace } }
func of(image string) edit          { return func(p *corev1.Pod) { p.Spec.Containers[0].Image = image } }
func phase(ph corev1.PodPhase) edit { return func(p *corev1.Pod) { p.Status.Phase = ph } }
func annotated(key, value string) edit {
	return func(p *corev1.Pod) { metav1.SetMetaDataAnnotation(&p.ObjectMeta, key, value) }
}

func deleted(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: noon()} }

func secrets(names ...string) edit {
	return func(p *corev1.Pod) {
		for _, n := range names {
			p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: n})
		}
	}
}

func ownedBy(kind, name string) edit {
	yes := true
	return func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, Controller: &yes}}
	}
}

// withContainer adds a container to the pod's spec.
func withContainer(name, image string, volumes ...string) edit {
	return func(p *corev1.Pod) {
		c := corev1.Container{Name: name, Image: image}
		for _, v := range volumes {
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: v})
		}
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
}

func volume(name, image string) edit {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			Image: &corev1.ImageVolumeSource{Reference: image}}})
	}
}

func withStatus(name string, s corev1.ContainerStatus) edit {
	return func(p *corev1.Pod) {
		s.Name = name
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, s)
	}
}

func waiting(reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
}

func running() corev1.ContainerStatus {
	return corev1.ContainerStatus{ImageID: "hub.test/x@sha256:1", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
}

func terminated() corev1.ContainerStatus {
	return corev1.ContainerStatus{ImageID: "hub.test/x@sha256:1", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}
}

func crashing() corev1.ContainerStatus {
	s := waiting("CrashLoopBackOff", "back-off 10s")
	s.ImageID, s.LastTerminationState = "x", terminated().State
	return s
}

// stuck makes the container app wait for its image.
func stuck(p *corev1.Pod) { withStatus("app", waiting("ImagePullBackOff", backoff))(p) }

// verdict returns a report's entry on the container app.
func verdict(cause diagnosis.Cause, summary string, edits ...func(*report.Container)) report.Container {
	c := report.Container{
		Name: "app", Kind: "container", Image: image, PullPolicy: "IfNotPresent", Cause: string(cause), Confidence: "Confirmed",
		Summary: summary, Remedy: []string{}, Evidence: []report.Entry{}, Since: "2026-01-02T11:56:00Z",
	}
	for _, e := range edits {
		e(&c)
	}
	return c
}

func named(kind diagnosis.Kind, name string) func(*report.Container) {
	return func(c *report.Container) { c.Kind, c.Name = string(kind), name }
}

func about(image string) func(*report.Container) {
	return func(c *report.Container) { c.Image = image }
}

// withReport adds a report to the pod.
func withReport(containers ...report.Container) edit {
	return func(p *corev1.Pod) {
		d := report.Document{Schema: report.Schema, Node: p.Spec.NodeName, ObservedAt: "2026-01-02T11:56:03Z", Containers: containers}
		text, err := json.Marshal(d)
		if err != nil {
			text = []byte(err.Error())
		}
		annotated(report.ReportAnnotation, string(text))(p)
	}
}

// failingPod returns a pod with a report whose container app fails.
func failingPod(name string, cause diagnosis.Cause, summary string, edits ...edit) *corev1.Pod {
	p := testPod(name, append([]edit{stuck}, edits...)...)
	withReport(verdict(cause, summary, about(p.Spec.Containers[0].Image)))(p)
	return p
}

// runningPod returns a pod whose container app runs.
func runningPod(name string, edits ...edit) *corev1.Pod {
	return testPod(name, append([]edit{withStatus("app", running()), phase(corev1.PodRunning)}, edits...)...)
}

func agent(node string, isReady corev1.ConditionStatus) *corev1.Pod {
	return testPod("whypull-agent-"+node, in("whypull"), on(node), func(p *corev1.Pod) {
		p.Labels = map[string]string{nameLabel: agentName, componentLabel: agentComponent}
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: isReady}}
	})
}

func overview(pods ...*corev1.Pod) Overview {
	var v View
	f := Fleet{Complete: true}
	for _, p := range pods {
		v.Put(p)
		f.Add(p)
	}
	return v.Build(&f, noon())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	asserttest.Golden(t, filepath.Join("testdata", name+".golden"), *update, got)
}

// failingCluster returns a cluster with many failures.
func failingCluster() []*corev1.Pod {
	const rejected = "hub.test rejects the credentials of pull secret regcred"
	const timeout = "https://ghcr.io cannot be reached from node worker-3: connecting to 10.1.2.3:443 timed out"
	var out []*corev1.Pod
	for i := range 5 {
		out = append(out, failingPod(fmt.Sprintf("web-%d", i), diagnosis.CredentialsRejected, rejected,
			on(fmt.Sprintf("worker-%d", 1+i%3)), secrets("regcred", "other"), ownedBy("ReplicaSet", "web")))
	}
	return append(out,
		failingPod("api", diagnosis.CredentialsRejected, rejected, in("team"), secrets("regcred")),
		failingPod("cron-1", diagnosis.ConnectionTimeout, timeout, on("worker-3"), of("ghcr.io/x/cron:2")),
		failingPod("cron-2", diagnosis.ConnectionTimeout, timeout, on("worker-3"), of("ghcr.io/x/cron:2")),
		runningPod("cron-0", on("worker-1"), of("ghcr.io/x/cron:2")), runningPod("cron-9", on("worker-4"), of("ghcr.io/x/cron:2"), in("team")),
		testPod("quiet", stuck, on("worker-9")),
		testPod("fresh", stuck, on("worker-2"), func(p *corev1.Pod) { p.CreationTimestamp.Time = noon().Add(-5 * time.Second) }),
		runningPod("fine"), agent("worker-1", corev1.ConditionTrue), agent("worker-2", corev1.ConditionTrue), agent("worker-3", corev1.ConditionFalse),
	)
}
