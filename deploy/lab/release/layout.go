package release

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/whypull/whypull/deploy/lab/release/push"
)

// The media types of a chart in a registry.
const (
	chartConfig  types.MediaType = "application/vnd.cncf.helm.config.v1+json"
	chartContent types.MediaType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// writeLayouts writes to dist: oci, an OCI layout of the image and the chart as they are
// pushed; their digests, which are signed; image.tar, a layout of the image alone, which
// "ctr images import" and other tools read.
func (r *Release) writeLayouts(chart string) error {
	index, err := r.Image()
	if err != nil {
		return err
	}
	if err := r.writeImage(index); err != nil {
		return err
	}
	to, err := layout.Write(r.Dist("oci"), empty.Index)
	if err != nil {
		return err
	}
	if err := to.AppendIndex(index, layout.WithAnnotations(map[string]string{push.Name: "whypull:" + r.Tag()})); err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	digests := map[string]v1.Hash{}
	for _, m := range manifest.Manifests {
		digests["image-"+m.Platform.Architecture] = m.Digest
	}
	if digests["image"], err = index.Digest(); err != nil {
		return err
	}
	if digests["chart"], err = r.writeChart(to, chart); err != nil {
		return err
	}
	for name, digest := range digests {
		if err := os.WriteFile(r.Dist(name+".digest"), []byte(digest.String()+"\n"), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// writeImage writes image.tar.
func (r *Release) writeImage(index v1.ImageIndex) error {
	dir, err := os.MkdirTemp("", "whypull-image-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	to, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	if err := to.AppendIndex(index, layout.WithAnnotations(map[string]string{
		push.Name:                  r.Tag(),
		"io.containerd.image.name": Repository + ":" + r.Tag(),
	})); err != nil {
		return err
	}
	out, err := os.Create(r.Dist("image.tar"))
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return out.Close()
}

// writeChart adds a packaged chart to a layout in the form in which Helm pushes it, and
// returns its digest.
func (r *Release) writeChart(to layout.Path, file string) (v1.Hash, error) {
	chart, err := r.chart()
	if err != nil {
		return v1.Hash{}, err
	}
	metadata, err := json.Marshal(chart.Metadata)
	if err != nil {
		return v1.Hash{}, err
	}
	content, err := os.ReadFile(r.Dist(file))
	if err != nil {
		return v1.Hash{}, err
	}
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Annotations: r.labels(), Layers: make([]v1.Descriptor, 1)}
	if manifest.Config, err = writeBlob(to, chartConfig, metadata); err != nil {
		return v1.Hash{}, err
	}
	if manifest.Layers[0], err = writeBlob(to, chartContent, content); err != nil {
		return v1.Hash{}, err
	}
	raw, err := json.Marshal(manifest)
	if err != nil {
		return v1.Hash{}, err
	}
	written, err := writeBlob(to, types.OCIManifestSchema1, raw)
	if err != nil {
		return v1.Hash{}, err
	}
	written.Annotations = map[string]string{push.Name: "charts/" + chart.Name() + ":" + r.Version}
	return written.Digest, to.AppendDescriptor(written)
}

func writeBlob(to layout.Path, kind types.MediaType, data []byte) (v1.Descriptor, error) {
	digest, size, err := v1.SHA256(bytes.NewReader(data))
	if err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{MediaType: kind, Size: size, Digest: digest}, to.WriteBlob(digest, io.NopCloser(bytes.NewReader(data)))
}
