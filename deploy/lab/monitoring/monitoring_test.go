package monitoring

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/deploy/lab/binaries"
	"github.com/whypull/whypull/deploy/monitoring"
	"github.com/whypull/whypull/report/metrics"
)

const folder = "../../monitoring"

// tool returns the path of one of the lab's programs.
func tool(t *testing.T, family, name string) string {
	t.Helper()
	cache, err := binaries.OpenCache("", os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	families := slices.DeleteFunc(binaries.All(), func(f binaries.Family) bool { return f.Name != family })
	paths, err := cache.Build(t.Context(), families)
	if err != nil {
		t.Fatal(err)
	}
	return paths[name]
}

// promtool runs promtool and returns its output.
func promtool(t *testing.T, stdin []byte, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool(t, "prometheus", "promtool"), args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func mustPass(t *testing.T, stdin []byte, args ...string) {
	t.Helper()
	if out, err := promtool(t, stdin, args...); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestRules(t *testing.T) {
	mustPass(t, nil, "check", "rules", "--lint=all", "--lint-fatal", filepath.Join(folder, "rules.yaml"))
	mustPass(t, nil, "test", "rules", filepath.Join(folder, "rules.test.yaml"))
}

// The rule tests detect a wrong rule.
func TestWrongRuleFails(t *testing.T) {
	dir := t.TempDir()
	rules := strings.Replace(monitoring.Rules(), ") >= 2", ") >= 3", 1)
	tests, err := os.ReadFile(filepath.Join(folder, "rules.test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "rules.yaml"), rules)
	write(t, filepath.Join(dir, "rules.test.yaml"), string(tests))
	if out, err := promtool(t, nil, "test", "rules", filepath.Join(dir, "rules.test.yaml")); err == nil || !strings.Contains(out, "WhypullRegistryDown") {
		t.Errorf("a wrong rule passes the tests: %v\n%s", err, out)
	}
}

// A lasting failure of each cause fires exactly one alert, which names the cause.
func TestEveryCauseFires(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rules.yaml"), monitoring.Rules())
	var text strings.Builder
	text.WriteString("rule_files: [rules.yaml]\nevaluation_interval: 1m\ntests:\n")
	for _, e := range diagnosis.Catalogue() {
		fmt.Fprintf(&text, `- name: %[1]s
  interval: 1m
  input_series:
  - series: up{job="whypull-agent", instance="a"}
    values: 1x30
  - series: whypull_failing_containers{cause="%[1]s", registry="hub.example.com", instance="a"}
    values: 1x30
  promql_expr_test:
  - expr: ALERTS{alertstate="firing"}
    eval_time: 4m
    exp_samples: []
  - expr: count by (alertname, cause) (ALERTS{alertstate="firing"})
    eval_time: 11m
    exp_samples: [{labels: '{alertname="%[2]s", cause="%[1]s"}', value: 1}]
`, e.Cause, monitoring.AlertOf(e))
	}
	file := filepath.Join(dir, "causes.yaml")
	write(t, file, text.String())
	mustPass(t, nil, "test", "rules", file)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Prometheus accepts every query of the dashboard.
func TestDashboardQueriesParse(t *testing.T) {
	var text strings.Builder
	text.WriteString("groups:\n- name: dashboard\n  rules:\n")
	n := 0
	for _, p := range monitoring.Panels() {
		for _, q := range p.Queries {
			n++
			fmt.Fprintf(&text, "  - record: q%d\n    expr: %q\n", n, monitoring.Filled(q.Expr, "1m", "6h"))
		}
	}
	file := filepath.Join(t.TempDir(), "dashboard.yaml")
	write(t, file, text.String())
	out, err := promtool(t, nil, "check", "rules", file)
	if err != nil || !strings.Contains(out, fmt.Sprintf("%d rules found", n)) {
		t.Errorf("%d queries: %v\n%s", n, err, out)
	}
	write(t, file, strings.Replace(text.String(), "sum by (cause) (", "sum by (cause) ((", 1))
	if out, err := promtool(t, nil, "check", "rules", file); err == nil {
		t.Errorf("an invalid query passes:\n%s", out)
	}
}

// A panel shows the same values for histograms scraped as text, as native histograms,
// or a mix of both.
func TestDashboardSupportsBothHistogramFormats(t *testing.T) {
	panels := map[string]string{} // panel title to its value for the series below
	panels["Latency by phase"] = `[{labels: '{phase="tls"}', value: 0.25}]`
	panels["Check duration"] = `[{labels: '{check="registry"}', value: 0.25}]`
	panels["Checks by outcome"] = `[{labels: '{check="registry", outcome="Failed"}', value: 0.4}]`
	text := func(histogram, labels, node string) string {
		return fmt.Sprintf("  - {series: '%[1]s_count{%[2]s,instance=\"%[3]s\"}', values: 0+12x20}\n  - {series: '%[1]s_sum{%[2]s,instance=\"%[3]s\"}', values: 0+3x20}\n", histogram, labels, node)
	}
	native := func(histogram, labels, node string) string {
		return fmt.Sprintf("  - {series: '%s{%s,instance=\"%s\"}', values: '{{schema:1 count:0 sum:0 buckets:[0]}}+{{schema:1 count:12 sum:3 buckets:[12]}}x20'}\n", histogram, labels, node)
	}
	type form = func(histogram, labels, node string) string
	var out strings.Builder
	out.WriteString("evaluation_interval: 1m\ntests:\n")
	for name, forms := range map[string][]form{"text": {text, text}, "native": {native, native}, "mixed": {text, native}} {
		fmt.Fprintf(&out, "- name: %s\n  interval: 1m\n  input_series:\n", name)
		for i, f := range forms {
			out.WriteString(f("whypull_registry_probe_phase_seconds", `phase="tls"`, fmt.Sprint(i)) +
				f("whypull_check_duration_seconds", `check="registry",outcome="Failed"`, fmt.Sprint(i)))
		}
		out.WriteString("  promql_expr_test:\n")
		found := 0
		for _, p := range monitoring.Panels() {
			if want, ok := panels[p.Title]; ok {
				found++
				fmt.Fprintf(&out, "  - {expr: %q, eval_time: 10m, exp_samples: %s}\n", monitoring.Filled(p.Queries[0].Expr, "5m", "6h"), want)
			}
		}
		if found != len(panels) {
			t.Errorf("%d panels of %d", found, len(panels))
		}
	}
	file := filepath.Join(t.TempDir(), "histograms.yaml")
	write(t, file, out.String())
	mustPass(t, nil, "test", "rules", file)
}

// The scrape configuration is valid.
func TestScrapeConfiguration(t *testing.T) {
	scrape, err := os.ReadFile(filepath.Join(folder, "scrape.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := filepath.Abs(filepath.Join(folder, "rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "prometheus.yaml")
	write(t, file, "rule_files: ["+rules+"]\nscrape_configs:\n"+string(scrape))
	mustPass(t, nil, "check", "config", file)
}

// The metrics of a node with many failures follow Prometheus's conventions.
func TestMetrics(t *testing.T) {
	m := metrics.New("v1")
	for i, e := range diagnosis.Catalogue() {
		v := diagnosis.Verdict{Cause: e.Cause, Confidence: diagnosis.Confirmed}
		v.Failure = diagnosis.Failure{Namespace: "shop", Pod: fmt.Sprint("pod-", i), Container: "app", Registry: "hub.test", Since: time.Now()}
		v.Evidence = []diagnosis.Finding{{Evidence: diagnosis.Evidence{Check: diagnosis.CheckPodDNS, Outcome: diagnosis.Passed, Body: &diagnosis.DNSFacts{Compared: diagnosis.ComparedOther}}}}
		m.Failing(fmt.Sprint(i), []diagnosis.Verdict{v})
		m.Unavailable(fmt.Sprint("running-", i), []diagnosis.Verdict{v})
		m.Diagnosed(v)
	}
	for _, phase := range diagnosis.Phases() {
		m.Phase(phase, time.Second)
	}
	m.Checked(diagnosis.CheckRegistry, diagnosis.Failed, time.Second)
	m.TimeToDiagnosis(time.Second)
	m.CertificateExpires("hub.test", time.Now())
	m.RateLimit("hub.test", 7, true)
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			t.Fatal(err)
		}
	}
	mustPass(t, text.Bytes(), "check", "metrics")
}

// kustomize accepts the component, and its PodMonitor selects the pods and the port of
// the DaemonSet.
func TestComponent(t *testing.T) {
	dir := t.TempDir()
	deploy, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if deploy, err = filepath.Rel(dir, deploy); err != nil { // kustomize rejects absolute paths
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "kustomization.yaml"), "resources: ["+deploy+"]\ncomponents: ["+deploy+"/monitoring]\n")
	out, err := exec.CommandContext(t.Context(), tool(t, "kubernetes", "kubectl"), "kustomize", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var monitor struct {
		Spec struct {
			Selector            metav1.LabelSelector
			PodMetricsEndpoints []struct {
				Port string
			}
		}
	}
	var agents appsv1.DaemonSet
	for kind, into := range map[string]any{"PodMonitor": &monitor, "DaemonSet": &agents, "PrometheusRule": nil} {
		i := slices.IndexFunc(strings.Split(string(out), "\n---\n"), func(s string) bool { return strings.Contains("\n"+s, "\nkind: "+kind+"\n") })
		if i < 0 {
			t.Fatalf("no %s in\n%s", kind, out)
		}
		if into == nil {
			continue
		}
		if err := yaml.Unmarshal([]byte(strings.Split(string(out), "\n---\n")[i]), into); err != nil {
			t.Fatal(err)
		}
	}
	selector, err := metav1.LabelSelectorAsSelector(&monitor.Spec.Selector)
	if err != nil {
		t.Fatal(err)
	}
	ports := agents.Spec.Template.Spec.Containers[0].Ports
	endpoints := monitor.Spec.PodMetricsEndpoints
	if selector.Empty() || !selector.Matches(labels.Set(agents.Spec.Template.Labels)) || len(endpoints) != 1 ||
		!slices.ContainsFunc(ports, func(p corev1.ContainerPort) bool { return p.Name == endpoints[0].Port }) {
		t.Errorf("%+v does not select %+v", monitor, agents.Spec.Template)
	}
}
