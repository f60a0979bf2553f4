package chart

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// value is a documented value of the chart.
type value struct {
	path        string // such as image.tag
	description string
}

// documented returns the values in values.yaml whose comment starts with "# --", in the
// order of the file.
func documented(t *testing.T) []value {
	t.Helper()
	key := regexp.MustCompile(`^( *)([A-Za-z]+):`)
	var out []value
	var parents []string
	var comment []string
	for line := range strings.Lines(read(t, "chart/values.yaml")) {
		line = strings.TrimRight(line, "\n")
		trimmed := strings.TrimSpace(line)
		if first, ok := strings.CutPrefix(trimmed, "# -- "); ok {
			comment = []string{first}
			continue
		}
		if more, ok := strings.CutPrefix(trimmed, "# "); ok && len(comment) > 0 {
			comment = append(comment, more)
			continue
		}
		m := key.FindStringSubmatch(line)
		if m == nil {
			comment = nil
			continue
		}
		parents = append(parents[:min(len(parents), len(m[1])/2)], m[2])
		if len(comment) > 0 {
			out = append(out, value{path: strings.Join(parents, "."), description: strings.Join(comment, " ")})
		}
		comment = nil
	}
	return out
}

// defaults returns the values of values.yaml.
func defaults(t *testing.T) map[string]any {
	t.Helper()
	var out map[string]any
	if err := yaml.Unmarshal([]byte(read(t, "chart/values.yaml")), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// at returns the value with a path such as image.tag.
func at(t *testing.T, all map[string]any, path string) any {
	t.Helper()
	var v any = all
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			t.Fatalf("values.yaml has no %s", path)
		}
		if v, ok = m[name]; !ok {
			t.Fatalf("values.yaml has no %s", path)
		}
	}
	return v
}

// readme returns the README of the chart, whose table has all values.
func readme(t *testing.T) string {
	t.Helper()
	all := defaults(t)
	var table strings.Builder
	for _, v := range documented(t) {
		standard, err := json.Marshal(at(t, all, v.path))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&table, "| `%s` | `%s` | %s |\n", v.path, standard, strings.ReplaceAll(v.description, "|", `\|`))
	}
	return strings.Replace(readmeText, "TABLE\n", table.String(), 1)
}

const readmeText = `<!-- Generated from values.yaml: cd deploy/lab && go test ./chart -update -->
# The chart whypull

` + "```sh" + `
helm install whypull deploy/chart --namespace whypull --create-namespace
kubectl label namespace whypull pod-security.kubernetes.io/enforce=privileged
` + "```" + `

The label is for clusters that enforce Pod Security by default: the agent mounts host paths and uses the host network. By default the chart renders the same objects as ` + "`kubectl apply -k deploy`" + ` but the namespace.

[deploy/docs/platforms.md](../docs/platforms.md) is about the values of ` + "`platform`" + `, [deploy/docs/upgrade.md](../docs/upgrade.md) about upgrade, rollback and removal.

## Values

| value | default | meaning |
|---|---|---|
TABLE
`

// schema is the part of a JSON schema that the tests read.
type schema struct {
	Type                 any
	Properties           map[string]schema
	AdditionalProperties any
}

// The schema has exactly the values of values.yaml and rejects all others.
func TestSchemaHasAllValues(t *testing.T) {
	t.Parallel()
	var s schema
	if err := yaml.Unmarshal([]byte(read(t, "chart/values.schema.json")), &s); err != nil {
		t.Fatal(err)
	}
	delete(s.Properties, "global") // Helm adds it to a subchart's values
	paths := leaves("", s)
	var want []string
	for _, v := range documented(t) {
		want = append(want, v.path)
	}
	slices.Sort(want)
	if slices.Sort(paths); !slices.Equal(paths, want) {
		t.Errorf("the schema has %v\nvalues.yaml describes %v", paths, want)
	}
}

// leaves returns the paths of a schema's values.
func leaves(prefix string, s schema) []string {
	if s.Properties == nil || s.AdditionalProperties != false {
		return []string{strings.TrimPrefix(prefix, ".")}
	}
	var out []string
	for name, p := range s.Properties {
		out = append(out, leaves(prefix+"."+name, p)...)
	}
	return out
}

// Every value in values.yaml has a description.
func TestAllValuesAreDescribed(t *testing.T) {
	t.Parallel()
	var described []string
	for _, v := range documented(t) {
		described = append(described, v.path)
	}
	for name, v := range defaults(t) {
		if slices.Contains(described, name) {
			continue
		}
		group, ok := v.(map[string]any)
		if !ok {
			t.Errorf("%s has no description", name)
		}
		for member := range group {
			if !slices.Contains(described, name+"."+member) {
				t.Errorf("%s.%s has no description", name, member)
			}
		}
	}
}

// A value with a wrong name or a wrong kind is rejected with its name.
func TestWrongValuesAreRejected(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"platform: openshfit":            "platform",
		"secretAccess: all":              "secretAccess",
		"image: {tagg: v1}":              "tagg",
		"image: {digest: abc}":           "digest",
		"podNetwork: enabled":            "podNetwork",
		"platform: gke-autopilot":        "Autopilot",
		"metrics: {auth: basic}":         "auth",
		"extraArgs: --log-level=debug":   "extraArgs",
		"node: {criSocket: tcp://a:1}":   "criSocket",
		"resource: {limits: {}}":         "resource",
		"podMonitor: {enabled: \"yes\"}": "enabled",
		"imageCheck: {interval: 30m}":    "interval",
		"imageCheck: {interval: 24}":     "interval",
		"imageCheck: {interval: 1d}":     "interval",
	} {
		if _, err := Files(deployDir, newest, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error about %s", text, err, want)
		}
	}
}
