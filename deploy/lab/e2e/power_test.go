package e2e

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/node"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// TestLeastPower uses the agent's own token to try what it may and may not do. Where the
// API server has no constrained impersonation, the agent may read pods instead.
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
	elsewhere(t, s.Name)
	kubeconfig := agentKubeconfig(ctx, t, "whypull", "whypull-agent")
	asAgent := "--kubeconfig=" + kubeconfig
	asNode, impersonation := []string{"--as=system:node:lab-node"}, shared.Impersonation
	for _, c := range []struct {
		name string
		args []string
		may  bool
	}{
		{"secret that a pod of the node names, as the node", append(asNode, "-n", s.Name, "get", "secret", "named"), impersonation},
		{"secret that no pod of the node names, as the node", append(asNode, "-n", s.Name, "get", "secret", "unnamed"), false},
		{"that secret under its own name", []string{"-n", s.Name, "get", "secret", "named"}, false},
		{"to watch a secret that a pod of the node names, as the node", append(asNode, "get", "--raw", watchPath(s.Name, "?fieldSelector=metadata.name%3Dnamed&")), impersonation},
		{"to watch a secret that no pod of the node names, as the node", append(asNode, "get", "--raw", watchPath(s.Name, "?fieldSelector=metadata.name%3Dunnamed&")), false},
		{"to watch all secrets, as the node", append(asNode, "get", "--raw", watchPath(s.Name, "?")), false},
		{"to watch that secret under its own name", []string{"get", "--raw", watchPath(s.Name, "?fieldSelector=metadata.name%3Dnamed&")}, false},
		{"to list one secret, as the node", append(asNode, "-n", s.Name, "get", "secrets", "--field-selector=metadata.name=named"), false},
		{"all secrets, as the node", append(asNode, "-n", s.Name, "get", "secrets"), false},
		{"pods of the node, as the node", append(asNode, "get", "pods", "-A", "--field-selector=spec.nodeName=lab-node"), impersonation},
		{"all pods, as the node", append(asNode, "get", "pods", "-A"), false},
		{"all pods under its own name", []string{"get", "pods", "-A"}, !impersonation},
		{"one pod under its own name", []string{"-n", s.Name, "get", "pod", "app"}, false},
		{"all secrets under its own name", []string{"-n", s.Name, "get", "secrets"}, false},
		{"pods of another node", []string{"--as=system:node:another-node", "get", "pods", "-A", "--field-selector=spec.nodeName=another-node"}, false},
		{"a service account of a pod of the node, as the node", append(asNode, "-n", s.Name, "get", "serviceaccount", "default"), false},
		{"a token of that account, as the node", append(asNode, "-n", s.Name, "create", "token", "default"), false},
		{"a token of that account under its own name", []string{"-n", s.Name, "create", "token", "default"}, false},
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
	if impersonation {
		assertSeen(t, kubeconfig, s.Name)
		assertPriority(t, kubeconfig, "", "whypull-agents")
		assertPriority(t, kubeconfig, "system:node:"+node.Name, "system-nodes")
	}
	client := clientFrom(t, kubeconfig)
	assertPodPolicy(t, client, s.Name, "whypull-own-node-only")
	assertEventPolicy(t, client, s.Name, "whypull-own-events-only")
}

// assertSeen changes the secret "named", and expects that the agent's client sees that by
// a watch as the node.
func assertSeen(t *testing.T, kubeconfig, namespace string) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kube.New(config, kube.Options{Node: node.Name, Access: kube.AccessImpersonate})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seen, ended := make(chan string, 10), make(chan error, 1)
	go func() {
		ended <- client.WatchSecret(ctx, namespace, "named", func(version string, _ error) { seen <- version })
	}()
	next := func() string {
		select {
		case version := <-seen:
			return version
		case err := <-ended:
			t.Fatalf("watch on the secret: %v", err)
		}
		return ""
	}
	first, start := next(), time.Now()
	if _, err := shared.lab.Kubectl(ctx, strings.NewReader(demo.Secret("named", registry.HubHost, "u", "p2")), "-n", namespace, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	if second := next(); second == first {
		t.Errorf("the secret has the version %s before and after a change", first)
	}
	t.Logf("the change was seen %s after it was made", time.Since(start))
}

// assertPriority expects that the API server assigns what the agent asks, as a user or
// under its own name, to the FlowSchema.
func assertPriority(t *testing.T, kubeconfig, as, schema string) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.Impersonate.UserName = as
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	want, err := shared.client.FlowcontrolV1().FlowSchemas().Get(t.Context(), schema, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, config.Host+"/api/v1/pods?fieldSelector=spec.nodeName%3D"+node.Name, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // nothing was written
	if got := response.Header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID); got != string(want.UID) {
		t.Errorf("as %q: FlowSchema %q, want %s, which is %q", as, got, schema, want.UID)
	}
}

// watchPath returns the path of a watch on the secrets of a namespace that ends after a second.
func watchPath(namespace, selector string) string {
	return "/api/v1/namespaces/" + namespace + "/secrets" + selector + "watch=true&timeoutSeconds=1"
}

// elsewhere creates a pod bound to a node that does not exist, until the test ends. The
// controllers delete such a pod within a minute, which its finalizer delays.
func elsewhere(t *testing.T, namespace string) {
	t.Helper()
	pod := demo.Pod("elsewhere", registry.PlainHost+"/e2e/power:1.0", "", "nodeName: another-node")
	pod = strings.Replace(pod, "metadata:\n", "metadata:\n  finalizers: [example.com/kept]\n", 1)
	if _, err := shared.lab.Kubectl(t.Context(), strings.NewReader(pod), "-n", namespace, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := shared.lab.Kubectl(context.WithoutCancel(t.Context()), nil, "-n", namespace, "patch", "pod", "elsewhere", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`); err != nil {
			t.Error(err)
		}
	})
}

// assertPodPolicy tries which changes to a pod's status the policy allows, with a
// client that has the agent's token. The namespace has a pod "app" of the node, and a
// pod "elsewhere".
func assertPodPolicy(t *testing.T, client kubernetes.Interface, namespace, policy string) {
	t.Helper()
	for _, c := range []struct {
		name, pod, patch string
		may              bool
	}{
		{"its own annotation on a pod of the node", "app", `{"metadata":{"annotations":{"whypull.dev/cause":"Unknown"}}}`, true},
		{"to remove it", "app", `{"metadata":{"annotations":{"whypull.dev/cause":null}}}`, true},
		{"another annotation under its prefix", "app", `{"metadata":{"annotations":{"whypull.dev/other":"x"}}}`, false},
		{"somebody else's annotation", "app", `{"metadata":{"annotations":{"example.com/x":"x"}}}`, false},
		{"an empty annotation of somebody else", "app", `{"metadata":{"annotations":{"example.com/x":""}}}`, false},
		{"a label", "app", `{"metadata":{"labels":{"x":"y"}}}`, false},
		{"a finalizer", "app", `{"metadata":{"finalizers":["example.com/x"]}}`, false},
		{"the pod's phase", "app", `{"status":{"phase":"Succeeded"}}`, false},
		{"a condition", "app", `{"status":{"conditions":[{"type":"Ready","status":"True"}]}}`, false},
		{"its annotation on a pod of another node", "elsewhere", `{"metadata":{"annotations":{"whypull.dev/cause":"Unknown"}}}`, false},
	} {
		// kubectl patch would read the pod first, which the agent may not do.
		_, err := client.CoreV1().Pods(namespace).Patch(t.Context(), c.pod, types.MergePatchType, []byte(c.patch), metav1.PatchOptions{}, "status")
		wantPolicy(t, c.name, err, c.may, policy)
	}
}

// assertEventPolicy tries which Events about the pod "app" the policy allows, with a
// client that has the agent's token. It uses dry runs.
func assertEventPolicy(t *testing.T, client kubernetes.Interface, namespace, policy string) {
	t.Helper()
	for _, c := range []struct {
		name   string
		change func(*eventsv1.Event)
		may    bool
	}{
		{"a cause", func(*eventsv1.Event) {}, true},
		{"a recovery", func(e *eventsv1.Event) { e.Reason, e.Type = "ImagePullRecovered", corev1.EventTypeNormal }, true},
		{"another controller's name", func(e *eventsv1.Event) { e.ReportingController = "kubelet" }, false},
		{"another node's name", func(e *eventsv1.Event) { e.ReportingInstance = "another-node" }, false},
		{"an Event on a node", func(e *eventsv1.Event) { e.Regarding.Kind = "Node" }, false},
		{"an Event on a pod of another namespace", func(e *eventsv1.Event) { e.Regarding.Namespace = "kube-system" }, false},
		{"a reason that is no cause", func(e *eventsv1.Event) { e.Reason = "FailedScheduling" }, false},
		{"a cause that is no warning", func(e *eventsv1.Event) { e.Type = corev1.EventTypeNormal }, false},
		{"a recovery that is a warning", func(e *eventsv1.Event) { e.Reason = "ImagePullRecovered" }, false},
		{"a related object", func(e *eventsv1.Event) { e.Related = &corev1.ObjectReference{Kind: "Secret", Name: "named"} }, false},
		{"an owner", func(e *eventsv1.Event) {
			e.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "app", UID: "1"}}
		}, false},
		{"a finalizer", func(e *eventsv1.Event) { e.Finalizers = []string{"example.com/x"} }, false},
	} {
		e := &eventsv1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: "power", Namespace: namespace}, EventTime: metav1.NowMicro(),
			ReportingController: "whypull.dev/agent", ReportingInstance: "lab-node", Action: "Diagnose", Reason: "TagNotFound",
			Type: corev1.EventTypeWarning, Note: "x", Regarding: corev1.ObjectReference{Kind: "Pod", Name: "app", Namespace: namespace},
		}
		c.change(e)
		_, err := client.EventsV1().Events(namespace).Create(t.Context(), e, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		wantPolicy(t, c.name, err, c.may, policy)
	}
}

// wantPolicy checks that an allowed request succeeds, and that the policy denies the
// others.
func wantPolicy(t *testing.T, name string, err error, may bool, policy string) {
	t.Helper()
	if (err == nil) != may {
		t.Errorf("%s: %v, want allowed: %v", name, err, may)
	}
	if err != nil && !strings.Contains(err.Error(), "ValidatingAdmissionPolicy '"+policy+"'") {
		t.Errorf("%s: refused by another than the policy %s: %v", name, policy, err)
	}
}

func clientFrom(t *testing.T, kubeconfig string) kubernetes.Interface {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// agentKubeconfig returns a kubeconfig with a token like the agent's: bound to the pod
// and so to the node.
func agentKubeconfig(ctx context.Context, t *testing.T, namespace, account string) string {
	t.Helper()
	pods, err := shared.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("the agent's pod: %v", err)
	}
	token, err := shared.lab.Kubectl(ctx, nil, "-n", namespace, "create", "token", account,
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
