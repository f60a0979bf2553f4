package retry

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/agent/probe"
	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry/faulttest"
	"github.com/whypull/whypull/cri/scratchpull"
	"github.com/whypull/whypull/deploy/lab/runtimes"
	"github.com/whypull/whypull/report/metrics"
)

const (
	namespace = "faults"
	// strange is a message without information, so that only the checks can find the
	// cause.
	strange = "something that nobody has seen before"
)

// pullSecrets holds credentials for one registry each, by the name of the secret.
type pullSecrets []faulttest.Credential

// Secret implements probe.Secrets.
func (s pullSecrets) Secret(_ context.Context, ns, name string) (kube.Secret, error) {
	for _, c := range s {
		if ns != namespace || c.Source != name {
			continue
		}
		data, err := json.Marshal(map[string]any{"auths": map[string]any{
			c.Key: map[string]string{"username": c.Username.Reveal(), "password": c.Password.Reveal()},
		}})
		if err != nil {
			return kube.Secret{}, fmt.Errorf("secret %s: %w", name, err)
		}
		return kube.Secret{Type: string(corev1.SecretTypeDockerConfigJson),
			Data: credential.Redact(map[string][]byte{corev1.DockerConfigJsonKey: data})}, nil
	}
	return kube.Secret{}, kube.ErrNotFound
}

// agent holds what the agent has on a node with this runtime, except the API server.
type agent struct {
	collector *probe.Collector
	again     chan string
	secrets   pullSecrets
}

func newAgent(t *testing.T, r runtimes.Runtime, l scratchpull.Limits, secrets ...faulttest.Credential) agent {
	t.Helper()
	runtime, err := cri.Dial(r.Socket())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = runtime.Close() })
	a := agent{again: make(chan string, 10), secrets: secrets}
	options := nodeconfig.Options{Root: "/", ConfigFile: r.ConfigFile(), Version: "lab"}
	a.collector = probe.New(probe.Options{
		Images: runtime, Secrets: a.secrets, Metrics: metrics.New("lab"), Registries: options, Resolver: probe.NodeResolver{Root: "/"},
		Transfers: runtime, Filesystems: runtime,
		Retry: probe.Retry{Isolated: puller(t, r, l), SlowAfter: worksFor, Again: func(uid string) { a.again <- uid }},
	})
	return a
}

// failure returns the failure of a pod whose pull ended with this message.
func (a agent) failure(t *testing.T, image, text string) diagnosis.Failure {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "pod", UID: "uid"},
		Spec: corev1.PodSpec{NodeName: "lab-node", ServiceAccountName: "default",
			Containers: []corev1.Container{{Name: "app", Image: image, ImagePullPolicy: corev1.PullIfNotPresent}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{
			Name: "app", Image: image,
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: text}},
		}}},
	}
	for _, s := range a.secrets {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: s.Source})
	}
	all := podwatch.Failures(pod)
	if len(all) != 1 {
		t.Fatalf("the pod has %d failures", len(all))
	}
	return all[0]
}

// judge examines a failure until its retry, if there is one, has finished.
func (a agent) judge(t *testing.T, f diagnosis.Failure) diagnosis.Verdict {
	t.Helper()
	for {
		_, all := a.collector.Collect(t.Context(), f, false)
		v := diagnosis.Diagnose(f, <-all)
		if !slices.ContainsFunc(v.Evidence, func(e diagnosis.Finding) bool {
			return e.Check == diagnosis.CheckPull && e.Fault == diagnosis.FaultPending
		}) {
			return v
		}
		<-a.again
	}
}

// retries returns the evidence of the retried pull.
func retries(v diagnosis.Verdict) []diagnosis.Finding {
	return slices.DeleteFunc(slices.Clone(v.Evidence), func(e diagnosis.Finding) bool { return e.Pull().Retry == nil })
}

// describe formats a verdict for the log of a test.
func describe(v diagnosis.Verdict) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s: %s", v.Cause, v.Confidence, v.Summary)
	for _, e := range v.Evidence {
		if e.Check == diagnosis.CheckPull {
			fmt.Fprintf(&b, "\n  %s %s %s: %s", e.Outcome, e.Fault, e.Retry().Cause, e.Detail)
		}
	}
	return b.String()
}

// robots returns the large registry's credentials, as a pod has them.
func robots() faulttest.Credential {
	return faulttest.Credential{Source: "robots", Key: host, Credential: credential.New(user, password)}
}

func clerks() faulttest.Credential {
	return faulttest.Credential{Source: "clerks", Key: host, Credential: credential.New(clerk, clerksPassword)}
}

// put stores an incompressible image in the large registry.
func put(t *testing.T, repository string, size, layers int64) (reference string) {
	t.Helper()
	image, err := noise(size, layers)
	if err != nil {
		t.Fatal(err)
	}
	reference = host + "/" + repository + ":1"
	if err := large.push(reference, image); err != nil {
		t.Fatal(err)
	}
	return reference
}
