package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/whypull/whypull/agent/diagnosis"
)

func TestDocumentGolden(t *testing.T) {
	t.Parallel()
	got := annotate(t,
		newVerdict(),
		newVerdict(container("models"), cause(diagnosis.TagNotFound), func(v *diagnosis.Verdict) {
			v.Failure.Kind, v.Confidence, v.Remedy, v.Evidence = diagnosis.KindImageVolume, diagnosis.Likely, nil, nil
			v.Failure.PullPolicy, v.Failure.Since = "", time.Time{}
		}),
	)
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, []byte(got[ReportAnnotation]), "", "  "); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", pretty.String()+"\n")
	if want := "PullSecretNoMatch,TagNotFound"; got[CauseAnnotation] != want {
		t.Errorf("cause: got %q, want %q", got[CauseAnnotation], want)
	}
	if want := newVerdict().Summary + " (and 1 more)"; got[SummaryAnnotation] != want {
		t.Errorf("summary: got %q, want %q", got[SummaryAnnotation], want)
	}
}

func TestEveryClosedValueIsValid(t *testing.T) {
	t.Parallel()
	for _, e := range diagnosis.Catalogue() {
		for _, c := range confidences() {
			for _, k := range kinds() {
				got := annotate(t, newVerdict(cause(e.Cause), func(v *diagnosis.Verdict) { v.Confidence, v.Failure.Kind = c, k }))
				if got[CauseAnnotation] != string(e.Cause) {
					t.Errorf("cause: got %q, want %q", got[CauseAnnotation], e.Cause)
				}
			}
		}
	}
	for _, check := range diagnosis.Checks() {
		for _, o := range outcomes() {
			annotate(t, newVerdict(func(v *diagnosis.Verdict) {
				v.Evidence = []diagnosis.Finding{{Evidence: diagnosis.Evidence{Check: check, Outcome: o}}}
			}))
		}
	}
}

// The verdict on a failure without evidence is a valid report, too.
func TestDiagnosedVerdictsAreValid(t *testing.T) {
	t.Parallel()
	failure := newVerdict().Failure
	for _, image := range []string{"nginx", "UPPER/Case:::x", "", "a\x00b\u202e<c>", strings.Repeat("é", 300)} {
		f := failure
		f.Image = image
		annotate(t, diagnosis.Diagnose(f, nil))
		var evidence []diagnosis.Evidence
		for _, e := range newVerdict().Evidence {
			evidence = append(evidence, e.Evidence)
		}
		annotate(t, diagnosis.Diagnose(f, evidence))
	}
}

func TestPlaceholdersAreReadable(t *testing.T) {
	t.Parallel()
	got := annotate(t, newVerdict())[ReportAnnotation]
	for _, want := range []string{"--from-file=.dockerconfigjson=<config.json>", "imagePullSecrets & try"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %q in it", got, want)
		}
	}
}

func TestCauses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		causes []diagnosis.Cause
		want   string
	}{
		{nil, ""},
		{[]diagnosis.Cause{diagnosis.TagNotFound}, "TagNotFound"},
		{[]diagnosis.Cause{diagnosis.TagNotFound, diagnosis.DNSFailure, diagnosis.TagNotFound, diagnosis.AccessDenied}, "AccessDenied,DNSFailure,TagNotFound"},
	}
	for _, tt := range tests {
		var verdicts []diagnosis.Verdict
		for _, c := range tt.causes {
			verdicts = append(verdicts, newVerdict(cause(c)))
		}
		if got := Causes(verdicts); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 200) // 400 bytes
	tests := map[string]struct {
		verdicts []diagnosis.Verdict
		want     string
	}{
		"none":            {nil, ""},
		"one":             {[]diagnosis.Verdict{newVerdict(summary("a"))}, "a"},
		"three":           {[]diagnosis.Verdict{newVerdict(summary("a")), newVerdict(summary("b")), newVerdict(summary("c"))}, "a (and 2 more)"},
		"long":            {[]diagnosis.Verdict{newVerdict(summary(long))}, strings.Repeat("é", 126) + "…"},
		"long, and more":  {[]diagnosis.Verdict{newVerdict(summary(long)), newVerdict()}, strings.Repeat("é", 120) + "… (and 1 more)"},
		"exactly as long": {[]diagnosis.Verdict{newVerdict(summary(strings.Repeat("x", 256)))}, strings.Repeat("x", 256)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := summaryOf(tt.verdicts, 0)
			checkText(t, "summary", got, 256)
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestClip(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		n    int
		want string
	}{
		{"abc", 3, "abc"},
		{"abcdef", 5, "ab…"},
		{"ééé", 5, "é…"},
		{"漢漢漢", 8, "漢…"},
		{"漢漢漢", 6, "漢…"},
		{"漢漢漢", 5, "…"},
		{"abcdef", 3, "…"},
		{"", 0, ""},
	}
	for _, tt := range tests {
		got := diagnosis.Clip(tt.in, tt.n)
		if got != tt.want {
			t.Errorf("clip(%q, %d): got %q, want %q", tt.in, tt.n, got, tt.want)
		}
		if len(got) > tt.n || !utf8.ValidString(got) {
			t.Errorf("clip(%q, %d): got %q, want at most %d bytes of UTF-8", tt.in, tt.n, got, tt.n)
		}
	}
}

// many returns verdicts whose texts are all n runes long.
func many(count, n int, text string) []diagnosis.Verdict {
	long := func(i int) string { return fmt.Sprint(i) + strings.Repeat(text, n) }
	var out []diagnosis.Verdict
	for i := range count {
		out = append(out, newVerdict(container(long(i)), summary(diagnosis.Clip(diagnosis.Printable(long(i)), 256)), func(v *diagnosis.Verdict) {
			v.Failure.Image = long(i)
			for j := range v.Evidence {
				v.Evidence[j].Detail = long(j)
			}
		}))
	}
	return out
}

func TestReportLimit(t *testing.T) {
	t.Parallel()
	texts := map[string]string{
		"letters": "x", "two bytes": "é", "three bytes": "漢", "four bytes": "🚀", "quotes": `"`, "backslashes": `\`,
		"control": "\x01", "line breaks": "\n", "not UTF-8": "\xff", "separators": "\u2028", "HTML": "<&>",
	}
	sizes := []struct{ count, runes int }{{0, 1}, {1, 1}, {2, 30}, {5, 30}, {13, 30}, {50, 1}, {1, 300}, {3, 300}, {50, 300}, {2, 5000}}
	for name, text := range texts {
		for _, size := range sizes {
			t.Run(fmt.Sprint(name, " ", size.count, " ", size.runes), func(t *testing.T) {
				t.Parallel()
				got := annotate(t, many(size.count, size.runes, text)...)
				doc, err := Parse(got[ReportAnnotation])
				if err != nil {
					t.Fatalf("got error %v, want none", err)
				}
				if len(doc.Containers)+doc.Omitted != size.count {
					t.Errorf("got %d containers and %d omitted, want %d", len(doc.Containers), doc.Omitted, size.count)
				}
			})
		}
	}
}

// What is cut first, and what stays to the end.
func TestReductions(t *testing.T) {
	t.Parallel()
	parse := func(t *testing.T, verdicts []diagnosis.Verdict) Document {
		t.Helper()
		d, err := Parse(annotate(t, verdicts...)[ReportAnnotation])
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	short := func(n, detail int) []diagnosis.Verdict {
		var out []diagnosis.Verdict
		for range n {
			out = append(out, newVerdict(func(v *diagnosis.Verdict) {
				for i := range v.Evidence {
					v.Evidence[i].Detail = strings.Repeat("x", detail)
				}
			}))
		}
		return out
	}
	t.Run("nothing", func(t *testing.T) {
		t.Parallel()
		d := parse(t, short(1, 300))
		if got := len(d.Containers[0].Evidence); got != 6 {
			t.Errorf("got %d entries, want all 6", got)
		}
		if got := len(d.Containers[0].Evidence[0].Detail); got != 300 {
			t.Errorf("got a detail of %d bytes, want 300", got)
		}
	})
	t.Run("long details", func(t *testing.T) {
		t.Parallel()
		d := parse(t, short(1, 700))
		for _, e := range d.Containers[0].Evidence {
			if e.Detail != "" && (len(e.Detail) > 200 || !strings.HasSuffix(e.Detail, "…")) {
				t.Errorf("got %q, want at most 200 bytes and an ellipsis", e.Detail)
			}
		}
		if got := len(d.Containers[0].Evidence); got != 6 {
			t.Errorf("got %d entries, want all 6", got)
		}
	})
	t.Run("evidence that found nothing", func(t *testing.T) {
		t.Parallel()
		d := parse(t, short(3, 100))
		for _, e := range d.Containers[2].Evidence {
			if e.Outcome != "Failed" && e.Outcome != "Inconclusive" {
				t.Errorf("got %+v, want none that passed or did not run", e)
			}
		}
		if !slices.ContainsFunc(d.Containers[2].Evidence, func(e Entry) bool { return e.Outcome == "Inconclusive" }) {
			t.Errorf("got %+v, want what is inconclusive", d.Containers[2].Evidence)
		}
		if len(d.Containers[2].Remedy) == 0 {
			t.Error("got no remedy, want it kept")
		}
	})
	t.Run("remedies after the first", func(t *testing.T) {
		t.Parallel()
		d := parse(t, short(6, 200))
		if len(d.Containers[0].Remedy) != 2 || len(d.Containers[5].Remedy) != 0 {
			t.Errorf("got %q and %q, want the first container's only", d.Containers[0].Remedy, d.Containers[5].Remedy)
		}
		for _, c := range d.Containers {
			if len(c.Evidence) == 0 {
				t.Errorf("%s: got no evidence, want some", c.Name)
			}
		}
	})
	t.Run("hosts, all or none", func(t *testing.T) {
		t.Parallel()
		for n := range 12 {
			verdicts := short(n+1, 100)
			for i := range verdicts {
				verdicts[i].Hosts = []string{"auth.test:443", "cdn.test:443", "hub.test:443"}
			}
			d := parse(t, verdicts)
			for _, c := range d.Containers {
				if n == 0 && len(c.Hosts) == 0 || len(c.Hosts) != 0 && len(c.Hosts) != 3 {
					t.Errorf("of %d containers: got %q", n+1, c.Hosts)
				}
			}
		}
	})
	t.Run("containers at last", func(t *testing.T) {
		t.Parallel()
		verdicts := short(50, 200)
		for i := range verdicts {
			verdicts[i].Summary = strings.Repeat("x", 200)
		}
		d := parse(t, verdicts)
		if d.Omitted == 0 || len(d.Containers) < 8 {
			t.Errorf("got %d containers and %d omitted, want at least 8 and the rest", len(d.Containers), d.Omitted)
		}
		for _, c := range d.Containers {
			if c.Cause == "" || len(c.Summary) != 96 || c.Since == "" {
				t.Errorf("got %+v, want cause, since and 96 bytes of the summary", c)
			}
		}
	})
}

// The verdicts belong to the agent; shortening the report must not change them.
func TestAnnotationsLeaveTheVerdictsAlone(t *testing.T) {
	t.Parallel()
	verdicts, same := many(50, 300, "é"), many(50, 300, "é")
	annotate(t, verdicts...)
	if !reflect.DeepEqual(verdicts, same) {
		t.Error("the verdicts have changed")
	}
}

func TestDeterministicBytes(t *testing.T) {
	t.Parallel()
	for _, verdicts := range [][]diagnosis.Verdict{nil, {newVerdict()}, many(50, 300, "é"), many(7, 60, "x")} {
		first := annotate(t, verdicts...)
		later := slices.Clone(verdicts)
		for i := range later {
			later[i].Failure.Since = later[i].Failure.Since.Add(time.Hour)
		}
		r := render(later, nil, 0, "worker-3", observed().Add(42*time.Minute))
		second := r.annotations
		if first[ReportAnnotation] == second[ReportAnnotation] {
			t.Error("got the same report at another time, want the times in it")
		}
		// A restarted agent compares with the pod's annotation.
		if got, want := r.content, withoutTimes(t, first[ReportAnnotation]); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		if first[CauseAnnotation] != second[CauseAnnotation] || first[SummaryAnnotation] != second[SummaryAnnotation] {
			t.Errorf("got %q, want %q", second, first)
		}
	}
}

func TestWithoutTimesShowsChanges(t *testing.T) {
	t.Parallel()
	was := withoutTimes(t, annotate(t, newVerdict())[ReportAnnotation])
	for name, edit := range map[string]func(*diagnosis.Verdict){
		"cause":      cause(diagnosis.TagNotFound),
		"confidence": func(v *diagnosis.Verdict) { v.Confidence = diagnosis.Suspected },
		"summary":    summary("other"),
		"image":      func(v *diagnosis.Verdict) { v.Failure.Image = "other" },
		"remedy":     func(v *diagnosis.Verdict) { v.Remedy = nil },
		"evidence":   func(v *diagnosis.Verdict) { v.Evidence = v.Evidence[1:] },
	} {
		if withoutTimes(t, annotate(t, newVerdict(edit))[ReportAnnotation]) == was {
			t.Errorf("%s: got the same bytes, want others", name)
		}
	}
	for name, edit := range map[string]func(*diagnosis.Verdict){
		"since":   func(v *diagnosis.Verdict) { v.Failure.Since = observed() },
		"message": func(v *diagnosis.Verdict) { v.Failure.Reason, v.Failure.Message = "ImagePullBackOff", "other" },
	} {
		if withoutTimes(t, annotate(t, newVerdict(edit))[ReportAnnotation]) != was {
			t.Errorf("%s: got other bytes, want the same", name)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	report := annotate(t, newVerdict())[ReportAnnotation]
	got, err := Parse(report)
	if err != nil {
		t.Fatalf("got error %v, want none", err)
	}
	if again := encode(got); again != report {
		t.Errorf("got %s, want %s", again, report)
	}
	if got.Containers[0].Evidence[2].Fault != "NoMatchingCredential" {
		t.Errorf("got %+v, want the evidence", got.Containers[0].Evidence)
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ annotation, want string }{
		"none":           {"", "unexpected end of JSON input"},
		"not JSON":       {"PullSecretNoMatch", "invalid character"},
		"cut off":        {`{"schema":"whypull.dev/v1","node":`, "unexpected end"},
		"another schema": {`{"schema":"whypull.dev/v2"}`, `schema "whypull.dev/v2", want "whypull.dev/v1"`},
		"no schema":      {`{}`, `schema "", want`},
		"null":           {`null`, `schema "", want`},
		"a list":         {`[]`, "cannot unmarshal array"},
		"another type":   {`{"schema":"whypull.dev/v1","containers":{}}`, "cannot unmarshal object"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Parse(tt.annotation)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "report annotation: ") {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
			if got.Containers != nil || got.Schema != "" {
				t.Errorf("got %+v, want nothing", got)
			}
		})
	}
}

// Whatever the cluster's texts contain, the report is valid and within its limit.
func FuzzAnnotations(f *testing.F) {
	f.Add("app", "hub.test/app:1", "a detail", "a remedy", 3)
	f.Add("\xff\x00", "\u202e", "\u2028", "<&>\"\\", 50)
	f.Fuzz(func(t *testing.T, name, image, detail, line string, n int) {
		if name == "" || line == "" || len(name)+len(image)+len(detail)+len(line) > 1<<16 {
			t.Skip()
		}
		var verdicts []diagnosis.Verdict
		for range uint(n) % 64 {
			verdicts = append(verdicts, newVerdict(container(name), func(v *diagnosis.Verdict) {
				v.Failure.Image, v.Remedy, v.Evidence[0].Detail = image, []string{line, line}, detail
			}))
		}
		annotate(t, verdicts...)
	})
}

// Containers that are not examined are counted like those that find no room.
func TestUnexaminedContainersAreCounted(t *testing.T) {
	t.Parallel()
	verdicts := []diagnosis.Verdict{newVerdict(summary("a")), newVerdict(summary("b"))}
	r := render(verdicts, nil, 36, "worker-3", observed())
	var d Document
	if err := json.Unmarshal([]byte(r.annotations[ReportAnnotation]), &d); err != nil || d.Omitted != 36 {
		t.Errorf("%d containers are omitted, want 36; %v", d.Omitted, err)
	}
	if got, want := r.annotations[SummaryAnnotation], "a (and 37 more)"; got != want {
		t.Errorf("summary %q, want %q", got, want)
	}
}
