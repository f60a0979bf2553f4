package chart

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

//go:generate go test . -update
var update = flag.Bool("update", false, "write the generated files")

// generated returns the generated files, by their path in deploy.
func generated(t *testing.T) map[string]string {
	t.Helper()
	out := components(t)
	out["chart/README.md"] = readme(t)
	out[platformsPage] = platformsDocument(t)
	return out
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(deployDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The generated files are up to date.
func TestGeneratedFiles(t *testing.T) {
	for name, want := range generated(t) {
		if *update {
			if err := os.MkdirAll(filepath.Join(deployDir, filepath.Dir(name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(deployDir, name), []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(filepath.Join(deployDir, name)); err != nil || string(got) != want {
			t.Errorf("deploy/%s is not up to date; run go test ./chart -update in deploy/lab (%v)", name, err)
		}
	}
}

// platformsPage is a page whose tables are generated.
const platformsPage = "docs/platforms.md"

// platformsDocument returns the page with the current tables.
func platformsDocument(t *testing.T) string {
	t.Helper()
	const begin, end = "<!-- begin: generated from deploy/chart/platforms.yaml -->\n", "<!-- end -->\n"
	page := read(t, platformsPage)
	before, rest, ok := strings.Cut(page, begin)
	_, after, found := strings.Cut(rest, end)
	if !ok || !found {
		t.Fatalf("%s has no place for the tables", platformsPage)
	}
	return before + begin + platformTables(t) + end + after
}

// Every component for a platform is generated: none is left of a platform that has gone.
func TestNoComponentIsLeftOver(t *testing.T) {
	want := components(t)
	for _, pattern := range []string{"components/platform-*/*", "components/kubelet-identity-*/*"} {
		for _, name := range glob(t, pattern) {
			if _, ok := want[name]; !ok {
				t.Errorf("deploy/%s is not generated", name)
			}
		}
	}
}
