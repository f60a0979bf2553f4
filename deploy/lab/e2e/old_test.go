package e2e

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/deploy/lab/demo"
)

// TestOldSecretsByRBAC is not parallel, because it changes the rights of the agent that
// the tests share. Without the kubelet's certificate, the agent reads pull secrets only
// in namespaces where RBAC grants it. Elsewhere the report says what would allow it.
func TestOldSecretsByRBAC(t *testing.T) {
	replaceAgent(t, "resources: [DEPLOY]\ncomponents: [DEPLOY/components/direct-pod-access]\n")
	awaitAgent(t)

	const refused, granted = "rbac-refused", "rbac-granted"
	got := breakReadme(t, refused)
	if got.Cause == "PullSecretNoMatch" || got.Confidence == confirmed {
		t.Errorf("the agent has read the secret: %+v", got)
	}
	assertEntries(t, got.Evidence, demo.Evidence{Check: "credentials", Outcome: "NotRun", Fault: "SecretUnreadable", Detail: "to grant get on it"})
	assertSecretAccess(t, "none")

	assertIdentity(t, granted, `apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: pull-secrets}
rules: [{apiGroups: [""], resources: [secrets], resourceNames: [regcred], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: pull-secrets}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: pull-secrets}
subjects: [{kind: ServiceAccount, name: whypull-agent, namespace: whypull}]
`)
	assertSecretAccess(t, "direct")
}

// assertSecretAccess checks the identity that the agent's metrics name.
func assertSecretAccess(t *testing.T, want string) {
	t.Helper()
	if m := shared.metrics(t.Context(), t); !strings.Contains(m, `secret_access="`+want+`"`) {
		t.Errorf("secret access is not %s:\n%s", want, m)
	}
}

// TestOldWithNewManifests is not parallel, because it replaces the agent that the tests
// share. With the manifests for newer versions of Kubernetes, the agent can watch no
// pods: it does not become ready, keeps running, and its log names the manifests that it
// needs. Once they are applied, it works.
func TestOldWithNewManifests(t *testing.T) {
	ctx := t.Context()
	replaceAgent(t, "resources: [DEPLOY]\n")
	shared.eventually(ctx, t, func() (string, bool) {
		log, err := shared.lab.Kubectl(ctx, nil, "-n", "whypull", "logs", "daemonset/whypull-agent")
		return "the agent to say what it lacks: " + log,
			err == nil && strings.Contains(log, `"msg":"watch on pods failed"`) && strings.Contains(log, "deploy/before-1.36")
	})
	if _, err := shared.get(ctx, "http://127.0.0.1:9779/readyz"); err == nil || !strings.Contains(err.Error(), "the watch on pods has not synced") {
		t.Errorf("ready: %v", err)
	}
	pods, err := shared.client.CoreV1().Pods("whypull").List(ctx, metav1.ListOptions{})
	if err != nil || len(pods.Items) != 1 {
		t.Fatalf("the agent's pods: %v, %+v", err, pods)
	}
	if s := pods.Items[0].Status.ContainerStatuses[0]; s.Ready || s.RestartCount > 0 || s.State.Running == nil {
		t.Errorf("the agent's container: %+v", s)
	}

	replaceAgent(t, "resources: [DEPLOY/before-1.36]\n")
	awaitAgent(t)
	assertIdentity(t, "old-again")
}
