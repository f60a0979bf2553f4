package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra/doc"
)

var manDirectory = flag.String("man", "", "directory to write the man pages to")

// TestManPages writes a man page for each command, which releases contain.
func TestManPages(t *testing.T) {
	t.Parallel()
	dir := *manDirectory
	if dir == "" {
		dir = t.TempDir()
	}
	cmd := root()
	cmd.DisableAutoGenTag = true
	if err := doc.GenManTree(cmd, &doc.GenManHeader{Section: "1", Source: "whypull", Manual: "whypull"}, dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kubectl-why-pull.1", "kubectl-why-pull-explain.1", "kubectl-why-pull-check.1"} {
		page, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, section := range []string{".SH NAME", ".SH SYNOPSIS", ".SH OPTIONS"} {
			if !strings.Contains(string(page), section) {
				t.Errorf("%s has no %s", name, section)
			}
		}
	}
}
