package registry

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// TestFaultsAndPhasesAreListed holds the lists, from which others translate, to
// the constants in the source.
func TestFaultsAndPhasesAreListed(t *testing.T) {
	t.Parallel()
	if want, got := constants(t, "Fault"), sortedTexts(Faults()); !slices.Equal(got, want) {
		t.Errorf("Faults are %v, the constants %v", got, want)
	}
	if want, got := constants(t, "Phase"), sortedTexts(Phases()); !slices.Equal(got, want) {
		t.Errorf("Phases are %v, the constants %v", got, want)
	}
}

func sortedTexts[T ~string](all []T) []string {
	out := make([]string, 0, len(all))
	for _, one := range all {
		out = append(out, string(one))
	}
	slices.Sort(out)
	return out
}

// constants returns the values, sorted, of the constants that the package
// declares with a type.
func constants(t *testing.T, typeName string) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
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
	slices.Sort(out)
	return out
}
