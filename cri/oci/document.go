package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// MaxLayers is how many layers a manifest, and how many diff_ids a config, may
	// have. Docker makes at most 127, overlayfs takes 500.
	MaxLayers = 512
	// MaxManifests is how many entries an index may have.
	MaxManifests = 128
	// maxText bounds a digest or a media type, in bytes. A digest has at most 135, a
	// media type 255 (RFC 6838, 4.2).
	maxText = 512
	// maxFeatures bounds the features of a platform.
	maxFeatures = 16
	// maxCommas bounds the members of all lists and maps of a document together, so
	// that what is decoded of it is little larger than its text.
	maxCommas = 1 << 14
	// maxErrors is how many errors of a registry's answer are looked at.
	maxErrors = 32
)

// ErrTooLarge is a document with more entries, or longer texts, than any honest
// one has.
var ErrTooLarge = errors.New("document has more in it than any honest one")

// Form is what distinguishes manifests of all kinds.
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
		MediaType mediaType `json:"mediaType"`
		Config    present   `json:"config"`
		Layers    count     `json:"layers"`
		Manifests count     `json:"manifests"`
		FSLayers  count     `json:"fsLayers"`
	}
	if err := json.Unmarshal(body, &f); err != nil {
		return Form{}, err
	}
	form := Form{f.MediaType.text, bool(f.Config), int(f.Layers), int(f.Manifests), int(f.FSLayers)}
	if f.MediaType.long {
		return form, ErrTooLarge
	}
	return form, checkLengths(form.MediaType)
}

// mediaType is a media type, of which nothing is kept if it is longer than any.
type mediaType struct {
	text string
	long bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *mediaType) UnmarshalJSON(text []byte) error {
	const longest = 6*maxText + 2 // each character may be escaped
	if text[0] == '"' {
		m.long = len(text) > longest
	}
	if m.long {
		return nil
	}
	return json.Unmarshal(text, &m.text)
}

// present is whether there is a member, whatever it is.
type present bool

// UnmarshalJSON implements json.Unmarshaler.
func (p *present) UnmarshalJSON([]byte) error {
	*p = true
	return nil
}

// count is the number of members of a list, of which nothing is kept.
type count int

// UnmarshalJSON implements json.Unmarshaler.
func (n *count) UnmarshalJSON(text []byte) error {
	*n = 0
	switch {
	case string(text) == "null":
		return nil
	case text[0] != '[':
		return errors.New("oci: a list is something else")
	case len(bytes.TrimSpace(text[1:len(text)-1])) > 0:
		*n = 1
	}
	depth := 0
	structure(text, func(c byte) {
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case ',':
			if depth == 1 {
				*n++
			}
		}
	})
	return nil
}

// ReadManifest returns a manifest without annotations and embedded data. ReadForm
// has found it valid: of an invalid one that is too large, only this is said. Of a
// layer with addresses of its own, that there are any is all that is kept.
func ReadManifest(body []byte) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	if err := decode(body, &m); err != nil {
		return ocispec.Manifest{}, err
	}
	m.Subject, m.Annotations = nil, nil
	if err := errors.Join(reduce(&m.Config), reduceAll(m.Layers, MaxLayers)); err != nil {
		return ocispec.Manifest{}, err
	}
	return m, checkLengths(m.MediaType, m.ArtifactType)
}

// ReadIndex is ReadManifest for an index, of which it returns the entries.
func ReadIndex(body []byte) ([]ocispec.Descriptor, error) {
	var i ocispec.Index
	if err := decode(body, &i); err != nil {
		return nil, err
	}
	return i.Manifests, reduceAll(i.Manifests, MaxManifests)
}

// ReadImage returns the platform and the layers' digests of an image's config.
func ReadImage(body []byte) (ocispec.Image, error) {
	var image ocispec.Image
	if err := decode(body, &image); errors.Is(err, ErrTooLarge) && !json.Valid(body) {
		return ocispec.Image{}, errors.New("oci: not a valid document")
	} else if err != nil {
		return ocispec.Image{}, err
	}
	if len(image.RootFS.DiffIDs) > MaxLayers {
		return ocispec.Image{}, ErrTooLarge
	}
	for _, d := range image.RootFS.DiffIDs {
		if err := checkLengths(string(d)); err != nil {
			return ocispec.Image{}, err
		}
	}
	return ocispec.Image{Platform: image.Platform, RootFS: image.RootFS}, checkPlatform(image.Platform)
}

// ReadTags returns the tags of a registry's list that keep wants.
func ReadTags(body []byte, keep func(tag string) bool) ([]string, error) {
	var list struct {
		Tags []string `json:"tags"`
	}
	err := json.Unmarshal(body, &list)
	return slices.DeleteFunc(list.Tags, func(tag string) bool { return !keep(tag) }), err
}

// ReadErrorCodes returns the codes of a registry's errors, the first 32 at most; none of a
// document that is something else.
func ReadErrorCodes(body []byte) (codes []string) {
	var answer struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return nil
	}
	for _, e := range answer.Errors[:min(len(answer.Errors), maxErrors)] {
		codes = append(codes, e.Code)
	}
	return codes
}

// decode decodes a document if it is not too large. A large one that is not valid is
// too large as well: only ReadForm and ReadImage say which.
func decode(body []byte, into any) error {
	if commas(body) > maxCommas {
		return ErrTooLarge
	}
	return json.Unmarshal(body, into)
}

// commas returns how many commas stand between the members of lists and maps.
func commas(body []byte) (n int) {
	structure(body, func(c byte) {
		if c == ',' {
			n++
		}
	})
	return n
}

// structure calls f for each character of a valid document that is not in a text.
func structure(body []byte, f func(c byte)) {
	inText := false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '\\': // in a text
			i++
		case c == '"':
			inText = !inText
		case !inText:
			f(c)
		}
	}
}

// reduceAll reduces descriptors, of which there may be so many.
func reduceAll(list []ocispec.Descriptor, most int) error {
	if len(list) > most {
		return ErrTooLarge
	}
	for i := range list {
		if err := reduce(&list[i]); err != nil {
			return err
		}
	}
	return nil
}

// reduce drops what is not kept of a descriptor.
func reduce(d *ocispec.Descriptor) error {
	d.Annotations, d.Data = nil, nil
	if len(d.URLs) > 0 {
		d.URLs = []string{""}
	}
	if d.Platform != nil {
		if err := checkPlatform(*d.Platform); err != nil {
			return err
		}
	}
	return checkLengths(d.MediaType, string(d.Digest), d.ArtifactType)
}

// checkPlatform returns ErrTooLarge for a platform with more in it than any has.
func checkPlatform(p ocispec.Platform) error {
	if len(p.OSFeatures) > maxFeatures {
		return ErrTooLarge
	}
	return checkLengths(append([]string{p.Architecture, p.OS, p.OSVersion, p.Variant}, p.OSFeatures...)...)
}

// checkLengths returns ErrTooLarge if a text is longer than any that is kept.
func checkLengths(texts ...string) error {
	if slices.ContainsFunc(texts, func(s string) bool { return len(s) >= maxText }) {
		return ErrTooLarge
	}
	return nil
}
