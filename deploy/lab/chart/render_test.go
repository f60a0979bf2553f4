package chart

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// deployDir is the directory deploy, from this one.
const deployDir = "../.."

// newest is a version of Kubernetes with constrained impersonation, oldest one without.
const (
	newest = "v1.37.2"
	oldest = "v1.34.1-gke.1245000"
)

// helm renders the chart.
func helm(t *testing.T, kubernetes, values string) map[string]Object {
	t.Helper()
	out, err := Helm(deployDir, kubernetes, values)
	if err != nil {
		t.Fatalf("with the values %q: %v", values, err)
	}
	return out
}

// kustomize renders the kustomization with components.
func kustomize(t *testing.T, more string, components ...string) map[string]Object {
	t.Helper()
	out, err := Kustomize(deployDir, more, components...)
	if err != nil {
		t.Fatalf("with the components %v: %v", components, err)
	}
	return out
}

// glob returns the files below deploy that match a pattern, relative to it.
func glob(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(deployDir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		names[i], _ = strings.CutPrefix(name, deployDir+"/")
	}
	return names
}

// helmLabels are the labels that only a chart has.
var helmLabels = []string{"helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/instance", "app.kubernetes.io/version"}

// unordered are the lists whose order means nothing.
var unordered = []string{"env", "volumeMounts", "volumes", "rules"}

// canonical returns an object as text, without Helm's labels and with the lists sorted
// whose order means nothing.
func canonical(t *testing.T, o Object) string {
	t.Helper()
	metadata, _ := o["metadata"].(map[string]any)
	if labels, ok := metadata["labels"].(map[string]any); ok {
		for _, l := range helmLabels {
			delete(labels, l)
		}
	}
	sortLists(t, map[string]any(o))
	out, err := yaml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func sortLists(t *testing.T, v any) {
	t.Helper()
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			sortLists(t, e)
		}
	case map[string]any:
		for key, e := range v {
			sortLists(t, e)
			if list, ok := e.([]any); ok && slices.Contains(unordered, key) {
				slices.SortFunc(list, func(a, b any) int { return strings.Compare(text(t, a), text(t, b)) })
			}
		}
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
