package release

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// root is the source tree.
const root = "../.."

type workflow struct {
	On          any            `json:"true"` // "on" in YAML 1.1
	Permissions any            `json:"permissions"`
	Env         any            `json:"env"`
	Jobs        map[string]job `json:"jobs"`
}

type job struct {
	Permissions any    `json:"permissions"`
	RunsOn      string `json:"runs-on"`
	Uses        string `json:"uses"`
	Timeout     int    `json:"timeout-minutes"`
	Env         any    `json:"env"`
	Steps       []step `json:"steps"`
}

type step struct {
	Uses string            `json:"uses"`
	Run  string            `json:"run"`
	With map[string]any    `json:"with"`
	Env  map[string]string `json:"env"`
}

func TestWorkflows(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*"))
	if err != nil || len(files) < 4 {
		t.Fatalf("workflows: %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range problems(string(text)) {
			t.Errorf("%s: %s", filepath.Base(file), problem)
		}
	}
}

// The rules find what they are for.
func TestWorkflowRules(t *testing.T) {
	t.Parallel()
	const checkout = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"
	const good = `on: push
permissions: {}
jobs:
  a:
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    permissions: {contents: read}
    steps:
    - uses: ` + checkout + `
      with: {persist-credentials: false}
    - run: make build
`
	if all := problems(good); len(all) != 0 {
		t.Fatalf("a good workflow: %q", all)
	}
	for _, c := range []struct{ old, bad, problem string }{
		{"on: push", "on: pull_request_target", "pull_request_target"},
		{"on: push", "on: {pull_request_target: {types: [opened]}}", "pull_request_target"},
		{"on: push", "on: [push, workflow_run]", "workflow_run"},
		{"permissions: {}\n", "", "top"},
		{"permissions: {}\n", "permissions: {contents: read}\n", "top"},
		{"    permissions: {contents: read}\n", "", "job a has no permissions"},
		{"{contents: read}", "write-all", "job a has no permissions"},
		{"    timeout-minutes: 5\n", "", "no timeout"},
		{"    timeout-minutes: 5\n", "    timeout-minutes: 5\n    env: {TOKEN: '${{ github.token }}'}\n", "all of its steps"},
		{"    timeout-minutes: 5\n", "    timeout-minutes: 5\n    env: {TOKEN: '${{ secrets.GITHUB_TOKEN }}'}\n", "all of its steps"},
		{"permissions: {}\n", "permissions: {}\nenv: {TOKEN: '${{ github.token }}'}\n", "all of its steps"},
		{"ubuntu-24.04", "ubuntu-latest", "ubuntu-latest"},
		{"{persist-credentials: false}", "{fetch-depth: 0}", "persist-credentials"},
		{checkout, "actions/checkout@v7", "not pinned"},
		{checkout, "actions/checkout@3d3c42e # v7", "not pinned"},
		{checkout, "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1", "does not say its version"},
		{"make build", "echo ${{ github.head_ref }}", "expression"},
		{"make build", "curl -sSf https://example.com/install | sh", "pipes"},
	} {
		all := problems(strings.Replace(good, c.old, c.bad, 1))
		if !slices.ContainsFunc(all, func(p string) bool { return strings.Contains(p, c.problem) }) {
			t.Errorf("%q instead of %q: %q", c.bad, c.old, all)
		}
	}
}

// problems returns what makes a workflow a risk: triggers that give a stranger's code our
// token, more permissions than a job needs, credentials that later steps find, actions
// that somebody else can change, texts of strangers in a shell.
func problems(text string) []string {
	var w workflow
	if err := yaml.Unmarshal([]byte(text), &w); err != nil {
		return []string{err.Error()}
	}
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for _, trigger := range []string{"pull_request_target", "workflow_run", "issue_comment"} {
		if regexp.MustCompile(`\b` + trigger + `\b`).MatchString(fmt.Sprint(w.On)) {
			add("%s runs with our token on what strangers send", trigger)
		}
	}
	if granted, ok := w.Permissions.(map[string]any); !ok || len(granted) > 0 {
		add("the permissions at the top are not {}")
	}
	for name, j := range w.Jobs {
		if granted, ok := j.Permissions.(map[string]any); !ok || len(granted) == 0 {
			add("job %s has no permissions of its own", name)
		}
		if j.Uses != "" {
			continue
		}
		if regexp.MustCompile(`\bgithub\.token\b|\bsecrets\.`).MatchString(fmt.Sprint(w.Env, j.Env)) {
			add("job %s gives a token to all of its steps", name)
		}
		if j.Timeout == 0 {
			add("job %s has no timeout", name)
		}
		if strings.HasSuffix(j.RunsOn, "-latest") {
			add("job %s runs on %s, which changes", name, j.RunsOn)
		}
		for _, s := range j.Steps {
			if strings.Contains(s.Run, "${{") {
				add("job %s has an expression in a command: %s", name, s.Run)
			}
			if regexp.MustCompile(`curl.*\|\s*(ba)?sh`).MatchString(s.Run) {
				add("job %s pipes a download into a shell", name)
			}
			if keep, given := s.With["persist-credentials"]; strings.HasPrefix(s.Uses, "actions/checkout@") && (!given || keep != false) {
				add("job %s: checkout without persist-credentials: false", name)
			}
		}
	}
	for _, uses := range regexp.MustCompile(`(?m)^\s*(?:- )?uses:\s*(.+)$`).FindAllStringSubmatch(text, -1) {
		switch action := uses[1]; {
		case strings.HasPrefix(action, "./"):
		case !regexp.MustCompile(`@[0-9a-f]{40}\b`).MatchString(action):
			add("%s is not pinned by a commit", action)
		case !regexp.MustCompile(`@[0-9a-f]{40} # v\d+\.\d+\.\d+$`).MatchString(action):
			add("%s does not say its version", action)
		}
	}
	return all
}

// A release is built without the right to write, and each job that may write first takes
// what was built by its checksum, and builds no program of it.
func TestReleaseRights(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, ".github", "workflows", "release.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var w workflow
	if err := yaml.Unmarshal(text, &w); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"test": "", "build": "", "registry": "attestations id-token packages", "sign": "attestations id-token", "page": "contents",
	}
	for name, j := range w.Jobs {
		granted, _ := j.Permissions.(map[string]any)
		var writes []string
		for right, level := range granted {
			if level != "read" {
				writes = append(writes, right)
			}
		}
		slices.Sort(writes)
		if got, known := want[name]; !known || strings.Join(writes, " ") != got {
			t.Errorf("job %s may write %q, want %q", name, writes, got)
		}
		for _, s := range j.Steps {
			if strings.HasPrefix(s.Uses, "actions/cache") || strings.HasPrefix(s.Uses, "actions/setup-go@") && s.With["cache"] != false {
				t.Errorf("job %s uses a cache, which others can write", name)
			}
		}
		if len(writes) == 0 {
			continue
		}
		first := slices.IndexFunc(j.Steps, func(s step) bool { return s.Run != "" })
		if first < 0 || j.Steps[first].Run != "make release-unpack" || j.Steps[first].Env["SHA256"] != "${{ needs.build.outputs.sha256 }}" {
			t.Errorf("job %s does not begin with the release that was built: %+v", name, j.Steps)
		}
		for _, s := range j.Steps {
			if regexp.MustCompile(`make release( |$)`).MatchString(s.Run) {
				t.Errorf("job %s builds a release", name)
			}
		}
	}
	if len(w.Jobs) != len(want) {
		t.Errorf("%d jobs, want %d", len(w.Jobs), len(want))
	}
}

// What is published has the checksum that the job that built it has said, and its files
// have theirs.
func TestUnpack(t *testing.T) {
	t.Parallel()
	makefile, err := filepath.Abs(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	sum := func(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }
	archive := func(files ...string) string {
		var b strings.Builder
		w := tar.NewWriter(&b)
		for i := 0; i < len(files); i += 2 {
			if err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write([]byte(files[i+1])); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	const manifest = "kind: Plugin\n"
	good := archive("why-pull.yaml", manifest, "checksums.txt", sum(manifest)+"  why-pull.yaml\n")
	other := archive("why-pull.yaml", "kind: Other\n", "checksums.txt", sum(manifest)+"  why-pull.yaml\n")
	for what, tc := range map[string]struct {
		archive, sha256 string
		fine            bool
	}{
		"what was built":          {good, sum(good), true},
		"something else":          {other, sum(good), false},
		"no sum":                  {good, "", false},
		"a file with another sum": {other, sum(other), false},
	} {
		dir := t.TempDir()
		dist := filepath.Join(dir, "dist")
		if err := errors.Join(os.Mkdir(dist, 0o700), os.WriteFile(filepath.Join(dist, "release.tar"), []byte(tc.archive), 0o600)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "make", "-f", makefile, "release-unpack")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "MAKEFLAGS=", "SHA256="+tc.sha256)
		out, err := cmd.CombinedOutput()
		if (err == nil) != tc.fine {
			t.Errorf("%s: %v\n%s", what, err, out)
		}
		if got, err := os.ReadFile(filepath.Join(dist, "why-pull.yaml")); tc.fine && (err != nil || string(got) != manifest) {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
}

// One action has one version everywhere.
func TestActionsHaveOneVersion(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*"))
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`uses: ([^@\s]+)@(\S+ # \S+)`).FindAllStringSubmatch(string(text), -1) {
			if other, seen := versions[m[1]]; seen && other != m[2] {
				t.Errorf("%s is %s and %s", m[1], other, m[2])
			}
			versions[m[1]] = m[2]
		}
	}
	if len(versions) < 6 {
		t.Errorf("only %d actions", len(versions))
	}
}

// The workflows run targets that the Makefile has, and CI all that a change has to pass.
func TestWorkflowsRunTargets(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	target := regexp.MustCompile(`(?m)(?:\bmake |target: )([a-z][a-z0-9-]*)`)
	read := func(name string) []string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(root, ".github", "workflows", name))
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, m := range target.FindAllStringSubmatch(string(text), -1) {
			all = append(all, m[1])
		}
		return all
	}
	ci := read("ci.yaml")
	for _, name := range slices.Concat(ci, read("nightly.yaml"), read("release.yaml")) {
		if !strings.Contains(string(makefile), "\n"+name+":") {
			t.Errorf("the Makefile has no target %s", name)
		}
	}
	everything := regexp.MustCompile(`(?m)^TESTS := (.*)`).FindSubmatch(makefile)
	if everything == nil {
		t.Fatal("the Makefile does not say what everything is")
	}
	static := regexp.MustCompile(`(?m)^test-static: (.*?) ##`).FindSubmatch(makefile)
	if static == nil {
		t.Fatal("the Makefile has no target test-static")
	}
	ci = append(ci, strings.Fields(string(static[1]))...)
	for name := range strings.FieldsSeq(string(everything[1])) {
		if !slices.Contains(ci, name) {
			t.Errorf("CI does not run %s", name)
		}
	}
}
