package e2e

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// A pod whose second secret is valid never fails, and whypull reports nothing.
func TestSecondSecretWorks(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	image := registry.HubHost + "/e2e/second-works:1.0"
	s := demo.Scenario{Name: "second-secret-works", Images: []string{image}, Manifests: []string{
		demo.Secret("first", registry.HubHost, registry.Alice, demo.WrongPassword()),
		demo.Secret("second", registry.HubHost, registry.Bob, registry.BobPassword),
		demo.Pod("app", image, "", demo.PullSecrets("first", "second")),
	}}
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	shared.waitRunning(ctx, t, s.Name, "app")
	p, err := shared.client.CoreV1().Pods(s.Name).Get(ctx, "app", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for k := range p.Annotations {
		if strings.HasPrefix(k, "whypull.dev/") {
			t.Errorf("annotation %s on a pod that never failed", k)
		}
	}
	if lines := shared.agentRequests(t, registry.Hub, "e2e/second-works"); len(lines) > 0 {
		t.Errorf("whypull asked the registry about a pod that never failed: %v", lines)
	}
}

// waitRunning waits until all containers of a pod run.
func (c *cluster) waitRunning(ctx context.Context, t *testing.T, namespace, pod string) {
	t.Helper()
	c.eventually(ctx, t, func() (string, bool) {
		p, err := c.client.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{})
		if err != nil {
			return err.Error(), false
		}
		waiting := slices.ContainsFunc(p.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.State.Running == nil })
		return "running containers; " + states(p), !waiting && len(p.Status.ContainerStatuses) > 0
	})
}

// A pod that recovers in place loses its annotations and series, and gets a recovery
// Event.
func TestRecovery(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	image := registry.HubHost + "/e2e/healing:1.0"
	s := demo.Scenario{Name: "healing", Images: []string{image}, Manifests: []string{
		demo.Pod("app", image, "", demo.PullSecrets("late"))}}
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	report := shared.settled(ctx, t, s.Name, "app")
	if got := report.Containers[0].Cause; got != "PullSecretMissing" {
		t.Fatalf("cause %s, want PullSecretMissing", got)
	}
	series := regexp.MustCompile(`(?m)^whypull_failing_containers\{cause="PullSecretMissing",registry="` + regexp.QuoteMeta(registry.HubHost) + `"\} [1-9]`)
	if m := shared.metrics(ctx, t); !series.MatchString(m) {
		t.Errorf("no failing container in the metrics:\n%s", m)
	}
	secret := demo.Secret("late", registry.HubHost, registry.Alice, registry.AlicePassword)
	if _, err := shared.lab.Kubectl(ctx, strings.NewReader(secret), "-n", s.Name, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	shared.waitRunning(ctx, t, s.Name, "app")
	shared.eventually(ctx, t, func() (string, bool) {
		return "event ImagePullRecovered", len(events(ctx, t, s.Name, "app", "ImagePullRecovered", corev1.EventTypeNormal)) == 1
	})
	shared.eventually(ctx, t, func() (string, bool) {
		p, err := shared.client.CoreV1().Pods(s.Name).Get(ctx, "app", metav1.GetOptions{})
		if err != nil {
			return err.Error(), false
		}
		return fmt.Sprint("annotations to go: ", p.Annotations), p.Annotations["whypull.dev/cause"] == "" && p.Annotations["whypull.dev/report"] == ""
	})
}

// TestGaugeReturnsToNothing is not parallel: when the only failing pod recovers, no
// series is left.
func TestGaugeReturnsToNothing(t *testing.T) {
	ctx := t.Context()
	image := registry.PlainHost + "/e2e/pushed-late:1.0"
	s := demo.Scenario{Name: "gauge", Manifests: []string{demo.Pod("app", image, "", "")}}
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	shared.settled(ctx, t, s.Name, "app")
	assertEvent(ctx, t, s.Name, "app", "RepositoryNotFound")
	m := shared.metrics(ctx, t)
	for _, series := range []string{
		`whypull_failing_containers{cause="RepositoryNotFound",registry="` + registry.PlainHost + `"} 1`,
		`whypull_diagnoses_total{cause="RepositoryNotFound",confidence="Confirmed"} 1`,
		"whypull_time_to_diagnosis_seconds_count 1", "whypull_check_duration_seconds_count{", "whypull_build_info{", "whypull_cri_up 1",
		"whypull_last_sync_timestamp_seconds ", `whypull_api_writes_total{result="success"} 2`, `whypull_secret_reads_total{result="found"} 0`,
	} {
		if !strings.Contains(m, series) {
			t.Errorf("no %s in the metrics:\n%s", series, m)
		}
	}
	late, err := shared.lab.PauseImage(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.lab.Push(ctx, image, late); err != nil {
		t.Fatal(err)
	}
	shared.waitRunning(ctx, t, s.Name, "app")
	shared.eventually(ctx, t, func() (string, bool) {
		m := shared.metrics(ctx, t)
		return "no series of failing containers:\n" + m, !strings.Contains(m, "whypull_failing_containers{")
	})
}

// 30 pods that fail on one image with one secret cause one probe of the registry with
// that secret, and one without. Not parallel: other tests change the node's files, after
// which registries are asked again.
func TestManyPodsOneProbe(t *testing.T) {
	ctx := t.Context()
	image := registry.HubHost + "/e2e/many:1.0"
	const pods = 30
	s := demo.Scenario{Name: "many-pods", Images: []string{image}, Manifests: []string{
		demo.Secret("regcred", registry.HubHost, registry.Alice, "guessed by many"), // which nobody else sends
		demo.Deployment("app", image, "regcred", pods)}}
	// Controllers create the pods of a Deployment: Break waits for none.
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	shared.eventually(ctx, t, func() (string, bool) {
		list, err := shared.client.CoreV1().Pods(s.Name).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error(), false
		}
		diagnosed := 0
		for _, p := range list.Items {
			if p.Annotations["whypull.dev/cause"] == "CredentialsRejected" {
				diagnosed++
			}
		}
		return fmt.Sprintf("%d of %d pods diagnosed", diagnosed, pods), diagnosed == pods
	})
	lines := shared.agentRequests(t, registry.Hub, "/v2/e2e/many/")
	// HEAD, which also says what is there without credentials, HEAD with credentials,
	// and a GET for the error code.
	if len(lines) != 3 {
		t.Errorf("%d requests of whypull for %d pods, want 3:\n%s", len(lines), pods, strings.Join(lines, "\n"))
	}
	if _, err := shared.lab.Kubectl(ctx, nil, "delete", "namespace", s.Name, "--wait=false"); err != nil {
		t.Fatal(err)
	}
}

// The remedy for a Deployment's pod changes the Deployment.
func TestDeploymentIsFixed(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	image := registry.PlainHost + "/e2e/deployed"
	s := demo.Scenario{Name: "deployed", Images: []string{image + ":1.0"}, Manifests: []string{demo.Deployment("web", image+":1.9", "none", 1)}}
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	report := shared.settled(ctx, t, s.Name, shared.onePod(ctx, t, s.Name))
	if got := report.Containers[0].Cause; got != "TagNotFound" {
		t.Fatalf("cause %s, want TagNotFound: %+v", got, report)
	}
	runRemedy(ctx, t, s, report)
	if _, err := shared.lab.Kubectl(ctx, nil, "-n", s.Name, "rollout", "status", "deployment/web", "--timeout=4m"); err != nil {
		t.Fatal(err)
	}
}

// Remedies name what manages a workload and a pull secret, since a change made only in
// the cluster does not last.
func TestManagedObjects(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	change := func(manifest, old, new string) string {
		if strings.Count(manifest, old) != 1 {
			t.Fatalf("%q is not once in\n%s", old, manifest)
		}
		return strings.Replace(manifest, old, new, 1)
	}
	public, private := registry.PlainHost+"/e2e/managed", registry.HubHost+"/e2e/managed-private:1.0"
	s := demo.Scenario{Name: "managed", Images: []string{public + ":1.0", private}, Manifests: []string{
		change(demo.Deployment("web", public+":1.9", "none", 1), "metadata: {labels: {app: web}}",
			`metadata: {labels: {app: web}, annotations: {argocd.argoproj.io/tracking-id: "shop-web:apps/Deployment:managed/web"}}`),
		// The controller of owners knows no such kind, so it leaves the secret alone.
		change(demo.Secret("regcred", registry.HubHost, "managed", "wrong"), "  name: regcred\n",
			"  name: regcred\n  ownerReferences: [{apiVersion: external-secrets.io/v1, kind: ExternalSecret, name: registry-login, uid: 5f0c7f0e}]\n"),
		demo.Deployment("private", private, "regcred", 1),
	}}
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	for app, want := range map[string][]string{
		"web": {
			"# Argo CD application shop-web manages the Deployment web, so make this change in the source of the application.",
			"kubectl -n managed set image deployment/web app=" + public + ":1.0",
		},
		"private": {
			"# ExternalSecret registry-login writes secret regcred and overwrites changes of it.",
			"kubectl -n managed describe externalsecrets.external-secrets.io/registry-login",
		},
	} {
		var pod string
		shared.eventually(ctx, t, func() (string, bool) {
			list, err := shared.client.CoreV1().Pods(s.Name).List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
			if err != nil || len(list.Items) == 0 {
				return fmt.Sprint("a pod of ", app, ": ", err), false
			}
			pod = list.Items[0].Name
			return "", true
		})
		report := shared.settled(ctx, t, s.Name, pod)
		if missing := inOrder(strings.Join(report.Containers[0].Remedy, "\n"), want); missing != "" {
			t.Errorf("the remedy of %s lacks %q: %+v", app, missing, report.Containers[0])
		}
	}
	deleteScenario(ctx, t, s)
}

// onePod waits for a namespace's first pod.
func (c *cluster) onePod(ctx context.Context, t *testing.T, namespace string) string {
	t.Helper()
	var name string
	c.eventually(ctx, t, func() (string, bool) {
		list, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil || len(list.Items) == 0 {
			return fmt.Sprint("a pod in ", namespace, ": ", err), false
		}
		name = list.Items[0].Name
		return "", true
	})
	return name
}

// A restarted agent finds its own report on the pod and writes neither the report nor
// the Event again.
func TestRestartedAgentRepeatsNothing(t *testing.T) {
	ctx := t.Context()
	s := demo.Scenario{Name: "restarted", Manifests: []string{demo.Pod("app", registry.PlainHost+"/e2e/never-pushed-either:1.0", "", "")}}
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	before := shared.settled(ctx, t, s.Name, "app")
	assertEvent(ctx, t, s.Name, "app", "RepositoryNotFound")
	if _, err := shared.lab.Kubectl(ctx, nil, "-n", "whypull", "rollout", "restart", "daemonset/whypull-agent"); err != nil {
		t.Fatal(err)
	}
	if _, err := shared.lab.Kubectl(ctx, nil, "-n", "whypull", "rollout", "status", "daemonset/whypull-agent", "--timeout=4m"); err != nil {
		t.Fatal(err)
	}
	shared.eventually(ctx, t, func() (string, bool) { // the new agent has reached a verdict
		body, err := shared.get(ctx, "http://127.0.0.1:9779/metrics")
		return "the new agent's verdict", err == nil && strings.Contains(body, `whypull_failing_containers{cause="RepositoryNotFound"`)
	})
	after := shared.settled(ctx, t, s.Name, "app")
	if before.Containers[0].Since != after.Containers[0].Since {
		t.Errorf("failing since %s, after the restart since %s", before.Containers[0].Since, after.Containers[0].Since)
	}
	assertEvent(ctx, t, s.Name, "app", "RepositoryNotFound")
}

// TestNoPasswordAnywhere searches whypull's log, metrics, annotations and Events of the
// whole cluster for the wrong passwords.
func TestNoPasswordAnywhere(t *testing.T) {
	ctx := t.Context()
	s := demo.Scenario{Name: "no-password", Images: []string{registry.HubHost + "/e2e/no-password:1.0"}, Manifests: []string{
		demo.Secret("regcred", registry.HubHost, registry.Alice, demo.WrongPassword()),
		demo.Pod("app", registry.HubHost+"/e2e/no-password:1.0", "", demo.PullSecrets("regcred"))}}
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	shared.settled(ctx, t, s.Name, "app")
	assertEvent(ctx, t, s.Name, "app", "CredentialsRejected")
	texts := map[string]string{"metrics": shared.metrics(ctx, t)}
	for what, args := range map[string][]string{
		"log":    {"-n", "whypull", "logs", "daemonset/whypull-agent"},
		"pods":   {"get", "pods", "-A", "-o", "yaml"},
		"events": {"get", "events", "-A", "-o", "yaml"},
	} {
		out, err := shared.lab.Kubectl(ctx, nil, args...)
		if err != nil {
			t.Fatal(err)
		}
		texts[what] = out
	}
	for what, text := range texts {
		for _, password := range []string{demo.WrongPassword(), registry.AlicePassword, registry.ReaderPassword} {
			if strings.Contains(text, password) {
				t.Errorf("the %s contain the password %s", what, password)
			}
		}
	}
}

// TestPasswordInImageName breaks a pod with passwords in its images' names. The pod and
// the kubelet's Events have them; nothing of whypull's repeats them.
func TestPasswordInImageName(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const name, password = "password-in-name", "pw-in-image-name"
	image := registry.HubHost + "/e2e/password-in-name:1.0"
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: name}}
	for i, written := range []string{"robot:" + password + "@" + image, "https://robot:" + password + "@" + image, password + "@" + image, "robot:pw/" + password + "@" + image} {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: fmt.Sprintf("app-%d", i), Image: written})
	}
	s := demo.Scenario{Name: name, Manifests: []string{demo.Secret("unused", registry.HubHost, registry.Alice, registry.AlicePassword)}}
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	if _, err := shared.client.CoreV1().Pods(name).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	report := shared.settled(ctx, t, name, "app")
	shared.eventually(ctx, t, func() (string, bool) {
		all := events(ctx, t, name, "app", "InvalidImageName", corev1.EventTypeWarning)
		texts["Events"] = fmt.Sprint(all)
		return "Events", len(all) == len(pod.Spec.Containers)
	})
	for _, c := range report.Containers {
		if c.Cause != "InvalidImageName" || c.Confidence != "Confirmed" || !strings.HasSuffix(c.Summary, "did you mean "+image+"?") {
			t.Errorf("%s: %s, %s, %s", c.Name, c.Cause, c.Confidence, c.Summary)
		}
	}
	if len(report.Containers) != len(pod.Spec.Containers) {
		t.Errorf("%d of %d containers in the report", len(report.Containers), len(pod.Spec.Containers))
	}
	texts["metrics"] = shared.metrics(ctx, t)
	log, err := shared.lab.Kubectl(ctx, nil, "-n", "whypull", "logs", "daemonset/whypull-agent")
	if err != nil {
		t.Fatal(err)
	}
	texts["log"] = log
	got, err := shared.client.CoreV1().Pods(name).Get(ctx, "app", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	texts["annotations"] = fmt.Sprint(got.Annotations) // created without kubectl, so there is no copy of the pod's spec
	for what, text := range texts {
		if strings.Contains(text, password) {
			t.Errorf("the %s contain the password", what)
		}
	}
}
