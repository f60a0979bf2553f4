package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/whypull/whypull/agent/diagnosis"
)

// checkEvent checks what the API server asks of a new Event
// (apis/core/validation/events.go).
func checkEvent(t *testing.T, e *eventsv1.Event) {
	t.Helper()
	if errs := validation.IsDNS1123Subdomain(e.Name); len(errs) > 0 {
		t.Errorf("name %q: %q", e.Name, errs)
	}
	if errs := validation.IsQualifiedName(e.ReportingController); len(errs) > 0 {
		t.Errorf("reporting controller %q: %q", e.ReportingController, errs)
	}
	for what, field := range map[string]struct {
		value string
		limit int
	}{
		"reporting instance": {e.ReportingInstance, 128}, "action": {e.Action, 128}, "reason": {e.Reason, 128}, "note": {e.Note, 1024},
	} {
		if field.value == "" {
			t.Errorf("%s: got none, want some", what)
		}
		checkText(t, what, field.value, field.limit)
	}
	if e.EventTime.IsZero() {
		t.Error("got no event time, want one")
	}
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		t.Errorf("got type %q, want Normal or Warning", e.Type)
	}
	if e.Namespace != e.Regarding.Namespace {
		t.Errorf("got namespace %q, want the pod's, %q", e.Namespace, e.Regarding.Namespace)
	}
}

func TestFailureEvent(t *testing.T) {
	t.Parallel()
	v := newVerdict()
	e := failureEvent(v, observed())
	checkEvent(t, e)
	want := corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "web-5d7f8-x2x4z",
		UID: "0b0e7a0a-1111-4222-8333-444455556666", FieldPath: "spec.containers{app}",
	}
	if e.Regarding != want {
		t.Errorf("regarding: got %+v, want %+v", e.Regarding, want)
	}
	if e.Type != "Warning" || e.Reason != "PullSecretNoMatch" || e.Note != v.Summary || e.Action != "Diagnose" {
		t.Errorf("got %s %s %s %q, want Warning PullSecretNoMatch Diagnose %q", e.Type, e.Reason, e.Action, e.Note, v.Summary)
	}
	if e.ReportingController != "whypull.dev/agent" || e.ReportingInstance != "worker-3" || !e.EventTime.Time.Equal(observed()) {
		t.Errorf("got %s %s %v, want whypull.dev/agent worker-3 %v", e.ReportingController, e.ReportingInstance, e.EventTime, observed())
	}
	if !strings.HasPrefix(e.Name, "web-5d7f8-x2x4z.") {
		t.Errorf("name: got %q, want the pod's and a suffix", e.Name)
	}
}

func TestRecoveredEvent(t *testing.T) {
	t.Parallel()
	e := recoveredEvent(newVerdict().Failure, observed())
	checkEvent(t, e)
	if e.Type != "Normal" || e.Reason != "ImagePullRecovered" {
		t.Errorf("got %s %s, want Normal ImagePullRecovered", e.Type, e.Reason)
	}
	if want := "container app has its image hub.test2.company.com/nginx/nginx:1.12.1"; e.Note != want {
		t.Errorf("note: got %q, want %q", e.Note, want)
	}
}

func TestEventsOfAnyFailureAreValid(t *testing.T) {
	t.Parallel()
	long := func(unit string, n int) string { return strings.Repeat(unit, n)[:n] }
	for _, name := range []string{"a", long("web-", 236), long("web.", 240), long("a-", 237), long("ab.", 253), long("x", 253), long("x", 235) + "-.y"} {
		for _, text := range []string{"x", long("x", 2000), strings.Repeat("é", 600), "a\x00b\u202e\xff", "漢"} {
			v := newVerdict(summary(text), func(v *diagnosis.Verdict) {
				v.Failure.Pod, v.Failure.Image, v.Failure.Node = name, text, long("worker.", 253)
			})
			v.Summary = diagnosis.Clip(diagnosis.Printable(text), diagnosis.SummaryLimit) // as the domain makes it
			checkEvent(t, failureEvent(v, observed()))
			checkEvent(t, recoveredEvent(v.Failure, observed()))
		}
	}
}

func TestLongNoteIsCut(t *testing.T) {
	t.Parallel()
	f := newVerdict().Failure
	f.Image = strings.Repeat("é", 2000)
	if got := recoveredEvent(f, observed()).Note; len(got) < 1020 || !strings.HasSuffix(got, "…") {
		t.Errorf("got %d bytes, want about 1024 and an ellipsis", len(got))
	}
}

func TestFieldPath(t *testing.T) {
	t.Parallel()
	for kind, want := range map[diagnosis.Kind]string{
		diagnosis.KindContainer:          "spec.containers{app}",
		diagnosis.KindInitContainer:      "spec.initContainers{app}",
		diagnosis.KindEphemeralContainer: "spec.ephemeralContainers{app}",
		diagnosis.KindImageVolume:        "",
		diagnosis.KindSandbox:            "",
		"something else":                 "",
	} {
		v := newVerdict(func(v *diagnosis.Verdict) { v.Failure.Kind = kind })
		if got := failureEvent(v, observed()).Regarding.FieldPath; got != want {
			t.Errorf("%s: got %q, want %q", kind, got, want)
		}
	}
}

func TestEventNames(t *testing.T) {
	t.Parallel()
	name := func(edits ...func(*diagnosis.Verdict)) string {
		return failureEvent(newVerdict(edits...), observed()).Name
	}
	was := name()
	same := map[string]func(*diagnosis.Verdict){
		"nothing":            func(*diagnosis.Verdict) {},
		"evidence":           func(v *diagnosis.Verdict) { v.Evidence = nil },
		"remedy":             func(v *diagnosis.Verdict) { v.Remedy = nil },
		"confidence":         func(v *diagnosis.Verdict) { v.Confidence = diagnosis.Likely },
		"the kubelet's text": func(v *diagnosis.Verdict) { v.Failure.Reason, v.Failure.Message = "ImagePullBackOff", "x" },
		"a part of a second": func(v *diagnosis.Verdict) { v.Failure.Since = v.Failure.Since.Add(300 * time.Millisecond) },
		"the time zone":      func(v *diagnosis.Verdict) { v.Failure.Since = v.Failure.Since.UTC() },
	}
	for what, edit := range same {
		if got := name(edit); got != was {
			t.Errorf("%s: got another name %q, want %q", what, got, was)
		}
	}
	if got := failureEvent(newVerdict(), observed().Add(time.Hour)).Name; got != was {
		t.Errorf("later: got another name %q, want %q", got, was)
	}
	other := map[string]func(*diagnosis.Verdict){
		"pod":       func(v *diagnosis.Verdict) { v.Failure.UID = "other" },
		"container": container("other"),
		"kind":      func(v *diagnosis.Verdict) { v.Failure.Kind = diagnosis.KindInitContainer },
		"image":     func(v *diagnosis.Verdict) { v.Failure.Image = "other" },
		"incident":  func(v *diagnosis.Verdict) { v.Failure.Since = v.Failure.Since.Add(time.Minute) },
		"cause":     cause(diagnosis.TagNotFound),
		"summary":   summary("other"),
		"fields run together": func(v *diagnosis.Verdict) {
			v.Failure.UID, v.Failure.Container = v.Failure.UID+"a", strings.TrimPrefix(v.Failure.Container, "a")
		},
	}
	seen := map[string]string{was: "the first", recoveredEvent(newVerdict().Failure, observed()).Name: "recovered"}
	for what, edit := range other {
		got := name(edit)
		if before, ok := seen[got]; ok {
			t.Errorf("%s: got the name of %s, want another", what, before)
		}
		seen[got] = what
	}
}

func TestClipName(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		n    int
		want string
	}{
		{"web", 5, "web"}, {"web-1", 4, "web"}, {"web.-.1", 6, "web"}, {"web1", 3, "web"}, {"", 3, ""},
	}
	for _, tt := range tests {
		if got := clipName(tt.in, tt.n); got != tt.want {
			t.Errorf("clipName(%q, %d): got %q, want %q", tt.in, tt.n, got, tt.want)
		}
	}
}

func FuzzEventName(f *testing.F) {
	f.Add("web", 253)
	f.Add("a-b.c", 236)
	f.Fuzz(func(t *testing.T, unit string, n int) {
		name := strings.Repeat(unit, 300)
		name = strings.Trim(name[:min(len(name), max(n, 0)%254)], ".-")
		if len(validation.IsDNS1123Subdomain(name)) > 0 {
			t.Skip() // no pod has such a name
		}
		v := newVerdict(func(v *diagnosis.Verdict) { v.Failure.Pod = name })
		if got := failureEvent(v, observed()).Name; len(validation.IsDNS1123Subdomain(got)) > 0 {
			t.Error(fmt.Sprint("not a name: ", got))
		}
	})
}
