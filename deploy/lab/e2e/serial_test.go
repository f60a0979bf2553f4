package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/node"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// kubeletFile is the kubelet's configuration.
const kubeletFile = "/etc/kubernetes/kubelet.yaml"

// TestOnePullAtATime configures a kubelet that pulls one image at a time. A pull that
// stalls blocks all others. The report names the host of the stalled pull and the pods
// that wait for it; the waiting pods' reports say what they wait for, without names
// from other namespaces. Not parallel, because it changes the kubelet, and no other pod
// gets an image meanwhile.
func TestOnePullAtATime(t *testing.T) {
	ctx := t.Context()
	pullSerially(t)
	if err := shared.lab.RemoveFile(registry.StallRelease); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	release := func() {
		if err := shared.lab.WriteFile(registry.StallRelease, nil); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() { // later tests need it to stall again
		if err := shared.lab.RemoveFile(registry.StallRelease); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(release)
	s := breakStalled(t, "serial")
	shared.eventually(ctx, t, func() (string, bool) { // the kubelet pulls in order of arrival
		return "a pull that stalls", layersOnTheirWay(t, "k8s.io") > 0
	})
	waits(t, s.Name, "behind")
	waits(t, "serial-elsewhere", "secret-name")

	ahead := shared.stalled(ctx, t, s.Name, "app").Containers[0]
	if ahead.Cause != "PullStalled" || ahead.Confidence != confirmed {
		t.Errorf("the pull that stalls: %+v", ahead)
	}
	assertEntries(t, ahead.Evidence, demo.Evidence{Check: "pull", Outcome: "Failed", Fault: "PullStalled", Detail: "from " + registry.StallHost})
	shared.waitReport(t, s.Name, "app", `receives no other image meanwhile.*pods that wait for theirs: behind; 1 in other namespaces`)
	shared.waitReport(t, s.Name, "behind", `has not started: the node waits for the pull of the image of pod app from `+registry.StallHost)
	shared.waitReport(t, "serial-elsewhere", "secret-name", `has not started: the node waits for the pull of another image, for a pod in another namespace, which`)
	for namespace, pod := range map[string]string{s.Name: "behind", "serial-elsewhere": "secret-name"} {
		c := shared.stalled(ctx, t, namespace, pod).Containers[0]
		if c.Cause != "PullStalled" || c.Confidence != confirmed || strings.Contains(c.Summary, "registry responds") {
			t.Errorf("the pod %s that waits: %+v", pod, c)
		}
		assertEntries(t, c.Evidence, demo.Evidence{Check: "pull", Outcome: "Failed", Fault: "PullWaits"})
	}
	release()
	for _, pod := range []string{"app", "behind"} {
		shared.waitRunning(ctx, t, s.Name, pod)
		waitUnmarked(ctx, t, s.Name, pod)
	}
	waitUnmarked(ctx, t, "serial-elsewhere", "secret-name")
}

// endStall lets StallHost continue until no pull of the kubelet is under way.
func endStall(t *testing.T) {
	t.Helper()
	if err := shared.lab.WriteFile(registry.StallRelease, nil); err != nil {
		t.Fatal(err)
	}
	shared.eventually(t.Context(), t, func() (string, bool) {
		n := layersOnTheirWay(t, "k8s.io")
		return fmt.Sprintf("the end of the kubelet's pulls, of %d layers", n), n == 0
	})
	if err := shared.lab.RemoveFile(registry.StallRelease); err != nil {
		t.Error(err)
	}
}

// waits creates a pod with a unique, valid image.
func waits(t *testing.T, namespace, pod string) {
	t.Helper()
	reference := registry.PlainHost + "/e2e/" + namespace + "-" + pod + ":1.0"
	s := demo.Scenario{Name: namespace, Images: []string{reference}, Manifests: []string{demo.Pod(pod, reference, "", "")}}
	if err := s.Break(t.Context(), shared.lab); err != nil {
		t.Fatal(err)
	}
}

// waitReport waits until a pod's report matches pattern.
func (c *cluster) waitReport(t *testing.T, namespace, pod, pattern string) {
	t.Helper()
	like := regexp.MustCompile(pattern)
	c.eventually(t.Context(), t, func() (string, bool) {
		said := c.said(t, namespace, pod)
		return "a report like " + pattern + ", not " + said, like.MatchString(said)
	})
}

// pullSerially makes the kubelet pull one image at a time until the test ends.
func pullSerially(t *testing.T) {
	t.Helper()
	was, err := shared.lab.ReadFile(kubeletFile)
	if err != nil {
		t.Fatal(err)
	}
	serial := regexp.MustCompile(`(?m)^maxParallelImagePulls: .*\n`).ReplaceAllString(string(was), "")
	serial = strings.Replace(serial, "serializeImagePulls: false", "serializeImagePulls: true", 1)
	if !strings.Contains(serial, "serializeImagePulls: true") || serial == string(was) {
		t.Fatalf("the kubelet's configuration: %s", was)
	}
	configure := func(content string) {
		t.Helper()
		ctx := context.WithoutCancel(t.Context())
		if err := errors.Join(shared.lab.StopComponent(ctx, node.Kubelet), shared.lab.WriteFile(kubeletFile, []byte(content)), shared.lab.StartComponent(ctx, node.Kubelet)); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { configure(string(was)) })
	configure(serial)
}
