package release

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The media types of a chart in a registry.
const (
	chartConfig  types.MediaType = "application/vnd.cncf.helm.config.v1+json"
	chartContent types.MediaType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// Push uploads the image and the chart to a namespace of a registry, such as
// ghcr.io/whypull, and writes their digests to dist.
func (r *Release) Push(namespace string, options ...remote.Option) error {
	index, err := r.Image()
	if err != nil {
		return err
	}
	tag, err := name.NewTag(namespace + "/whypull:" + r.Tag())
	if err != nil {
		return fmt.Errorf("image name: %w", err)
	}
	if err := remote.WriteIndex(tag, index, options...); err != nil {
		return fmt.Errorf("push %s: %w", tag, err)
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	if err := os.WriteFile(r.Dist("image.digest"), []byte(digest.String()+"\n"), 0o600); err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, m := range manifest.Manifests {
		if err := os.WriteFile(r.Dist("image-"+m.Platform.Architecture+".digest"), []byte(m.Digest.String()+"\n"), 0o600); err != nil {
			return err
		}
	}
	return r.pushChart(namespace, options...)
}

// pushChart uploads the chart as Helm does.
func (r *Release) pushChart(namespace string, options ...remote.Option) error {
	chart, err := r.chart()
	if err != nil {
		return err
	}
	config, err := json.Marshal(chart.Metadata)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(r.Dist(chart.Name() + "-" + r.Version + ".tgz"))
	if err != nil {
		return err
	}
	tag, err := name.NewTag(namespace + "/charts/" + chart.Name() + ":" + r.Version)
	if err != nil {
		return fmt.Errorf("chart name: %w", err)
	}
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Annotations: r.labels()}
	for _, blob := range []struct {
		data []byte
		kind types.MediaType
		to   func(v1.Descriptor)
	}{
		{config, chartConfig, func(d v1.Descriptor) { manifest.Config = d }},
		{content, chartContent, func(d v1.Descriptor) { manifest.Layers = append(manifest.Layers, d) }},
	} {
		layer := static.NewLayer(blob.data, blob.kind)
		if err := remote.WriteLayer(tag.Context(), layer, options...); err != nil {
			return fmt.Errorf("push %s: %w", tag, err)
		}
		digest, err := layer.Digest()
		if err != nil {
			return err
		}
		blob.to(v1.Descriptor{MediaType: blob.kind, Size: int64(len(blob.data)), Digest: digest})
	}
	raw, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	artifact := document{raw}
	if err := remote.Put(tag, artifact, options...); err != nil {
		return fmt.Errorf("push %s: %w", tag, err)
	}
	digest, _, err := v1.SHA256(artifact.reader())
	if err != nil {
		return err
	}
	return os.WriteFile(r.Dist("chart.digest"), []byte(digest.String()+"\n"), 0o600)
}

// document is a manifest as it is uploaded.
type document struct{ raw []byte }

// RawManifest returns the document.
func (d document) RawManifest() ([]byte, error) { return d.raw, nil }

// MediaType returns the type of an OCI manifest.
func (d document) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

func (d document) reader() *bytes.Reader { return bytes.NewReader(d.raw) }
