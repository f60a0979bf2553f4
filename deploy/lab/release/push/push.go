// Package push uploads the image and the chart of a release. It is apart from package
// release, so that little code of others runs with the right to write to a registry.
package push

import (
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Name is the annotation in an OCI layout with the repository, below a namespace, and
// the tag that a part of it is for.
const Name = "org.opencontainers.image.ref.name"

// Push uploads the parts of an OCI layout to a namespace of a registry, such as
// ghcr.io/whypull.
func Push(dir, namespace string, options ...remote.Option) error {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	for _, m := range manifest.Manifests {
		tag, err := name.NewTag(namespace + "/" + m.Annotations[Name])
		if err != nil {
			return fmt.Errorf("name of %s: %w", m.Digest, err)
		}
		var part remote.Taggable
		if m.MediaType.IsIndex() {
			part, err = index.ImageIndex(m.Digest)
		} else {
			part, err = index.Image(m.Digest)
		}
		if err == nil {
			err = remote.Push(tag, part, options...)
		}
		if err != nil {
			return fmt.Errorf("push %s: %w", tag, err)
		}
	}
	return nil
}
