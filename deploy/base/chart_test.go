package base

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/kube"
)

// template is where the chart has the admission policies.
const template = "../chart/templates/admission.yaml"

// withPodCondition returns the policies with what the component pod-condition changes in
// the one on pods, behind the value podCondition.
func withPodCondition(t *testing.T, policies string) string {
	t.Helper()
	var variables, validations string
	for _, o := range podCondition(t) {
		switch o.Path {
		case "/spec/variables/-":
			variables += fmt.Sprintf("  - name: %s\n    expression: %q\n", o.Value.Name, o.Value.Expression)
		case "/spec/validations/5", "/spec/validations/-":
			validations += fmt.Sprintf("  - expression: %q\n    message: %q\n", o.Value.Expression, o.Value.Message)
		}
	}
	const before = "  validations:\n"
	last := fmt.Sprintf("  - expression: %q\n    message: %q\n", "object.status == oldObject.status", kube.StatusRefusal)
	if strings.Count(policies, last) != 1 || variables == "" || validations == "" {
		t.Fatalf("no place for the component pod-condition, or nothing to put there:\n%s%s", variables, validations)
	}
	policies = strings.Replace(policies, before, "  {{- if .Values.podCondition }}\n"+variables+"  {{- end }}\n"+before, 1)
	return strings.Replace(policies, last, "  {{- if .Values.podCondition }}\n"+validations+"  {{- else }}\n"+last+"  {{- end }}\n", 1)
}

// The chart has the same admission policies, under the names of its release.
func TestChartHasThePolicies(t *testing.T) {
	data, err := os.ReadFile("admission.yaml")
	if err != nil {
		t.Fatal(err)
	}
	policies := string(data)
	if strings.Contains(policies, "{{") {
		t.Fatal("admission.yaml has what a template would replace")
	}
	const fullname = `{{ include "whypull.fullname" . }}`
	policies = strings.NewReplacer(
		"\n  name: whypull-", "\n  name: "+fullname+"-",
		"policyName: whypull-", "policyName: "+fullname+"-",
		"\nspec:\n", "\n  labels:\n    {{- include \"whypull.labels\" . | nindent 4 }}\nspec:\n",
	).Replace(policies)
	policies = withPodCondition(t, policies)
	want := "{{- /* Generated from deploy/base/admission.yaml: go test ./deploy/base -update */}}\n" +
		"{{- if .Values.admissionPolicy.create }}\n" + policies + "{{- end }}\n"
	if *update {
		if err := os.WriteFile(template, []byte(want), 0o644); err != nil { // #nosec G306 -- for everybody
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(template)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("the policies in the chart are not up to date; run go test ./deploy/base -update")
	}
}
