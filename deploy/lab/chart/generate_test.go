package chart

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

//go:generate go test . -update
var update = flag.Bool("update", false, "write the generated files")

// generated returns the generated files, by their path in deploy.
func generated(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{
		"chart/README.md": readme(t),
	}
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
