package base

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/report"
)

// additions returns what a component's patches add, and its resources.
func additions(t *testing.T, name string) (added, resources []string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "components", name, "kustomization.yaml")) // #nosec G304 -- constants
	if err != nil {
		t.Fatal(err)
	}
	var component struct {
		Resources []string
		Patches   []struct{ Patch string }
	}
	if err := yaml.Unmarshal(data, &component); err != nil {
		t.Fatal(err)
	}
	for _, p := range component.Patches {
		var operations []struct {
			Op, Path string
			Value    any
		}
		if err := yaml.UnmarshalStrict([]byte(p.Patch), &operations); err != nil {
			t.Fatal(err)
		}
		for _, o := range operations {
			value, err := yaml.Marshal(o.Value)
			if err != nil {
				t.Fatal(err)
			}
			added = append(added, o.Op+" "+o.Path+" "+strings.Join(strings.Fields(string(value)), " "))
		}
	}
	return added, component.Resources
}

// Clusters without constrained impersonation get the right to read pods and the
// kubelet's certificates, read-only, and nothing else.
func TestComponentsForOlderClusters(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"direct-pod-access": {`add /rules/- apiGroups: - "" resources: - pods verbs: - list - watch`},
		"kubelet-identity": {
			"add /spec/template/spec/containers/0/volumeMounts/- mountPath: /host/var/lib/kubelet/pki name: kubelet-identity readOnly: true",
			"add /spec/template/spec/volumes/- hostPath: path: /var/lib/kubelet/pki name: kubelet-identity",
		},
	} {
		if added, resources := additions(t, name); !slices.Equal(added, want) || len(resources) > 0 {
			t.Errorf("%s adds %q and %q", name, added, resources)
		}
	}
	data, err := os.ReadFile(filepath.Join("..", "before-1.36", "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(data), "resources:\n- ../base\ncomponents:\n- ../components/direct-pod-access\n- ../components/kubelet-identity\n") {
		t.Errorf("before-1.36 is\n%s", data)
	}
}

// The component metrics-auth turns authentication on and grants the agents exactly
// the two rights that it needs. Its service account may read metrics and nothing
// else.
func TestComponentForMetricsAuth(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "components", "metrics-auth")
	added, resources := additions(t, "metrics-auth")
	want := []string{
		"add /rules/- apiGroups: - authentication.k8s.io resources: - tokenreviews verbs: - create",
		"add /rules/- apiGroups: - authorization.k8s.io resources: - subjectaccessreviews verbs: - create",
		"add /spec/template/spec/containers/0/env/- name: WHYPULL_METRICS_AUTH value: token",
	}
	if !slices.Equal(added, want) || !slices.Equal(resources, []string{"reader.yaml"}) {
		t.Errorf("adds %q and %q", added, resources)
	}
	reader, err := os.ReadFile(filepath.Join(dir, "reader.yaml")) // #nosec G304 -- a constant
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(reader), "verbs:"); got != 1 || !strings.Contains(string(reader), "- nonResourceURLs: [\"/metrics\"]\n  verbs: [\"get\"]\n") {
		t.Errorf("the reader has %d rules:\n%s", got, reader)
	}
}

// No manifest grants tokens of service accounts: the base does not mention them, and the
// component credential-provider-tokens changes nothing and has a role that nothing binds,
// with two rights as the agent's node.
func TestComponentForTokens(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "components", "credential-provider-tokens")
	added, resources := additions(t, "credential-provider-tokens")
	if len(added) > 0 || !slices.Equal(resources, []string{"role.yaml"}) {
		t.Errorf("adds %q and %q", added, resources)
	}
	role, err := os.ReadFile(filepath.Join(dir, "role.yaml")) // #nosec G304 -- a constant
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Kind  string
		Rules []struct{ APIGroups, Resources, Verbs []string }
	}
	if err := yaml.Unmarshal(role, &got); err != nil || strings.Contains(string(role), "\n---") {
		t.Fatalf("more than one object, or %v", err)
	}
	var rights []string
	for _, r := range got.Rules {
		rights = append(rights, strings.Join(r.APIGroups, ",")+" "+strings.Join(r.Resources, ",")+" "+strings.Join(r.Verbs, ","))
	}
	want := []string{" serviceaccounts impersonate-on:associated-node:get", " serviceaccounts/token impersonate-on:associated-node:create"}
	if got.Kind != "ClusterRole" || !slices.Equal(rights, want) {
		t.Errorf("%s with %q", got.Kind, rights)
	}
	base, err := os.ReadFile("rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(base), "serviceaccounts") {
		t.Error("the base grants something on service accounts")
	}
}

// policyChange is a change of a component to an admission policy.
type policyChange struct {
	Op, Path string
	Value    ruleOrText
}

// ruleOrText is a rule or a variable of a policy; empty for a text to compare with.
type ruleOrText struct{ expression }

func (r *ruleOrText) UnmarshalJSON(data []byte) error {
	if data[0] == '"' {
		return nil
	}
	return json.Unmarshal(data, &r.expression)
}

// podCondition returns the changes of the component pod-condition to the policy on pods.
func podCondition(t *testing.T) []policyChange {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "components", "pod-condition", "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var component struct {
		Patches []struct{ Patch string }
	}
	if err := yaml.Unmarshal(data, &component); err != nil {
		t.Fatal(err)
	}
	var changes []policyChange
	if err := yaml.Unmarshal([]byte(component.Patches[0].Patch), &changes); err != nil {
		t.Fatal(err)
	}
	return changes
}

// The component pod-condition turns the condition on, grants no right, and replaces the
// rule that the status may not change by rules for whypull's own condition.
func TestComponentForPodCondition(t *testing.T) {
	t.Parallel()
	rules := policy(t, podPolicy).Spec.Validations
	if last := len(rules) - 1; last != 5 || rules[last].Message != kube.StatusRefusal {
		t.Fatalf("the last rule of the policy is %d: %+v", last, rules[last])
	}
	var paths, messages []string
	for _, c := range podCondition(t) {
		paths = append(paths, c.Op+" "+c.Path)
		if c.Value.Name != "" && strings.Count(c.Value.Expression, "'"+string(report.PullableCondition)+"'") != 1 {
			t.Errorf("the variable %s does not name the condition: %s", c.Value.Name, c.Value.Expression)
		}
		if c.Value.Message != "" {
			messages = append(messages, c.Value.Message)
		}
	}
	if want := []string{"add /spec/variables/-", "add /spec/variables/-", "add /spec/variables/-", "add /spec/variables/-", "test /spec/validations/5/message", "replace /spec/validations/5", "add /spec/validations/-"}; !slices.Equal(paths, want) {
		t.Errorf("changes %q, want %q", paths, want)
	}
	if len(messages) != 2 || messages[0] != kube.ConditionRefusal {
		t.Errorf("messages %q", messages)
	}
	added, resources := additions(t, "pod-condition")
	if got := added[len(added)-1]; got != `add /spec/template/spec/containers/0/env/- name: WHYPULL_POD_CONDITION value: "true"` || len(added) != 8 || len(resources) > 0 {
		t.Errorf("adds %q and %q", added, resources)
	}
}
