package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/node"
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

// R53: the sandbox image comes from a mirror that wants credentials. The runtime sends
// no pull secret for it; what helps is the section of config.toml that names them for
// the mirror. Not parallel, because no other pod can start meanwhile.
func TestSandboxImageBehindAMirror(t *testing.T) {
	ctx := t.Context()
	const config = "/etc/containerd/config.toml"
	correct, hub := registry.HostsFile(registry.HubHost)
	hosts := filepath.Join(filepath.Dir(filepath.Dir(correct)), "pause.lab.example", "hosts.toml")
	before, err := shared.lab.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	restart := func(content string) {
		t.Helper()
		ctx := context.WithoutCancel(ctx)
		if err := errors.Join(shared.lab.StopComponent(ctx, node.Containerd), shared.lab.WriteFile(config, []byte(content)), shared.lab.StartComponent(ctx, node.Containerd)); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() {
		restart(string(before))
		if out, err := shared.shell(context.WithoutCancel(ctx), "rm "+hosts+"; ctr --namespace=k8s.io images import "+node.SandboxArchive, true); err != nil {
			t.Errorf("%v %s", err, out)
		}
	})
	writeOnNode(t, hosts, hub)
	onTheNode(t, "ctr --namespace=k8s.io images rm --sync "+node.SandboxImage)
	image := registry.PlainHost + "/e2e/sandbox-mirror:1.0"
	s := demo.Scenario{Name: "sandbox-mirror", Images: []string{image, registry.HubHost + "/pause:1.0"}, Manifests: []string{demo.Pod("app", image, "", "")}}
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	c := shared.stalled(ctx, t, s.Name, "app").Containers[0]
	t.Logf("%s, %s: %s\n%s", c.Cause, c.Confidence, c.Summary, strings.Join(c.Remedy, "\n"))
	if c.Cause != "SandboxImageFailed" || !strings.Contains(c.Summary, registry.HubHost) || !strings.Contains(strings.Join(c.Remedy, "\n"), "registry.configs") {
		t.Errorf("got %+v", c)
	}
	restart(fmt.Sprintf("%s\n[plugins.\"io.containerd.cri.v1.images\".registry.configs.%q.auth]\n  username = %q\n  password = %q\n",
		before, registry.HubHost, registry.Alice, registry.AlicePassword))
	shared.waitRunning(ctx, t, s.Name, "app")
	waitUnmarked(ctx, t, s.Name, "app")
}
