// Package docs_test holds the documents to the code.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Each line of these pages' tables names a test that exists.
func TestClaimsNameTests(t *testing.T) {
	t.Parallel()
	for page, first := range map[string]string{"threat-model.md": "attack", "cost.md": "shared"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		folder, name, lines := regexp.MustCompile("`((?:agent|cmd|cri|deploy|report)[^`]*)`"), regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`"), 0
		for line := range strings.Lines(string(text)) {
			cells := strings.Split(line, "|")
			if len(cells) < 4 || strings.Contains(cells[1], "---") || strings.TrimSpace(cells[1]) == first {
				continue
			}
			lines++
			last, named := cells[len(cells)-2], false
			for part := range strings.SplitSeq(last, ",") {
				if m := folder.FindStringSubmatch(part); m != nil {
					tests := testsIn(t, filepath.Join("..", "..", m[1]))
					for _, n := range name.FindAllStringSubmatch(last, -1) {
						named = named || strings.Contains(tests, "func "+n[1]+"(")
					}
				}
			}
			if !named && !strings.Contains(last, "make fuzz") {
				t.Errorf("%s has no test for: %s", page, strings.TrimSpace(line))
			}
		}
		if lines < 8 {
			t.Errorf("%s has only %d lines", page, lines)
		}
	}
}

// testsIn returns the test files of a folder.
func testsIn(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests in %s: %v", dir, err)
	}
	var all strings.Builder
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(data)
	}
	return all.String()
}

// Links between the documents lead somewhere.
func TestLinks(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	records, err := filepath.Glob("adr/*.md")
	if err != nil || len(records) < 5 {
		t.Fatalf("decision records: %v, %v", records, err)
	}
	pages = append(pages, records...)
	pages = append(pages, "../../README.md", "../../SECURITY.md", "../../CHANGELOG.md", "../../CONTRIBUTING.md", "../../CODE_OF_CONDUCT.md", "../../ROADMAP.md", "../../agent/diagnosis/README.md", "../monitoring/README.md", "../runbook/README.md", "../lab/README.md")
	link := regexp.MustCompile(`\]\(([^)#:]+)[)#]`)
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

// The index names every page, and every decision record by its own heading.
func TestIndexIsComplete(t *testing.T) {
	t.Parallel()
	index, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		if page != "README.md" && !strings.Contains(string(index), "]("+page) {
			t.Errorf("%s is not in the index", page)
		}
	}
	records, err := filepath.Glob("adr/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range records {
		text, err := os.ReadFile(record)
		if err != nil {
			t.Fatal(err)
		}
		heading, _, _ := strings.Cut(string(text), "\n")
		_, decision, _ := strings.Cut(heading, ". ")
		if !strings.Contains(string(index), "]("+record+") | "+decision+" |") {
			t.Errorf("the index does not have %s: %s", record, decision)
		}
		for _, section := range []string{"Status: accepted.", "## Context", "## Decision", "## Consequences"} {
			if !strings.Contains(string(text), section) {
				t.Errorf("%s has no %q", record, section)
			}
		}
	}
}

// The table of dependencies has what go.mod requires directly, each with a reason.
func TestDependenciesHaveReasons(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	var explained []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.+) \\|$").FindAllStringSubmatch(string(page), -1) {
		explained = append(explained, row[1])
	}
	file, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	var required []string
	for _, line := range regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(string(file), -1) {
		required = append(required, line[1])
	}
	slices.Sort(explained)
	slices.Sort(required)
	if !slices.Equal(explained, required) || len(required) < 20 {
		t.Errorf("go.mod requires\n%s\nand the table has\n%s", strings.Join(required, "\n"), strings.Join(explained, "\n"))
	}
}
