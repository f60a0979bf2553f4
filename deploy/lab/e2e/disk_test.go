package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/image"
	"github.com/whypull/whypull/deploy/lab/registry"
)

const (
	// contentStore is containerd's directory for received content.
	contentStore = "/var/lib/containerd/io.containerd.content.v1.content"
	// roomInStore is the free space of the small file system, in bytes. tooMuch is the
	// image's padding, which alone exceeds it.
	roomInStore, tooMuch = 8 << 20, 24 << 20
)

// The file system of containerd's content store is too small for an image. Without the
// disk component, whypull knows the directory only from the runtime's message. With it,
// whypull reports the free space, both to an agent that starts while the pod is failing
// and to one that sees it fail. Once there is space, a pod gets its image. Not
// parallel, because every pull needs the space.
func TestDiskFull(t *testing.T) {
	ctx := t.Context()
	grow := smallStore(t)
	const namespace = "disk-full"
	tooLarge(t, namespace, "first")
	unseen := shared.settled(ctx, t, namespace, "first").Containers[0]
	t.Logf("without the component: %s, %s: %s", unseen.Cause, unseen.Confidence, unseen.Summary)
	if unseen.Cause != "DiskFull" || !strings.Contains(unseen.Summary, "no space left for what the runtime writes to "+contentStore) {
		t.Errorf("without the component: %+v", unseen)
	}
	showStore(t)
	tooLarge(t, namespace, "second")
	for _, pod := range []string{"first", "second"} {
		shared.waitReport(t, namespace, pod, `"check":"pull","outcome":"(Inconclusive|Failed)","fault":"DiskFull","detail":"[^"]*`+contentStore+` \(content store\)`)
		seen := shared.settled(ctx, t, namespace, pod).Containers[0]
		t.Logf("with the component, %s: %s, %s: %s", pod, seen.Cause, seen.Confidence, seen.Summary)
		if seen.Cause != "DiskFull" || seen.Confidence == "Suspected" || !strings.Contains(seen.Summary, contentStore+" (") {
			t.Errorf("with the component, %s: %+v", pod, seen)
		}
		assertEntries(t, seen.Evidence, demo.Evidence{Check: "message", Outcome: "Failed", Fault: "DiskFull", Detail: "no space left on device"})
	}
	grow()
	shared.waitRunning(ctx, t, namespace, "second") // the other one waits longer
	waitUnmarked(ctx, t, namespace, "second")
	if _, err := shared.lab.Kubectl(ctx, nil, "delete", "namespace", namespace); err != nil {
		t.Fatal(err)
	}
}

// tooLarge creates a pod whose image does not fit.
func tooLarge(t *testing.T, namespace, pod string) {
	t.Helper()
	reference := registry.PlainHost + "/e2e/" + namespace + "-" + pod + ":1.0"
	program, err := shared.lab.ToolPath("pause")
	if err != nil {
		t.Fatal(err)
	}
	i, err := image.Build(image.Options{Name: reference, Program: program, Padding: tooMuch})
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.lab.Push(t.Context(), reference, i); err != nil {
		t.Fatal(err)
	}
	s := demo.Scenario{Name: namespace, Manifests: []string{demo.Pod(pod, reference, "", "")}}
	if err := s.Break(t.Context(), shared.lab); err != nil {
		t.Fatal(err)
	}
}

// smallStore moves containerd's content store to a small file system until the test
// ends, and returns a function that enlarges it.
func smallStore(t *testing.T) (grow func()) {
	t.Helper()
	const below = "/var/lib/lab/content-below"
	t.Cleanup(func() { // content that containerd received meanwhile must still be there afterward
		line := fmt.Sprintf(`set -e
mountpoint -q %[2]s || exit 0
if mountpoint -q %[1]s; then cp -au %[1]s/. %[2]s/; umount %[1]s; fi
umount %[2]s
rmdir %[2]s`, contentStore, below)
		if out, problems, err := shared.lab.Exec(context.WithoutCancel(t.Context()), nil, "sh", "-c", line); err != nil {
			t.Fatal(err, out, problems)
		}
	})
	onNodeSays(t, fmt.Sprintf(`set -e
mkdir -p %[2]s
mount --bind %[1]s %[2]s
mount --make-private %[2]s # or what is mounted on the one would be on the other
mount -t tmpfs -o size=2g tmpfs %[1]s
cp -a %[2]s/. %[1]s/
used=$(df -k --output=used %[1]s | tail -n 1)
mount -o remount,size=$((used+%[3]d))k %[1]s`, contentStore, below, roomInStore>>10))
	return func() { onNodeSays(t, "mount -o remount,size=2g "+contentStore) }
}

// showStore installs whypull with the disk component until the test ends, adapted to
// this node as the component's comment describes: containerd's directory replaces the
// two of CRI-O.
func showStore(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(shared.root, "deploy", "components", "disk", "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	fitted := strings.NewReplacer("/var/tmp", contentStore, "/var/lib/containers/storage", "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs").Replace(string(text))
	dir, err := os.MkdirTemp(filepath.Dir(installed()), "disk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	overlay := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../manifests]\ncomponents: [disk]\n"
	for name, content := range map[string]string{"kustomization.yaml": overlay, "disk/kustomization.yaml": fitted} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	restoreAgent(t)
	ctx := t.Context()
	if _, err := shared.lab.Kubectl(ctx, nil, "apply", "-k", dir); err != nil {
		t.Fatal(err)
	}
	if _, err := shared.lab.Kubectl(ctx, nil, "-n", "whypull", "rollout", "status", "daemonset/whypull-agent", "--timeout=4m"); err != nil {
		t.Fatal(err)
	}
}
