package runtimes

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
)

// on is a failure's result; an empty cause is a pull that worked.
func on(runtime string, truth, cause diagnosis.Cause, confidence diagnosis.Confidence) Result {
	one := Result{Case: "a-case", Runtime: runtime, Truth: truth, Pulled: cause == "", Cause: cause, Confidence: confidence}
	if confidence == diagnosis.Confirmed {
		one.Healed = &Trial{Pulled: true}
	}
	return one
}

func TestComplaints(t *testing.T) {
	const new24, old17 = "containerd 2.4", "containerd 1.7"
	for name, test := range map[string]struct {
		all  []Result
		want []string // what each complaint contains
	}{
		"right everywhere": {[]Result{
			on(new24, diagnosis.TLSExpired, diagnosis.TLSExpired, diagnosis.Confirmed),
			on(old17, diagnosis.TLSExpired, diagnosis.TLSExpired, diagnosis.Likely)}, nil},
		"wrong, but modest": {[]Result{
			on(new24, diagnosis.TLSExpired, diagnosis.Unknown, diagnosis.Suspected),
			on(old17, diagnosis.TLSExpired, diagnosis.Unknown, diagnosis.Likely)}, nil},
		"confirmed and wrong": {[]Result{
			on(new24, diagnosis.TLSExpired, diagnosis.TLSUntrusted, diagnosis.Confirmed)},
			[]string{"a-case on containerd 2.4: TLSUntrusted is confirmed"}},
		"one truth, two causes": {[]Result{
			on(new24, diagnosis.TagNotFound, diagnosis.TagNotFound, diagnosis.Likely),
			on(old17, diagnosis.TagNotFound, diagnosis.Unknown, diagnosis.Suspected)},
			[]string{"TagNotFound on containerd 2.4, Unknown on containerd 1.7"}},
		"two truths, two causes": {[]Result{
			on(new24, diagnosis.MirrorFailed, diagnosis.MirrorFailed, diagnosis.Likely),
			on(old17, diagnosis.TagNotFound, diagnosis.TagNotFound, diagnosis.Likely)}, nil},
		"it works where it should not": {[]Result{
			on(new24, diagnosis.TagNotFound, "", "")}, []string{"the pull works, but TagNotFound"}},
		"it fails where it should work": {[]Result{
			on(new24, "", diagnosis.Unknown, diagnosis.Suspected)}, []string{"nothing is said to be wrong"}},
		"can be pulled, and cannot": {[]Result{
			{Case: "a-case", Runtime: new24, Truth: diagnosis.TagNotFound, Cause: diagnosis.NotReproducible, Repeated: &Trial{}}},
			[]string{"the same pull fails again"}},
		"can be pulled, and is": {[]Result{
			{Case: "a-case", Runtime: new24, Truth: diagnosis.TagNotFound, Cause: diagnosis.NotReproducible, Repeated: &Trial{Pulled: true}}}, nil},
		"can be pulled, untried": {[]Result{
			{Case: "a-case", Runtime: new24, Truth: diagnosis.TagNotFound, Cause: diagnosis.NotReproducible}},
			[]string{"nobody has pulled again"}},
		"confirmed, and it fails without it": {[]Result{
			{Case: "a-case", Runtime: new24, Truth: diagnosis.TagNotFound, Cause: diagnosis.TagNotFound, Confidence: diagnosis.Confirmed, Healed: &Trial{Message: "failed"}}},
			[]string{"TagNotFound is confirmed, but without it the pull fails"}},
		"confirmed and wrong, untried": {[]Result{
			{Case: "a-case", Runtime: new24, Truth: diagnosis.TagNotFound, Cause: diagnosis.AccessDenied, Confidence: diagnosis.Confirmed}},
			[]string{"AccessDenied is confirmed, but the truth is TagNotFound"}},
		"confirmed, untried": {[]Result{
			{Case: "a-case", Runtime: new24, Truth: diagnosis.TagNotFound, Cause: diagnosis.TagNotFound, Confidence: diagnosis.Confirmed}},
			[]string{"there is no case without it"}},
		"it works and fails as it should": {[]Result{
			on(new24, "", "", ""), on(old17, diagnosis.RegistryError, diagnosis.RegistryError, diagnosis.Confirmed)}, nil},
	} {
		got := Complaints(test.all)
		ok := slices.EqualFunc(got, test.want, strings.Contains)
		if !ok {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestTable(t *testing.T) {
	all := []Result{
		on("containerd 2.4", diagnosis.TLSExpired, diagnosis.TLSExpired, diagnosis.Confirmed),
		on("containerd 1.7", diagnosis.TLSExpired, diagnosis.Unknown, diagnosis.Suspected),
		on("containerd 1.6", "", "", ""),
		on("CRI-O 1.37", diagnosis.RegistryError, diagnosis.RegistryError, diagnosis.Likely),
	}
	works := on("containerd 2.4", "", "", "")
	works.Case = "works"
	got := fields(Table(append(all, works)))
	want := []string{
		"CASE TRUTH CONTAINERD 2.4 CONTAINERD 1.7 CONTAINERD 1.6 CRI-O 1.37",
		"a-case TLSExpired TLSExpired Confirmed Unknown Suspected pulled [-] RegistryError Likely [RegistryError]",
		"works - pulled missing missing missing",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if Table(all) != Table(slices.Clone(all)) {
		t.Error("two tables of the same results differ")
	}
}

// The truth of a line is that of most releases of containerd, whatever it is for
// CRI-O.
func TestCommonTruthIsThatOfContainerd(t *testing.T) {
	first, second := diagnosis.MirrorFailed, diagnosis.RepositoryNotFound
	got := commonTruth([]Result{
		on("containerd 2.4", first, first, ""), on("containerd 1.7", second, second, ""), on("CRI-O 1.37", second, second, ""),
	})
	if got != first {
		t.Errorf("got %s, want %s", got, first)
	}
}

func TestDifferencesNameTheLines(t *testing.T) {
	got := differences("A  B\nC  D\n", "A B\nC  E\n")
	want := []string{"gone from the table: C D", "new in the table:    C E"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := differences("A\n", "A\n"); got != nil {
		t.Errorf("equal tables: %q", got)
	}
}

func TestTextsAreTheSameInTheNextRun(t *testing.T) {
	text := func(port int, digest string) string {
		return Texts([]Result{{Case: "a-case", Runtime: "containerd 2.4", Reason: "ErrImagePull",
			Message:  fmt.Sprintf(`pull of "good.fault.example:%d/a@sha256:%s": dial tcp 127.0.0.1:%d: connect: connection refused`, port, digest, port),
			Evidence: []diagnosis.Finding{{Evidence: diagnosis.Evidence{Check: diagnosis.CheckRegistry}, Detail: fmt.Sprintf("[::1]:%d refuses", port)}}}})
	}
	first := text(40001, strings.Repeat("a1", 32))
	if first != text(5000, strings.Repeat("b2", 32)) {
		t.Error("port or digest is in", first)
	}
	for _, want := range []string{"connection refused", "good.fault.example", "ErrImagePull"} {
		if !strings.Contains(first, want) {
			t.Errorf("%q is missing in %s", want, first)
		}
	}
	if got := Texts([]Result{{Case: "works", Pulled: true}}); got != "" {
		t.Errorf("a pull that worked has the text %q", got)
	}
}

// differences are the lines of which only one of two tables has one.
func differences(want, got string) []string {
	var out []string
	wants, gots := fields(want), fields(got)
	for _, line := range wants {
		if !slices.Contains(gots, line) {
			out = append(out, "gone from the table: "+line)
		}
	}
	for _, line := range gots {
		if !slices.Contains(wants, line) {
			out = append(out, "new in the table:    "+line)
		}
	}
	return out
}

// fields are a table's lines without what aligns the columns.
func fields(table string) []string {
	var out []string
	for line := range strings.Lines(table) {
		out = append(out, strings.Join(strings.Fields(line), " "))
	}
	return out
}
