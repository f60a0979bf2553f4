package e2e

import (
	"strings"
	"testing"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// TestRetry: a private image whose pull failed, and would not fail now, is pulled
// again with the pod's own login, and no pod is the richer for it: one without
// the secret neither finds it on the node nor gets it.
func TestRetry(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const path = "/e2e/retried:1.0"
	image := registry.FlakyHost + path
	s := demo.Scenario{Name: "retried", Images: []string{registry.HubHost + path}, Manifests: []string{
		demo.Secret("regcred", registry.FlakyHost, registry.Alice, registry.AlicePassword),
		demo.Pod("app", image, "IfNotPresent", demo.PullSecrets("regcred")),
	}}
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	c := shared.settled(ctx, t, s.Name, "app").Containers[0]
	// Before the kubelet's own back-off ends the pod goes, so that nobody but
	// whypull has pulled the image.
	if _, err := shared.lab.Kubectl(ctx, nil, "-n", s.Name, "delete", "pod", "app", "--grace-period=0", "--force"); err != nil {
		t.Fatal(err)
	}
	if c.Cause != "NotReproducible" || c.Confidence != "Confirmed" {
		t.Errorf("got %+v", c)
	}
	assertEntries(t, c.Evidence,
		demo.Evidence{Check: "message", Outcome: "Failed", Fault: "RegistryError", Detail: "503"},
		demo.Evidence{Check: "registry", Outcome: "Passed", Detail: "with secret regcred"},
		demo.Evidence{Check: "pull", Outcome: "Passed", Detail: "pulled again by the runtime with secret regcred (entry " + registry.FlakyHost + "), where no pod finds it"})
	others := demo.Pod("never", image, "Never", "") + "---\n" + demo.Pod("present", image, "IfNotPresent", "")
	if _, err := shared.lab.Kubectl(ctx, strings.NewReader(others), "-n", s.Name, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	if c := shared.settled(ctx, t, s.Name, "never").Containers[0]; c.Cause != "ImageNotPresent" {
		t.Errorf("policy Never: %+v", c)
	}
	if c := shared.settled(ctx, t, s.Name, "present").Containers[0]; c.Cause != "AuthenticationRequired" {
		t.Errorf("policy IfNotPresent: %+v", c)
	}
	for what, line := range map[string]string{
		"records of whypull's":  "ctr --namespace=whypull.dev images ls -q | grep retried || true",
		"images that pods find": "ctr --namespace=k8s.io images ls -q | grep retried || true",
	} {
		shared.eventually(ctx, t, func() (string, bool) {
			out, problems, err := shared.lab.Exec(ctx, nil, "sh", "-c", line)
			return what + ": " + out + problems, err == nil && out == ""
		})
	}
}
