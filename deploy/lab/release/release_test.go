package release

import (
	"archive/tar"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"sigs.k8s.io/yaml"

	"github.com/whypull/whypull/deploy/lab/release/push"
)

// snapshot is the dist of "make release-snapshot", which the target test-release gives.
var snapshot = flag.String("dist", "", "directory of a snapshot to test")

const root = "../../.."

// goreleaser returns a source tree with what GoReleaser leaves in dist, with a few bytes
// instead of programs.
func goreleaser(t *testing.T, version string) *Release {
	t.Helper()
	tree, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, link := range []string{"deploy", ".krew.yaml", "CHANGELOG.md"} {
		if err := os.Symlink(filepath.Join(tree, link), filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "dist"), 0o750); err != nil {
		t.Fatal(err)
	}
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "dist", file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("metadata.json", `{"version": "`+version+`", "commit": "0123456789abcdef0123456789abcdef01234567"}`)
	write("artifacts.json", `[
		{"name": "whypull", "type": "Binary", "goos": "linux", "goarch": "amd64", "path": "dist/amd64"},
		{"name": "whypull", "type": "Binary", "goos": "linux", "goarch": "arm64", "path": "dist/arm64"},
		{"name": "kubectl-why_pull", "type": "Binary", "goos": "linux", "goarch": "arm64", "path": "dist/plugin"}
	]`)
	write("amd64", "an amd64 program")
	write("arm64", "an arm64 program")
	var sums strings.Builder
	for _, system := range []string{"linux", "darwin", "windows"} {
		for _, architecture := range []string{"amd64", "arm64"} {
			suffix := ".tar.gz"
			if system == "windows" {
				suffix = ".zip"
			}
			sums.WriteString(strings.Repeat("0f", 32) + "  kubectl-why_pull_v" + version + "_" + system + "_" + architecture + suffix + "\n")
		}
	}
	write("checksums.txt", sums.String())
	r, err := Open(dir, time.Unix(1_700_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAssemble(t *testing.T) {
	t.Parallel()
	r := goreleaser(t, "0.1.0")
	if err := errors.Join(r.Check(), r.Assemble()); err != nil {
		t.Fatal(err)
	}
	notes, err := os.ReadFile(r.Dist("notes.md"))
	if err != nil || !strings.Contains(string(notes), "- `[FEATURE]` ") || strings.Contains(string(notes), "\n## ") {
		t.Errorf("notes: %v\n%s", err, notes)
	}
	for _, link := range regexp.MustCompile(`\]\(([^)]*)`).FindAllSubmatch(notes, -1) {
		if !strings.HasPrefix(string(link[1]), "https://github.com/whypull/whypull/blob/v0.1.0/deploy/") {
			t.Errorf("notes: the link %s leads nowhere on the release's page", link[1])
		}
	}
	sums, err := r.checksums()
	if err != nil || len(sums) != 8 || sums["whypull-0.1.0.tgz"] == "" || sums["why-pull.yaml"] == "" {
		t.Errorf("checksums: %v, %v", err, sums)
	}
	validateKrew(t, r.Dist("why-pull.yaml"))
	manifest, err := os.ReadFile(r.Dist("why-pull.yaml"))
	if err != nil || strings.Count(string(manifest), "uri: https://") != 6 {
		t.Errorf("the manifest: %v\n%s", err, manifest)
	}
}

// validateKrew checks a manifest as krew-index does, without its downloads.
func validateKrew(t *testing.T, manifest string) {
	t.Helper()
	cmd := krew(t, "validate-krew-manifest", "-manifest", manifest, "-skip-install")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("krew's validation: %v\n%s", err, out)
	}
}

// krew returns a command of krew's module.
func krew(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"tool", "-modfile=.ci/krew.mod"}, args...)...)
	cmd.Dir = root
	return cmd
}

func TestCheckRefusesAnotherVersion(t *testing.T) {
	t.Parallel()
	if err := goreleaser(t, "0.2.0-rc.1").Check(); err == nil || !strings.Contains(err.Error(), "0.2.0-rc.1") {
		t.Errorf("a tag for another version than the chart's: %v", err)
	}
}

// The image has one file, the program, and the same programs give the same image.
func TestImage(t *testing.T) {
	t.Parallel()
	r := goreleaser(t, "0.1.0")
	index, err := r.Image()
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.Image()
	if err != nil {
		t.Fatal(err)
	}
	first, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if second, err := again.Digest(); err != nil || first != second {
		t.Errorf("digests %s and %s, %v", first, second, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, m := range manifest.Manifests {
		platforms = append(platforms, m.Platform.String())
		i, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := i.Layers()
		if err != nil || len(layers) != 1 {
			t.Fatalf("layers: %d, %v", len(layers), err)
		}
		content, err := layers[0].Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		if got := files(t, content); !slices.Equal(got, []string{"-rwxr-xr-x whypull 2023-11-14T22:13:20Z an " + m.Platform.Architecture + " program"}) {
			t.Errorf("files: %q", got)
		}
		config, err := i.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Config.Labels["org.opencontainers.image.revision"] != r.Commit || config.Config.Labels["org.opencontainers.image.version"] != "0.1.0" {
			t.Errorf("labels: %v", config.Config.Labels)
		}
	}
	if !slices.Equal(platforms, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("platforms: %v", platforms)
	}
}

// files lists an archive.
func files(t *testing.T, archive io.Reader) []string {
	t.Helper()
	var all []string
	for in := tar.NewReader(archive); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, h.FileInfo().Mode().String()+" "+h.Name+" "+h.ModTime.UTC().Format(time.RFC3339)+" "+string(data))
	}
}

// What is pushed has the digests that are signed, and the form of Helm's charts.
func TestPush(t *testing.T) {
	t.Parallel()
	r := goreleaser(t, "0.1.0")
	if err := r.Assemble(); err != nil {
		t.Fatal(err)
	}
	namespace := pushed(t, r.Dist(""), "0.1.0")
	tag, err := name.ParseReference(namespace + "/charts/whypull:0.1.0")
	if err != nil {
		t.Fatal(err)
	}
	chart, err := remote.Image(tag)
	if err != nil {
		t.Fatal(err)
	}
	config, err := chart.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	var metadata struct{ Name, Version, AppVersion string }
	if err := json.Unmarshal(config, &metadata); err != nil || metadata.Name != "whypull" || metadata.Version != "0.1.0" || metadata.AppVersion != "0.1.0" {
		t.Errorf("the chart's metadata: %s, %v", config, err)
	}
	layers, err := chart.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("layers: %d, %v", len(layers), err)
	}
	if kind, err := layers[0].MediaType(); err != nil || kind != chartContent {
		t.Errorf("the chart's content: %s, %v", kind, err)
	}
}

// pushed pushes what is in dist to a registry, which then has what is signed, and returns
// the namespace there.
func pushed(t *testing.T, dist, version string) string {
	t.Helper()
	server := httptest.NewServer(registry.New())
	t.Cleanup(server.Close)
	namespace := strings.TrimPrefix(server.URL, "http://") + "/whypull"
	if err := push.Push(filepath.Join(dist, "oci"), namespace, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	for file, reference := range map[string]string{"image": "/whypull:v" + version, "chart": "/charts/whypull:" + version, "image-amd64": "", "image-arm64": ""} {
		digest, err := os.ReadFile(filepath.Join(dist, file+".digest"))
		if err != nil {
			t.Fatal(err)
		}
		signed := strings.TrimSpace(string(digest))
		at, err := name.ParseReference(namespace + cmp.Or(reference, "/whypull@"+signed))
		if err != nil {
			t.Fatal(err)
		}
		if head, err := remote.Head(at); err != nil || head.Digest.String() != signed {
			t.Errorf("%s is %s, and the registry has %v, %v", file, signed, head, err)
		}
	}
	return namespace
}

// What the jobs that publish get from the one that builds is all that they publish.
func TestSnapshotIsPublished(t *testing.T) {
	if *snapshot == "" {
		t.Skip("without -dist")
	}
	archive, err := os.ReadFile(filepath.Join(*snapshot, "release.tar"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	dist := filepath.Join(dir, "dist")
	if err := errors.Join(os.Mkdir(dist, 0o700), os.WriteFile(filepath.Join(dist, "release.tar"), archive, 0o600)); err != nil {
		t.Fatal(err)
	}
	makefile, err := filepath.Abs(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "make", "-f", makefile, "release-unpack")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "MAKEFLAGS=", fmt.Sprintf("SHA256=%x", sha256.Sum256(archive)))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for pattern, want := range map[string]int{"*.tar.gz": 8, "*.zip": 4, "*.tgz": 1, "*.cdx.json": 12, "why-pull.yaml": 1, "checksums.txt": 1, "notes.md": 1} {
		if files, err := filepath.Glob(filepath.Join(dist, pattern)); err != nil || len(files) != want {
			t.Errorf("%s: %q, %v", pattern, files, err)
		}
	}
	charts, err := filepath.Glob(filepath.Join(dist, "whypull-*.tgz"))
	if err != nil || len(charts) != 1 {
		t.Fatalf("charts %q, %v", charts, err)
	}
	pushed(t, dist, strings.TrimSuffix(strings.TrimPrefix(filepath.Base(charts[0]), "whypull-"), ".tgz"))
}

// TestSnapshot checks what "make release-snapshot" has made: krew installs the plugin of
// each system, and each program has a bill of materials.
func TestSnapshot(t *testing.T) {
	if *snapshot == "" {
		t.Skip("without -dist")
	}
	manifest := filepath.Join(*snapshot, "why-pull.yaml")
	validateKrew(t, manifest)
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	var plugin struct {
		Spec struct {
			Platforms []struct {
				URI      string
				Bin      string
				Selector struct{ MatchLabels map[string]string }
			}
		}
	}
	if err := yaml.Unmarshal(text, &plugin); err != nil || len(plugin.Spec.Platforms) == 0 {
		t.Fatalf("%d platforms, %v", len(plugin.Spec.Platforms), err)
	}
	for _, p := range plugin.Spec.Platforms {
		labels, home := p.Selector.MatchLabels, t.TempDir()
		cmd := krew(t, "krew", "install", "--manifest", manifest, "--archive", filepath.Join(*snapshot, filepath.Base(p.URI)))
		cmd.Env = append(os.Environ(), "KREW_ROOT="+home, "KREW_OS="+labels["os"], "KREW_ARCH="+labels["arch"])
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("krew on %v: %v\n%s", labels, err, out)
		}
		for _, file := range []string{p.Bin, "LICENSE"} {
			if found, err := filepath.Glob(filepath.Join(home, "store", "why-pull", "*", file)); err != nil || len(found) != 1 {
				t.Errorf("krew on %v installed no %s", labels, file)
			}
		}
	}
	bills, err := filepath.Glob(filepath.Join(*snapshot, "*.cdx.json"))
	if err != nil || len(bills) != 2*len(plugin.Spec.Platforms) {
		t.Fatalf("bills of materials: %v, %v", bills, err)
	}
	for _, bill := range bills {
		var b struct {
			BomFormat  string
			Components []struct{ Name, Version, Purl string }
		}
		if err := readJSON(bill, &b); err != nil || b.BomFormat != "CycloneDX" || len(b.Components) < 20 {
			t.Errorf("%s: %v, %d components", bill, err, len(b.Components))
		}
	}
}
