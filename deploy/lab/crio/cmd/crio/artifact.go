package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/types"
)

// errIsImage is CRI-O's error for a container image where an artifact is expected.
var errIsImage = errors.New("reference is a container image, not an OCI artifact")

// artifacts stores OCI artifacts, each in its own layout below dir.
type artifacts struct {
	dir string

	mu      sync.Mutex
	digests map[string]digest.Digest // by name
}

func newArtifacts(dir string) *artifacts {
	return &artifacts{dir: dir, digests: map[string]digest.Digest{}}
}

// find returns the digest of an artifact, or "" if there is none of that name.
func (a *artifacts) find(name string) digest.Digest {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.digests[name]
}

// pull pulls an artifact and returns its ID. It returns errIsImage for an image.
func (a *artifacts) pull(ctx context.Context, system *types.SystemContext, source types.ImageReference) (id string, err error) {
	if err := refuseImage(ctx, system, source); err != nil {
		return "", fmt.Errorf("image reference: %w", err)
	}
	name := source.DockerReference().String()
	if err := os.MkdirAll(a.dir, 0o750); err != nil {
		return "", fmt.Errorf("pull artifact: %w", err)
	}
	destination, err := layout.NewReference(a.folder(name), "")
	if err != nil {
		return "", fmt.Errorf("invalid reference: %w", err)
	}
	policy, err := policyContext(system)
	if err != nil {
		return "", fmt.Errorf("pull artifact: %w", err)
	}
	defer func() { _ = policy.Destroy() }()
	copied, err := copy.Image(ctx, policy, destination, source, &copy.Options{SourceCtx: system, RemoveSignatures: true})
	if err != nil {
		return "", fmt.Errorf("pull artifact: %w", err)
	}
	is, err := manifest.Digest(copied)
	if err != nil {
		return "", fmt.Errorf("pull artifact: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.digests[name] = is
	return is.Encoded(), nil
}

// remove removes an artifact, if there is one of that name.
func (a *artifacts) remove(name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.digests, name)
	return os.RemoveAll(a.folder(name))
}

func (a *artifacts) folder(name string) string {
	return filepath.Join(a.dir, fmt.Sprintf("%x", sha256.Sum256([]byte(name))))
}

// refuseImage returns errIsImage for a container image, and nil for an artifact.
func refuseImage(ctx context.Context, system *types.SystemContext, source types.ImageReference) error {
	body, mediaType, err := manifestOf(ctx, system, source, nil)
	if err != nil {
		return fmt.Errorf("get manifest from ref: %w", err)
	}
	if manifest.MIMETypeIsMultiImage(mediaType) {
		list, err := manifest.ListFromBlob(body, mediaType)
		if err != nil {
			return fmt.Errorf("parse manifest list: %w", err)
		}
		instance, err := list.ChooseInstance(system)
		if err != nil {
			return fmt.Errorf("choose manifest instance: %w", err)
		}
		if body, mediaType, err = manifestOf(ctx, system, source, &instance); err != nil {
			return fmt.Errorf("get instance manifest: %w", err)
		}
	}
	parsed, err := manifest.FromBlob(body, mediaType)
	if err != nil {
		return fmt.Errorf("parse manifest: %w", err)
	}
	if isImage(body, mediaType, parsed.ConfigInfo().MediaType) {
		return errIsImage
	}
	return nil
}

func manifestOf(ctx context.Context, system *types.SystemContext, source types.ImageReference, instance *digest.Digest) (body []byte, mediaType string, err error) {
	opened, err := source.NewImageSource(ctx, system)
	if err != nil {
		return nil, "", fmt.Errorf("create image source: %w", err)
	}
	defer func() { _ = opened.Close() }()
	return opened.GetManifest(ctx, instance)
}

// isImage reports whether a manifest with this media type and configuration type is an
// image's and has no artifact type.
func isImage(body []byte, mediaType, configType string) bool {
	images := []string{
		ocispec.MediaTypeImageManifest, manifest.DockerV2Schema2MediaType,
		manifest.DockerV2Schema1MediaType, manifest.DockerV2Schema1SignedMediaType,
	}
	configs := []string{"", ocispec.MediaTypeImageConfig, manifest.DockerV2Schema2ConfigMediaType}
	if !slices.Contains(images, mediaType) || !slices.Contains(configs, configType) {
		return false
	}
	oci, err := manifest.OCI1FromManifest(body)
	return err != nil || oci.ArtifactType == ""
}
