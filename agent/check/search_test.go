//go:build linux

package check

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Pods are found by structure in kinds that whypull does not know.
func TestOtherKinds(t *testing.T) {
	t.Parallel()
	const identity = "serviceAccountName: runner, imagePullSecrets: [{name: s}], "
	for name, tc := range map[string]struct {
		text string
		want string // "container=image" of all pods
		id   string // service account and pull secrets of the first
	}{
		"Argo Rollout": {"{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: x}, spec: {strategy: {canary: {}}, template: {spec: {" + identity +
			"initContainers: [{name: i, image: b}], containers: [{name: app, image: a}]}}}}", "i=b app=a", "runner [s]"},
		"Knative Service": {"{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: x}, spec: {template: {spec: {containerConcurrency: 5, " + identity +
			"containers: [{image: a, ports: [{containerPort: 80}]}]}}}}", "unnamed=a", "runner [s]"},
		"Knative Configuration": {"{apiVersion: serving.knative.dev/v1, kind: Configuration, metadata: {name: x}, spec: {template: {spec: {containers: [{image: a}]}}}}", "unnamed=a", "default []"},
		"Knative Revision":      {"{apiVersion: serving.knative.dev/v1, kind: Revision, metadata: {name: x}, spec: {" + identity + "timeoutSeconds: 5, containers: [{image: a}]}}", "unnamed=a", "runner [s]"},
		"Tekton Task": {"{apiVersion: tekton.dev/v1, kind: Task, metadata: {name: x}, spec: {stepTemplate: {image: t}, steps: [{name: one, image: a}, {name: two, script: x}, {ref: {name: r}}], sidecars: [{name: db, image: b}]}}",
			"one=a two=t db=b", "default []"},
		"Tekton TaskRun": {"{apiVersion: tekton.dev/v1, kind: TaskRun, metadata: {name: x}, spec: {serviceAccountName: runner, podTemplate: {imagePullSecrets: [{name: s}]}, taskSpec: {steps: [{name: one, image: a}]}}}",
			"one=a", "runner [s]"},
		"Tekton Pipeline": {"{apiVersion: tekton.dev/v1, kind: Pipeline, metadata: {name: x}, spec: {tasks: [{name: p, taskSpec: {steps: [{name: one, image: a}]}}, {name: q, taskRef: {name: z}}], finally: [{name: r, taskSpec: {steps: [{name: end, image: b}]}}]}}",
			"end=b one=a", "default []"},
		"Tekton PipelineRun": {"{apiVersion: tekton.dev/v1, kind: PipelineRun, metadata: {name: x}, spec: {taskRunTemplate: {serviceAccountName: runner, podTemplate: {imagePullSecrets: [{name: s}]}}, pipelineSpec: {tasks: [{taskSpec: {steps: [{name: one, image: a}]}}]}}}",
			"one=a", "runner [s]"},
		"Tekton parameters": {"{apiVersion: tekton.dev/v1, kind: Task, metadata: {name: x}, spec: {steps: [{name: one, image: $(params.image)}, {name: two, image: a}]}}", "two=a", "default []"},
		"job template":      {"{apiVersion: batch.example.com/v1, kind: Backup, metadata: {name: x}, spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: app, image: a}]}}}}}}", "app=a", "default []"},
		"an operator's own": {"{apiVersion: monitoring.example.com/v1, kind: Thing, metadata: {name: x}, spec: {nodeSelector: 5, " + identity + "image: not-checked, containers: [{name: patched}, {name: app, image: a, resources: often}]}}", "app=a", "runner [s]"},
		"several":           {"{apiVersion: example.com/v1, kind: Cluster, metadata: {name: x}, spec: {head: {template: {spec: {containers: [{name: h, image: a}]}}}, workers: [{template: {spec: {containers: [{name: w, image: b}]}}}]}}", "h=a w=b", "default []"},
		"a list":            {"{apiVersion: v1, kind: List, items: [{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: x}, spec: {template: {spec: {containers: [{name: app, image: a}]}}}}]}", "app=a", "default []"},
	} {
		o := loaded(t, tc.text)
		var got []string
		for _, p := range o.pods {
			for _, f := range p.images() {
				got = append(got, f.Container+"="+f.Image)
			}
		}
		names, _ := o.pullSecrets(&o.pods[0])
		id := fmt.Sprint(o.pods[0].account(), " ", names)
		if strings.Join(got, " ") != tc.want || id != tc.id {
			t.Errorf("%s: %q with %s, want %q with %s", name, got, id, tc.want, tc.id)
		}
		if noted := strings.Contains(strings.Join(o.notes, ""), "image $(params.image) has parameters"); noted != (name == "Tekton parameters") {
			t.Errorf("%s: notes %q", name, o.notes)
		}
	}
}

// A note on an image that is not checked has no credentials.
func TestParametersBehindCredentials(t *testing.T) {
	t.Parallel()
	o := loaded(t, "{apiVersion: tekton.dev/v1, kind: Task, metadata: {name: x}, spec: {steps: [{name: one, image: \"joe:hunter2@hub.test/$(params.image)\"}, {name: two, image: a}]}}")
	if got := strings.Join(o.notes, ""); !strings.Contains(got, "image REDACTED@hub.test/$(params.image) has") {
		t.Errorf("notes %q", got)
	}
}

// A field called image is no image of a pod.
func TestOtherImages(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"an icon":         "{apiVersion: console.example.com/v1, kind: App, metadata: {name: x}, spec: {image: data:image/png;base64 iVBORw0KGgo=, icon: {image: iVBORw0KGgo=}}}",
		"a disk":          "{apiVersion: example.com/v1, kind: Machine, metadata: {name: x}, spec: {disks: [{name: root, image: ubuntu.qcow2}]}}",
		"no image inside": "{apiVersion: example.com/v1, kind: Scaler, metadata: {name: x}, spec: {containers: [{name: app, policy: on}]}}",
		"names only":      "{apiVersion: example.com/v1, kind: Scaler, metadata: {name: x}, spec: {containers: [app, db]}}",
		"in the status":   "{apiVersion: example.com/v1, kind: X, metadata: {name: x, annotations: {containers: '[]'}}, status: {containers: [{name: a, image: b}]}}",
		"a definition":    "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: x}, spec: {example: {containers: [{name: a, image: b}]}}}",
		"steps elsewhere": "{apiVersion: example.com/v1, kind: X, metadata: {name: x}, spec: {steps: [{name: a, image: b}]}}",
		"text":            "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: {pod: 'containers: [{image: a}]'}}",
	} {
		o, err := load(Options{Files: []string{"-"}, AllowEmpty: true}, strings.NewReader(text))
		if err != nil || len(o.pods) > 0 || len(o.skipped) != 1 || len(o.notes) > 0 {
			t.Errorf("%s: %v, skipped %v, notes %q, error %v", name, o, o.skipped, o.notes, err)
		}
	}
}

// A pod template that is not valid is no object without pods.
func TestInvalidTemplates(t *testing.T) {
	t.Parallel()
	const head = "{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: x}, spec: {template: {spec: {containers: "
	for containers, want := range map[string]string{
		"app":                        "json: cannot unmarshal string",
		"[{name: app, image: [a]}]":  "json: cannot unmarshal array",
		"[{name: app, command: sh}]": "json: cannot unmarshal string",
		"{name: app}":                "json: cannot unmarshal object",
	} {
		_, err := load(Options{Files: []string{"-"}}, strings.NewReader(head+containers+"}}}}"))
		if want = "standard input, document 1: Rollout x: spec.template.spec looks like a pod template: " + want; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", containers, err, want)
		}
	}
}

// A result is located at the line that names its image.
func TestLines(t *testing.T) {
	t.Parallel()
	o := loaded(t, `# comment
---
apiVersion: v1
kind: Pod
metadata: {name: one}
spec:
  containers:
  - name: a
    image: hub.example/a:1
  - image: "hub.example/b"
    name: b
  - {name: c, image: 'hub.example/a:1'}
  volumes: [{name: v, image: {reference: hub.example/v}}]
---
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "two"}, "spec": {"containers": [
  {"name": "a", "image": "hub.example/a:1"},
  {"name": "b",
   "image":"hub.example/b"}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: three}
spec:
  containers:
  - name: a
    image: >-
      hub.example/folded
`)
	var got []int
	for _, target := range o.targets("n", options(world(t)).now) {
		got = append(got, target.line)
	}
	if want := []int{9, 10, 12, 13, 16, 18, 19}; !slices.Equal(got, want) {
		t.Errorf("lines %v, want %v", got, want)
	}
}
