package faulttest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/cri/registry/registrytest"
)

// tag is that of every image.
const tag = "v1"

// secondSize is how many bytes a second layer has; they do not pack.
const secondSize = 200 << 10

// document is something with a digest that a registry gives out.
type document struct {
	mediaType string
	body      []byte
}

func (d document) digest() digest.Digest { return digest.FromBytes(d.body) }

func (d document) descriptor() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.mediaType, Digest: d.digest(), Size: int64(len(d.body))}
}

// image is what a repository holds.
type image struct {
	// top is what the tag leads to; config and layer are those of the image for
	// the node's platform, if there is one. second is its second layer, which few
	// have, and which is too large to be looked at as a whole in passing.
	top, config, layer, second document
	// other is what else there is: manifests of an index, and what they name.
	other []document
}

// documents are all parts by their digest.
func (i image) documents() map[digest.Digest]document {
	all := map[digest.Digest]document{}
	for _, d := range append([]document{i.top, i.config, i.layer, i.second}, i.other...) {
		if d.body != nil {
			all[d.digest()] = d
		}
	}
	return all
}

// content is what an image is made of. Fields that are empty are as in a good
// image.
type content struct {
	name, platform        string
	layer                 []byte
	diffID                digest.Digest
	layerType, configType string
	manifestType          string
	config                []byte
	layerSize             int64
	// second is a second layer, and what is in it.
	second, unpacked []byte
}

// goodImage is an image with one small layer that no other image has.
func goodImage(name, platform string) (image, error) {
	return content{name: name, platform: platform}.build()
}

func (c content) build() (image, error) {
	unpacked, err := tarball(c.name)
	if err != nil {
		return image{}, err
	}
	if c.layer == nil {
		if c.layer, err = registrytest.Zipped(unpacked); err != nil {
			return image{}, err
		}
	}
	set(&c.diffID, digest.FromBytes(unpacked))
	set(&c.layerType, ocispec.MediaTypeImageLayerGzip)
	set(&c.configType, ocispec.MediaTypeImageConfig)
	set(&c.manifestType, ocispec.MediaTypeImageManifest)
	if c.config == nil {
		if c.config, err = c.configuration(); err != nil {
			return image{}, err
		}
	}
	i := image{config: document{c.configType, c.config}, layer: document{c.layerType, c.layer}}
	if c.second != nil {
		i.second = document{c.layerType, c.second}
	}
	i.top, err = c.manifest(i)
	return i, err
}

// two gives the image a second layer of secondSize random bytes.
func (c content) two() (content, error) {
	seed := sha256.Sum256([]byte(c.name))
	noise := make([]byte, secondSize)
	_, _ = rand.NewChaCha8(seed).Read(noise) // never fails, by its documentation
	var err error
	if c.unpacked, err = registrytest.Archive(c.name+"-2", noise); err != nil {
		return c, err
	}
	c.second, err = registrytest.Zipped(c.unpacked)
	return c, err
}

func set[T ~string](field *T, value T) {
	if *field == "" {
		*field = value
	}
}

func (c content) manifest(i image) (document, error) {
	layer := i.layer.descriptor()
	if c.layerSize != 0 {
		layer.Size = c.layerSize
	}
	layers := []ocispec.Descriptor{layer}
	if i.second.body != nil {
		layers = append(layers, i.second.descriptor())
	}
	return encode(c.manifestType, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: c.manifestType,
		Config: i.config.descriptor(), Layers: layers,
	})
}

func (c content) configuration() ([]byte, error) {
	system, arch, _ := strings.Cut(c.platform, "/")
	diffIDs := []digest.Digest{c.diffID}
	if c.second != nil {
		diffIDs = append(diffIDs, digest.FromBytes(c.unpacked))
	}
	return json.Marshal(ocispec.Image{
		Author:   c.name, // an image is known by its configuration: none may be equal
		Platform: ocispec.Platform{OS: system, Architecture: arch},
		Config:   ocispec.ImageConfig{Cmd: []string{"/" + c.name}},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: diffIDs},
	})
}

func encode(mediaType string, v any) (document, error) {
	body, err := json.Marshal(v)
	return document{mediaType, body}, err
}

// index is an image for several platforms, of which that of the node is not
// one, or has no manifest in the registry.
func index(children map[string]image) (image, error) {
	list := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	var out image
	for _, platform := range sortedKeys(children) {
		child := children[platform]
		d := child.top.descriptor()
		system, arch, _ := strings.Cut(platform, "/")
		d.Platform = &ocispec.Platform{OS: system, Architecture: arch}
		list.Manifests = append(list.Manifests, d)
		out.other = append(out.other, child.top, child.config, child.layer)
	}
	var err error
	out.top, err = encode(ocispec.MediaTypeImageIndex, list)
	return out, err
}

// without is the image without some of its parts.
func (i image) without(parts ...document) image {
	kept := image{top: i.top}
	all := i.documents()
	for _, p := range parts {
		delete(all, p.digest())
	}
	delete(all, i.top.digest())
	for _, d := range sortedKeys(all) {
		kept.other = append(kept.other, all[d])
	}
	return kept
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}

// tarball is an archive with one file.
func tarball(name string) ([]byte, error) {
	return registrytest.Archive(name, []byte(strings.Repeat("This is the only file of "+name+".\n", 16)))
}

// flipped is data of the same size that is something else.
func flipped(data []byte) []byte {
	out := bytes.Clone(data)
	for i := range out {
		out[i] ^= 0x55
	}
	return out
}

// foreign is a platform that no node of the tests has.
const foreign = "linux/s390x"

// schema1 is an image as registries had it before 2016, with a signature that
// nobody verifies. The digest is that of the text without the signature.
func schema1(c content) (image, digest.Digest, error) {
	i, err := c.build()
	if err != nil {
		return image{}, "", err
	}
	_, arch, _ := strings.Cut(c.platform, "/")
	quoted, err := json.Marshal(fmt.Sprintf(`{"id":%q,"created":"2016-01-02T03:04:05Z","os":"linux","architecture":%q,"container_config":{"Cmd":["/%s"]}}`,
		digest.FromString(c.name).Encoded(), arch, c.name))
	if err != nil {
		return image{}, "", err
	}
	payload := fmt.Sprintf(`{"schemaVersion":1,"name":%q,"tag":%q,"architecture":%q,"fsLayers":[{"blobSum":%q}],"history":[{"v1Compatibility":%s}]}`,
		c.name, tag, arch, i.layer.digest(), quoted)
	length, tail := len(payload)-1, base64.RawURLEncoding.EncodeToString([]byte("}"))
	protected := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"formatLength":%d,"formatTail":%q}`, length, tail))
	i.top = document{"application/vnd.docker.distribution.manifest.v1+prettyjws", fmt.Appendf(nil,
		`%s,"signatures":[{"header":{"alg":"ES256"},"signature":"c2lnbmF0dXJl","protected":%q}]}`, payload[:length], protected)}
	return i, digest.FromString(payload), nil
}

// altered is a manifest of the same size that is another.
func (d document) altered() document {
	return document{d.mediaType, bytes.Replace(d.body, []byte(`"config"`), []byte(`"Config"`), 1)}
}
