package monitoring

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/deploy/runbook"
)

//go:generate go test . -update
var update = flag.Bool("update", false, "write the generated files")

// ruleFile holds the fields of a rule file that the tests check.
type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

type rule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func parsed(t *testing.T, text string) []rule {
	t.Helper()
	var f ruleFile
	if err := yaml.UnmarshalStrict([]byte(text), &f); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range f.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

func TestGeneratedFilesAreUpToDate(t *testing.T) {
	dashboard, err := Dashboard()
	if err != nil {
		t.Fatal(err)
	}
	configMap, err := ConfigMap()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"../components/dashboard/configmap.yaml": configMap,
		"rules.yaml":                             Rules(), "prometheusrule.yaml": PrometheusRule(), "dashboard.json": dashboard,
		// A chart has only the files in its directory.
		"../chart/files/rules.yaml": Rules(), "../chart/files/dashboard.json": dashboard,
	} {
		if *update {
			if err := os.WriteFile(name, []byte(want), 0o644); err != nil { // #nosec G306 -- for everybody
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(name) // #nosec G304 -- constants
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is not up to date; run go test ./deploy/monitoring -update", name)
		}
	}
}

func TestPrometheusRuleHasTheSameRules(t *testing.T) {
	t.Parallel()
	var resource struct {
		APIVersion, Kind string
		Metadata         any
		Spec             any
	}
	if err := yaml.UnmarshalStrict([]byte(PrometheusRule()), &resource); err != nil {
		t.Fatal(err)
	}
	var file any
	if err := yaml.Unmarshal([]byte(Rules()), &file); err != nil {
		t.Fatal(err)
	}
	spec, err := yaml.Marshal(resource.Spec)
	if err != nil {
		t.Fatal(err)
	}
	want, err := yaml.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(spec) != string(want) || resource.Kind != "PrometheusRule" {
		t.Error("rules.yaml and prometheusrule.yaml have different rules")
	}
}

func TestEveryCauseHasExactlyOneAlert(t *testing.T) {
	t.Parallel()
	all := parsed(t, Rules())
	for _, e := range diagnosis.Catalogue() {
		var names []string
		for _, r := range all {
			if strings.Contains(r.Expr, `whypull_failing_containers{cause="`+string(e.Cause)+`"`) && !strings.Contains(r.Expr, "unless on (cluster, registry)") {
				names = append(names, r.Alert)
			}
		}
		if want := AlertOf(e); len(names) != 1 || names[0] != want {
			t.Errorf("%s: alerts %v, want %s", e.Cause, names, want)
		}
	}
}

// All alerts with one name have one severity and one owner, and no expression adds up
// nodes of different clusters.
func TestAlertnames(t *testing.T) {
	t.Parallel()
	known := map[string]string{}
	aggregation := regexp.MustCompile(`\b(by|on) \(([^)]*)\)`)
	for _, r := range parsed(t, Rules()) {
		is := r.Labels["severity"] + " " + r.Labels["owner"]
		if before, ok := known[r.Alert]; ok && before != is {
			t.Errorf("%s is both %s and %s", r.Alert, before, is)
		}
		known[r.Alert] = is
		for _, by := range aggregation.FindAllStringSubmatch(r.Expr, -1) {
			if !slices.Contains(strings.Split(by[2], ", "), "cluster") {
				t.Errorf("%s ignores the cluster: %s", r.Alert, by[0])
			}
		}
		if strings.Contains(r.Expr, "without") || strings.Count(r.Expr, "sum")+strings.Count(r.Expr, "count ")+strings.Count(r.Expr, "min ")+strings.Count(r.Expr, "max ")+strings.Count(r.Expr, "group ") != strings.Count(r.Expr, " by (") {
			t.Errorf("%s has an aggregation without by: %s", r.Alert, r.Expr)
		}
	}
	for _, e := range diagnosis.Catalogue() {
		if is := known[AlertOf(e)]; is == "" {
			t.Errorf("%s: no alert %s", e.Cause, AlertOf(e))
		}
	}
}

// Every alert has a severity, a summary, a description with the next step, and a
// runbook page that exists.
func TestAlertsAreComplete(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	place := regexp.MustCompile(`\$[A-Z]+`)
	known := map[string]bool{}
	for _, e := range diagnosis.Catalogue() {
		known[string(e.Cause)] = true
	}
	for _, r := range parsed(t, Rules()) {
		name := r.Alert + " " + r.Labels["cause"] + r.Labels["blind"]
		switch r.Labels["severity"] {
		case "info", "warning", "critical":
		default:
			t.Errorf("%s: severity %q", name, r.Labels["severity"])
		}
		switch diagnosis.Fixer(r.Labels["owner"]) {
		case diagnosis.FixApplication, diagnosis.FixCluster, diagnosis.FixNode, diagnosis.FixRegistry:
		default:
			t.Errorf("%s: owner %q", name, r.Labels["owner"])
		}
		if r.For == "" || r.Annotations["summary"] == "" || !strings.Contains(r.Annotations["description"], "\nWhat to do: ") {
			t.Errorf("%s lacks a duration, a summary or \"What to do\":\n%v", name, r)
		}
		if cause, ok := r.Labels["cause"]; ok && (!known[cause] || !strings.Contains(r.Annotations["description"], cause)) {
			t.Errorf("%s: the description does not name the cause", name)
		}
		for key, text := range r.Annotations {
			if left := place.FindString(text); left != "" {
				t.Errorf("%s: placeholder %s in %s was not replaced", name, left, key)
			}
		}
		wantPage(t, name, r.Annotations["runbook_url"], string(readme))
	}
}

// wantPage checks that the page at url exists in the repository.
func wantPage(t *testing.T, name, url, readme string) {
	t.Helper()
	if page, ok := strings.CutPrefix(url, runbook.BaseURL); ok {
		if _, err := os.Stat("../runbook/" + page); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return
	}
	anchor, ok := strings.CutPrefix(url, AlertsURL+"#")
	if !ok || !strings.Contains(strings.ToLower(readme), "\n### "+anchor+"\n") {
		t.Errorf("%s: page %s does not exist", name, url)
	}
}
