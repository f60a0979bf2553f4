package release

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/whypull/whypull/deploy/lab/image"
)

// Repository is where the image is published.
const Repository = "ghcr.io/whypull/whypull"

// Image returns the image for all architectures, with nothing in it but the program. The
// same programs give the same bytes.
func (r *Release) Image() (v1.ImageIndex, error) {
	var images []v1.Image
	for _, p := range r.programs {
		i, err := r.imageFor(p)
		if err != nil {
			return nil, fmt.Errorf("image for %s: %w", p.architecture, err)
		}
		images = append(images, i)
	}
	index, err := image.Index(images...)
	if err != nil {
		return nil, err
	}
	annotated, ok := mutate.Annotations(index, r.labels()).(v1.ImageIndex)
	if !ok {
		return nil, fmt.Errorf("annotations of %s", Repository)
	}
	return mutate.IndexMediaType(annotated, types.OCIImageIndex), nil
}

func (r *Release) imageFor(p program) (v1.Image, error) {
	data, err := os.ReadFile(filepath.Clean(p.path))
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "whypull", Mode: 0o755, Size: int64(len(data)), ModTime: r.Created}); err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	i, err := mutate.Append(base, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: r.Created}, CreatedBy: "COPY whypull /whypull"}})
	if err != nil {
		return nil, err
	}
	file, err := i.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created = "linux", p.architecture, v1.Time{Time: r.Created}
	file.Config = v1.Config{Entrypoint: []string{"/whypull"}, Labels: r.labels()}
	return mutate.ConfigFile(i, file)
}

// labels returns the OCI image-spec's annotations.
func (r *Release) labels() map[string]string {
	const prefix, source = "org.opencontainers.image.", "https://github.com/whypull/whypull"
	return map[string]string{
		prefix + "title":         "whypull",
		prefix + "description":   "Explains why a pod cannot pull its image",
		prefix + "vendor":        "whypull",
		prefix + "licenses":      "Apache-2.0",
		prefix + "url":           source,
		prefix + "source":        source,
		prefix + "documentation": source + "/blob/" + r.Commit + "/deploy/docs/README.md",
		prefix + "version":       r.Version,
		prefix + "revision":      r.Commit,
		prefix + "created":       r.Created.UTC().Format(time.RFC3339),
	}
}
