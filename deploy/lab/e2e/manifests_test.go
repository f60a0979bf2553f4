package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestComponentForOlderClusters: the API server takes the manifests with the
// component, and the component grants reading pods and nothing of secrets.
func TestComponentForOlderClusters(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := t.TempDir()
	deploy, err := filepath.Rel(dir, filepath.Join(shared.root, "deploy"))
	if err != nil {
		t.Fatal(err)
	}
	overlay := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [" + deploy + "]\ncomponents: [" + deploy + "/components/direct-pod-access]\n"
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := shared.lab.Kubectl(ctx, nil, "apply", "--dry-run=server", "-k", dir); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := shared.lab.Kubectl(ctx, nil, "kustomize", dir)
	if err != nil {
		t.Fatal(err)
	}
	for resource := range strings.SplitSeq(out, "\n---\n") {
		if strings.Contains(resource, "\nkind: ClusterRole\n") && !strings.Contains(resource, "- pods\n  verbs:\n  - list\n  - watch") {
			t.Errorf("the component does not let the agents read pods:\n%s", resource)
		}
	}
	if strings.Contains(out, "- secrets\n  verbs:\n  - get") {
		t.Errorf("the component lets the agents read secrets:\n%s", out)
	}
}
