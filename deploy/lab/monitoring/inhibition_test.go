package monitoring

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/deploy/monitoring"
)

// labelSet identifies an alert by its labels.
type labelSet map[string]string

func (l labelSet) String() string {
	return strings.TrimSpace(strings.Join([]string{l["alertname"], l["severity"], l["cause"], l["registry"], l["pod_namespace"]}, " "))
}

// alertmanagerConfig writes our inhibition rules, and more, into a complete
// Alertmanager configuration. without is the index of one of our rules to leave out, or
// -1.
func alertmanagerConfig(t *testing.T, without int, more ...any) (path string, rules int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "alertmanager.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var c map[string][]any
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		t.Fatal(err)
	}
	rules = len(c["inhibit_rules"])
	if without >= 0 {
		c["inhibit_rules"] = slices.Delete(c["inhibit_rules"], without, without+1)
	}
	c["inhibit_rules"] = append(c["inhibit_rules"], more...)
	if text, err = yaml.Marshal(c); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "alertmanager.yaml")
	write(t, path, "route: {receiver: somebody}\nreceivers: [{name: somebody}]\n"+string(text))
	return path, rules
}

// muted returns the firing alerts that Alertmanager inhibits, in their order.
func muted(t *testing.T, config string, firing []labelSet) []labelSet {
	t.Helper()
	in, err := json.Marshal(firing)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), tool(t, "alertmanager", "inhibited"), config)
	cmd.Stdin = bytes.NewReader(in)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, problems.String())
	}
	var all []labelSet
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// fire returns the alerts that fire after half an hour of these series. promtool prints
// them because the test expects none.
func fire(t *testing.T, series ...string) []labelSet {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rules.yaml"), monitoring.Rules())
	var text strings.Builder
	text.WriteString("rule_files: [rules.yaml]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  input_series:\n")
	for _, s := range append(series, `up{job="whypull-agent",instance="a"} 1`) {
		name, value, _ := strings.Cut(s, "} ")
		fmt.Fprintf(&text, "  - {series: '%s}', values: %sx40}\n", name, value)
	}
	text.WriteString("  promql_expr_test: [{expr: 'ALERTS{alertstate=\"firing\"}', eval_time: 30m, exp_samples: []}]\n")
	file := filepath.Join(dir, "test.yaml")
	write(t, file, text.String())
	out, err := promtool(t, nil, "test", "rules", file)
	if err == nil {
		t.Fatal("nothing fires")
	}
	var all []labelSet
	label := regexp.MustCompile(`(\w+)="([^"]*)"`)
	for _, sample := range regexp.MustCompile(`\{__name__="ALERTS"[^}]*\}`).FindAllString(out, -1) {
		l := labelSet{}
		for _, m := range label.FindAllStringSubmatch(sample, -1) {
			l[m[1]] = m[2]
		}
		delete(l, "__name__")
		delete(l, "alertstate")
		all = append(all, l)
	}
	if len(all) == 0 {
		t.Fatalf("promtool printed no alert: %v\n%s", err, out)
	}
	return all
}

// failures returns the series of a registry with every cause, on the given number of
// nodes and in the given number of namespaces, whose pods are on the first node.
func failures(registry string, nodes, namespaces int) []string {
	var out []string
	for _, e := range diagnosis.Catalogue() {
		for i := range nodes {
			out = append(out, fmt.Sprintf(`whypull_failing_containers{cause="%s",registry="%s",instance="n%d",namespace="whypull"} 1`, e.Cause, registry, i))
		}
		for i := range namespaces {
			out = append(out, fmt.Sprintf(`whypull_pod_failure_info{cause="%s",registry="%s",pod_namespace="ns%d",pod_name="p",container_name="c",instance="n0",namespace="whypull"} 1`, e.Cause, registry, i))
		}
	}
	return out
}

const (
	broken = "hub.example.com"   // everything fails
	lonely = "other.example.com" // one pod fails for each cause
)

// allAlerts returns the alerts of both registries.
func allAlerts(t *testing.T) []labelSet {
	t.Helper()
	const day = 86400
	var all []labelSet
	for _, series := range [][]string{
		append(failures(broken, 2, 3), `whypull_dns_mismatch{registry="`+broken+`",instance="n0",namespace="whypull"} 1`,
			fmt.Sprintf(`whypull_registry_tls_expiry_timestamp_seconds{registry="%s",instance="n0",namespace="whypull"} %d`, broken, day)),
		// Alerts that fire earlier and may still be active.
		{`whypull_registry_ratelimit_remaining{registry="` + broken + `",instance="n0",namespace="whypull"} 3`,
			fmt.Sprintf(`whypull_registry_tls_expiry_timestamp_seconds{registry="%s",instance="n0",namespace="whypull"} %d`, broken, 10*day)},
		append(failures(lonely, 1, 1), fmt.Sprintf(`whypull_registry_tls_expiry_timestamp_seconds{registry="%s",instance="n0",namespace="whypull"} %d`, lonely, 10*day)),
		{`whypull_registry_ratelimit_remaining{registry="near.example.com",instance="n0",namespace="whypull"} 3`},
	} {
		all = append(all, fire(t, series...)...)
	}
	slices.SortFunc(all, func(a, b labelSet) int {
		return strings.Compare(fmt.Sprint(map[string]string(a)), fmt.Sprint(map[string]string(b)))
	})
	// Alerts about a disk or an agent have no registry and occur several times.
	return slices.CompactFunc(all, func(a, b labelSet) bool { return maps.Equal(a, b) })
}

// inhibitor returns the alert that must inhibit l; "" for none.
func inhibitor(l labelSet) string {
	own := strings.HasPrefix(l["alertname"], "WhypullPullFailing")
	switch {
	case own && slices.Contains(causesOf("WhypullRegistryDown"), l["cause"]):
		return "WhypullRegistryDown"
	case own && slices.Contains(causesOf("WhypullCredentialsBroken"), l["cause"]):
		return "WhypullCredentialsBroken"
	case own && slices.Contains([]string{"RegistryNameNotFound", "DNSFailure"}, l["cause"]):
		return "WhypullDNSSplit"
	case l["alertname"] == "WhypullRateLimitNear":
		return "WhypullRateLimited"
	case l["alertname"] == "WhypullCertificateExpiring":
		return "WhypullCertificateExpiryImminent"
	}
	return ""
}

// causesOf returns the causes in the expression of an alert.
func causesOf(alert string) []string {
	_, rule, _ := strings.Cut(monitoring.Rules(), "- alert: "+alert+"\n")
	found := regexp.MustCompile(`cause=~"([^"]+)"`).FindStringSubmatch(rule)
	if found == nil {
		return nil
	}
	return strings.Split(found[1], "|")
}

// Alertmanager accepts the inhibition rules, and inhibits exactly the alerts that
// another alert about the same registry covers.
func TestInhibition(t *testing.T) {
	config, rules := alertmanagerConfig(t, -1)
	if out, err := exec.CommandContext(t.Context(), tool(t, "alertmanager", "amtool"), "check-config", config).CombinedOutput(); err != nil ||
		!strings.Contains(string(out), fmt.Sprintf("%d inhibit rules", rules)) {
		t.Fatalf("%v\n%s", err, out)
	}
	all := allAlerts(t)
	var want []string
	for _, l := range all {
		if l["registry"] == broken && inhibitor(l) != "" {
			want = append(want, l.String())
		}
	}
	got := names(muted(t, config, all))
	if !slices.Equal(got, want) {
		t.Errorf("%d alerts; inhibited are\n%s\nwant\n%s", len(all), strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	least := 1 + 1 // WhypullRateLimitNear, WhypullCertificateExpiring
	covered := slices.Concat(causesOf("WhypullRegistryDown"), causesOf("WhypullCredentialsBroken"), []string{"RegistryNameNotFound", "DNSFailure"})
	for _, e := range diagnosis.Catalogue() {
		if !slices.Contains(covered, string(e.Cause)) {
			continue
		}
		least++
		if e.Fixer == diagnosis.FixApplication {
			least += 3 // one for each namespace, and one for the second node, which names none
		}
	}
	if len(want) != least {
		t.Errorf("%d of %d alerts must be inhibited: the rules lack some alerts\n%v", len(want), least, all)
	}
	t.Run("source", func(t *testing.T) { mutedOnlyWithSource(t, config, all, want) })
	t.Run("rules", func(t *testing.T) { everyRuleCounts(t, rules, all, want) })
}

func names(all []labelSet) []string {
	var out []string
	for _, l := range all {
		out = append(out, l.String())
	}
	return out
}

// mutedOnlyWithSource checks that an inhibited alert is not inhibited without its
// source.
func mutedOnlyWithSource(t *testing.T, config string, all []labelSet, before []string) {
	sources := map[string]int{} // source to the number of alerts that it inhibits
	for _, l := range all {
		if l["registry"] == broken && inhibitor(l) != "" {
			sources[inhibitor(l)]++
		}
	}
	for source, n := range sources {
		rest := slices.DeleteFunc(slices.Clone(all), func(l labelSet) bool {
			return l["alertname"] == source && l["registry"] == broken && inhibitor(l) == ""
		})
		if got := muted(t, config, rest); len(rest) != len(all)-1 || len(got) != len(before)-n {
			t.Errorf("without %s (%d of %d alerts are left) %d are inhibited, want %d:\n%v", source, len(rest), len(all), len(got), len(before)-n, got)
		}
	}
}

// everyRuleCounts checks that fewer alerts are inhibited without any one of the rules.
func everyRuleCounts(t *testing.T, rules int, all []labelSet, before []string) {
	for i := range rules {
		config, _ := alertmanagerConfig(t, i)
		if got := muted(t, config, all); len(got) >= len(before) {
			t.Errorf("rule %d has no effect", i)
		}
	}
}
