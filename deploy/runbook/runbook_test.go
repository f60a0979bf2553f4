package runbook

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
)

//go:generate go test . -update
var update = flag.Bool("update", false, "write the generated parts of the pages")

const index = "README.md"

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// same compares generated text with its file; with -update it writes the file first.
func same(t *testing.T, name, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, name); got != want {
		t.Errorf("%s is not up to date; run go test ./deploy/runbook -update", name)
	}
}

func TestPagesAreUpToDate(t *testing.T) {
	for _, e := range diagnosis.Catalogue() {
		page, err := Page(e)
		if err != nil {
			t.Error(err)
			continue
		}
		// The embedded sections may be older than the file if the test updates it.
		same(t, file(e.Cause), head(e)+sections(read(t, file(e.Cause))))
		if !*update && page != read(t, file(e.Cause)) {
			t.Errorf("Page(%s) differs from its file", e.Cause)
		}
	}
	same(t, index, contents())
}

// contents returns the index of all pages.
func contents() string {
	var b strings.Builder
	b.WriteString("<!-- Generated from the table of causes: go test ./deploy/runbook -update -->\n# Runbook\n\n" +
		"One page for each cause that whypull reports. To print a page without a cluster, run\n\n" +
		"```sh\nkubectl why-pull explain TagNotFound\n```\n\n" + examples + "\n\n" +
		"If Argo CD, Flux or Helm manages an object, make the change in its source too, because the next sync or upgrade\n" +
		"overwrites one made only in the cluster. Nodes of k3s, RKE2, k0s, MicroK8s, Talos, Bottlerocket, OpenShift and GKE have\n" +
		"[other commands](../docs/platforms.md).\n\n" +
		"| cause | meaning | who can fix it | can resolve on its own |\n|---|---|---|---|\n")
	for _, e := range diagnosis.Catalogue() {
		fmt.Fprintf(&b, "| [%s](%s) | %s | %s | %s |\n", e.Cause, file(e.Cause), e.Meaning, Owner(e.Fixer), yes(e.Transient))
	}
	return b.String()
}

// all returns the pages by file name, without the index.
func all(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, name := range names {
		if name != index {
			out[name] = read(t, name)
		}
	}
	return out
}

func TestEveryPageHasACause(t *testing.T) {
	var known []string
	for _, e := range diagnosis.Catalogue() {
		known = append(known, file(e.Cause))
	}
	for name := range all(t) {
		if !slices.Contains(known, name) {
			t.Errorf("%s belongs to no cause", name)
		}
	}
	if _, err := Page(diagnosis.Entry{Cause: "Nonesuch"}); err == nil {
		t.Error("Page returned no error for an unknown cause")
	}
}

func TestPagesHaveTheFourSections(t *testing.T) {
	want := []string{"## Meaning", "## Diagnosis", "## Mitigation", "## Prevention"}
	for name, text := range all(t) {
		prose, _ := split(text)
		var got []string
		for line := range strings.Lines(prose) {
			if strings.HasPrefix(line, "##") {
				got = append(got, strings.TrimSpace(line))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has sections %q", name, got)
		}
		for part := range strings.SplitSeq(sections(text), "\n## ") {
			if len(strings.Fields(part)) < 15 {
				t.Errorf("%s: section is too short: %q", name, part)
			}
		}
	}
}

func TestPagesAreShort(t *testing.T) {
	for name, text := range all(t) {
		if n := len(strings.Fields(sections(text))); n < 150 || n > 350 {
			t.Errorf("%s has %d words", name, n)
		}
		prose, _ := split(text)
		for line := range strings.Lines(prose) {
			if n := len([]rune(strings.TrimRight(line, "\n"))); n > 120 {
				t.Errorf("%s: %d characters: %s", name, n, line)
			}
		}
	}
}

// block is a fenced code block.
type block struct{ language, text string }

// split separates the prose of a page from its code blocks.
func split(text string) (prose string, code []block) {
	within := false
	for line := range strings.Lines(text) {
		switch fence, ok := strings.CutPrefix(line, "```"); {
		case ok && !within:
			code = append(code, block{language: strings.TrimSpace(fence)})
			within = true
		case ok:
			within = false
		case within:
			code[len(code)-1].text += line
		default:
			prose += line
		}
	}
	return prose, code
}

func TestCodeParses(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no sh in PATH")
	}
	for name, text := range all(t) {
		if strings.Count(text, "```")%2 != 0 {
			t.Errorf("%s: code block is not closed", name)
		}
		_, code := split(text)
		for _, c := range code {
			if !slices.Contains([]string{"sh", "toml", "text", "yaml"}, c.language) {
				t.Errorf("%s: unexpected code language %q", name, c.language)
			}
			if c.language != "sh" {
				continue
			}
			cmd := exec.CommandContext(t.Context(), sh, "-n")
			cmd.Stdin = strings.NewReader(c.text)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s\n%s", name, err, out, c.text)
			}
		}
	}
}

// A password in a command ends up in the shell's history and the process list.
func TestNoCommandTakesAPassword(t *testing.T) {
	bad := regexp.MustCompile(`(?i)--docker-password|--password(=| |$)|--creds|--(src|dest)-creds|--auth[ =]|-u +\S+:|--user[ =]\S+:|-H +'?authorization|PASSW(OR)?D=|<password>`)
	for _, line := range []string{"curl -u alice:secret x", "crictl pull --creds a:b x", "ctr images pull --user a:b x", "kubectl create secret docker-registry x --docker-password=y"} {
		if !bad.MatchString(line) {
			t.Errorf("pattern does not match %q", line)
		}
	}
	for name, text := range all(t) {
		if found := bad.FindString(text); found != "" {
			t.Errorf("%s contains a password option: %q", name, found)
		}
	}
}

func TestLinksResolve(t *testing.T) {
	link := regexp.MustCompile(`\[([^\]]*)\]\(([^)]*)\)`)
	pages := all(t)
	for name, text := range pages {
		prose, _ := split(text)
		for _, m := range link.FindAllStringSubmatch(prose, -1) {
			if _, ok := pages[m[2]]; !ok || m[2] == name || m[1]+".md" != m[2] {
				t.Errorf("%s: link %s", name, m[0])
			}
		}
	}
}

// Commands that users paste unchanged must not reach a real host.
func TestHostsAreExamples(t *testing.T) {
	host := regexp.MustCompile(`https?://([a-z0-9.-]+)`)
	known := []string{"auth.docker.io", "registry-1.docker.io", "index.docker.io", "127.0.0.1", "localhost"}
	for name, text := range all(t) {
		for _, m := range host.FindAllStringSubmatch(text, -1) {
			if !strings.HasSuffix(m[1], "example.com") && !slices.Contains(known, m[1]) {
				t.Errorf("%s: host %s is not an example host", name, m[1])
			}
		}
	}
}

// The terminal renderer supports only a part of Markdown.
func TestPagesUseOnlySupportedMarkdown(t *testing.T) {
	odd := regexp.MustCompile(`(?m)^(\||\d+\. |[ \t]+[-*] |\* |>|###|    )`)
	for name, text := range all(t) {
		prose, _ := split(text)
		if found := odd.FindString(prose); found != "" {
			t.Errorf("%s: unsupported Markdown %q", name, found)
		}
		for paragraph := range strings.SplitSeq(prose, "\n\n") {
			if strings.Count(paragraph, "`")%2 != 0 {
				t.Errorf("%s: unbalanced backquotes: %s", name, paragraph)
			}
		}
	}
}

func TestEveryFixerHasAName(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range []diagnosis.Fixer{diagnosis.FixApplication, diagnosis.FixCluster, diagnosis.FixNode, diagnosis.FixRegistry} {
		if Owner(f) == "" || seen[Owner(f)] {
			t.Errorf("%s: %q", f, Owner(f))
		}
		seen[Owner(f)] = true
	}
	if Owner("") != "" {
		t.Errorf("Owner of no fixer is %q, want none", Owner(""))
	}
}

func TestURLNamesTheFile(t *testing.T) {
	want := "https://github.com/whypull/whypull/blob/main/deploy/runbook/TagNotFound.md"
	if got := URL(diagnosis.TagNotFound); got != want {
		t.Error(got)
	}
}

// Pages name only metrics that exist.
func TestMetricsExist(t *testing.T) {
	source := read(t, "../../report/metrics/metrics.go")
	name := regexp.MustCompile(`whypull_[a-z_]+`)
	for page, text := range all(t) {
		for _, metric := range name.FindAllString(text, -1) {
			if !strings.Contains(source, `"`+metric+`"`) {
				t.Errorf("%s: metric %s does not exist", page, metric)
			}
		}
	}
}
