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
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/faulttest"
)

// constants returns the constants of a type of a package, in their order.
func constants(t *testing.T, dir, typeName string) []string {
	t.Helper()
	files, err := filepath.Glob(dir + "/*.go")
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
	if len(out) == 0 {
		t.Fatalf("constants of %s: %q", typeName, out)
	}
	return out
}

const (
	registryDir   = "../../cri/registry"
	diskDir       = "../../cri/disk"
	nodeconfigDir = "../../cri/nodeconfig"
	diagnosisDir  = "../diagnosis"
)

// The words are the same on both sides, so that one is converted to the other: package
// diagnosis knows all that decide something, and of the others no word that is not said.
func TestWordsAreTheSame(t *testing.T) {
	t.Parallel()
	for _, of := range []struct {
		dir, name, inDiagnosis string
		all                    bool
	}{
		{registryDir, "Fault", "Fault", true}, {diskDir, "Unseen", "Unseen", true},
		{registryDir, "Form", "Form", false}, {registryDir, "Alert", "Alert", false}, {diskDir, "Use", "FilesystemUse", false},
	} {
		known, said := constants(t, diagnosisDir, of.inDiagnosis), constants(t, of.dir, of.name)
		if !of.all {
			known, said = said, known
		}
		for _, word := range said {
			if !slices.Contains(known, word) {
				t.Errorf("the %s %q is not one of both package diagnosis and %s", of.name, word, of.dir)
			}
		}
	}
}

// A report has a sentence for each notice of the configuration, but one, which is a Reserve.
func TestNoticesAreProblems(t *testing.T) {
	t.Parallel()
	for _, name := range constants(t, nodeconfigDir, "NoticeKind") {
		if known := diagnosis.ConfigProblem(name).Effect() != ""; known != (name != string(nodeconfig.NoticeNoAuthorities)) {
			t.Errorf("%s: known %t", name, known)
		}
	}
}

func TestPhasesAreTranslated(t *testing.T) {
	t.Parallel()
	var order []diagnosis.Phase
	took, want := map[registry.Phase]time.Duration{}, map[diagnosis.Phase]time.Duration{}
	for i, name := range constants(t, registryDir, "Phase") {
		order = append(order, diagnosis.Phase(name))
		took[registry.Phase(name)], want[diagnosis.Phase(name)] = time.Duration(i), time.Duration(i)
	}
	if !slices.Equal(order, diagnosis.Phases()) {
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
