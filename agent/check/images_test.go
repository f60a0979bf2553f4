package check

import (
	"fmt"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/whypull/whypull/agent/podwatch"
)

func TestDefaultPolicy(t *testing.T) {
	t.Parallel()
	const digest = "@sha256:0123456789012345678901234567890123456789012345678901234567890123"
	for image, want := range map[string]corev1.PullPolicy{
		"nginx": "Always", "nginx:latest": "Always", "hub.example:5000/a/b": "Always", "hub.example:5000/a/b:latest": "Always",
		"nginx:1.27": "IfNotPresent", "nginx" + digest: "IfNotPresent", "nginx:1" + digest: "IfNotPresent", "nginx:latest" + digest: "Always",
		"": "IfNotPresent", "Nginx": "IfNotPresent", "http://hub.example/a": "IfNotPresent", "nginx:": "IfNotPresent", "nginx:Latest": "IfNotPresent",
	} {
		if got := defaultPolicy(podwatch.ImageOf(image)); got != want {
			t.Errorf("%q: %s, want %s", image, got, want)
		}
	}
}

// All images of a pod, in the order of the spec.
func TestTargets(t *testing.T) {
	t.Parallel()
	o := loaded(t, `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  template:
    spec:
      serviceAccountName: builder
      hostNetwork: true
      imagePullSecrets: [{name: one}, {name: two}]
      volumes:
      - {name: empty, emptyDir: {}}
      - {name: model, image: {reference: "hub.example/model:1"}}
      - {name: fixed, image: {reference: "hub.example/model", pullPolicy: Never}}
      ephemeralContainers: [{name: debug, image: "busybox:1"}]
      containers: [{name: app, image: "hub_1.example/app"}, {image: "hub.example/App"}]
      initContainers: [{name: init, image: "hub.example/init", imagePullPolicy: IfNotPresent}]
---
{apiVersion: v1, kind: Pod, metadata: {name: second}, spec: {containers: [{name: app, image: nginx}]}}
`)
	var got []string
	for _, at := range o.targets("ci-1", time.Unix(1, 0)) {
		f := at.failure
		got = append(got, fmt.Sprintf("%s %s %s %s|%s %s %s/%s %q %s {%s %s}", f.Kind, f.Container, f.Image, f.Registry, f.Repository,
			f.PullPolicy, f.Namespace, f.Pod, f.PullSecrets, f.ServiceAccount, f.Owner.Kind, f.Owner.Name))
		if at.pod.name != f.Pod || !f.Offline || f.Node != "ci-1" || !f.Since.Equal(time.Unix(1, 0)) || f.Reason+f.Message != "" {
			t.Errorf("%+v", f)
		}
	}
	const rest = ` shop/web ["one" "two"] builder {Deployment web}`
	want := []string{
		"initContainer init hub.example/init hub.example|init IfNotPresent" + rest,
		"container app hub_1.example/app hub_1.example|app Always" + rest,
		"container unnamed hub.example/App | IfNotPresent" + rest,
		"ephemeralContainer debug busybox:1 docker.io|library/busybox IfNotPresent" + rest,
		"imageVolume model hub.example/model:1 hub.example|model IfNotPresent" + rest,
		"imageVolume fixed hub.example/model hub.example|model Never" + rest,
		`container app nginx docker.io|library/nginx Always default/second [] default { }`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestOtherPlatforms(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string]string{
		"": "", "nodeSelector: {kubernetes.io/arch: amd64, kubernetes.io/os: linux}, ": "", "os: {name: linux}, ": "",
		"nodeSelector: {kubernetes.io/arch: arm64}, ":                              "linux/arm64",
		"os: {name: windows}, ":                                                    "windows/amd64",
		"nodeSelector: {kubernetes.io/os: windows, kubernetes.io/arch: arm64}, ":   "windows/arm64",
		"os: {name: linux}, nodeSelector: {kubernetes.io/os: windows, other: x}, ": "",
	} {
		o := loaded(t, "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {"+spec+"containers: [{name: app, image: a}]}}")
		got := strings.Join(o.otherPlatforms(ocispec.Platform{OS: "linux", Architecture: "amd64"}), "; ")
		if want != "" {
			want = "standard input, document 1: Pod web needs nodes of " + want + " but is checked for linux/amd64; set --platform to change that"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", spec, got, want)
		}
	}
}
