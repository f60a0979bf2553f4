package e2e

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/image"
	"github.com/whypull/whypull/deploy/lab/node"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// assertEntries checks that the evidence contains want, in this order.
func assertEntries(t *testing.T, got []demo.Evidence, want ...demo.Evidence) {
	t.Helper()
	if missing := evidenceInOrder(got, want); missing != nil {
		t.Errorf("evidence lacks, in this order, %+v\n%+v", *missing, got)
	}
}

// TestSandboxImage removes the sandbox image from a node that cannot pull it. The node
// starts no pod, and no pod's status says why. whypull reports it, and reports when it
// is over. Not parallel, because no other pod can start meanwhile.
func TestSandboxImage(t *testing.T) {
	ctx := t.Context()
	onNode := func(argv ...string) {
		t.Helper()
		if out, problems, err := shared.lab.Exec(ctx, nil, argv...); err != nil {
			t.Fatalf("%v: %v %s %s", argv, err, out, problems)
		}
	}
	onNode("ctr", "--namespace=k8s.io", "images", "rm", "--sync", node.SandboxImage)
	s := demo.Scenario{Name: "sandbox-image", Images: []string{registry.PlainHost + "/e2e/sandbox:1.0"},
		Manifests: []string{demo.Pod("app", registry.PlainHost+"/e2e/sandbox:1.0", "", "")}}
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	c := shared.stalled(ctx, t, s.Name, "app").Containers[0]
	if c.Cause != "SandboxImageFailed" || c.Kind != "sandbox" || c.Name != "POD" || c.Image != node.SandboxImage {
		t.Errorf("got %+v", c)
	}
	if !strings.Contains(c.Summary, "no container of the pod can start") || !strings.Contains(c.Summary, "cannot resolve") {
		t.Errorf("summary %q", c.Summary)
	}
	assertEntries(t, c.Evidence,
		demo.Evidence{Check: "image", Outcome: "Failed", Fault: "ImageAbsent"},
		demo.Evidence{Check: "nodeDNS", Outcome: "Failed", Fault: "NameNotFound", Detail: "pause.lab.example"},
		demo.Evidence{Check: "pull", Outcome: "Failed", Fault: "SandboxMissing"})
	assertEvent(ctx, t, s.Name, "app", "SandboxImageFailed")
	onNode("ctr", "--namespace=k8s.io", "images", "import", node.SandboxArchive)
	shared.waitRunning(ctx, t, s.Name, "app")
	waitUnmarked(ctx, t, s.Name, "app")
	shared.eventually(ctx, t, func() (string, bool) {
		return "event ImagePullRecovered", len(events(ctx, t, s.Name, "app", "ImagePullRecovered", corev1.EventTypeNormal)) == 1
	})
}

// A pull that stops halfway shows no reason in the pod's status. whypull reports how
// far it got and, once it continues, removes the report.
func TestStalledPull(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := breakStalled(t, "stalled")
	c := shared.stalled(ctx, t, s.Name, "app").Containers[0]
	if c.Cause != "PullStalled" || c.Confidence != "Confirmed" || !strings.Contains(c.Summary, "less than 1 MiB received since") {
		t.Errorf("got %+v", c)
	}
	assertEntries(t, c.Evidence, demo.Evidence{Check: "pull", Outcome: "Failed", Fault: "PullStalled", Detail: "from " + registry.StallHost})
	assertEvent(ctx, t, s.Name, "app", "PullStalled")
	if err := shared.lab.WriteFile(registry.StallRelease, nil); err != nil {
		t.Fatal(err)
	}
	shared.waitRunning(ctx, t, s.Name, "app")
	waitUnmarked(ctx, t, s.Name, "app")
}

// breakStalled creates a pod whose pull stops halfway, in a namespace of this name.
func breakStalled(t *testing.T, name string) demo.Scenario {
	t.Helper()
	ctx := t.Context()
	repository := "/e2e/" + name + ":1.0"
	program, err := shared.lab.ToolPath("pause")
	if err != nil {
		t.Fatal(err)
	}
	i, err := image.Build(image.Options{Name: repository, Program: program, Padding: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.lab.Push(ctx, registry.PlainHost+repository, i); err != nil {
		t.Fatal(err)
	}
	s := demo.Scenario{Name: name, Manifests: []string{demo.Pod("app", registry.StallHost+repository, "", "")}}
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	return s
}

// waitUnmarked waits until a pod has none of whypull's annotations.
func waitUnmarked(ctx context.Context, t *testing.T, namespace, pod string) {
	t.Helper()
	shared.eventually(ctx, t, func() (string, bool) {
		out, err := shared.lab.Kubectl(ctx, nil, "-n", namespace, "get", "pod", pod, "-o", "jsonpath={.metadata.annotations}")
		return "no annotations: " + out, err == nil && !strings.Contains(out, "whypull.dev/")
	})
}
