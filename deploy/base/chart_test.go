package base

import (
	"os"
	"strings"
	"testing"
)

// template is where the chart has the admission policies.
const template = "../chart/templates/admission.yaml"

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
