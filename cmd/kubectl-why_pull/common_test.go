package main

import (
	"bytes"
	"encoding/json"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube/apitest"
	"github.com/whypull/whypull/cri/asserttest"
	"github.com/whypull/whypull/report"
)

const image = "hub.test/team/app:1.2"

// newPod returns a pod on node n1, created an hour ago, with a container app.
func newPod(namespace, name string, state corev1.ContainerState) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: metav1.NewTime(time.Now().Add(-time.Hour))},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "app", Image: image}},
			ImagePullSecrets: []corev1.LocalObjectReference{{Name: "regcred"}}},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "app", ImageID: "x", State: state}}},
	}
}

func fine(namespace, name string) *corev1.Pod {
	return newPod(namespace, name, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
}

func silent(namespace, name string) *corev1.Pod {
	return newPod(namespace, name, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "401 Unauthorized"}})
}

func broken(namespace, name string, cause diagnosis.Cause) *corev1.Pod {
	p := silent(namespace, name)
	d := report.Document{Schema: report.Schema, Node: "n1", ObservedAt: "2026-01-02T03:04:05Z", Containers: []report.Container{{
		Name: "app", Kind: "container", Image: image, Cause: string(cause), Confidence: "Confirmed", Summary: "a sentence on " + name,
		Remedy: []string{"kubectl -n " + namespace + " create secret docker-registry regcred --from-file=.dockerconfigjson=<config.json>"},
	}}}
	text, err := json.Marshal(d)
	if err != nil {
		text = []byte(err.Error())
	}
	metav1.SetMetaDataAnnotation(&p.ObjectMeta, report.ReportAnnotation, string(text))
	return p
}

func agentPod(namespace, node string) *corev1.Pod {
	p := fine(namespace, "agent-"+node)
	p.Spec.NodeName = node
	p.Labels = map[string]string{"app.kubernetes.io/name": "whypull", "app.kubernetes.io/component": "agent"}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	return p
}

// output is a buffer that can be read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// called runs the program against a server.
func called(t *testing.T, s *apitest.Server, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs output
	status = run(append(args, "--kubeconfig", s.Kubeconfig(t)), &out, &errs)
	return status, out.String(), errs.String()
}

var eventually = asserttest.Eventually
