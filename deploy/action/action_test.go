// Package action_test runs the script of the GitHub Action with a whypull that only
// records how it is called.
package action_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// fake records its arguments and returns the status in STATUS.
const fake = `#!/bin/sh
printf '%s\0' "$@" >"$CALLED"
echo '{"fake": true}'
exit "${STATUS:-0}"
`

const manifest = "apiVersion: v1\nkind: Pod\n"

// repository is a git repository with the action's script.
type repository struct {
	dir, bin, called string
	base             string
	env              []string
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	for _, tool := range []string{"bash", "git", "grep"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("there is no %s", tool)
		}
	}
	r := &repository{dir: t.TempDir(), bin: t.TempDir()}
	r.called = filepath.Join(t.TempDir(), "called")
	r.env = []string{
		"PATH=" + r.bin + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(), "CALLED=" + r.called, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
	}
	r.program(t, "whypull", fake)
	r.git(t, "init", "-q")
	r.write(t, "old.yaml", manifest)
	r.write(t, "gone.yaml", manifest)
	r.commit(t)
	r.base = strings.TrimSpace(r.git(t, "rev-parse", "HEAD"))
	return r
}

func (r *repository) program(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.bin, name), []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}

func (r *repository) write(t *testing.T, name, text string) {
	t.Helper()
	at := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (r *repository) git(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir, cmd.Env = r.dir, r.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return string(out)
}

func (r *repository) commit(t *testing.T) {
	t.Helper()
	r.git(t, "add", "-A")
	r.git(t, "commit", "-q", "-m", "x")
}

// run runs the script and returns whypull's arguments, without those that are always
// there, and the exit status.
func (r *repository) run(t *testing.T, env ...string) (args []string, status int, output string) {
	t.Helper()
	script, err := filepath.Abs("check.sh")
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(r.called)
	cmd := exec.CommandContext(t.Context(), script)
	cmd.Dir, cmd.Env = r.dir, slices.Concat(r.env, env)
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		status = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	called, err := os.ReadFile(r.called)
	if err != nil {
		return nil, status, string(out)
	}
	args = strings.Split(strings.TrimSuffix(string(called), "\x00"), "\x00")
	if len(args) < 5 || !slices.Equal(args[:4], []string{"check", "--allow-empty", "--recursive", "--output"}) {
		t.Fatalf("whypull is called with %q", args)
	}
	return args[4:], status, string(out)
}

// Changed manifests are checked, whatever their names are.
func TestChangedManifests(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	names := []string{"-n.yaml", "$(touch pwned).yaml", "a b.yml", "deploy/c.json", "line\nbreak.yaml", "x';touch pwned;'.yaml"}
	for _, name := range names {
		r.write(t, name, manifest)
	}
	r.write(t, "deploy/c.json", `{"apiVersion":"v1"}`)
	r.write(t, "values.yaml", "image: x\n")
	r.write(t, "package.json", "{}\n")
	r.write(t, "readme.md", manifest)
	if err := os.Remove(filepath.Join(r.dir, "gone.yaml")); err != nil {
		t.Fatal(err)
	}
	r.commit(t)

	files := func(names ...string) []string {
		out := []string{"text"}
		for _, name := range names {
			out = append(out, "--file", "./"+name)
		}
		return out
	}
	for name, tc := range map[string]struct {
		env  []string
		want []string
	}{
		"changed":      {[]string{"ACTION_BASE=" + r.base}, files(names...)},
		"a folder":     {[]string{"ACTION_BASE=" + r.base, "ACTION_PATHS=deploy\n"}, files("deploy/c.json")},
		"first push":   {[]string{"ACTION_BASE=" + strings.Repeat("0", 40)}, files(append(slices.Clone(names), "old.yaml")...)},
		"nothing":      {[]string{"ACTION_BASE=" + strings.TrimSpace(r.git(t, "rev-parse", "HEAD"))}, []string{"text", "--file", "-"}},
		"given":        {[]string{"ACTION_FILES=deploy\n\n$(touch pwned)\n"}, []string{"text", "--file", "deploy", "--file", "$(touch pwned)"}},
		"the platform": {[]string{"ACTION_FILES=x", "ACTION_PLATFORM=linux/arm64;touch pwned"}, []string{"text", "--platform", "linux/arm64;touch pwned", "--file", "x"}},
	} {
		args, status, output := r.run(t, tc.env...)
		slices.Sort(args[1:])
		slices.Sort(tc.want[1:])
		if status != 0 || !slices.Equal(args, tc.want) {
			t.Errorf("%s: status %d, arguments %q, want %q\n%s", name, status, args, tc.want, output)
		}
	}
	if _, err := os.Stat(filepath.Join(r.dir, "pwned")); err == nil {
		t.Error("an input was run")
	}
}

// The exit status is whypull's, and its output goes to the file.
func TestStatusAndOutput(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	for _, want := range []int{0, 1, 2} {
		args, status, output := r.run(t, "ACTION_FILES=old.yaml", "ACTION_OUTPUT=sarif", "ACTION_OUTPUT_FILE=out file.sarif", fmt.Sprintf("STATUS=%d", want))
		text, err := os.ReadFile(filepath.Join(r.dir, "out file.sarif"))
		if err != nil || status != want || args[0] != "sarif" || string(text) != "{\"fake\": true}\n" {
			t.Errorf("status %d, want %d, arguments %q, file %q, error %v: %s", status, want, args, text, err, output)
		}
	}
}

func TestWrongInputs(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	for name, tc := range map[string]struct{ env, want string }{
		"base":    {"ACTION_BASE=--output=pwned", "input base: want the full hash of a commit"},
		"unknown": {"ACTION_BASE=" + strings.Repeat("a", 40), "cannot fetch commit"},
		"version": {"ACTION_VERSION=v1.0.0/../../x", "input version: want a release such as v1.2.3"},
	} {
		if args, status, output := r.run(t, tc.env); status != 2 || args != nil || !strings.Contains(output, tc.want) {
			t.Errorf("%s: status %d, arguments %q, %s", name, status, args, output)
		}
	}
	if err := os.Remove(filepath.Join(r.bin, "whypull")); err != nil {
		t.Fatal(err)
	}
	if _, status, output := r.run(t); status != 2 || !strings.Contains(output, "no whypull on the PATH") {
		t.Errorf("no whypull: status %d, %s", status, output)
	}
}

// A release runs only with the checksum that it is published with.
func TestDownload(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("the archive is for Linux and macOS")
	}
	name := fmt.Sprintf("whypull_v1.2.3_%s_%s.tar.gz", runtime.GOOS, runtime.GOARCH)
	archive := packed(t, fake)
	sum := fmt.Sprintf("%x  %s\n", sha256.Sum256(archive), name)
	// curl's fake takes the file from a folder and insists on HTTPS from the releases.
	r.program(t, "curl", `#!/bin/sh
while [ $# -gt 1 ]; do case $1 in --proto) [ "$2" = '=https' ] || exit 1 ;; -o) to=$2 ;; esac; shift; done
case $1 in https://github.com/whypull/whypull/releases/download/v1.2.3/*) cp "$RELEASES/${1##*/}" "$to" ;; *) exit 1 ;; esac
`)
	for what, tc := range map[string]struct {
		sums   string
		status int
		output string
	}{
		"right":       {"0000  other\n" + sum, 0, `{"fake": true}`},
		"wrong":       {strings.Repeat("0", 64) + "  " + name + "\n", 2, "the checksum of " + name + " is not the one in checksums.txt"},
		"other's":     {strings.Replace(sum, name, "x"+name, 1), 2, "the checksum of"},
		"not in line": {strings.Replace(sum, "\n", "x\n", 1), 2, "the checksum of"},
		"none":        {"", 2, "the checksum of"},
	} {
		releases := t.TempDir()
		if err := errors.Join(os.WriteFile(filepath.Join(releases, name), archive, 0o600), os.WriteFile(filepath.Join(releases, "checksums.txt"), []byte(tc.sums), 0o600)); err != nil {
			t.Fatal(err)
		}
		args, status, output := r.run(t, "ACTION_FILES=x", "ACTION_VERSION=v1.2.3", "RELEASES="+releases)
		if status != tc.status || (args == nil) != (tc.status != 0) || !strings.Contains(output, tc.output) {
			t.Errorf("%s: status %d, arguments %q, %s", what, status, args, output)
		}
	}
}

// packed returns an archive like a release's.
func packed(t *testing.T, program string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	err := w.WriteHeader(&tar.Header{Name: "whypull", Mode: 0o755, Size: int64(len(program))})
	if err == nil {
		_, err = w.Write([]byte(program))
	}
	if err = errors.Join(err, w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// No input is part of a script: GitHub would put it there before the shell reads it.
func TestActionInterpolatesNothing(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("action.yml")
	if err != nil {
		t.Fatal(err)
	}
	var action struct {
		Inputs map[string]struct{ Description string }
		Runs   struct {
			Using string
			Steps []struct {
				Run, Shell string
				Env        map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &action); err != nil {
		t.Fatal(err)
	}
	if action.Runs.Using != "composite" || len(action.Runs.Steps) != 1 {
		t.Fatalf("%+v", action.Runs)
	}
	step := action.Runs.Steps[0]
	if strings.Contains(step.Run, "${{") || step.Shell != "bash" {
		t.Errorf("the step runs %q with %s", step.Run, step.Shell)
	}
	script, err := os.ReadFile("check.sh")
	if err != nil {
		t.Fatal(err)
	}
	for name := range step.Env {
		if !strings.Contains(string(script), "$"+name) && !strings.Contains(string(script), "${"+name) {
			t.Errorf("the script does not read %s", name)
		}
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, input := range action.Inputs {
		if input.Description == "" || !strings.Contains(string(readme), "`"+name+"`") || !strings.Contains(string(text), "inputs."+name) {
			t.Errorf("input %s is not described or not used", name)
		}
	}
}
