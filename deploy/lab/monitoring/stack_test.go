package monitoring

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// stackRules are the inhibition rules that kube-prometheus-stack gives Alertmanager by
// default (alertmanager.config.inhibit_rules in its values.yaml, version 88.5).
func stackRules() []any {
	rule := func(source, target string, equal ...string) any {
		return map[string][]string{"source_matchers": {source}, "target_matchers": {target}, "equal": equal}
	}
	return []any{
		rule("severity = critical", "severity =~ warning|info", "namespace", "alertname"),
		rule("severity = warning", "severity = info", "namespace", "alertname"),
		rule("alertname = InfoInhibitor", "severity = info", "namespace"),
		map[string][]string{"target_matchers": {"alertname = InfoInhibitor"}},
	}
}

// withInhibitors adds the stack's alert InfoInhibitor, which fires in each namespace
// with an alert of severity info and none of a higher one.
func withInhibitors(all []labelSet) []labelSet {
	has := map[string]string{} // severities by namespace
	for _, l := range all {
		has[l["namespace"]] += l["severity"] + " "
	}
	out := slices.Clone(all)
	for _, namespace := range slices.Sorted(maps.Keys(has)) {
		if s := has[namespace]; strings.Contains(s, "info") && !strings.Contains(s, "warning") && !strings.Contains(s, "critical") {
			out = append(out, labelSet{"alertname": "InfoInhibitor", "severity": "none", "namespace": namespace})
		}
	}
	return out
}

// mutedByStack returns the whypull alerts that the stack's rules inhibit.
func mutedByStack(t *testing.T, config string, all []labelSet) []labelSet {
	t.Helper()
	return slices.DeleteFunc(muted(t, config, withInhibitors(all)), func(l labelSet) bool { return l["alertname"] == "InfoInhibitor" })
}

// The default rules of kube-prometheus-stack inhibit no whypull alert because of
// another one, however many fire, in one cluster or two. On its own, an alert of
// severity info stays quiet, which is what the stack's users expect of it.
func TestStackMutesNothing(t *testing.T) {
	config := filepath.Join(t.TempDir(), "alertmanager.yaml")
	text, err := yaml.Marshal(map[string]any{"inhibit_rules": stackRules(), "route": map[string]string{"receiver": "somebody"}, "receivers": []any{map[string]string{"name": "somebody"}}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, config, string(text))
	all := allAlerts(t)
	for _, l := range slices.Clone(all) {
		second := maps.Clone(l)
		second["cluster"] = "south"
		all = append(all, second)
	}
	if got := mutedByStack(t, config, all); len(got) > 0 {
		t.Errorf("%d alerts are inhibited:\n%s", len(got), strings.Join(names(got), "\n"))
	}
	infos := slices.DeleteFunc(slices.Clone(all), func(l labelSet) bool { return l["severity"] != "info" })
	if got := mutedByStack(t, config, infos); len(got) != len(infos) || len(infos) == 0 {
		t.Errorf("of %d alerts of severity info alone, %d are inhibited", len(infos), len(got))
	}
	var same []labelSet // as if severities shared a name
	for _, l := range all {
		l = maps.Clone(l)
		l["alertname"] = "Whypull"
		same = append(same, l)
	}
	if got := mutedByStack(t, config, same); len(got) == 0 {
		t.Error("with one name for all alerts, none is inhibited: the test shows nothing")
	}
}

// With both our rules and the stack's, exactly those of ours take effect.
func TestOurRulesBesideTheStack(t *testing.T) {
	ours, _ := alertmanagerConfig(t, -1)
	both, _ := alertmanagerConfig(t, -1, stackRules()...)
	all := allAlerts(t)
	if got, want := names(mutedByStack(t, both, all)), names(muted(t, ours, all)); !slices.Equal(got, want) || len(want) == 0 {
		t.Errorf("inhibited are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The README's routes send each alert to those who can act: the team whose namespace
// it is, the registry's administrators, or the platform team.
func TestRoutes(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(folder, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, routes, _ := strings.Cut(string(readme), "```yaml\nroute:\n")
	routes, _, found := strings.Cut(routes, "```")
	if !found {
		t.Fatal("the README has no routes")
	}
	config := filepath.Join(t.TempDir(), "alertmanager.yaml")
	write(t, config, "route:\n"+routes+"receivers: [{name: platform}, {name: team-shop}, {name: registry}]\n")
	seen := map[string]bool{}
	for _, l := range allAlerts(t) {
		if l["pod_namespace"] == "ns0" {
			l["pod_namespace"], l["namespace"] = "shop", "shop"
		}
		want := "platform"
		switch {
		case l["owner"] == "application" && l["pod_namespace"] == "shop":
			want = "team-shop"
		case l["owner"] == "registry":
			want = "registry"
		}
		seen[want] = true
		args := []string{"config", "routes", "test", "--config.file=" + config, "--verify.receivers=" + want}
		for name, value := range l {
			args = append(args, name+"="+value)
		}
		if out, err := exec.CommandContext(t.Context(), tool(t, "alertmanager", "amtool"), args...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", l, err, out)
		}
	}
	if len(seen) != 3 {
		t.Errorf("receivers %v", seen)
	}
}
