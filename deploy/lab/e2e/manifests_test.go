package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// withComponent returns the manifests with a component, after a server-side dry run.
func withComponent(t *testing.T, component string) string {
	t.Helper()
	ctx := t.Context()
	dir := t.TempDir()
	deploy, err := filepath.Rel(dir, filepath.Join(shared.root, "deploy"))
	if err != nil {
		t.Fatal(err)
	}
	overlay := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [" + deploy + "]\ncomponents: [" + deploy + "/components/" + component + "]\n"
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
	return out
}

// The API server accepts the manifests with the component, and the component grants
// reading pods but not secrets.
func TestComponentForOlderClusters(t *testing.T) {
	t.Parallel()
	out := withComponent(t, "direct-pod-access")
	for resource := range strings.SplitSeq(out, "\n---\n") {
		if strings.Contains(resource, "\nkind: ClusterRole\n") && !strings.Contains(resource, "- pods\n  verbs:\n  - list\n  - watch") {
			t.Errorf("the component does not grant reading pods:\n%s", resource)
		}
	}
	if strings.Contains(out, "- secrets\n  verbs:\n  - get") {
		t.Errorf("the component grants reading secrets:\n%s", out)
	}
}

// The manifests have one capability and one directory for the pods' network, with mount
// propagation for namespaces created later. The API server accepts them without both, and
// the component leaves no capability.
func TestComponentWithoutThePodNetwork(t *testing.T) {
	t.Parallel()
	whole, err := shared.lab.Kubectl(t.Context(), nil, "kustomize", filepath.Join(shared.root, "deploy"))
	if err != nil {
		t.Fatal(err)
	}
	without := withComponent(t, "no-pod-network")
	for _, part := range []string{
		"            add:\n            - SYS_ADMIN\n",
		"- mountPath: /host/run/netns\n          mountPropagation: HostToContainer\n          name: pod-networks\n          readOnly: true\n",
		"- hostPath:\n          path: /var/run/netns\n",
		"- name: WHYPULL_POD_NETWORK\n          value: \"true\"\n",
	} {
		if !strings.Contains(whole, part) || strings.Contains(without, part) {
			t.Errorf("in the manifests %v, with the component %v:\n%s", strings.Contains(whole, part), strings.Contains(without, part), part)
		}
	}
	if !strings.Contains(without, "          capabilities:\n            drop:\n            - ALL\n") || strings.Contains(without, "add:") {
		t.Errorf("the component leaves a capability:\n%s", without)
	}
	for _, not := range []string{"privileged: true", "hostPID", "SYS_PTRACE"} {
		if strings.Contains(whole, not) {
			t.Errorf("the manifests grant more than needed: %s", not)
		}
	}
}

// The API server accepts the manifests with the component, and the component turns
// authentication on and grants the rights that it needs.
func TestComponentForMetricsAuth(t *testing.T) {
	t.Parallel()
	out := withComponent(t, "metrics-auth")
	for _, want := range []string{
		"- name: WHYPULL_METRICS_AUTH\n          value: token\n",
		"- tokenreviews\n  verbs:\n  - create\n",
		"- subjectaccessreviews\n  verbs:\n  - create\n",
		"- nonResourceURLs:\n  - /metrics\n  verbs:\n  - get\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the manifests lack\n%s", want)
		}
	}
}

// The API server accepts the manifests with the component. The manifests mount one
// directory of containerd, without images, and the component adds those of CRI-O; all
// are read-only.
func TestComponentForTheDisk(t *testing.T) {
	t.Parallel()
	out := withComponent(t, "disk")
	for _, want := range []string{
		"- mountPath: /host/var/lib/containerd/tmpmounts\n          name: image-disk\n          readOnly: true\n",
		"- hostPath:\n          path: /var/lib/containerd/tmpmounts\n        name: image-disk\n",
		"- mountPath: /host/var/tmp\n          name: temporary-disk\n          readOnly: true\n",
		"- mountPath: /host/var/lib/containers/storage\n          name: graph-disk\n          readOnly: true\n",
		"- hostPath:\n          path: /var/lib/containers/storage\n          type: Directory\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the manifests lack\n%s", want)
		}
	}
	if strings.Count(out, "/var/lib/containerd") != 2 || strings.Contains(out, "privileged: true") {
		t.Errorf("the component grants more than needed:\n%s", out)
	}
}
