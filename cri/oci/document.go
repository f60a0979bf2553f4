package oci

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// MaxLayers is how many layers a manifest, and how many diff_ids a config, may
	// have. Docker makes at most 127, overlayfs takes 500.
	MaxLayers = 512
	// MaxManifests is how many entries an index may have.
	MaxManifests = 128
	// maxText bounds a text that is kept, in bytes of JSON. A digest has at most
	// 135, a media type 255 (RFC 6838, 4.2).
	maxText = 512
	// maxFeatures bounds the features of a platform.
	maxFeatures = 16
	// maxMembers bounds lists and maps of which nothing is kept.
	maxMembers = 4096
)

// ErrTooLarge is a document with more entries, or longer texts, than any honest
// one has.
var ErrTooLarge = errors.New("document has more in it than any honest one")

// Form is what tells manifests of all kinds apart.
type Form struct {
	MediaType string
	// Config is true if there is such a member, whatever it is.
	Config bool
	// Layers, Manifests and FSLayers are how many there are.
	Layers, Manifests, FSLayers int
}

// ReadForm returns the form of a document. It takes documents of any size.
func ReadForm(body []byte) (Form, error) {
	var f struct {
		MediaType text     `json:"mediaType"`
		Config    presence `json:"config"`
		Layers    length   `json:"layers"`
		Manifests length   `json:"manifests"`
		FSLayers  length   `json:"fsLayers"`
	}
	err := json.Unmarshal(body, &f)
	return Form{string(f.MediaType), bool(f.Config), int(f.Layers), int(f.Manifests), int(f.FSLayers)}, err
}

// ReadManifest returns a manifest without annotations and embedded data. Of a
// layer with addresses of its own, that there are any is all that is kept.
func ReadManifest(body []byte) (ocispec.Manifest, error) {
	var m struct {
		SchemaVersion int         `json:"schemaVersion"`
		MediaType     text        `json:"mediaType"`
		ArtifactType  text        `json:"artifactType"`
		Config        descriptor  `json:"config"`
		Layers        layers      `json:"layers"`
		Subject       *descriptor `json:"subject"`
		Annotations   textMap     `json:"annotations"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return ocispec.Manifest{}, err
	}
	out := ocispec.Manifest{
		MediaType: string(m.MediaType), ArtifactType: string(m.ArtifactType),
		Config: m.Config.descriptor(), Layers: descriptors(m.Layers),
	}
	out.SchemaVersion = m.SchemaVersion
	return out, nil
}

// ReadIndex returns the entries of an index, without annotations and embedded
// data.
func ReadIndex(body []byte) ([]ocispec.Descriptor, error) {
	var index struct {
		SchemaVersion int         `json:"schemaVersion"`
		MediaType     text        `json:"mediaType"`
		ArtifactType  text        `json:"artifactType"`
		Manifests     manifests   `json:"manifests"`
		Subject       *descriptor `json:"subject"`
		Annotations   textMap     `json:"annotations"`
	}
	if err := json.Unmarshal(body, &index); err != nil {
		return nil, err
	}
	return descriptors(index.Manifests), nil
}

// ReadImage returns the platform and the layers' digests of an image's config.
func ReadImage(body []byte) (ocispec.Image, error) {
	var image struct {
		platform

		Created *time.Time `json:"created"`
		Author  anyText    `json:"author"`
		Config  struct {
			User         anyText
			ExposedPorts set
			Env          texts
			Entrypoint   texts
			Cmd          texts
			Volumes      set
			WorkingDir   anyText
			Labels       textMap
			StopSignal   anyText
			ArgsEscaped  bool
		} `json:"config"`
		RootFS struct {
			Type    text    `json:"type"`
			DiffIDs digests `json:"diff_ids"`
		} `json:"rootfs"`
		History history `json:"history"`
	}
	if err := json.Unmarshal(body, &image); err != nil {
		return ocispec.Image{}, err
	}
	out := ocispec.Image{Platform: image.spec()}
	out.RootFS.Type = string(image.RootFS.Type)
	for _, d := range image.RootFS.DiffIDs {
		out.RootFS.DiffIDs = append(out.RootFS.DiffIDs, digest.Digest(d))
	}
	return out, nil
}

// descriptor is what is kept of an ocispec.Descriptor.
type descriptor struct {
	MediaType    text      `json:"mediaType"`
	Digest       text      `json:"digest"`
	Size         int64     `json:"size"`
	URLs         addresses `json:"urls"`
	Annotations  textMap   `json:"annotations"`
	Data         data      `json:"data"`
	Platform     *platform `json:"platform"`
	ArtifactType text      `json:"artifactType"`
}

func (d descriptor) descriptor() ocispec.Descriptor {
	out := ocispec.Descriptor{
		MediaType: string(d.MediaType), Digest: digest.Digest(d.Digest), Size: d.Size,
		ArtifactType: string(d.ArtifactType),
	}
	if d.URLs > 0 {
		out.URLs = []string{""}
	}
	if d.Platform != nil {
		p := d.Platform.spec()
		out.Platform = &p
	}
	return out
}

func descriptors(list []descriptor) []ocispec.Descriptor {
	out := make([]ocispec.Descriptor, len(list))
	for n, d := range list {
		out[n] = d.descriptor()
	}
	return out
}

type platform struct {
	Architecture text     `json:"architecture"`
	OS           text     `json:"os"`
	OSVersion    text     `json:"os.version"`
	OSFeatures   features `json:"os.features"`
	Variant      text     `json:"variant"`
}

func (p platform) spec() ocispec.Platform {
	out := ocispec.Platform{
		Architecture: string(p.Architecture), OS: string(p.OS), OSVersion: string(p.OSVersion), Variant: string(p.Variant),
	}
	for _, f := range p.OSFeatures {
		out.OSFeatures = append(out.OSFeatures, string(f))
	}
	return out
}

type layers []descriptor

// UnmarshalJSON implements json.Unmarshaler.
func (l *layers) UnmarshalJSON(raw []byte) error { return listOf((*[]descriptor)(l), raw, MaxLayers) }

type manifests []descriptor

// UnmarshalJSON implements json.Unmarshaler.
func (m *manifests) UnmarshalJSON(raw []byte) error {
	return listOf((*[]descriptor)(m), raw, MaxManifests)
}

type digests []text

// UnmarshalJSON implements json.Unmarshaler.
func (d *digests) UnmarshalJSON(raw []byte) error { return listOf((*[]text)(d), raw, MaxLayers) }

type features []text

// UnmarshalJSON implements json.Unmarshaler.
func (f *features) UnmarshalJSON(raw []byte) error { return listOf((*[]text)(f), raw, maxFeatures) }
