package image

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestBuild(t *testing.T) {
	file := config(t, build(t, Options{Name: "a", Program: program(t), Args: []string{"x"}, User: "1"}))
	if file.OS != "linux" || file.Architecture != runtime.GOARCH {
		t.Errorf("platform %s/%s", file.OS, file.Architecture)
	}
	if got := file.Config; len(got.Entrypoint) != 1 || got.Entrypoint[0] != "/run" || got.Cmd[0] != "x" || got.User != "1" {
		t.Errorf("config %+v", got)
	}
}

func TestImagesOfDifferentNamesAreDifferent(t *testing.T) {
	p := program(t)
	a, b, again := id(t, build(t, Options{Name: "a", Program: p})), id(t, build(t, Options{Name: "b", Program: p})), id(t, build(t, Options{Name: "a", Program: p}))
	if a == b {
		t.Error("two images have the same digest")
	}
	if a != again {
		t.Error("the same image has two digests")
	}
}

func TestPaddingDoesNotCompress(t *testing.T) {
	const size = 100_000
	layers, err := build(t, Options{Name: "a", Program: program(t), Padding: size}).Layers()
	if err != nil {
		t.Fatal(err)
	}
	if compressed, err := layers[0].Size(); err != nil || compressed < size {
		t.Errorf("%d bytes became %d (%v)", size, compressed, err)
	}
}

func TestIndexHasEachPlatform(t *testing.T) {
	index, err := Index(build(t, Options{Name: "a", Program: program(t), Architecture: "s390x"}))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 || manifest.Manifests[0].Platform.Architecture != "s390x" {
		t.Errorf("%+v, %v", manifest, err)
	}
}

func TestArchiveHasTheReference(t *testing.T) {
	const reference = "r.example/a:1"
	path := filepath.Join(t.TempDir(), FileName(reference))
	built := build(t, Options{Name: reference, Program: program(t)})
	if err := WriteArchive(path, reference, built); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(reference)
	if err != nil {
		t.Fatal(err)
	}
	read, err := tarball.ImageFromPath(path, &tag)
	if err != nil {
		t.Fatal(err)
	}
	if id(t, read) != id(t, built) {
		t.Error("the archive has another image")
	}
	if err := WriteArchive(path, "UPPER::", built); err == nil {
		t.Error("a malformed name was accepted")
	}
}

func TestMissingProgram(t *testing.T) {
	if _, err := Build(Options{Name: "a", Program: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("no error for a missing program")
	}
}

func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run")
	if err := os.WriteFile(path, []byte("#!"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func build(t *testing.T, o Options) v1.Image {
	t.Helper()
	built, err := Build(o)
	if err != nil {
		t.Fatal(err)
	}
	return built
}

func config(t *testing.T, i v1.Image) *v1.ConfigFile {
	t.Helper()
	file, err := i.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func id(t *testing.T, i v1.Image) v1.Hash {
	t.Helper()
	hash, err := i.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	return hash
}
