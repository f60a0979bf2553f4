package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/node"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// TestCredentialProviders has the kubelet's plugin play each fault, for an image of its
// own, and whypull run it as the kubelet does.
func TestCredentialProviders(t *testing.T) {
	t.Parallel()
	const provider, hub = "credential provider " + node.Provider, registry.HubHost + "/provider/"
	for name, tc := range map[string]struct {
		image, cause, confidence, summary string
		evidence                          demo.Evidence
	}{
		"exit": {hub + "exit:1", "CredentialProviderFailed", confirmed, provider + " fails with exit status 3; " + registry.HubHost + " requires credentials for provider/exit",
			demo.Evidence{Check: "credentials", Outcome: "Failed", Fault: "CredentialProviderFailed", Detail: provider + ", which the kubelet runs for " + registry.HubHost + "/provider, fails with exit status 3"}},
		"hang": {hub + "hang:1", "CredentialProviderFailed", confirmed, "does not finish within a minute",
			demo.Evidence{Check: "credentials", Outcome: "Failed", Fault: "CredentialProviderFailed", Detail: "does not finish within a minute"}},
		"garbage": {hub + "garbage:1", "CredentialProviderFailed", confirmed, "returns something other than a CredentialProviderResponse",
			demo.Evidence{Check: "credentials", Outcome: "Failed", Fault: "CredentialProviderFailed", Detail: "something other than a CredentialProviderResponse"}},
		"flood": {hub + "flood:1", "CredentialProviderFailed", "Likely", "returned no credentials",
			demo.Evidence{Check: "credentials", Outcome: "Inconclusive", Fault: "CredentialProviderMatches", Detail: "returns more than whypull reads"}},
		"none": {hub + "none:1", "CredentialProviderFailed", confirmed, "returns no credentials",
			demo.Evidence{Check: "credentials", Outcome: "Failed", Fault: "CredentialProviderFailed", Detail: "returns no credentials"}},
		"others": {hub + "others:1", "CredentialProviderFailed", confirmed, "returns credentials, but none for " + hub + "others",
			demo.Evidence{Check: "credentials", Outcome: "Failed", Fault: "CredentialProviderFailed", Detail: "none for " + hub + "others"}},
		"rejected": {hub + "rejected:1", "CredentialsRejected", confirmed, "rejects the credentials in the answer of " + provider,
			demo.Evidence{Check: "credentials", Outcome: "Passed", Detail: provider + " returns credentials for " + registry.HubHost}},
		"denied": {registry.TokenHost + "/team-b/provider/denied:1", "DeniedOrNotFound", confirmed, "accepts the credentials in the answer of " + provider,
			demo.Evidence{Check: "credentials", Outcome: "Passed", Detail: provider + " returns credentials for " + registry.TokenHost}},
		"works": {hub + "works:1", "RepositoryNotFound", confirmed, "provider/works",
			demo.Evidence{Check: "credentials", Outcome: "Passed", Detail: provider + " returns credentials for " + registry.HubHost}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := breakProvided(t, name, demo.Pod("app", tc.image, "", ""))
			if got.Cause != tc.cause || tc.confidence != "" && got.Confidence != tc.confidence || !strings.Contains(got.Summary, tc.summary) {
				t.Errorf("%s, %s: %s", got.Cause, got.Confidence, got.Summary)
			}
			assertEntries(t, got.Evidence, tc.evidence)
			if runs(t, name, "kubelet") == 0 || runs(t, name, "whypull") == 0 {
				t.Errorf("runs of the kubelet: %d, of whypull: %d", runs(t, name, "kubelet"), runs(t, name, "whypull"))
			}
			if n := runs(t, name, "whypull-with-token"); n != 0 {
				t.Errorf("the plugin sees the agent's token in %d runs", n)
			}
		})
	}
	t.Run("cache", func(t *testing.T) {
		t.Parallel()
		for _, name := range []string{"one", "two"} { // the second when the first has been answered
			breakProvided(t, name, demo.Pod("app", registry.PlainHost+"/provider/"+name+":1", "", ""))
		}
		if first, second := runs(t, "one", "whypull"), runs(t, "two", "whypull"); first != 1 || second != 0 {
			t.Errorf("%d and %d runs, want one for the registry", first, second)
		}
	})
}

// bearerRights let the kubelet, and the agents as their nodes, request tokens for the
// audience of the plugin, of service accounts with one name.
const bearerRights = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: lab-bearer}
rules:
- apiGroups: [""]
  resources: [` + registry.BearerAudience + `]
  resourceNames: [puller]
  verbs: [request-serviceaccounts-token-audience]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: lab-bearer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: lab-bearer}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:nodes"}]
`

// tokenStart is the beginning of a token of a service account: {"alg":
const tokenStart = "eyJhbGciOi"

// bearerBinding lets the agents request tokens in a namespace.
const bearerBinding = `apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: whypull-agent-tokens}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: whypull-agent-tokens}
subjects: [{kind: ServiceAccount, name: whypull-agent, namespace: whypull}]
`

// TestCredentialProviderTokens has a plugin that the kubelet gives a token of the pod's
// service account; the plugin fails unless the token's audience, service account and pod
// are right. whypull gives it such a token too, in namespaces where that is granted.
func TestCredentialProviderTokens(t *testing.T) {
	t.Parallel()
	if !shared.Impersonation {
		t.Skip("without constrained impersonation whypull requests no tokens")
	}
	if _, err := shared.lab.Kubectl(t.Context(), strings.NewReader(bearerRights), "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	const provider, hub = "credential provider " + node.BearerProvider, registry.BearerImages + "/bearer-"
	for name, tc := range map[string]struct {
		account, binding  string
		annotated         bool
		cause, confidence string
		summary           string
		evidence          demo.Evidence
		kubelet, whypull  bool // runs the plugin
	}{
		"works": {"puller", bearerBinding, true, "RepositoryNotFound", confirmed, "bearer/bearer-works",
			demo.Evidence{Check: "credentials", Outcome: "Passed", Detail: provider + " returns credentials for " + registry.HubHost}, true, true},
		"rejected": {"puller", bearerBinding, true, "CredentialsRejected", confirmed, "rejects the credentials in the answer of " + provider,
			demo.Evidence{Check: "credentials", Outcome: "Passed", Detail: provider + " returns credentials for " + registry.HubHost}, true, true},
		"annotation": {"puller", bearerBinding, false, "CredentialProviderFailed", confirmed, "service account puller lacks the annotation " + registry.BearerAnnotation,
			demo.Evidence{Check: "credentials", Outcome: "Failed", Fault: "CredentialProviderFailed", Detail: "lacks the annotation " + registry.BearerAnnotation}, false, false},
		"audience": {"other", bearerBinding, true, "CredentialProviderFailed", confirmed, "nodes may not request tokens",
			demo.Evidence{Check: "credentials", Outcome: "Failed", Fault: "CredentialProviderFailed", Detail: "nodes may not request tokens for its serviceAccountTokenAudience"}, false, false},
		"unbound": {"puller", "", true, "", "", "",
			demo.Evidence{Check: "credentials", Outcome: "NotRun", Fault: "CredentialProviderMatches", Detail: "it needs a token of the pod's service account"}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			account := "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: " + tc.account + "\n"
			if tc.annotated {
				account += "  annotations: {" + registry.BearerAnnotation + ": \"yes\"}\n"
			}
			objects := []string{account, demo.Pod("app", hub+name+":1", "", "serviceAccountName: "+tc.account)}
			if tc.binding != "" {
				objects = append([]string{tc.binding}, objects...)
			}
			got := breakProvided(t, "bearer-"+name, objects...)
			if tc.cause != "" && got.Cause != tc.cause || tc.confidence != "" && got.Confidence != tc.confidence || !strings.Contains(got.Summary, tc.summary) {
				t.Errorf("%s, %s: %s", got.Cause, got.Confidence, got.Summary)
			}
			assertEntries(t, got.Evidence, tc.evidence)
			kubelet, whypull := runs(t, "bearer-"+name, "kubelet"), runs(t, "bearer-"+name, "whypull")
			if kubelet > 0 != tc.kubelet || whypull > 0 != tc.whypull {
				t.Errorf("runs of the kubelet: %d, of whypull: %d", kubelet, whypull)
			}
			if name == "works" {
				assertTokenPower(t, "provider-bearer-works")
			}
		})
	}
}

// assertTokenPower uses the agent's own token to try what it may not do where it may request
// tokens: there is a pod of the service account puller, and none of the account default.
func assertTokenPower(t *testing.T, namespace string) {
	t.Helper()
	kubeconfig, asNode := agentKubeconfig(t.Context(), t, "whypull", "whypull-agent"), "--as=system:node:"+node.Name
	for _, args := range [][]string{
		{asNode, "get", "serviceaccount", "default"},
		{asNode, "create", "token", "default", "--audience=" + registry.BearerAudience},
		{asNode, "create", "token", "puller", "--audience=" + registry.BearerAudience}, // bound to no pod
		{asNode, "get", "serviceaccounts"},
		{"get", "serviceaccount", "puller"},
		{"create", "token", "puller", "--audience=" + registry.BearerAudience},
	} {
		out, err := shared.lab.Kubectl(t.Context(), nil, append([]string{"--kubeconfig=" + kubeconfig, "-n", namespace}, args...)...)
		if err == nil || !strings.Contains(err.Error(), "orbidden") || strings.Contains(out, tokenStart) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// breakProvided breaks a pod whose image the kubelet's plugin is for, and returns the
// report once the plugin has run. Nothing that was written or logged has a password.
func breakProvided(t *testing.T, name string, manifests ...string) containerReport {
	t.Helper()
	s := demo.Scenario{Name: "provider-" + name, Manifests: manifests}
	if err := s.Break(t.Context(), shared.lab); err != nil {
		t.Fatal(err)
	}
	got := shared.settled(t.Context(), t, s.Name, "app").Containers[0]
	log, err := shared.lab.Kubectl(t.Context(), nil, "-n", "whypull", "logs", "daemonset/whypull-agent")
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{registry.AlicePassword, registry.ReaderPassword, "not-the-password", tokenStart} {
		if strings.Contains(fmt.Sprint(got), secret) || strings.Contains(log, secret) {
			t.Errorf("a report or the log has the secret %s", secret)
		}
	}
	return got
}

// runs returns how often somebody has run the plugin for an image, by what it has told the
// registry without TLS.
func runs(t *testing.T, image, who string) int {
	t.Helper()
	data, err := os.ReadFile(shared.lab.RegistryLog(registry.Plain))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, "/v2/?ran="+image+" ") && strings.Contains(line, `"lab-provider/`+who+`"`) {
			n++
		}
	}
	return n
}
