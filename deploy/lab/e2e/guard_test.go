package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// Names and namespace that the overlay gives the manifests.
const (
	otherNamespace = "observability"
	otherPrefix    = "team-"
)

// TestAnotherNamespaceAndName is not parallel, because it replaces the agent that the
// tests share. An overlay that knows nothing of whypull changes the namespace and the
// names. While a policy is not bound, the agent writes nothing and says so. Once it is
// bound, the agent works and the policies restrict it as they do under their own names.
func TestAnotherNamespaceAndName(t *testing.T) {
	ctx := t.Context()
	parkAgent(t)
	withoutSharedPolicies(t)
	s := demo.Scenario{Name: "other-names", Manifests: []string{
		demo.Pod("app", registry.PlainHost+"/e2e/other-names:1.0", "", ""),
	}}
	t.Cleanup(func() { remove(t, s.Name) })
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	elsewhere(t, s.Name)
	awaitNoPolicies(t, s.Name)
	whole := overlay(t, "")
	t.Cleanup(func() {
		if out, err := shared.lab.Kubectl(context.WithoutCancel(ctx), nil, "delete", "-k", whole, "--ignore-not-found"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	install(t, overlay(t, `patches:
- patch: |
    $patch: delete
    apiVersion: admissionregistration.k8s.io/v1
    kind: ValidatingAdmissionPolicyBinding
    metadata: {name: whypull-own-node-only}
`))
	assertHeldBack(t, s.Name)

	install(t, whole)
	if got := shared.settled(ctx, t, s.Name, "app").Containers[0]; got.Cause != "RepositoryNotFound" {
		t.Errorf("the agent's verdict: %+v", got)
	}
	if m := shared.metrics(ctx, t); !strings.Contains(m, "\nwhypull_admission_guarded 1\n") {
		t.Errorf("the agent writes, but its metrics do not report it as guarded:\n%s", m)
	}
	client := clientFrom(t, agentKubeconfig(ctx, t, otherNamespace, otherPrefix+"whypull-agent"))
	assertPodPolicy(t, client, s.Name, otherPrefix+"whypull-own-node-only")
	assertEventPolicy(t, client, s.Name, otherPrefix+"whypull-own-events-only")
}

// withoutSharedPolicies deletes the bindings of the shared agent's policies. They would
// apply to the other agent too, because it has the same role.
func withoutSharedPolicies(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if _, err := shared.lab.Kubectl(ctx, nil, "delete", "validatingadmissionpolicybindings", "whypull-own-node-only", "whypull-own-events-only"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := shared.lab.Kubectl(ctx, nil, "apply", "-k", installed()); err != nil {
			t.Error(err)
		}
	})
}

// awaitNoPolicies waits until the API server no longer enforces policies that have been
// deleted: until it accepts what they forbid to the shared agent's account, as dry runs
// about the pod "app".
func awaitNoPolicies(t *testing.T, namespace string) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", shared.lab.KubeconfigPath())
	if err != nil {
		t.Fatal(err)
	}
	config.Impersonate.UserName = "system:serviceaccount:whypull:whypull-agent"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	dry := []string{metav1.DryRunAll}
	shared.eventually(t.Context(), t, func() (string, bool) {
		_, pod := client.CoreV1().Pods(namespace).Patch(t.Context(), "app", types.MergePatchType, []byte(`{"metadata":{"annotations":{"whypull.dev/other":"x"}}}`), metav1.PatchOptions{DryRun: dry}, "status")
		_, event := client.EventsV1().Events(namespace).Create(t.Context(), &eventsv1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: "no-policy", Namespace: namespace}, EventTime: metav1.NowMicro(),
			ReportingController: "example.com/other", ReportingInstance: "x", Action: "x", Reason: "x", Type: corev1.EventTypeNormal,
			Regarding: corev1.ObjectReference{Kind: "Pod", Name: "app", Namespace: namespace},
		}, metav1.CreateOptions{DryRun: dry})
		return fmt.Sprintf("deleted policies to have no effect: %v, %v", pod, event), pod == nil && event == nil
	})
}

// overlay returns the directory of a kustomization that gives the manifests another
// namespace and prefix, and adds added.
func overlay(t *testing.T, added string) string {
	t.Helper()
	dir := t.TempDir()
	deploy, err := filepath.Rel(dir, filepath.Join(shared.root, "deploy"))
	if err != nil {
		t.Fatal(err)
	}
	text := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [" + deploy + "]\n" +
		"namespace: " + otherNamespace + "\nnamePrefix: " + otherPrefix + "\n" + added
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// install applies an overlay and waits for its agent.
func install(t *testing.T, dir string) {
	t.Helper()
	if out, err := shared.lab.Kubectl(t.Context(), nil, "apply", "-k", dir); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := shared.lab.Kubectl(t.Context(), nil, "-n", otherNamespace, "rollout", "status", "daemonset/"+otherPrefix+"whypull-agent", "--timeout=4m"); err != nil {
		t.Fatal(err)
	}
}

// assertHeldBack checks that the agent has a verdict about the pod "app" and has tried
// to write it, but that the pod has neither annotations nor Events.
func assertHeldBack(t *testing.T, namespace string) {
	t.Helper()
	ctx := t.Context()
	shared.eventually(ctx, t, func() (string, bool) {
		log, err := shared.lab.Kubectl(ctx, nil, "-n", otherNamespace, "logs", "daemonset/"+otherPrefix+"whypull-agent")
		if err != nil {
			return err.Error(), false
		}
		m := shared.metrics(ctx, t)
		return "the agent to hold back a verdict:\n" + m + log,
			strings.Contains(m, "\nwhypull_admission_guarded 0\n") && strings.Contains(m, `whypull_failing_containers{cause="RepositoryNotFound"`) &&
				strings.Contains(log, `"msg":"nothing is written"`) && strings.Contains(log, `"msg":"process pod failed"`)
	})
	if report := shared.said(t, namespace, "app"); report != "" {
		t.Errorf("the agent has written %s", report)
	}
	events, err := shared.client.EventsV1().Events(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events.Items {
		if e.ReportingController == "whypull.dev/agent" {
			t.Errorf("the agent has recorded %+v", e)
		}
	}
}
