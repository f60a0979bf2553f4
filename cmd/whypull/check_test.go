package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/whypull/whypull/agent/check"
)

// The exit status distinguishes images that cannot be pulled from wrong usage.
// None of these images needs an existing registry.
func TestCheckStatus(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("LANG", "C")
	t.Setenv("LC_ALL", "C")
	closed := freePort(t)
	manifest := filepath.Join(dir, "pod.yaml")
	if err := os.WriteFile(manifest, []byte("{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: app, image: Not/Valid}]}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	service := filepath.Join(dir, "services", "service.yaml")
	if err := os.Mkdir(filepath.Dir(service), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(service, []byte("{apiVersion: v1, kind: Service, metadata: {name: s}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(dir, "none")
	_, notStat := os.Stat(none) // as this system words it
	_, notOpen := os.Open(none)
	for name, tc := range map[string]struct {
		args   []string
		env    map[string]string
		status int
		stdout string // contains
		stderr string // is
	}{
		"help":               {args: []string{"--help"}, status: 0, stdout: "Exit status: 0 if all images can be pulled"},
		"nothing":            {status: 2, stderr: "whypull: pass an image, or manifests with -f"},
		"two images":         {args: []string{"a", "b"}, status: 2, stderr: "whypull: accepts at most 1 arg(s), received 2"},
		"both":               {args: []string{"a", "-f", manifest}, status: 2, stderr: "whypull: pass an image or manifests, not both"},
		"unknown flag":       {args: []string{"--nonsense"}, status: 2, stderr: "whypull: unknown flag: --nonsense"},
		"output":             {args: []string{"a", "-o", "xml"}, status: 2, stderr: `whypull: --output or WHYPULL_OUTPUT: output "xml": want one of text, json, junit, sarif, yaml`},
		"junit":              {args: []string{"Not/Valid", "-o", "junit"}, status: 1, stdout: `<failure type="InvalidImageName"`},
		"sarif":              {args: []string{"-f", manifest, "-o", "sarif"}, status: 1, stdout: `"ruleId": "InvalidImageName"`},
		"directory":          {args: []string{"-f", dir}, status: 1, stdout: "x InvalidImageName (Confirmed)"},
		"no images":          {args: []string{"-f", service}, status: 2, stderr: "whypull: --file or WHYPULL_FILE: no pod or workload in the manifests (" + service + ", document 1: Service s)"},
		"no images, allowed": {args: []string{"-f", service, "--allow-empty"}, status: 0, stdout: "no images in the manifests"},
		"runtime":            {args: []string{"a", "--runtime", "rkt=1.0"}, status: 2, stderr: `whypull: --runtime or WHYPULL_RUNTIME: runtime "rkt": want containerd=VERSION or cri-o=VERSION, such as containerd=1.7`},
		"invalid name":       {args: []string{"Not/Valid"}, status: 1, stdout: "InvalidImageName (Confirmed)"},
		"invalid, manifest":  {args: []string{"-f", manifest}, status: 1, stdout: "x InvalidImageName (Confirmed)"},
		"invalid, JSON":      {args: []string{"-f", manifest, "-o", "json"}, status: 1, stdout: `"schema": "` + check.Schema + `"`},
		"environment":        {args: []string{}, env: map[string]string{"WHYPULL_FILE": manifest, "WHYPULL_OUTPUT": "json"}, status: 1, stdout: `"pullable": false`},
		"connection refused": {args: []string{"localhost" + closed[strings.LastIndex(closed, ":"):] + "/a"}, status: 1, stdout: "ConnectionRefused (Confirmed)"},
		"no file":            {args: []string{"-f", none}, status: 2, stderr: "whypull: --file or WHYPULL_FILE: " + notOpen.Error()},
		"no socket": {args: []string{"a", "--cri-socket", none}, status: 2,
			stderr: "whypull: --cri-socket or WHYPULL_CRI_SOCKET: " + notStat.Error()},
		"no socket, environment": {args: []string{"a"}, env: map[string]string{"WHYPULL_CRI_SOCKET": none}, status: 2,
			stderr: "whypull: --cri-socket or WHYPULL_CRI_SOCKET: " + notStat.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			noGoroutinesLeft(t)
			for k, v := range tc.env {
				t.Setenv(k, v)
			}
			status, stdout, stderr := captured(t, append([]string{"check"}, tc.args...)...)
			if status != tc.status || strings.TrimSpace(stderr) != tc.stderr || !strings.Contains(stdout, tc.stdout) {
				t.Errorf("status %d, want %d\nstderr %s\nwant   %s\nstdout %s", status, tc.status, stderr, tc.stderr, stdout)
			}
			if slices.Contains(tc.args, "json") && !json.Valid([]byte(stdout)) {
				t.Errorf("no JSON: %s", stdout)
			}
		})
	}
}

// Flags that the agent has too have the same meaning and default.
func TestCheckFlags(t *testing.T) {
	t.Parallel()
	agent := agentCommand().Flags()
	var names []string
	checkCommand().Flags().VisitAll(func(f *pflag.Flag) {
		names = append(names, f.Name)
		if !strings.HasSuffix(f.Usage, " ["+environment(f.Name)+"]") || strings.Contains(f.Usage, "\n") {
			t.Errorf("--%s: %q", f.Name, f.Usage)
		}
		if same := agent.Lookup(f.Name); same != nil && same.DefValue != f.DefValue {
			t.Errorf("--%s is %q, and the agent's %q", f.Name, f.DefValue, same.DefValue)
		}
	})
	want := []string{
		"allow-empty", "containerd-config", "cri-socket", "docker-config", "download", "file", "host-root", "image-credential-provider-config",
		"kubelet-root-dir", "namespace", "output", "platform", "recursive", "registries-conf", "registry-config-path", "runtime",
	}
	if !slices.Equal(names, want) {
		t.Errorf("flags %q, want %q", names, want)
	}
}

func TestExitStatusIsNoMessage(t *testing.T) {
	t.Parallel()
	if got := status(notPullable).Error(); got != "exit status 1" {
		t.Error(got)
	}
}
