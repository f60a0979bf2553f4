package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// onTheNode runs a shell command on the node.
func onTheNode(t *testing.T, line string) string {
	t.Helper()
	out, err := shared.shell(t.Context(), line, true)
	if err != nil {
		t.Fatalf("%s: %v %s", line, err, out)
	}
	return out
}

func writeOnNode(t *testing.T, name, text string) {
	t.Helper()
	if err := shared.lab.WriteFile(name, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// R52: an image is on the node under a name that somebody has given it there, and
// under another one that the kubelet has pulled. To a pod with the first name and the
// policy Never, the kubelet says that it is not present. The pod's report must not say
// otherwise, since anybody may create such a pod; on the node, whypull check does.
func TestLoadedAndPulledElsewhere(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const loaded, program = "quay.example.com/acme/app:1", "/opt/whypull/whypull-loaded"
	pulled := registry.PlainHost + "/e2e/elsewhere:1.0"
	first := demo.Scenario{Name: "loaded", Images: []string{pulled}, Manifests: []string{demo.Pod("first", pulled, "", "")}}
	if err := first.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	shared.waitRunning(ctx, t, first.Name, "first")
	onTheNode(t, "ctr --namespace=k8s.io images tag "+pulled+" "+loaded)
	second := demo.Scenario{Name: "loaded", Manifests: []string{demo.Pod("app", loaded, "Never", "")}}
	if err := second.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	c := shared.settled(ctx, t, second.Name, "app").Containers[0]
	if c.Cause != "ImageNotPresent" || c.Confidence != "Suspected" || !strings.Contains(c.Summary, "the kubelet does not say which") {
		t.Errorf("got %+v", c)
	}

	p := build(t, "whypull")
	binary, err := os.ReadFile(filepath.Join(p.dir, "whypull"))
	if err != nil {
		t.Fatal(err)
	}
	writeOnNode(t, program, string(binary))
	writeOnNode(t, program+".yaml", second.Manifests[0])
	out := onTheNode(t, "chmod +x "+program+"; "+program+" check -f "+program+".yaml || true")
	if !strings.Contains(out, "ImageNotVerifiedForPod (Confirmed)") || !strings.Contains(out, "no pull under this name is recorded") {
		t.Errorf("whypull check says\n%s", out)
	}
}
