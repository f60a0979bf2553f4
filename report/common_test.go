package report

import (
	"flag"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/asserttest"
)

var update = flag.Bool("update", false, "update the golden files and the generated parts of schema.json")

func observed() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC) }

func since() time.Time { return time.Date(2026, 1, 2, 4, 4, 1, 0, time.FixedZone("CET", 3600)) }

func confidences() []diagnosis.Confidence {
	return []diagnosis.Confidence{diagnosis.Confirmed, diagnosis.Likely, diagnosis.Suspected}
}

func kinds() []diagnosis.Kind {
	return []diagnosis.Kind{diagnosis.KindContainer, diagnosis.KindInitContainer, diagnosis.KindEphemeralContainer, diagnosis.KindImageVolume, diagnosis.KindSandbox}
}

func outcomes() []diagnosis.Outcome {
	return []diagnosis.Outcome{diagnosis.Passed, diagnosis.Failed, diagnosis.Inconclusive, diagnosis.NotRun}
}

// newVerdict returns a verdict with evidence of every outcome.
func newVerdict(edits ...func(*diagnosis.Verdict)) diagnosis.Verdict {
	v := diagnosis.Verdict{
		Failure: diagnosis.Failure{
			Namespace: "shop", Pod: "web-5d7f8-x2x4z", UID: "0b0e7a0a-1111-4222-8333-444455556666", Node: "worker-3",
			Container: "app", Kind: diagnosis.KindContainer, Image: "hub.test2.company.com/nginx/nginx:1.12.1",
			Registry: "hub.test2.company.com", Repository: "nginx/nginx", PullPolicy: "Always",
			Reason: "ErrImagePull", Message: "no basic auth credentials", Since: since(),
		},
		Cause: diagnosis.PullSecretNoMatch, Confidence: diagnosis.Confirmed,
		Summary: "secret regcred is for hub.test.company.com, the image is on hub.test2.company.com",
		Remedy: []string{
			"kubectl -n shop create secret docker-registry regcred-2 --from-file=.dockerconfigjson=<config.json>",
			"# then name it in the pod's imagePullSecrets & try again",
		},
		Evidence: []diagnosis.Finding{
			{Evidence: diagnosis.Evidence{Check: diagnosis.CheckMessage, Outcome: diagnosis.Inconclusive}, Detail: "the runtime says: no basic auth credentials"},
			{Evidence: diagnosis.Evidence{Check: diagnosis.CheckImage, Outcome: diagnosis.Failed, Fault: diagnosis.FaultImageAbsent}, Detail: "the image is not on the node"},
			{Evidence: diagnosis.Evidence{Check: diagnosis.CheckCredentials, Outcome: diagnosis.Failed, Fault: diagnosis.FaultNoMatchingCredential, Body: &diagnosis.CredentialFacts{Secret: "regcred"}}, Detail: "secret regcred has entries for hub.test.company.com"},
			{Evidence: diagnosis.Evidence{Check: diagnosis.CheckNodeDNS, Outcome: diagnosis.Passed}, Detail: "hub.test2.company.com is 10.1.2.3"},
			{Evidence: diagnosis.Evidence{Check: diagnosis.CheckPodDNS, Outcome: diagnosis.NotRun}},
			{Evidence: diagnosis.Evidence{Check: diagnosis.CheckRegistry, Outcome: diagnosis.Failed, Fault: diagnosis.FaultUnauthorized}, Detail: "https://hub.test2.company.com wants credentials"},
		},
	}
	for _, edit := range edits {
		edit(&v)
	}
	return v
}

func cause(c diagnosis.Cause) func(*diagnosis.Verdict) {
	return func(v *diagnosis.Verdict) { v.Cause = c }
}

func container(name string) func(*diagnosis.Verdict) {
	return func(v *diagnosis.Verdict) { v.Failure.Container = name }
}

func summary(s string) func(*diagnosis.Verdict) {
	return func(v *diagnosis.Verdict) { v.Summary = s }
}

// annotate renders verdicts and checks the invariants of all annotations.
func annotate(t *testing.T, verdicts ...diagnosis.Verdict) map[string]string {
	t.Helper()
	got := render(verdicts, nil, 0, "worker-3", observed()).annotations
	if len(got) != 3 {
		t.Errorf("got %d annotations, want 3", len(got))
	}
	checkText(t, SummaryAnnotation, got[SummaryAnnotation], diagnosis.SummaryLimit)
	checkText(t, ReportAnnotation, got[ReportAnnotation], reportLimit)
	validate(t, got[ReportAnnotation])
	return got
}

// withoutTimes returns what a restarted agent compares of a report.
func withoutTimes(t *testing.T, annotation string) string {
	t.Helper()
	d, err := Parse(annotation)
	if err != nil {
		t.Fatal(err)
	}
	return d.withoutTimes()
}

func checkText(t *testing.T, what, s string, limit int) {
	t.Helper()
	if len(s) > limit {
		t.Errorf("%s: got %d bytes, want at most %d", what, len(s), limit)
	}
	if s != strings.ToValidUTF8(s, "") {
		t.Errorf("%s: not valid UTF-8: %q", what, s)
	}
}

// golden compares text with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	asserttest.Golden(t, filepath.Join("testdata", name), *update, got)
}
