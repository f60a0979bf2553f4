package demo

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/whypull/whypull/deploy/lab"
)

func TestOverlayNamesWhatIsThere(t *testing.T) {
	t.Parallel()
	l, err := lab.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := overlay(l, root, Options{})
	if err != nil || plain != filepath.Join(root, "deploy") {
		t.Errorf("without components: %s, %v", plain, err)
	}
	l.Kubernetes = "1.34"
	if old, err := overlay(l, root, Options{}); err != nil || old != filepath.Join(root, "deploy", "before-1.36") {
		t.Errorf("on Kubernetes 1.34: %s, %v", old, err)
	}
	dir, err := overlay(l, root, Options{Components: []string{"direct-pod-access"}, Flags: map[string]string{"pull-stall-after": "10s"}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "/before-1.36\n") {
		t.Errorf("the manifests for Kubernetes 1.34 are not in\n%s", text)
	}
	if !strings.Contains(string(text), `{name: WHYPULL_PULL_STALL_AFTER, value: "10s"}`) {
		t.Errorf("the flag is not in\n%s", text)
	}
	found := 0
	for line := range strings.Lines(string(text)) {
		path, ok := strings.CutPrefix(line, "- ")
		path = strings.TrimSpace(path)
		if !ok || strings.HasPrefix(path, "target:") {
			continue
		}
		found++
		if _, err := os.Stat(filepath.Join(dir, path, "kustomization.yaml")); err != nil {
			t.Error(err)
		}
	}
	if found != 2 {
		t.Errorf("%d directories in\n%s", found, text)
	}
}

// The lab tests what users get.
func TestBuildsWithTheSameFlags(t *testing.T) {
	t.Parallel()
	flags := buildFlags()
	ldflags := flags[len(flags)-1]
	for name, version := range map[string]string{"Makefile": "$(VERSION)", "Dockerfile": "$VERSION"} {
		text, err := os.ReadFile(filepath.Join("../../..", name))
		if err != nil {
			t.Fatal(err)
		}
		want := "go " + strings.Join(flags[:len(flags)-1], " ") + ` "` + strings.Replace(ldflags, "=lab", "="+version, 1) + `"`
		if !strings.Contains(string(text), want) {
			t.Errorf("%s does not contain %s", name, want)
		}
	}
	root := filepath.Join("..", "..", "..")
	if agent, plugin := goreleaserFlags(t, root, "whypull", "1"), goreleaserFlags(t, root, "kubectl-why_pull", "1"); !slices.Equal(agent, plugin) {
		t.Errorf("the agent's flags %v, the plugin's %v", agent, plugin)
	}
}

// The Dockerfile's build and GoReleaser's make the same program, wherever the source is.
func TestBuildsTheSameBytes(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	dockerfile, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`go build (.+) -o /whypull (\./cmd/whypull)\n`).FindSubmatch(dockerfile)
	if command == nil {
		t.Fatalf("no build in\n%s", dockerfile)
	}
	copied, dir := copySource(t, root), t.TempDir()
	one, other := filepath.Join(dir, "dockerfile"), filepath.Join(dir, "goreleaser")
	build := func(source string, cmd *exec.Cmd) {
		t.Helper()
		cmd.Dir, cmd.Env = source, append(os.Environ(), "GOFLAGS=", "CGO_ENABLED=0", "VERSION=1.2.3")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
	}
	build(copied, exec.CommandContext(t.Context(), "sh", "-c", "go build "+string(command[1])+" -o "+one+" "+string(command[2])))
	args := goreleaserFlags(t, root, "whypull", "1.2.3")
	build(root, exec.CommandContext(t.Context(), "go", slices.Concat([]string{"build"}, args, []string{"-o", other, "./cmd/whypull"})...))
	if sum(t, one) != sum(t, other) {
		t.Errorf("%s and %v differ in what they build", command[1], args)
	}
}

// goreleaserFlags returns the arguments that GoReleaser gives to go build.
func goreleaserFlags(t *testing.T, root, id, version string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, ".goreleaser.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Builds []struct {
			ID                      string
			Env                     []string
			Flags, GCFlags, LDFlags []string
		}
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	for _, b := range config.Builds {
		if b.ID == id && slices.Equal(b.Env, []string{"CGO_ENABLED=0"}) && len(b.LDFlags) == 1 {
			for _, of := range b.GCFlags {
				b.Flags = append(b.Flags, "-gcflags="+of)
			}
			return append(b.Flags, "-ldflags="+strings.Replace(b.LDFlags[0], "{{ .Version }}", version, 1))
		}
	}
	t.Fatalf("no build %s with CGO_ENABLED=0 in\n%s", id, text)
	return nil
}

// copySource copies what the programs are built from.
func copySource(t *testing.T, root string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "src")
	for _, dir := range []string{"cmd", "agent", "cri", "report", "deploy/runbook"} {
		if err := os.CopyFS(filepath.Join(to, dir), os.DirFS(filepath.Join(root, dir))); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, file), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func sum(t *testing.T, file string) [sha256.Size]byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data)
}

// The Dockerfile has the version of Go that releases are built with.
func TestBuildsWithTheSameGo(t *testing.T) {
	t.Parallel()
	read := func(file, expression string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join("../../..", file))
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(expression).FindSubmatch(text)
		if found == nil {
			t.Fatalf("%s does not match %s", file, expression)
		}
		return string(found[1])
	}
	if image, module := read("Dockerfile", `FROM .*golang:(\S+) AS build`), read("go.mod", `(?m)^go (\S+)$`); image != module {
		t.Errorf("the Dockerfile has Go %s, go.mod %s", image, module)
	}
}
