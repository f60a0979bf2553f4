package check

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"

	"github.com/whypull/whypull/agent/podwatch"
)

// Limits of a search for pods in an object.
const (
	maxDepth = 64
	maxPods  = 1000
)

// tektonGroup is the API group of Tekton, whose tasks have steps in place of containers.
const tektonGroup = "tekton.dev"

// addOther adds the pods of an object of a kind that whypull does not know, found by
// their structure: a pod template, or any field with a list of containers that name
// images. Other fields called image are no images of pods.
func (o *objects) addOther(d document, h header) error {
	if h.group() == "" || h.Kind == "CustomResourceDefinition" { // a CRD describes objects and has none
		o.skip(d, h)
		return nil
	}
	var root map[string]any
	if err := json.Unmarshal(d.json, &root); err != nil {
		return fmt.Errorf("%s %s: %w", h.Kind, h.name(), err)
	}
	s := search{tekton: h.group() == tektonGroup}
	delete(root, "metadata")
	delete(root, "status")
	if err := s.visit(root, nil); err != nil {
		return fmt.Errorf("%s %s: %w", h.Kind, h.name(), err)
	}
	if len(s.found) == 0 {
		o.skip(d, h)
	}
	for _, spec := range s.found {
		if s.tekton {
			tektonIdentity(root, &spec)
		}
		o.withoutParameters(d, h, &spec)
		if containers(spec) > 0 {
			o.put(d, h, spec)
		}
	}
	return nil
}

// skip remembers an object without pods, for the error if no object has any.
func (o *objects) skip(d document, h header) {
	o.skipped = append(o.skipped, strings.TrimSuffix(fmt.Sprintf("%s: %s %s", d.at, h.Kind, h.name()), " "))
}

func containers(s corev1.PodSpec) int {
	return len(s.Containers) + len(s.InitContainers) + len(s.EphemeralContainers)
}

// withoutParameters removes the containers whose images are not known before a
// controller has replaced what is in them.
func (o *objects) withoutParameters(d document, h header, s *corev1.PodSpec) {
	open := func(c corev1.Container) bool {
		if !strings.Contains(c.Image, "$(") && !strings.Contains(c.Image, "{{") && !strings.Contains(c.Image, "${") {
			return false
		}
		o.note("%s: %s %s: image %s has parameters and is not checked", d.at, h.Kind, h.name(), podwatch.ImageOf(c.Image).Written)
		return true
	}
	s.Containers = slices.DeleteFunc(s.Containers, open)
	s.InitContainers = slices.DeleteFunc(s.InitContainers, open)
}

// search finds pods in an object.
type search struct {
	tekton bool
	found  []corev1.PodSpec
}

// visit looks for pods in a value and everything below it.
func (s *search) visit(value any, path []string) error {
	if len(path) > maxDepth {
		return nil
	}
	switch v := value.(type) {
	case []any:
		for i, item := range v {
			if err := s.visit(item, append(path, strconv.Itoa(i))); err != nil {
				return err
			}
		}
	case map[string]any:
		return s.visitObject(v, path)
	}
	return nil
}

func (s *search) visitObject(m map[string]any, path []string) error {
	spec, err := s.podIn(m, path)
	if err != nil {
		return fmt.Errorf("%s looks like a pod template: %w", strings.Join(path, "."), err)
	}
	if containers(spec) > 0 {
		if s.found = append(s.found, spec); len(s.found) > maxPods {
			return fmt.Errorf("more than %d pods", maxPods)
		}
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if err := s.visit(m[key], append(path, key)); err != nil {
			return err
		}
	}
	return nil
}

// podIn returns the pod that an object in another is; without containers if it is none.
func (s *search) podIn(m map[string]any, path []string) (spec corev1.PodSpec, err error) {
	_, there := m["containers"]
	switch {
	case there && inTemplate(path):
		err = recode(m, &spec)
	case len(withImages(m["containers"])) > 0:
		err = recode(loose(m), &spec)
	case s.tekton:
		err = recode(map[string]any{"containers": tektonTask(m)}, &spec)
	}
	return spec, err
}

// inTemplate reports whether a path ends at a pod template's spec.
func inTemplate(path []string) bool {
	n := len(path)
	return n >= 2 && path[n-1] == "spec" && path[n-2] == "template"
}

// recode decodes an object as another type.
func recode(from any, into any) error {
	data, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return kjson.UnmarshalCaseSensitivePreserveInts(data, into)
}

// loose returns what is of a pod in an object of which not every field needs to be a pod's:
// an operator's own object with a few of its fields.
func loose(m map[string]any) map[string]any {
	out := map[string]any{}
	for _, key := range []string{"containers", "initContainers"} {
		out[key] = withImages(m[key])
	}
	for _, key := range []string{"imagePullSecrets", "serviceAccountName"} {
		part := map[string]any{key: m[key]}
		if m[key] != nil && recode(part, &corev1.PodSpec{}) == nil {
			out[key] = m[key]
		}
	}
	return out
}

// withImages returns what matters of the containers in a list that name an image.
func withImages(list any) []map[string]any {
	items, _ := list.([]any)
	var out []map[string]any
	for _, item := range items {
		from, _ := item.(map[string]any)
		if image, _ := from["image"].(string); image == "" {
			continue
		}
		c := map[string]any{}
		for _, key := range []string{"name", "image", "imagePullPolicy"} {
			if text, ok := from[key].(string); ok {
				c[key] = text
			}
		}
		out = append(out, c)
	}
	return out
}

// tektonTask returns the containers of a Tekton task: its steps and sidecars; none of
// anything else. A step without an image has the step template's.
func tektonTask(m map[string]any) []map[string]any {
	steps, isTask := m["steps"].([]any)
	if !isTask {
		return nil
	}
	template, _ := m["stepTemplate"].(map[string]any)
	for _, step := range steps {
		if step, ok := step.(map[string]any); ok && step["image"] == nil && step["ref"] == nil && template["image"] != nil {
			step["image"] = template["image"]
		}
	}
	return append(withImages(steps), withImages(m["sidecars"])...)
}

// tektonIdentity sets the pull secrets and the service account of a run's pods.
func tektonIdentity(root map[string]any, spec *corev1.PodSpec) {
	type identity struct {
		ServiceAccountName string `json:"serviceAccountName"`
		PodTemplate        struct {
			ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets"`
		} `json:"podTemplate"`
	}
	var run struct {
		Spec struct {
			identity
			TaskRunTemplate identity `json:"taskRunTemplate"` // of a PipelineRun
		} `json:"spec"`
	}
	if recode(root, &run) != nil {
		return
	}
	for _, of := range []identity{run.Spec.identity, run.Spec.TaskRunTemplate} {
		if of.ServiceAccountName != "" {
			spec.ServiceAccountName = of.ServiceAccountName
		}
		if len(of.PodTemplate.ImagePullSecrets) > 0 {
			spec.ImagePullSecrets = of.PodTemplate.ImagePullSecrets
		}
	}
}
