package diagnosis

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// constant is a constant of a string type.
type constant struct{ name, value string }

// readConstants returns a file's constants of one string type.
func readConstants(file, kind string) []constant {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		panic(err)
	}
	var out []constant
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == kind {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				panic(err)
			}
			out = append(out, constant{spec.Names[0].Name, value})
		}
		return false
	})
	return out
}

// constantsOf returns the values of a file's constants of one string type.
func constantsOf(file, kind string) []string {
	var out []string
	for _, c := range readConstants(file, kind) {
		out = append(out, c.value)
	}
	return out
}

// TestCatalogueIsComplete: every constant of type Cause once, nothing else.
func TestCatalogueIsComplete(t *testing.T) {
	var got []string
	for _, e := range Catalogue() {
		got = append(got, string(e.Cause))
	}
	want := constantsOf("catalogue.go", "Cause")
	if !slices.Equal(got, want) {
		t.Errorf("catalogue %v\nconstants %v", got, want)
	}
	slices.Sort(got)
	if n := len(slices.Compact(slices.Clone(got))); n != len(got) {
		t.Errorf("%d causes, %d of them distinct", len(got), n)
	}
}

// TestCatalogueTexts: what people read is a title without an end, and whole
// sentences.
func TestCatalogueTexts(t *testing.T) {
	titles := map[string]Cause{}
	for _, e := range Catalogue() {
		if other, ok := titles[e.Title]; ok {
			t.Errorf("%s and %s have the same title", e.Cause, other)
		}
		titles[e.Title] = e.Cause
		if e.Title == "" || len(e.Title) > 48 || strings.HasSuffix(e.Title, ".") || !unicode.IsUpper(rune(e.Title[0])) {
			t.Errorf("%s: title %q", e.Cause, e.Title)
		}
		for _, s := range []string{e.Meaning, e.Advice} {
			if s == "" || !strings.HasSuffix(s, ".") || strings.Count(s, ". ") > 0 || !unicode.IsUpper(rune(s[0])) {
				t.Errorf("%s: no sentence: %q", e.Cause, s)
			}
			checkText(t, s)
		}
		if !slices.Contains([]Fixer{FixApplication, FixCluster, FixNode, FixRegistry}, e.Fixer) {
			t.Errorf("%s: fixer %q", e.Cause, e.Fixer)
		}
	}
}

// TestCatalogueDecisions: the label that collected messages have, and what others decide by
// a cause alone.
//
//go:generate go test . -run ^TestCatalogueDecisions$ -update
func TestCatalogueDecisions(t *testing.T) {
	const file = "testdata/decisions.golden"
	var b strings.Builder
	for _, e := range Catalogue() {
		fmt.Fprintf(&b, "%s: label %s, group %s, per node %t, weight %d, place %d, rank %d\n",
			e.Cause, cmp.Or(e.Label, "-"), cmp.Or(e.Group, "image"), e.PerNode, e.Weight, e.Place, e.Rank)
	}
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(file); err != nil || b.String() != string(want) {
		t.Errorf("%v; got (update with go generate)\n%s\nwant\n%s", err, b.String(), want)
	}
}

// TestCatalogueTransient: what passes by itself is nobody's mistake in a pod.
func TestCatalogueTransient(t *testing.T) {
	for _, e := range Catalogue() {
		if e.Transient && e.Fixer == FixApplication {
			t.Errorf("%s passes by itself, and the application has to fix it", e.Cause)
		}
	}
}

// TestEveryCauseIsSaid: each cause has a sentence and a remedy, also where
// nothing is known but the text that speaks of it.
func TestEveryCauseIsSaid(t *testing.T) {
	for _, e := range Catalogue() {
		for _, kind := range []Kind{KindContainer, KindInitContainer, KindEphemeralContainer, KindImageVolume, KindSandbox} {
			for _, owner := range []string{"", "Deployment", "StatefulSet", "Job", "Rollout", "Node"} {
				f := ordinary()
				f.Kind, f.Owner = kind, Owner{Kind: owner, Name: "web-29405678"}
				if len(e.Cause)%2 == 0 {
					f.Owner.CronJob = "web"
				}
				f.Platform = everyPlatform()[len(e.Cause)%len(everyPlatform())]
				x := newFacts(f, []Evidence{{Check: CheckMessage, Outcome: Failed, Body: &MessageFacts{Cause: e.Cause}}})
				checkSentence(t, Clip(x.summary(e.Cause), SummaryLimit))
				lines := x.remedy(e.Cause)
				checkRemedy(t, lines)
				checkPromise(t, lines)
				if strings.TrimLeft(strings.Join(lines, ""), "# ") == "" {
					t.Errorf("%s, %s of %s: no remedy", e.Cause, kind, owner)
				}
			}
		}
	}
}

// TestTextAloneSuspects: a text without any check gives its own cause, and no
// more than a suspicion.
func TestTextAloneSuspects(t *testing.T) {
	for _, e := range Catalogue() {
		f := ordinary()
		v := Diagnose(f, []Evidence{{Check: CheckMessage, Outcome: Failed, Body: &MessageFacts{Cause: e.Cause}}})
		if v.Cause != e.Cause || v.Confidence != Suspected {
			t.Errorf("text of %s: %s, %s", e.Cause, v.Cause, v.Confidence)
		}
	}
}

// TestListsAreAll: a list has every constant of its type, once.
func TestListsAreAll(t *testing.T) {
	causes := constantsOf("catalogue.go", "Cause") // texts have them as faults
	ofTexts := slices.DeleteFunc(causes, func(c string) bool { return c == string(Unknown) })
	for kind, c := range map[string]struct{ got, want []string }{
		"checks": {asStrings(Checks()), constantsOf("evidence.go", "Check")},
		"phases": {asStrings(Phases()), constantsOf("evidence.go", "Phase")},
		"faults": {asStrings(faults()[1:]), append(constantsOf("fault.go", "Fault"), ofTexts...)}, // the first is ""
	} {
		got, want := slices.Sorted(slices.Values(c.got)), slices.Sorted(slices.Values(c.want))
		if !slices.Equal(got, slices.Compact(want)) {
			t.Errorf("%s %v, constants %v", kind, got, want)
		}
	}
}

// asStrings returns the values of a string type.
func asStrings[T ~string](all []T) []string {
	var out []string
	for _, v := range all {
		out = append(out, string(v))
	}
	return out
}

// TestEntryOfUnknownCause: a cause that is not in the catalogue (one of a later
// version) is Unknown.
func TestEntryOfUnknownCause(t *testing.T) {
	if got := given().row("Later").Cause; got != Unknown || Cause("Later").Entry().Cause != got {
		t.Error(got)
	}
}

// TestCatalogueIsACopy: nobody can change the catalogue for others.
func TestCatalogueIsACopy(t *testing.T) {
	before := fmt.Sprint(Catalogue())
	Catalogue()[0] = Entry{}
	if after := fmt.Sprint(Catalogue()); !bytes.Equal([]byte(before), []byte(after)) {
		t.Error("the catalogue was changed")
	}
}
