package e2e

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// TestLeastPower tries with the agent's own token what it may and what it may
// not do.
func TestLeastPower(t *testing.T) {
	ctx := t.Context()
	s := demo.Scenario{Name: "power", Images: []string{registry.PlainHost + "/e2e/power:1.0"}, Manifests: []string{
		demo.Secret("named", registry.HubHost, "u", "p"),
		demo.Secret("unnamed", registry.HubHost, "u", "p"),
		demo.Pod("app", registry.PlainHost+"/e2e/power:1.0", "", demo.PullSecrets("named")),
	}}
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	elsewhere := demo.Pod("elsewhere", registry.PlainHost+"/e2e/power:1.0", "", "nodeName: another-node")
	if _, err := shared.lab.Kubectl(ctx, strings.NewReader(elsewhere), "-n", s.Name, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	asAgent := "--kubeconfig=" + agentKubeconfig(ctx, t)
	asNode := []string{"--as=system:node:lab-node"}
	for _, c := range []struct {
		name string
		args []string
		may  bool
	}{
		{"secret that a pod of the node names, as the node", append(asNode, "-n", s.Name, "get", "secret", "named"), true},
		{"secret that no pod of the node names, as the node", append(asNode, "-n", s.Name, "get", "secret", "unnamed"), false},
		{"that secret under its own name", []string{"-n", s.Name, "get", "secret", "named"}, false},
		{"all secrets, as the node", append(asNode, "-n", s.Name, "get", "secrets"), false},
		{"pods of the node, as the node", append(asNode, "get", "pods", "-A", "--field-selector=spec.nodeName=lab-node"), true},
		{"all pods, as the node", append(asNode, "get", "pods", "-A"), false},
		{"all pods under its own name", []string{"get", "pods", "-A"}, false},
		{"pods of another node", []string{"--as=system:node:another-node", "get", "pods", "-A", "--field-selector=spec.nodeName=another-node"}, false},
		{"config maps, as the node", append(asNode, "get", "configmaps", "-A"), false},
		{"another user", []string{"--as=admin", "get", "pods", "-A"}, false},
		{"to delete a pod", []string{"-n", s.Name, "delete", "pod", "app", "--wait=false"}, false},
	} {
		_, err := shared.lab.Kubectl(ctx, nil, append([]string{asAgent}, c.args...)...)
		if (err == nil) != c.may {
			t.Errorf("%s: %v, want allowed: %v", c.name, err, c.may)
		}
		if err != nil && !strings.Contains(err.Error(), "orbidden") && !strings.Contains(err.Error(), "denied") {
			t.Errorf("%s: refused for another reason: %v", c.name, err)
		}
	}
	client := kubernetes.NewForConfigOrDie(restConfig(t, asAgent))
	for _, c := range []struct {
		name, pod, patch string
		may              bool
	}{
		{"its own annotation on a pod of the node", "app", `{"metadata":{"annotations":{"whypull.dev/cause":"Unknown"}}}`, true},
		{"to remove it", "app", `{"metadata":{"annotations":{"whypull.dev/cause":null}}}`, true},
		{"another annotation under its prefix", "app", `{"metadata":{"annotations":{"whypull.dev/other":"x"}}}`, false},
		{"somebody else's annotation", "app", `{"metadata":{"annotations":{"example.com/x":"x"}}}`, false},
		{"a label", "app", `{"metadata":{"labels":{"x":"y"}}}`, false},
		{"a finalizer", "app", `{"metadata":{"finalizers":["example.com/x"]}}`, false},
		{"the pod's phase", "app", `{"status":{"phase":"Succeeded"}}`, false},
		{"a condition", "app", `{"status":{"conditions":[{"type":"Ready","status":"True"}]}}`, false},
		{"its annotation on a pod of another node", "elsewhere", `{"metadata":{"annotations":{"whypull.dev/cause":"Unknown"}}}`, false},
	} {
		// kubectl patch reads the pod first, which the agent may not and need not.
		_, err := client.CoreV1().Pods(s.Name).Patch(ctx, c.pod, types.MergePatchType, []byte(c.patch), metav1.PatchOptions{}, "status")
		if (err == nil) != c.may {
			t.Errorf("%s: %v, want allowed: %v", c.name, err, c.may)
		}
		if err != nil && !strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'whypull-own-node-only'") {
			t.Errorf("%s: refused by another than the policy: %v", c.name, err)
		}
	}
	for name, event := range map[string]string{
		"an event that another controller reports": `reportingController: kubelet
reportingInstance: lab-node`,
		"an event of another node": `reportingController: whypull.dev/agent
reportingInstance: another-node`,
	} {
		manifest := "apiVersion: events.k8s.io/v1\nkind: Event\nmetadata: {name: x, namespace: " + s.Name + "}\neventTime: \"2026-01-01T00:00:00.000000Z\"\n" +
			"reason: X\naction: X\ntype: Normal\nnote: x\nregarding: {kind: Pod, name: app, namespace: " + s.Name + "}\n" + event + "\n"
		if _, err := shared.lab.Kubectl(ctx, strings.NewReader(manifest), asAgent, "create", "-f", "-"); err == nil || !strings.Contains(err.Error(), "orbidden") && !strings.Contains(err.Error(), "denied") {
			t.Errorf("%s: %v, want denied", name, err)
		}
	}
}

func restConfig(t *testing.T, flag string) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", strings.TrimPrefix(flag, "--kubeconfig="))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// agentKubeconfig is a kubeconfig with a token as the agent's pod has it: bound
// to the pod, and by that to the node.
func agentKubeconfig(ctx context.Context, t *testing.T) string {
	t.Helper()
	pods, err := shared.client.CoreV1().Pods("whypull").List(ctx, metav1.ListOptions{})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("the agent's pod: %v", err)
	}
	token, err := shared.lab.Kubectl(ctx, nil, "-n", "whypull", "create", "token", "whypull-agent",
		"--bound-object-kind=Pod", "--bound-object-name="+pods.Items[0].Name)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(shared.lab.KubeconfigPath())
	if err != nil {
		t.Fatal(err)
	}
	for name := range config.AuthInfos {
		config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: strings.TrimSpace(token)}
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}
