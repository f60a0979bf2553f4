// Package demo installs whypull and broken pods in a lab, for demonstrations and for
// the end-to-end tests.
package demo

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/image"
)

// agentImage is the agent's image in the manifests.
const agentImage = "ghcr.io/whypull/whypull:v0.1.0"

// Options are an installation's additions to the manifests.
type Options struct {
	// Components are directories of deploy/components.
	Components []string
	// Flags are flags of the agent, by name, without dashes.
	Flags map[string]string
}

// Install builds the agent from the source tree at root, imports its image into the
// lab's node, and applies the users' manifests for the lab's Kubernetes with the additions
// of o. It returns when the agent is ready.
func Install(ctx context.Context, l *lab.Lab, root string, o Options) error {
	dir := filepath.Join(l.Dir(), "images")
	if err := Build(ctx, root, "whypull", dir); err != nil {
		return err
	}
	archive, err := l.BuildImage(agentImage, filepath.Join(dir, "whypull"), image.Options{})
	if err != nil {
		return err
	}
	if err := l.ImportImage(ctx, archive); err != nil {
		return err
	}
	manifests, err := overlay(l, root, o)
	if err != nil {
		return err
	}
	if _, err := l.Kubectl(ctx, nil, "apply", "-k", manifests); err != nil {
		return err
	}
	// A new program under the same image name does not restart the pods.
	if _, err := l.Kubectl(ctx, nil, "-n", "whypull", "delete", "pods", "--all", "--wait=false"); err != nil {
		return err
	}
	_, err = l.Kubectl(ctx, nil, "-n", "whypull", "rollout", "status", "daemonset/whypull-agent", "--timeout=5m")
	return err
}

// overlay returns the directory of the manifests: the users' own, or an overlay with
// the additions of o.
func overlay(l *lab.Lab, root string, o Options) (string, error) {
	cluster, err := l.Cluster()
	if err != nil {
		return "", err
	}
	deploy, variant := filepath.Join(root, "deploy"), ""
	if !cluster.Impersonation {
		variant = "before-1.36"
	}
	if len(o.Components) == 0 && len(o.Flags) == 0 {
		return filepath.Join(deploy, variant), nil
	}
	dir := filepath.Join(l.Dir(), "images", "manifests")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fmt.Errorf("manifests: %w", err)
	}
	absolute, err := filepath.Abs(deploy)
	if err != nil {
		return "", fmt.Errorf("manifests: %w", err)
	}
	relative, err := filepath.Rel(dir, absolute) // kustomize rejects absolute paths
	if err != nil {
		return "", fmt.Errorf("manifests: %w", err)
	}
	var text strings.Builder
	text.WriteString("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- " + filepath.Join(relative, variant) + "\ncomponents:\n")
	for _, c := range o.Components {
		text.WriteString("- " + filepath.Join(relative, "components", c) + "\n")
	}
	text.WriteString(environment(o.Flags))
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text.String()), 0o600); err != nil {
		return "", fmt.Errorf("manifests: %w", err)
	}
	return dir, nil
}

// environment returns the patch that sets the agent's flags through their environment
// variables.
func environment(flags map[string]string) string {
	if len(flags) == 0 {
		return ""
	}
	var text strings.Builder
	text.WriteString("patches:\n- target: {kind: DaemonSet}\n  patch: |\n")
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		twin := "WHYPULL_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		fmt.Fprintf(&text, "    - {op: add, path: /spec/template/spec/containers/0/env/-, value: {name: %s, value: %q}}\n", twin, flags[name])
	}
	return text.String()
}

// Build builds one of whypull's programs into a directory, with the flags of the
// Makefile and the Dockerfile, and more.
func Build(ctx context.Context, root, program, dir string, more ...string) error {
	cmd := exec.CommandContext(ctx, "go", slices.Concat(buildFlags(), more, []string{"-o", dir + "/", "./cmd/" + program})...) // #nosec G204 -- paths of our own
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if problems, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", program, err, strings.TrimSpace(string(problems)))
	}
	return nil
}

func buildFlags() []string {
	return []string{
		"build", "-tags", "grpcnotrace,nethttpomithttp2", "-gcflags=all=-l", "-gcflags=std=", "-gcflags=go.opentelemetry.io/...=",
		"-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=lab",
	}
}
