package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// TestRetry retries a private image whose pull failed and would succeed now, with the
// pod's own credentials. No other pod gains from it: one without the secret neither
// finds the image on the node nor can pull it. Not parallel, because retries take turns
// and this one must finish before the kubelet's second attempt. If the kubelet was
// faster, or pulled for another pod, the test uses another image.
func TestRetry(t *testing.T) {
	for i := range 5 {
		if retried(t, fmt.Sprintf("retried-%d", i)) {
			return
		}
	}
	t.Error("the kubelet has always been quicker, or has always pulled something else")
}

// retried runs the test for one image. It returns false if the kubelet has pulled it,
// or has pulled for another pod meanwhile, so that the retry gave way.
func retried(t *testing.T, name string) bool {
	t.Helper()
	ctx := t.Context()
	path := "/e2e/" + name + ":1.0"
	image := registry.FlakyHost + path
	s := demo.Scenario{Name: name, Images: []string{registry.HubHost + path}, Manifests: []string{
		demo.Secret("regcred", registry.FlakyHost, registry.Alice, registry.AlicePassword),
		demo.Pod("app", image, "IfNotPresent", demo.PullSecrets("regcred")),
	}}
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	var last string
	shared.eventually(ctx, t, func() (string, bool) {
		p, err := shared.client.CoreV1().Pods(name).Get(ctx, "app", metav1.GetOptions{})
		if err != nil {
			return err.Error(), false
		}
		last = p.Annotations["whypull.dev/report"]
		final := last != "" && !strings.Contains(last, `"fault":"Pending"`)
		return "the retry, or a pod that runs: " + last, final || p.Status.Phase == corev1.PodRunning
	})
	if _, err := shared.lab.Kubectl(ctx, nil, "-n", name, "delete", "pod", "app", "--grace-period=0", "--force"); err != nil {
		t.Fatal(err)
	}
	found, problems, err := shared.lab.Exec(ctx, nil, "sh", "-c", "ctr --namespace=k8s.io images ls -q | grep "+name+" || true")
	if err != nil {
		t.Fatal(err, problems)
	}
	if found != "" {
		t.Logf("the kubelet was quicker: %s", found)
		return false
	}
	shared.assertValid(t, last)
	var report podReport
	if err := json.Unmarshal([]byte(last), &report); err != nil {
		t.Fatal(err)
	}
	c := report.Containers[0]
	if strings.Contains(last, "pull replayed with the credentials in secret regcred") {
		t.Logf("the retry gave way: %s", last)
		return false
	}
	if c.Cause != "NotReproducible" || c.Confidence != "Confirmed" {
		t.Errorf("got %+v", c)
	}
	assertEntries(t, c.Evidence,
		demo.Evidence{Check: "message", Outcome: "Failed", Fault: "RegistryError", Detail: "503"},
		demo.Evidence{Check: "registry", Outcome: "Passed", Detail: "with the credentials in secret regcred"},
		demo.Evidence{Check: "pull", Outcome: "Passed", Detail: "with the credentials in secret regcred (entry " + registry.FlakyHost + ") and it succeeded"})
	assertNobodyGained(t, name, image)
	return true
}

// assertNobodyGained checks that pods without the secret neither find the image nor can
// pull it, and that nothing of it is left.
func assertNobodyGained(t *testing.T, namespace, image string) {
	t.Helper()
	ctx := t.Context()
	others := demo.Pod("never", image, "Never", "") + "---\n" + demo.Pod("present", image, "IfNotPresent", "")
	if _, err := shared.lab.Kubectl(ctx, strings.NewReader(others), "-n", namespace, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	if c := shared.settled(ctx, t, namespace, "never").Containers[0]; c.Cause != "ImageNotPresent" {
		t.Errorf("policy Never: %+v", c)
	}
	if c := shared.settled(ctx, t, namespace, "present").Containers[0]; c.Cause != "AuthenticationRequired" {
		t.Errorf("policy IfNotPresent: %+v", c)
	}
	for what, line := range map[string]string{
		"records of whypull's":  "ctr --namespace=whypull.dev images ls -q | grep " + namespace + " || true",
		"images that pods find": "ctr --namespace=k8s.io images ls -q | grep " + namespace + " || true",
	} {
		shared.eventually(ctx, t, func() (string, bool) {
			out, problems, err := shared.lab.Exec(ctx, nil, "sh", "-c", line)
			return what + ": " + out + problems, err == nil && out == ""
		})
	}
	if _, err := shared.lab.Kubectl(ctx, nil, "delete", "namespace", namespace, "--wait=false"); err != nil {
		t.Error(err)
	}
}
