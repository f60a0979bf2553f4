package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/registry"
)

const (
	pullable      = "whypull.dev/ImagePullable"
	readinessGate = "readinessGates:\n- conditionType: " + pullable + "\n"
)

// With the component, which the shared agent has, the condition is false while the image cannot be pulled, stays while
// the kubelet writes the pod's status, and becomes true when the image is there; kubectl
// waits for both. The policy allows the agent this condition and no other, and not where
// it is a readiness gate: such a pod never becomes ready.
func TestPodCondition(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	image := registry.HubHost + "/e2e/condition:1.0"
	s := demo.Scenario{Name: "condition", Images: []string{image}, Manifests: []string{
		demo.Pod("app", image, "", demo.PullSecrets("late")) + "---\n" + demo.Pod("gated", image, "", readinessGate+demo.PullSecrets("late")),
	}}
	t.Cleanup(func() { remove(t, s.Name) })
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	elsewhere(t, s.Name)
	page := integrations(t)
	page.run(t, "wait until it cannot be pulled", s.Name)
	shared.settled(ctx, t, s.Name, "app") // a pull that hangs may go on, which withdraws the condition
	p := getPod(t, s.Name, "app")
	before := conditionOf(p)
	if before == nil || before.Status != corev1.ConditionFalse || before.Reason != "PullSecretMissing" || before.Message != p.Annotations["whypull.dev/summary"] {
		t.Fatalf("condition %+v of a pod with the annotations %v", before, p.Annotations)
	}
	if len(p.Status.Conditions) < 4 {
		t.Errorf("the kubelet's conditions: %+v", p.Status.Conditions)
	}
	if out := page.run(t, "columns", s.Name); !strings.Contains(out, "PullSecretMissing") {
		t.Errorf("columns: no PullSecretMissing in\n%s", out)
	}
	// An Event is recorded after the annotations.
	shared.eventually(ctx, t, func() (string, bool) {
		out := page.run(t, "events", s.Name)
		return "PullSecretMissing in\n" + out, strings.Contains(out, "PullSecretMissing")
	})
	assertConditionSurvives(t, s.Name, before)
	if got := shared.settled(ctx, t, s.Name, "gated").Containers[0]; got.Cause != "PullSecretMissing" {
		t.Errorf("the agent's verdict on the pod with the readiness gate: %+v", got)
	}

	client := clientFrom(t, agentKubeconfig(ctx, t, "whypull", "whypull-agent"))
	assertPodPolicy(t, client, s.Name, "whypull-own-node-only")
	assertConditionPolicy(t, client, s.Name)

	secret := demo.Secret("late", registry.HubHost, registry.Alice, registry.AlicePassword)
	if _, err := shared.lab.Kubectl(ctx, strings.NewReader(secret), "-n", s.Name, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	page.run(t, "wait until the image is there", s.Name)
	p = getPod(t, s.Name, "app")
	if after := conditionOf(p); after == nil || after.Reason != "ImagePullRecovered" || !before.LastTransitionTime.Before(&after.LastTransitionTime) || p.Annotations["whypull.dev/cause"] != "" {
		t.Errorf("condition %+v, before %+v; annotations %v", after, before, p.Annotations)
	}
	shared.waitRunning(ctx, t, s.Name, "gated")
	if gated := getPod(t, s.Name, "gated"); conditionOf(gated) != nil || isReady(gated) {
		t.Errorf("the pod with the readiness gate has %+v", gated.Status.Conditions)
	}
	shared.eventually(ctx, t, func() (string, bool) {
		p := getPod(t, s.Name, "app")
		return "the pod to be ready: " + states(p), isReady(p)
	})
}

// assertConditionSurvives waits until the kubelet has written the pod's status after the
// agent's write, and checks that the condition is as it was.
func assertConditionSurvives(t *testing.T, namespace string, was *corev1.PodCondition) {
	t.Helper()
	var p *corev1.Pod
	shared.eventually(t.Context(), t, func() (string, bool) {
		p = getPod(t, namespace, "app")
		return "the kubelet to write the status again", slices.ContainsFunc(p.ManagedFields, func(f metav1.ManagedFieldsEntry) bool {
			return f.Manager == "kubelet" && f.Subresource == "status" && f.Time != nil && was.LastTransitionTime.Before(f.Time)
		})
	})
	if now := conditionOf(p); now == nil || *now != *was {
		t.Errorf("after a write of the kubelet the condition is %+v, was %+v", now, was)
	}
}

// assertConditionPolicy tries which conditions the policy allows, with a client that has
// the agent's token. It uses dry runs.
func assertConditionPolicy(t *testing.T, client kubernetes.Interface, namespace string) {
	t.Helper()
	const own = `{"type":"whypull.dev/ImagePullable","status":"False","reason":"Unknown","message":"x"}`
	for _, c := range []struct {
		name, pod, conditions, more string
		may                         bool
	}{
		{"its own condition", "app", own, "", true},
		{"its own condition and an annotation", "app", own, `,"metadata":{"annotations":{"whypull.dev/cause":"Unknown"}}`, true},
		{"another condition under its prefix", "app", `{"type":"whypull.dev/Other","status":"True"}`, "", false},
		{"the kubelet's condition", "app", `{"type":"Ready","status":"True"}`, "", false},
		{"to remove the kubelet's condition", "app", `{"type":"PodScheduled","$patch":"delete"}`, "", false},
		{"its own condition and another", "app", own + `,{"type":"Ready","status":"True"}`, "", false},
		{"to remove its own condition", "app", `{"type":"whypull.dev/ImagePullable","$patch":"delete"}`, "", false},
		{"its own condition where it is a readiness gate", "gated", own, "", false},
		{"its own condition on a pod of another node", "elsewhere", own, "", false},
	} {
		patch := `{"status":{"conditions":[` + c.conditions + `]}` + c.more + `}`
		_, err := client.CoreV1().Pods(namespace).Patch(t.Context(), c.pod, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}, "status")
		wantPolicy(t, c.name, err, c.may, "whypull-own-node-only")
	}
	phase := `{"status":{"phase":"Succeeded","conditions":[` + own + `]}}`
	_, err := client.CoreV1().Pods(namespace).Patch(t.Context(), "app", types.StrategicMergePatchType, []byte(phase), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}, "status")
	wantPolicy(t, "its own condition and the phase", err, false, "whypull-own-node-only")
}

func getPod(t *testing.T, namespace, name string) *corev1.Pod {
	t.Helper()
	p, err := shared.client.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// conditionOf returns whypull's condition of a pod; nil if there is none.
func conditionOf(p *corev1.Pod) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == pullable {
			return c
		}
	}
	return nil
}

func isReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// document is a page of the documentation whose commands are run.
type document struct{ name, text string }

func integrations(t *testing.T) document {
	t.Helper()
	name := filepath.Join(shared.root, "deploy", "docs", "integrations.md")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return document{name, string(text)}
}

// run runs the commands that the page marks with a name, for the pod app of a namespace,
// and returns their output.
func (d document) run(t *testing.T, name, namespace string) string {
	t.Helper()
	_, rest, _ := strings.Cut(d.text, "<!-- tested: TestPodCondition, "+name+" -->\n```sh\n")
	lines, _, found := strings.Cut(rest, "\n```")
	if !found {
		t.Fatalf("%s has no commands to %s", d.name, name)
	}
	lines = strings.NewReplacer("-n shop", "-n "+namespace, "pod/web", "pod/app").Replace(lines)
	out, err := shared.shell(t.Context(), lines, false)
	if err != nil {
		t.Fatalf("%s: %v\n%s", lines, err, out)
	}
	return out
}
