// Package chart renders the Helm chart and the kustomization in deploy. Its tests compare
// the two, and generate what they and the documentation share.
package chart

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// Object is a rendered Kubernetes object.
type Object map[string]any

// field returns a string field of the object's metadata.
func (o Object) field(name string) string {
	metadata, _ := o["metadata"].(map[string]any)
	s, _ := metadata[name].(string)
	return s
}

// Key returns the object's kind, namespace and name.
func (o Object) Key() string {
	kind, _ := o["kind"].(string)
	return kind + "/" + o.field("namespace") + "/" + o.field("name")
}

// Files returns the rendered files of the chart below the directory deploy, for a release
// whypull in the namespace whypull of a cluster with a version of Kubernetes. Values are
// YAML.
func Files(deploy, kubernetes, values string) (map[string]string, error) {
	chart, err := loader.Load(filepath.Join(deploy, "chart"))
	if err != nil {
		return nil, err
	}
	version, err := common.ParseKubeVersion(kubernetes)
	if err != nil {
		return nil, err
	}
	given := map[string]any{}
	if err := yaml.Unmarshal([]byte(values), &given); err != nil {
		return nil, err
	}
	capabilities := common.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *version
	options := common.ReleaseOptions{Name: "whypull", Namespace: "whypull", Revision: 1, IsInstall: true}
	all, err := util.ToRenderValues(chart, given, options, capabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(chart, all)
}

// Helm returns the objects of the chart, as Files renders them.
func Helm(deploy, kubernetes, values string) (map[string]Object, error) {
	files, err := Files(deploy, kubernetes, values)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Ext(name) == ".yaml" {
			all = append(all, files[name])
		}
	}
	return objects(strings.Join(all, "\n---\n"))
}

// Kustomize returns the objects of the kustomization in the directory deploy, with
// components (relative to it) and further lines of a kustomization.
func Kustomize(deploy, more string, components ...string) (_ map[string]Object, err error) {
	dir, err := os.MkdirTemp("", "kustomization")
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := os.RemoveAll(dir); err == nil {
			err = e
		}
	}()
	if deploy, err = filepath.Abs(deploy); err != nil {
		return nil, err
	}
	relative, err := filepath.Rel(dir, deploy) // kustomize rejects absolute paths
	if err != nil {
		return nil, err
	}
	paths := make([]string, len(components))
	for i, c := range components {
		paths[i] = filepath.Join(relative, c)
	}
	text := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [" + relative + "]\n" +
		"components: [" + strings.Join(paths, ", ") + "]\n" + more
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		return nil, err
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, err
	}
	out, err := resources.AsYaml()
	if err != nil {
		return nil, err
	}
	return objects(string(out))
}

// objects returns the objects of a stream of YAML documents, by their keys.
func objects(text string) (map[string]Object, error) {
	out := map[string]Object{}
	for document := range strings.SplitSeq("\n"+text, "\n---") {
		var o Object
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			return nil, fmt.Errorf("%w in\n%s", err, document)
		}
		if len(o) == 0 {
			continue
		}
		if _, twice := out[o.Key()]; twice {
			return nil, fmt.Errorf("%s is rendered twice", o.Key())
		}
		out[o.Key()] = o
	}
	return out, nil
}
