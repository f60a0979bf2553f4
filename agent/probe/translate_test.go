package probe

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/faulttest"
)

// constants returns the constants of a type of package registry, in their order.
func constants(t *testing.T, typeName string) []string {
	t.Helper()
	files, err := filepath.Glob("../../cri/registry/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal("no source", err)
	}
	var out []string
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) == 0 {
				return true
			}
			if id, ok := spec.Type.(*ast.Ident); !ok || id.Name != typeName {
				return true
			}
			for _, value := range spec.Values {
				if literal, ok := value.(*ast.BasicLit); ok {
					text, err := strconv.Unquote(literal.Value)
					if err != nil {
						t.Fatal(err)
					}
					out = append(out, text)
				}
			}
			return true
		})
	}
	if len(out) < 7 {
		t.Fatalf("constants of %s: %q", typeName, out)
	}
	return out
}

// The words are the same on both sides, as reports and metrics have them.
func TestFaultsAreTranslated(t *testing.T) {
	t.Parallel()
	for _, f := range constants(t, "Fault") {
		if got, has := registryFaults[registry.Fault(f)]; !has || string(got) != f {
			t.Errorf("%s becomes %q", f, got)
		}
	}
	if got := reportFault(""); got != "" {
		t.Errorf("no fault becomes %q", got)
	}
	if got := reportFault("SomethingNew"); got != diagnosis.FaultUnexpectedAnswer {
		t.Errorf("a fault without a row becomes %q", got)
	}
	if got, want := len(registryFaults), len(constants(t, "Fault")); got != want {
		t.Errorf("%d rows for %d faults", got, want)
	}
}

func TestPhasesAreTranslated(t *testing.T) {
	t.Parallel()
	var order []diagnosis.Phase
	took, want := map[registry.Phase]time.Duration{}, map[diagnosis.Phase]time.Duration{}
	for i, name := range constants(t, "Phase") {
		p := registry.Phase(name)
		got, has := registryPhases[p]
		if !has || string(got) != string(p) {
			t.Errorf("%s becomes %q", p, got)
		}
		order = append(order, got)
		took[p], want[got] = time.Duration(i), time.Duration(i)
	}
	if !slices.Equal(order, diagnosis.Phases()) || len(registryPhases) != len(order) {
		t.Errorf("the phases are %v, those of a report %v", order, diagnosis.Phases())
	}
	if got := timings(took); !maps.Equal(got, want) {
		t.Errorf("timings %v, want %v", got, want)
	}
	if got := timings(nil); got != nil {
		t.Errorf("no timings become %v", got)
	}
}

// What is really wrong in the world of faults is what a diagnosis can find.
func TestTruthsAreCauses(t *testing.T) {
	t.Parallel()
	for _, truth := range faulttest.Truths() {
		if !slices.ContainsFunc(diagnosis.Catalogue(), func(e diagnosis.Entry) bool { return e.Cause == diagnosis.Cause(truth) }) {
			t.Errorf("%s is no cause", truth)
		}
	}
}
