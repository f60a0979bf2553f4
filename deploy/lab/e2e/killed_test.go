package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/image"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// TestKilledInRetry kills the agent, as the OOM killer does, while containerd pulls for
// it. The restarted agent completes the missing verdict. If the pod is gone by then and
// nobody retries the pull, the agent still removes what containerd has of it. Not
// parallel, because it kills the agent, and retries take turns.
func TestKilledInRetry(t *testing.T) {
	for _, of := range []struct {
		name   string
		killed func(*testing.T, string) bool
	}{{"verdict", killedBeforeVerdict}, {"swept", killedForGood}} {
		t.Run(of.name, func(t *testing.T) {
			for i := range 5 {
				if of.killed(t, fmt.Sprintf("killed-%s-%d", of.name, i)) {
					return
				}
			}
			t.Error("the kubelet was always faster, or pulled meanwhile")
		})
	}
}

// killedBeforeVerdict runs the test for one image. It returns false if the slow pull
// was the kubelet's second attempt and not whypull's, or if the retry gave way to the
// kubelet.
func killedBeforeVerdict(t *testing.T, name string) bool {
	t.Helper()
	ctx := t.Context()
	before := images(t)
	if !retries(t, name) {
		return false
	}
	was := killAgent(t)
	t.Logf("containerd's content for whypull afterward: %q", leftovers(t))
	anotherAgent(t, was)
	c := shared.settled(ctx, t, name, "app").Containers[0]
	if slices.ContainsFunc(c.Evidence, func(e demo.Evidence) bool { return strings.HasPrefix(e.Detail, "pull replayed ") }) {
		t.Logf("the new agent's retry gave way to the kubelet: %+v", c)
		return false
	}
	if c.Cause != "RegistryError" || c.Confidence != confirmed {
		t.Errorf("the new agent's verdict: %+v", c)
	}
	assertEntries(t, c.Evidence,
		demo.Evidence{Check: "message", Outcome: "Failed", Fault: "RegistryError", Detail: "503"},
		demo.Evidence{Check: "registry", Outcome: "Passed"},
		demo.Evidence{Check: "pull", Outcome: "Failed", Fault: "RegistryError", Detail: "the runtime retried the pull"})
	assertNothingLeft(t, before)
	return true
}

// killedForGood runs the test for one image whose pod is deleted while there is no
// agent. It returns false like killedBeforeVerdict.
func killedForGood(t *testing.T, name string) bool {
	t.Helper()
	before := images(t)
	if !retries(t, name) {
		return false
	}
	was := killAgent(t)
	left := leftovers(t)
	t.Logf("containerd's content for whypull afterward: %q", left)
	if now := agentStatus(t); left == "" && now.ContainerID == was.ContainerID && now.State.Running == nil {
		t.Error("containerd kept nothing, so there is nothing to sweep")
	}
	if _, err := shared.lab.Kubectl(t.Context(), nil, "-n", name, "delete", "pod", "app", "--grace-period=0", "--force"); err != nil {
		t.Fatal(err)
	}
	anotherAgent(t, was)
	assertNothingLeft(t, before)
	return true
}

// retries creates a pod whose slow pull whypull retries.
func retries(t *testing.T, name string) bool {
	t.Helper()
	reference := pushFickle(t, name, 64<<20, registry.FickleRefuse, registry.FickleSlow, registry.FickleRefuse)
	already := layersOnTheirWay(t, "k8s.io") // the kubelet may already be pulling again
	s := demo.Scenario{Name: name, Manifests: []string{demo.Pod("app", reference, "", "")}}
	if err := s.Break(t.Context(), shared.lab); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := shared.lab.Kubectl(context.WithoutCancel(t.Context()), nil, "delete", "namespace", name, "--wait=false"); err != nil {
			t.Error(err)
		}
	})
	return receiving(t, name, already)
}

// assertNothingLeft checks that nothing of whypull's pulls is left, and that pods find
// the same images as before.
func assertNothingLeft(t *testing.T, before string) {
	t.Helper()
	shared.eventually(t.Context(), t, func() (string, bool) {
		left := leftovers(t)
		return "nothing of whypull's in containerd, not " + left, left == ""
	})
	if after := images(t); after != before {
		t.Errorf("images on the node: %s before, %s after", before, after)
	}
}

// pushFickle pushes an image with a unique layer of the given size, and returns its
// name.
func pushFickle(t *testing.T, name string, bytes int, plan ...string) string {
	t.Helper()
	reference, pushed := registry.Fickle(name, plan...)
	program, err := shared.lab.ToolPath("pause")
	if err != nil {
		t.Fatal(err)
	}
	i, err := image.Build(image.Options{Name: reference, Program: program, Padding: bytes})
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.lab.Push(t.Context(), pushed, i); err != nil {
		t.Fatal(err)
	}
	return reference
}

// receiving waits until containerd receives content for whypull. It returns false if
// containerd receives more than already for the kubelet instead, or the retry gave way.
func receiving(t *testing.T, namespace string, already int) bool {
	t.Helper()
	var ours bool
	shared.eventually(t.Context(), t, func() (string, bool) {
		ours = layersOnTheirWay(t, "whypull.dev") > 0
		said := shared.said(t, namespace, "app")
		return "a pull that takes long: " + said, ours || layersOnTheirWay(t, "k8s.io") > already || strings.Contains(said, `"detail":"pull replayed `)
	})
	if !ours {
		return false
	}
	has := leftovers(t)
	t.Logf("containerd's content during the pull: %q", has)
	for _, want := range []string{"leases", "content", "active"} {
		if !strings.Contains(has, want+":") {
			t.Errorf("during the retry containerd has no %s: %s", want, has)
		}
	}
	if report := shared.said(t, namespace, "app"); !strings.Contains(report, "the pull is being retried") {
		t.Errorf("the report does not mention the retry: %s", report)
	}
	return true
}

// layersOnTheirWay returns the number of blobs that containerd is receiving in a
// namespace.
func layersOnTheirWay(t *testing.T, namespace string) int {
	t.Helper()
	return strings.Count(onNodeSays(t, "ctr --namespace="+namespace+" content active 2>/dev/null || true"), "layer-sha256:")
}

// said returns the current report of a pod.
func (c *cluster) said(t *testing.T, namespace, pod string) string {
	t.Helper()
	p, err := c.client.CoreV1().Pods(namespace).Get(t.Context(), pod, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p.Annotations["whypull.dev/report"]
}

// onNodeSays runs a shell command on the node and returns its output.
func onNodeSays(t *testing.T, line string) string {
	t.Helper()
	out, problems, err := shared.lab.Exec(t.Context(), nil, "sh", "-c", line)
	if err != nil {
		t.Fatalf("%s: %v %s %s", line, err, out, problems)
	}
	return strings.TrimSpace(out)
}

// images returns the names of the images that pods can use on the node.
func images(t *testing.T) string {
	t.Helper()
	return onNodeSays(t, "ctr --namespace=k8s.io images ls -q | sort")
}

// leftovers returns everything in whypull's containerd namespace, including the
// namespace itself; "" if nothing.
func leftovers(t *testing.T) string {
	t.Helper()
	return onNodeSays(t, `ns=whypull.dev
show() { shift; out=$("$@" 2>/dev/null) && [ -n "$out" ] && echo "$what: $out"; }
what=namespace; show - sh -c "ctr namespaces ls -q | grep -x $ns"
what=images; show - ctr --namespace=$ns images ls -q
what=leases; show - ctr --namespace=$ns leases ls -q
what=content; show - ctr --namespace=$ns content ls -q
what=active; show - sh -c "ctr --namespace=$ns content active | tail -n +2"
what=snapshots; show - sh -c "ctr --namespace=$ns snapshots --snapshotter=overlayfs ls | tail -n +2"
true`)
}

// killAgent kills the agent's process, and returns the container's status before.
func killAgent(t *testing.T) corev1.ContainerStatus {
	t.Helper()
	was := agentStatus(t)
	id, ok := strings.CutPrefix(was.ContainerID, "containerd://")
	if !ok {
		t.Fatalf("the agent's container: %+v", was)
	}
	onNodeSays(t, "ctr --namespace=k8s.io tasks kill --signal=SIGKILL "+id)
	return was
}

// anotherAgent waits until the kubelet has restarted the agent.
func anotherAgent(t *testing.T, was corev1.ContainerStatus) {
	t.Helper()
	shared.eventually(t.Context(), t, func() (string, bool) {
		now := agentStatus(t)
		return fmt.Sprintf("another agent: %+v", now), now.ContainerID != was.ContainerID && now.Ready
	})
	if now := agentStatus(t); now.RestartCount <= was.RestartCount || now.LastTerminationState.Terminated == nil || now.LastTerminationState.Terminated.ExitCode != 137 {
		t.Errorf("the agent was not restarted: %+v", now)
	}
}

func agentStatus(t *testing.T) corev1.ContainerStatus {
	t.Helper()
	pods, err := shared.client.CoreV1().Pods("whypull").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil && len(p.Status.ContainerStatuses) == 1 {
			return p.Status.ContainerStatuses[0]
		}
	}
	t.Fatalf("the agent's pod: %+v", pods.Items)
	return corev1.ContainerStatus{}
}
