// Package base holds the agent's manifests. The tests check that what they repeat
// from the program agrees with it.
package base

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/report"
)

//go:generate go test . -update
var update = flag.Bool("update", false, "write the generated parts")

const (
	podPolicy   = "whypull-own-node-only"
	eventPolicy = "whypull-own-events-only"
)

// manifest holds the fields of an object that the tests check.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Rules    []struct{ APIGroups, Resources, Verbs []string }
	Spec     struct {
		FailurePolicy     string
		PolicyName        string
		ValidationActions []string
		MatchConditions   []expression
		Variables         []expression
		Validations       []expression
	}
}

type expression struct{ Name, Expression, Message string }

func load(t *testing.T, file string) []manifest {
	t.Helper()
	data, err := os.ReadFile(file) // #nosec G304 -- constants
	if err != nil {
		t.Fatal(err)
	}
	var out []manifest
	for document := range strings.SplitSeq(string(data), "\n---\n") {
		var m manifest
		if err := yaml.Unmarshal([]byte(document), &m); err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

func policy(t *testing.T, name string) manifest {
	t.Helper()
	for _, m := range load(t, "admission.yaml") {
		if m.Kind == "ValidatingAdmissionPolicy" && m.Metadata.Name == name {
			return m
		}
	}
	t.Fatalf("admission.yaml has no policy %s", name)
	return manifest{}
}

// causes returns the causes as the CEL list of the policy on Events, four to a line.
func causes() string {
	var names []string
	for _, e := range diagnosis.Catalogue() {
		names = append(names, "'"+string(e.Cause)+"'")
	}
	slices.Sort(names)
	var lines []string
	for line := range slices.Chunk(names, 4) {
		lines = append(lines, strings.Join(line, ", "))
	}
	return "[" + strings.Join(lines, ",\n      ") + "]"
}

// The policy allows exactly the reasons that whypull uses.
func TestEventReasonsAreTheCauses(t *testing.T) {
	data, err := os.ReadFile("admission.yaml")
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`(?s)(- name: causes\n    expression: >-\n      )\[.*?\]`)
	if n := len(list.FindAll(data, -1)); n != 1 {
		t.Fatalf("admission.yaml has %d lists of causes, want 1", n)
	}
	want := list.ReplaceAllString(string(data), "${1}"+causes())
	if *update {
		if err := os.WriteFile("admission.yaml", []byte(want), 0o644); err != nil { // #nosec G306 -- for everybody
			t.Fatal(err)
		}
		data = []byte(want)
	}
	if string(data) != want {
		t.Error("the causes in admission.yaml are not up to date; run go test ./deploy/base -update")
	}
	if all := conditions(policy(t, eventPolicy)); !strings.Contains(all, "== '"+report.RecoveredReason+"'") {
		t.Errorf("the policy does not know %s:\n%s", report.RecoveredReason, all)
	}
	if all := conditions(policy(t, eventPolicy)); !strings.Contains(all, "in variables.causes + ['"+report.UnavailableReason+"'] ?") {
		t.Errorf("the policy does not know %s:\n%s", report.UnavailableReason, all)
	}
}

// conditions returns the validation expressions of a policy, one to a line.
func conditions(m manifest) string {
	var out strings.Builder
	for _, v := range m.Spec.Validations {
		out.WriteString(v.Expression + "\n")
	}
	return out.String()
}

// The policies name the annotations and the controller that the agent uses.
func TestPoliciesNameAnnotationsAndController(t *testing.T) {
	own := "['" + strings.Join([]string{report.CauseAnnotation, report.SummaryAnnotation, report.ReportAnnotation, report.UnavailableAnnotation}, "', '") + "']"
	if !slices.ContainsFunc(policy(t, podPolicy).Spec.Variables, func(v expression) bool { return v.Name == "own" && v.Expression == own }) {
		t.Errorf("the policy on pods does not allow exactly the annotations %s", own)
	}
	if all := conditions(policy(t, eventPolicy)); !strings.Contains(all, "== '"+report.Controller+"'") {
		t.Errorf("the policy on Events does not name the controller %s:\n%s", report.Controller, all)
	}
}

// An annotation of somebody else may neither change nor be added, not even without a value:
// for some, that there is one is what counts.
func TestPolicyKeepsOthersAnnotations(t *testing.T) {
	const kept = "variables.after.all(k, k in variables.own || k in variables.before && variables.before[k] == variables.after[k])"
	if all := conditions(policy(t, podPolicy)); !strings.Contains(all, kept) {
		t.Errorf("the policy on pods does not demand %s:\n%s", kept, all)
	}
}

// The policies apply to everybody with the role that allows the agent to write, and
// name neither its namespace nor its service account.
func TestPoliciesFollowTheRole(t *testing.T) {
	var writes, guarded bool
	for _, m := range load(t, "rbac.yaml") {
		for _, r := range m.Rules {
			writes = writes || slices.Contains(r.Resources, "pods/status") && slices.Contains(r.Verbs, "patch")
			guarded = guarded || slices.Equal(r.APIGroups, []string{"whypull.dev"}) && slices.Equal(r.Resources, []string{"agents"}) && slices.Equal(r.Verbs, []string{"guarded"})
		}
	}
	if !writes || !guarded {
		t.Errorf("the role allows writes: %v, and has the verb guarded: %v; want both", writes, guarded)
	}
	for _, name := range []string{podPolicy, eventPolicy} {
		p := policy(t, name)
		if p.Spec.FailurePolicy != "Fail" || len(p.Spec.MatchConditions) != 1 {
			t.Fatalf("%s: failure policy %q and match conditions %v", name, p.Spec.FailurePolicy, p.Spec.MatchConditions)
		}
		is := p.Spec.MatchConditions[0].Expression
		if !strings.Contains(is, "&& authorizer.group('whypull.dev').resource('agents').check('guarded').allowed()") || strings.Contains(is, "whypull-agent") {
			t.Errorf("%s does not apply to exactly those with the role: %s", name, is)
		}
	}
	bound := map[string]bool{}
	for _, m := range load(t, "admission.yaml") {
		if m.Kind == "ValidatingAdmissionPolicyBinding" && slices.Equal(m.Spec.ValidationActions, []string{"Deny"}) {
			bound[m.Spec.PolicyName] = true
		}
	}
	if !bound[podPolicy] || !bound[eventPolicy] {
		t.Errorf("bound policies: %v, want both", bound)
	}
}

// The messages that the agent accepts as proof are those of the policies.
func TestGuardExpectsThePoliciesMessages(t *testing.T) {
	for message, name := range map[string]string{kube.PodRefusal: podPolicy, kube.EventRefusal: eventPolicy} {
		if !slices.ContainsFunc(policy(t, name).Spec.Validations, func(v expression) bool { return v.Message == message }) {
			t.Errorf("%s never answers %q", name, message)
		}
	}
}
