package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/image"
)

// jumpingImage is the agent with a wall clock that can be set.
const jumpingImage = "ghcr.io/whypull/whypull:jumping"

// clockJumps runs an agent whose wall clock jumps by each of the offsets in turn, and by
// the last one until after is called. The clocks of the kubelet and the API server stay,
// so they are wrong for the agent, too. The offsets are less than the hour for which the
// cluster's certificates are valid already.
func clockJumps(offsets ...time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := installJumping(ctx); err != nil {
			return err
		}
		return inNamespace(ctx, "clock", func(ctx context.Context) error {
			for i, offset := range offsets {
				if err := setClock(ctx, offset); err != nil {
					return err
				}
				pod, err := newPod(ctx, "clock", fmt.Sprintf("app-%d", i), noTag)
				if err != nil {
					return err
				}
				if err := until(ctx, fmt.Sprintf("a new pod with the clock %s off", offset), all(causes("clock", map[string]string{pod.Name: "TagNotFound"}), clockIs(pod, offset))); err != nil {
					return err
				}
				if err := setImage(ctx, pod.Namespace, pod.Name, plainVictim); err != nil {
					return err
				}
				if err := until(ctx, "it recovers", causes("clock", map[string]string{pod.Name: ""})); err != nil {
					return err
				}
				if err := errors.Join(node.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{}), pause(ctx, 15*time.Second)); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// clockIs returns a check that the agent's Event about a pod has a time that is off by
// offset.
func clockIs(pod *corev1.Pod, offset time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		list, err := node.client.EventsV1().Events(pod.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range list.Items {
			e := &list.Items[i]
			if e.ReportingController != "whypull.dev/agent" || e.Regarding.UID != pod.UID {
				continue
			}
			if off := e.EventTime.Sub(e.CreationTimestamp.Time) - offset; off.Abs() > time.Minute {
				return fmt.Errorf("the Event's time is off by %s more than it should be", off)
			}
			return nil
		}
		return errors.New("no Event")
	}
}

// setClock sets the offset of the agent's wall clock.
func setClock(ctx context.Context, offset time.Duration) error {
	return sh(ctx, fmt.Sprintf(`for dir in /var/lib/kubelet/pods/*/volumes/kubernetes.io~empty-dir/tmp; do echo %d >$dir/clock; done
sleep 1`, int(offset.Seconds())))
}

// installJumping replaces the agent by one whose time.Now adds what a file says. Its
// monotonic clock stays, as a machine's does.
func installJumping(ctx context.Context) error {
	dir := filepath.Join(node.lab.Dir(), "jumping")
	program, err := buildJumping(ctx, dir)
	if err != nil {
		return err
	}
	archive, err := node.lab.BuildImage(jumpingImage, program, image.Options{})
	if err != nil {
		return err
	}
	if err := node.lab.ImportImage(ctx, archive); err != nil {
		return err
	}
	return changeAgent(ctx, "set", "image", "agent="+jumpingImage)
}

// removeJumping brings the agent back that was there before.
func removeJumping(ctx context.Context) error { return changeAgent(ctx, "rollout", "undo") }

// buildJumping builds the agent with a changed standard library, and returns the
// program's path.
func buildJumping(ctx context.Context, dir string) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	library := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	now, err := os.ReadFile(filepath.Join(library, "time.go")) // #nosec G304 -- Go's own
	if err != nil {
		return "", err
	}
	const reads = "sec, nsec, mono := runtimeNow()"
	if bytes.Count(now, []byte(reads)) != 1 {
		return "", errors.New("time.Now is not what it was")
	}
	source, err := filepath.Abs("../../..")
	if err != nil {
		return "", err
	}
	overlay := map[string]string{}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	for target, text := range map[string]string{
		filepath.Join(library, "time.go"):                  strings.Replace(string(now), reads, reads+"\n\tsec += Jump.Load()", 1),
		filepath.Join(library, "jump.go"):                  "package time\n\nimport \"sync/atomic\"\n\nvar Jump atomic.Int64\n",
		filepath.Join(source, "cmd", "whypull", "jump.go"): jump,
	} {
		path := filepath.Join(dir, fmt.Sprintf("%d.go", len(overlay)))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return "", err
		}
		overlay[target] = path
	}
	data, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		return "", err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, data, 0o600); err != nil {
		return "", err
	}
	return filepath.Join(dir, "whypull"), demo.Build(ctx, source, "whypull", dir, "-overlay", list)
}

const jump = `package main

import (
	"os"
	"strconv"
	"strings"
	"time"
)

func init() {
	go func() {
		for {
			if text, err := os.ReadFile("/tmp/clock"); err == nil {
				if seconds, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
					time.Jump.Store(seconds)
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
}
`
