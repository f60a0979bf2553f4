// Package docs_test holds the documents to the code.
package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
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
					tests := sources(t, filepath.Join("..", "..", m[1], "*_test.go"))
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

// Links between the documents lead to files and headings that exist.
func TestLinks(t *testing.T) {
	t.Parallel()
	link, seen := regexp.MustCompile(`\]\(([^)#:\s]*)(?:#([^)\s]+))?\)`), 0
	for page, text := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			to := page
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(page), m[1])
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if m[2] == "" {
				continue
			}
			if seen++; !slices.Contains(anchors(sources(t, to)), m[2]) {
				t.Errorf("%s: %s has no heading #%s", page, to, m[2])
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d links to headings", seen)
	}
}

// anchors returns the names by which links refer to a document's headings.
func anchors(document string) []string {
	var all []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(document, -1) {
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, heading[1]))
	}
	return all
}

// The documents' examples name the version of the chart.
func TestVersionsInExamples(t *testing.T) {
	t.Parallel()
	version := regexp.MustCompile(`(?m)^version: (\S+)$`).FindStringSubmatch(sources(t, "../chart/Chart.yaml"))
	if version == nil {
		t.Fatal("the chart has no version")
	}
	example, seen := regexp.MustCompile(`(?:ref=v|--version |whypull:v?|/download/v|version: v)(\d+\.\d+\.\d+)\b`), 0
	for page, text := range pages(t) {
		for _, m := range example.FindAllStringSubmatch(text, -1) {
			if seen++; m[1] != version[1] {
				t.Errorf("%s: %s, and the chart has version %s", page, m[0], version[1])
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d versions", seen)
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

// No module is one whose authors call it deprecated, as far as its go.mod says so that is
// on this machine; make deprecated asks for the newest version's.
func TestNoDeprecatedModule(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"../..", "../lab"} {
		cmd := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{if not .Indirect}}{{with .GoMod}}{{.}}{{end}}{{end}}", "all")
		cmd.Dir = dir
		out, err := cmd.Output()
		files := strings.Fields(string(out))
		if err != nil || len(files) < 15 {
			t.Fatalf("%s: %d modules, %v", dir, len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if why := regexp.MustCompile(`(?m)^(?:module .*)?// Deprecated:.*`).Find(text); why != nil {
				t.Errorf("%s: %s", file, why)
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
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| [^|]+ \\| (20\\d\\d-\\d\\d-\\d\\d) \\| [^|]+ \\|$").FindAllStringSubmatch(string(page), -1) {
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

// pages returns all documents for users and contributors by their names, without those of
// other projects' commands only.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"*.md", "adr/*.md", "../../*.md", "../*/README.md", "../runbook/*.md", "../../agent/diagnosis/README.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v, %v", pattern, names, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = string(text)
		}
	}
	return all
}

// sources returns the files of a pattern as one text.
func sources(t *testing.T, patterns ...string) string {
	t.Helper()
	var all strings.Builder
	for _, pattern := range patterns {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v, %v", pattern, names, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
	}
	return all.String()
}

// foreign are the flags in the documents that are other programs'.
const foreign = `authfile build-arg bundle cert certificate-identity-regexp certificate-oidc-issuer clusterrole container-runtime create-namespace
	data-dir disable-default-registry-endpoint docker dry-run field-selector for force from-file hosts-dir ignore-daemonsets ignore-missing
	key label-columns manifest-url max-depth max-time oauth2-bearer prune push raw repo reset-then-reuse-values root-dir selinux serviceaccount set sort-by tag timeout wait`

// Flags, targets and metrics in the documents exist.
func TestNamesInDocumentsExist(t *testing.T) {
	t.Parallel()
	programs := sources(t, "../../cmd/*/*.go", "../../agent/kube/*.go", "../lab/cmd/*/*.go", "../lab/chaos/*.go", "../lab/scale/*.go")
	makefile, metrics := sources(t, "../../Makefile"), sources(t, "../../report/metrics/*.go")
	others := strings.Fields(foreign)
	flag, target, metric := regexp.MustCompile(`(?:^|[^\w-])--([a-z][a-z0-9-]+)`), regexp.MustCompile("(?m)(?:^|`)make ([a-z][a-z-]+)"), regexp.MustCompile(`\bwhypull_[a-z_]+[a-z]`)
	seen := 0
	for page, text := range pages(t) {
		for _, m := range flag.FindAllStringSubmatch(text, -1) {
			if seen++; !slices.Contains(others, m[1]) && !strings.Contains(programs, `"`+m[1]+`"`) {
				t.Errorf("%s: no program of ours has the flag --%s", page, m[1])
			}
		}
		for _, m := range target.FindAllStringSubmatch(text, -1) {
			if seen++; !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s: the Makefile has no target %s", page, m[1])
			}
		}
		for _, name := range metric.FindAllString(text, -1) {
			short := strings.TrimPrefix(name, "whypull_")
			for _, of := range []string{"_bucket", "_count", "_sum", "_total", "_info"} {
				short = strings.TrimSuffix(short, of)
			}
			if seen++; !strings.Contains(metrics, short) {
				t.Errorf("%s: there is no metric %s", page, name)
			}
		}
	}
	if seen < 200 {
		t.Errorf("only %d names", seen)
	}
}
