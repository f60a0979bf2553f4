// Package release makes the parts of a release that GoReleaser leaves: the image, the
// chart, the manifest for krew and the notes. It needs no container engine.
package release

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
	"time"

	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
)

// Release is what GoReleaser has built in the directory dist of a source tree.
type Release struct {
	// Version has no v in front. A snapshot's is a prerelease.
	Version string
	// Commit is the full hash.
	Commit string
	// Created is the time of the commit: all files have it.
	Created time.Time

	root     string
	programs []program
}

// program is the agent for one architecture.
type program struct{ architecture, path string }

// Open returns the release in root/dist.
func Open(root string, created time.Time) (*Release, error) {
	var metadata struct{ Version, Commit string }
	if err := readJSON(filepath.Join(root, "dist", "metadata.json"), &metadata); err != nil {
		return nil, err
	}
	var artifacts []struct {
		Type, Name, Path, Goos, Goarch string
	}
	if err := readJSON(filepath.Join(root, "dist", "artifacts.json"), &artifacts); err != nil {
		return nil, err
	}
	r := &Release{Version: metadata.Version, Commit: metadata.Commit, Created: created, root: root}
	for _, a := range artifacts {
		if a.Type == "Binary" && a.Goos == "linux" && a.Name == "whypull" {
			r.programs = append(r.programs, program{a.Goarch, filepath.Join(root, a.Path)})
		}
	}
	if len(r.programs) == 0 {
		return nil, fmt.Errorf("no program whypull in %s/dist/artifacts.json", root)
	}
	return r, nil
}

// Tag returns the version with a v in front, which is the tag of the repository and of
// the image.
func (r *Release) Tag() string { return "v" + r.Version }

// Dist returns the path of a file in the directory dist.
func (r *Release) Dist(name string) string { return filepath.Join(r.root, "dist", name) }

// Assemble writes the image, the chart, the manifest for krew and the notes to dist, and
// adds their checksums to those of GoReleaser.
func (r *Release) Assemble() error {
	chart, err := r.packageChart()
	if err != nil {
		return err
	}
	manifest, err := r.krew()
	if err != nil {
		return err
	}
	if err := r.addChecksums(chart, manifest); err != nil {
		return err
	}
	if err := r.writeLayouts(chart); err != nil {
		return err
	}
	notes, err := r.notes()
	if err != nil {
		return err
	}
	return os.WriteFile(r.Dist("notes.md"), []byte(notes), 0o600)
}

// Check returns an error if a file in the source tree is for another version than the
// release.
func (r *Release) Check() error {
	chart, err := loader.Load(filepath.Join(r.root, "deploy", "chart"))
	if err != nil {
		return fmt.Errorf("chart: %w", err)
	}
	if m := chart.Metadata; m.Version != r.Version || m.AppVersion != r.Version {
		return fmt.Errorf("deploy/chart/Chart.yaml: version %s and appVersion %s, and the tag is %s", m.Version, m.AppVersion, r.Tag())
	}
	manifest, err := os.ReadFile(filepath.Join(r.root, "deploy", "base", "daemonset.yaml"))
	if err != nil {
		return err
	}
	if image := "image: ghcr.io/whypull/whypull:" + r.Tag() + "\n"; !strings.Contains(string(manifest), image) {
		return fmt.Errorf("deploy/base/daemonset.yaml does not have %s", image)
	}
	return nil
}

// packageChart writes the chart, with the release's version, and returns the file's name.
func (r *Release) packageChart() (string, error) {
	chart, err := r.chart()
	if err != nil {
		return "", err
	}
	path, err := chartutil.Save(chart, r.Dist(""))
	if err != nil {
		return "", fmt.Errorf("chart: %w", err)
	}
	return filepath.Base(path), nil
}

func (r *Release) chart() (*chartv2.Chart, error) {
	chart, err := loader.Load(filepath.Join(r.root, "deploy", "chart"))
	if err != nil {
		return nil, fmt.Errorf("chart: %w", err)
	}
	chart.Metadata.Version, chart.Metadata.AppVersion = r.Version, r.Version
	return chart, nil
}

// krew writes the manifest of the kubectl plugin, and returns the file's name. Its
// template has the functions of krew-release-bot.
func (r *Release) krew() (string, error) {
	sums, err := r.checksums()
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(r.root, ".krew.yaml"))
	if err != nil {
		return "", err
	}
	t, err := template.New("krew").Funcs(template.FuncMap{
		"addURIAndSha": func(uri, tag string) (string, error) {
			uri = strings.ReplaceAll(uri, "{{ .TagName }}", tag)
			sum, ok := sums[uri[strings.LastIndex(uri, "/")+1:]]
			if !ok {
				return "", fmt.Errorf("no checksum of %s", uri)
			}
			return "uri: " + uri + "\n    sha256: " + sum, nil
		},
	}).Parse(string(text))
	if err != nil {
		return "", fmt.Errorf("krew manifest: %w", err)
	}
	var out strings.Builder
	if err := t.Execute(&out, map[string]string{"TagName": r.Tag()}); err != nil {
		return "", fmt.Errorf("krew manifest: %w", err)
	}
	const name = "why-pull.yaml"
	return name, os.WriteFile(r.Dist(name), []byte(out.String()), 0o600)
}

// checksums returns the checksums that GoReleaser has written, by file name.
func (r *Release) checksums() (map[string]string, error) {
	text, err := os.ReadFile(r.Dist("checksums.txt"))
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if sum, name, ok := strings.Cut(strings.TrimSpace(line), "  "); ok {
			all[name] = sum
		}
	}
	return all, nil
}

func (r *Release) addChecksums(names ...string) error {
	text, err := os.ReadFile(r.Dist("checksums.txt"))
	if err != nil {
		return err
	}
	for _, name := range names {
		data, err := os.ReadFile(r.Dist(name))
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		text = append(text, hex.EncodeToString(sum[:])+"  "+name+"\n"...)
	}
	return os.WriteFile(r.Dist("checksums.txt"), text, 0o600) // #nosec G703 -- a path of our own
}

// notes returns the release's section of the changelog, or what is not released yet if
// there is none, with links that lead to the documents from anywhere.
func (r *Release) notes() (string, error) {
	text, err := os.ReadFile(filepath.Join(r.root, "CHANGELOG.md"))
	if err != nil {
		return "", err
	}
	for _, heading := range []string{regexp.QuoteMeta(r.Version), "Unreleased"} {
		sections := regexp.MustCompile(`(?m)^## ` + heading + `( .*)?$`).FindStringIndex(string(text))
		if sections == nil {
			continue
		}
		section, _, _ := strings.Cut(string(text[sections[1]:]), "\n## ")
		return strings.ReplaceAll(strings.TrimSpace(section), "](deploy/", "](https://github.com/whypull/whypull/blob/"+r.Tag()+"/deploy/") + "\n", nil
	}
	return "", fmt.Errorf("CHANGELOG.md has no section for %s", r.Version)
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
