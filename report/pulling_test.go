package report

import (
	"fmt"
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
)

// pulls returns a pull in progress, at 3.1 of 4.6 GiB.
func pulls(edits ...func(*diagnosis.Progress)) diagnosis.Progress {
	p := diagnosis.Progress{Failure: newVerdict().Failure, Done: 3328599654, Total: 4939212390, Rate: 12.7 * (1 << 20)}
	for _, edit := range edits {
		edit(&p)
	}
	return p
}

func named(name string) func(*diagnosis.Progress) {
	return func(p *diagnosis.Progress) { p.Failure.Container = name }
}

// together renders verdicts and pulls and checks the invariants of all reports.
func together(t *testing.T, verdicts []diagnosis.Verdict, all ...diagnosis.Progress) map[string]string {
	t.Helper()
	got := render(verdicts, all, 0, "worker-3", observed()).annotations
	checkText(t, SummaryAnnotation, got[SummaryAnnotation], diagnosis.SummaryLimit)
	checkText(t, ReportAnnotation, got[ReportAnnotation], reportLimit)
	validate(t, got[ReportAnnotation])
	return got
}

func TestOnlyPulling(t *testing.T) {
	t.Parallel()
	got := together(t, nil, pulls(), pulls(named("side")))
	if _, ok := got[CauseAnnotation]; ok || len(got) != 2 {
		t.Errorf("got %v", got)
	}
	if want := "pulling 3.1 of 4.6 GiB at 12 MiB/s, about 2 minutes left (and 1 more)"; got[SummaryAnnotation] != want {
		t.Errorf("got %q, want %q", got[SummaryAnnotation], want)
	}
	want := `{"schema":"whypull.dev/v1","node":"worker-3","observedAt":"2026-01-02T03:04:05Z","containers":[],"pulling":[` +
		`{"name":"app","kind":"container","image":"hub.test2.company.com/nginx/nginx:1.12.1","detail":"pulling 3.1 of 4.6 GiB at 12 MiB/s, about 2 minutes left",` +
		`"doneBytes":3328599654,"totalBytes":4939212390,"since":"2026-01-02T03:04:01Z"},`
	if !strings.HasPrefix(got[ReportAnnotation], want) {
		t.Errorf("got  %s\nwant %s", got[ReportAnnotation], want)
	}
}

// Failures come first.
func TestFailingAndPulling(t *testing.T) {
	t.Parallel()
	got := together(t, []diagnosis.Verdict{newVerdict()}, pulls(named("side")))
	if got[CauseAnnotation] != "PullSecretNoMatch" || got[SummaryAnnotation] != newVerdict().Summary {
		t.Errorf("got %v", got)
	}
	d, err := Parse(got[ReportAnnotation])
	if err != nil || len(d.Containers) != 1 || len(d.Pulling) != 1 || d.Pulling[0].Name != "side" {
		t.Errorf("got %+v, %v", d, err)
	}
}

// The times of pulls are left out, their bytes are not.
func TestWithoutTimesPulling(t *testing.T) {
	t.Parallel()
	of := func(edits ...func(*diagnosis.Progress)) string {
		return withoutTimes(t, together(t, nil, pulls(edits...))[ReportAnnotation])
	}
	if of() != of(func(p *diagnosis.Progress) { p.Failure.Since = observed() }) {
		t.Error("the time makes a difference")
	}
	if of() == of(func(p *diagnosis.Progress) { p.Done++ }) {
		t.Error("the bytes make no difference")
	}
}

// The report stays within its limit, and failures are not dropped in favor of
// pulls in progress.
func TestPullingKeepsTheLimit(t *testing.T) {
	t.Parallel()
	for name, image := range map[string]string{"short": "a", "long": strings.Repeat("x", 5000), "quotes": strings.Repeat(`"`, 5000), "wide": strings.Repeat("é", 3000)} {
		for _, failing := range []int{0, 1, 3, 20} {
			for _, going := range []int{1, 5, 50} {
				t.Run(fmt.Sprint(name, failing, going), func(t *testing.T) {
					t.Parallel()
					var verdicts []diagnosis.Verdict
					for i := range failing {
						verdicts = append(verdicts, newVerdict(container(fmt.Sprint(strings.Repeat("c", 60), i)), func(v *diagnosis.Verdict) { v.Failure.Image = image }))
					}
					var all []diagnosis.Progress
					for i := range going {
						all = append(all, pulls(named(fmt.Sprint(strings.Repeat("p", 60), i)), func(p *diagnosis.Progress) { p.Failure.Image = image }))
					}
					d, err := Parse(together(t, verdicts, all...)[ReportAnnotation])
					if err != nil || len(d.Pulling) == 0 || len(d.Pulling) > pullingLimit || len(d.Containers) == 0 && failing > 0 {
						t.Errorf("%d failing, %d pulling, %v", len(d.Containers), len(d.Pulling), err)
					}
				})
			}
		}
	}
}

func TestSchemaRefusesInPulling(t *testing.T) {
	t.Parallel()
	full := together(t, nil, pulls())[ReportAnnotation]
	for name, tt := range map[string]struct{ old, new string }{
		"no pulls":        {`"pulling":[`, `"pulling":[],"x":[`},
		"fewer than none": {`"doneBytes":`, `"doneBytes":-1,"x":`},
		"no detail":       {`"detail":`, `"x":`},
		"unknown kind":    {`"kind":"container"`, `"kind":"sidecar"`},
		"no time":         {`"since":"2026`, `"since":"x`},
	} {
		if doc := strings.Replace(full, tt.old, tt.new, 1); doc == full || checkSchema(t, doc) == nil {
			t.Errorf("%s: got no error for %s", name, doc)
		}
	}
	validate(t, strings.Replace(full, `{"name"`, `{"later":1,"name"`, 1))
}
