// Package image builds container images from single static programs, without a
// container engine.
package image

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Options describes an image.
type Options struct {
	// Name determines the image's digest: the runtime treats images with equal content
	// as one image, whatever their names.
	Name string
	// Program is the path of the static program on this machine; in the image it is
	// /<base name>.
	Program string
	// Entrypoint defaults to the program. Args follow it.
	Entrypoint []string
	Args       []string
	User       string
	// Architecture defaults to this machine's.
	Architecture string
	// Padding is the size in bytes of an additional, incompressible file.
	Padding int
}

// Build returns an image in memory.
func Build(o Options) (v1.Image, error) {
	layer, err := layerOf(o)
	if err != nil {
		return nil, fmt.Errorf("layer of %s: %w", o.Name, err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", o.Name, err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", o.Name, err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", o.Architecture
	if file.Architecture == "" {
		file.Architecture = runtime.GOARCH
	}
	file.Config.Entrypoint = o.Entrypoint
	if len(o.Entrypoint) == 0 {
		file.Config.Entrypoint = []string{"/" + filepath.Base(o.Program)}
	}
	file.Config.Cmd, file.Config.User = o.Args, o.User
	file.Config.Labels = map[string]string{"dev.whypull.lab.name": o.Name}
	image, err = mutate.ConfigFile(image, file)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", o.Name, err)
	}
	return image, nil
}

func layerOf(o Options) (v1.Layer, error) {
	program, err := os.ReadFile(o.Program)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := add(w, filepath.Base(o.Program), 0o755, program); err != nil {
		return nil, err
	}
	if o.Padding > 0 {
		if err := add(w, "padding", 0o644, noise(o.Name, o.Padding)); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	})
}

func add(w *tar.Writer, file string, mode int64, data []byte) error {
	header := &tar.Header{Name: file, Mode: mode, Size: int64(len(data)), ModTime: time.Unix(0, 0)}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}

// Index returns an image index with the given images, each for its own platform.
func Index(images ...v1.Image) (v1.ImageIndex, error) {
	index := v1.ImageIndex(empty.Index)
	for _, i := range images {
		file, err := i.ConfigFile()
		if err != nil {
			return nil, fmt.Errorf("image of an index: %w", err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: i, Descriptor: v1.Descriptor{Platform: file.Platform()}})
	}
	return index, nil
}

// WriteArchive writes an image as an archive for "ctr images import", under a
// reference.
func WriteArchive(file, reference string, i v1.Image) error {
	tag, err := name.NewTag(reference, name.WeakValidation)
	if err != nil {
		return fmt.Errorf("image name: %w", err)
	}
	if err := tarball.WriteToFile(file, tag, i); err != nil {
		return fmt.Errorf("archive of %s: %w", reference, err)
	}
	return nil
}

// FileName returns a file name for an image reference.
func FileName(reference string) string {
	return strings.NewReplacer("/", "_", ":", "_", "@", "_").Replace(path.Clean(reference)) + ".tar"
}

// noise returns n incompressible bytes, determined by seed.
func noise(seed string, n int) []byte {
	state := uint64(14695981039346656037)
	for _, b := range []byte(seed) {
		state = (state ^ uint64(b)) * 1099511628211
	}
	out := make([]byte, 0, n+8)
	for len(out) < n {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		out = binary.LittleEndian.AppendUint64(out, state)
	}
	return slices.Clip(out[:n])
}
