package chart

import (
	"encoding/json"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// Directories, from this one.
const (
	deployDir = "../.."
	chartDir  = deployDir + "/chart"
)

// newest is a version of Kubernetes with constrained impersonation, oldest one without.
const (
	newest = "v1.37.2"
	oldest = "v1.34.1-gke.1245000"
)

// object is a rendered Kubernetes object.
type object map[string]any

// values parses the values of a chart, as in a values file.
func values(t *testing.T, text string) map[string]any {
	t.Helper()
	out := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// helm renders the chart as "helm install whypull --namespace whypull" does, with the
// values in text.
func helm(t *testing.T, kubernetes, text string) map[string]object {
	t.Helper()
	files, err := render(t, kubernetes, text)
	if err != nil {
		t.Fatalf("with the values %q: %v", text, err)
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Ext(name) == ".yaml" {
			all = append(all, files[name])
		}
	}
	return parse(t, strings.Join(all, "\n---\n"))
}

// render returns the rendered files of the chart.
func render(t *testing.T, kubernetes, text string) (map[string]string, error) {
	t.Helper()
	chart, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	version, err := common.ParseKubeVersion(kubernetes)
	if err != nil {
		t.Fatal(err)
	}
	capabilities := common.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *version
	options := common.ReleaseOptions{Name: "whypull", Namespace: "whypull", Revision: 1, IsInstall: true}
	all, err := util.ToRenderValues(chart, values(t, text), options, capabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(chart, all)
}

// kustomize renders the users' manifests with components of deploy/components, and with
// further text in the kustomization.
func kustomize(t *testing.T, more string, components ...string) map[string]object {
	t.Helper()
	out, err := build(t, more, components...)
	if err != nil {
		t.Fatalf("with the components %v: %v", components, err)
	}
	return parse(t, out)
}

// build returns the rendered manifests.
func build(t *testing.T, more string, components ...string) (string, error) {
	t.Helper()
	disk := filesys.MakeFsInMemory()
	text := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../deploy]\n" + more
	if len(components) > 0 {
		text += "\ncomponents:\n"
	}
	for _, c := range components {
		text += "- ../deploy/" + c + "\n"
	}
	copyInto(t, disk)
	if err := disk.WriteFile("/overlay/kustomization.yaml", []byte(text)); err != nil {
		t.Fatal(err)
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(disk, "/overlay")
	if err != nil {
		return "", err
	}
	out, err := resources.AsYaml()
	return string(out), err
}

// copyInto copies the manifests to /deploy of another file system.
func copyInto(t *testing.T, disk filesys.FileSystem) {
	t.Helper()
	for _, dir := range []string{".", "base", "components", "monitoring"} {
		pattern := []string{"*.yaml"}
		if dir == "components" {
			pattern = append(pattern, "*/*.yaml")
		}
		for _, p := range append(pattern, "dashboard.json") {
			for _, name := range glob(t, path.Join(dir, p)) {
				data, err := os.ReadFile(path.Join(deployDir, name))
				if err != nil {
					t.Fatal(err)
				}
				if err := disk.WriteFile(path.Join("/deploy", name), data); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// glob returns the files below deploy that match a pattern.
func glob(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filesGlob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// parse returns the objects of a stream of YAML documents, by kind, namespace and name.
func parse(t *testing.T, text string) map[string]object {
	t.Helper()
	out := map[string]object{}
	for document := range strings.SplitSeq("\n"+text, "\n---") {
		var o object
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		if len(o) == 0 {
			continue
		}
		metadata, _ := o["metadata"].(map[string]any)
		namespace, _ := metadata["namespace"].(string)
		kind, _ := o["kind"].(string)
		name, _ := metadata["name"].(string)
		key := strings.Join([]string{kind, namespace, name}, "/")
		if _, twice := out[key]; twice {
			t.Errorf("%s is rendered twice", key)
		}
		out[key] = o
	}
	return out
}

// helmLabels are the labels that only a chart has.
var helmLabels = []string{"helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/instance", "app.kubernetes.io/version"}

// unordered are the lists whose order means nothing.
var unordered = []string{"env", "volumeMounts", "volumes", "rules"}

// canonical returns an object as text, without Helm's labels and with the lists sorted
// whose order means nothing.
func canonical(t *testing.T, o object) string {
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
