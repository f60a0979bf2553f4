package base

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// The component metrics-auth turns authentication on and grants the agents exactly
// the two rights that it needs. Its service account may read metrics and nothing
// else.
func TestComponentForMetricsAuth(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "components", "metrics-auth")
	data, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml")) // #nosec G304 -- a constant
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
	var added []string
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
	want := []string{
		"add /rules/- apiGroups: - authentication.k8s.io resources: - tokenreviews verbs: - create",
		"add /rules/- apiGroups: - authorization.k8s.io resources: - subjectaccessreviews verbs: - create",
		"add /spec/template/spec/containers/0/env/- name: WHYPULL_METRICS_AUTH value: token",
	}
	if !slices.Equal(added, want) || !slices.Equal(component.Resources, []string{"reader.yaml"}) {
		t.Errorf("adds %q and %q", added, component.Resources)
	}
	reader, err := os.ReadFile(filepath.Join(dir, "reader.yaml")) // #nosec G304 -- a constant
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(reader), "verbs:"); got != 1 || !strings.Contains(string(reader), "- nonResourceURLs: [\"/metrics\"]\n  verbs: [\"get\"]\n") {
		t.Errorf("the reader has %d rules:\n%s", got, reader)
	}
}
