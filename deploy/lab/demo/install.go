// Package demo puts whypull and broken pods into a lab, for people to look at
// and for the end-to-end tests.
package demo

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/image"
)

// agentImage is the name that the manifests give the agent's image.
const agentImage = "ghcr.io/whypull/whypull:latest"

// Install builds the agent from the source tree at root, gives its image to the
// lab's node, and applies the manifests that users apply. It returns when the
// agent is ready.
func Install(ctx context.Context, l *lab.Lab, root string) error {
	program, err := buildAgent(ctx, l, root)
	if err != nil {
		return err
	}
	archive, err := l.BuildImage(agentImage, program, image.Options{})
	if err != nil {
		return err
	}
	if err := l.ImportImage(ctx, archive); err != nil {
		return err
	}
	if _, err := l.Kubectl(ctx, nil, "apply", "-k", filepath.Join(root, "deploy")); err != nil {
		return err
	}
	// A changed program under the same image name starts no new pod by itself.
	if _, err := l.Kubectl(ctx, nil, "-n", "whypull", "delete", "pods", "--all", "--wait=false"); err != nil {
		return err
	}
	_, err = l.Kubectl(ctx, nil, "-n", "whypull", "rollout", "status", "daemonset/whypull-agent", "--timeout=5m")
	return err
}

// buildAgent builds the program as the Dockerfile does.
func buildAgent(ctx context.Context, l *lab.Lab, root string) (string, error) {
	out := filepath.Join(l.Dir(), "images", "whypull")
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", "grpcnotrace", "-trimpath", "-ldflags", "-s -w -X main.version=lab", "-o", out, "./cmd/whypull") // #nosec G204 -- a path of our own
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if problems, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building whypull: %w: %s", err, strings.TrimSpace(string(problems)))
	}
	return out, nil
}
