package base

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
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
