package registrytest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Content is what a repository holds: manifests by tag and digest, and blobs.
// Give it to Repository.Content.
type Content struct {
	tb        testing.TB
	tags      map[string]digest.Digest
	manifests map[digest.Digest]Object
	blobs     map[digest.Digest]Object
}

// Object is a manifest or a blob, and what is wrong with it. The zero value of
// everything but Type and Body is nothing wrong.
type Object struct {
	Type string // media type
	Body []byte
	// Status is answered instead.
	Status int
	// Words are the body of the answer with Status instead of an error code.
	Words string
	// Location is where a redirect goes instead.
	Location string
	// Sent are the bytes that are sent instead of Body.
	Sent []byte
	// Said is the Docker-Content-Digest of a manifest instead of its own.
	Said string
	// Cut breaks off behind the first half, after the whole was announced.
	Cut bool
	// Stall sends the first half and then nothing.
	Stall bool
	// Hang sends nothing at all.
	Hang bool
	// Handler answers instead; its body is Body.
	Handler func(w http.ResponseWriter, r *http.Request, body []byte)
	// NoRange: a request for a part is answered with the whole, or with the
	// status 416.
	NoRange bool
	Refuse  bool
}

// NewContent makes an empty content.
func NewContent(tb testing.TB) *Content {
	return &Content{
		tb: tb, tags: map[string]digest.Digest{},
		manifests: map[digest.Digest]Object{}, blobs: map[digest.Digest]Object{},
	}
}

// Blob adds a blob.
func (c *Content) Blob(mediaType string, body []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(body), Size: int64(len(body))}
	c.blobs[d.Digest] = Object{Type: "application/octet-stream", Body: body}
	return d
}

// Layer adds a packed archive with one file of that many bytes.
func (c *Content) Layer(size int) ocispec.Descriptor {
	c.tb.Helper()
	archive, err := Archive("file", bytes.Repeat([]byte(strconv.Itoa(size)+"\n"), size)[:size])
	if err != nil {
		c.tb.Fatal(err)
	}
	packed, err := Zipped(archive)
	if err != nil {
		c.tb.Fatal(err)
	}
	return c.Blob(ocispec.MediaTypeImageLayerGzip, packed)
}

// Archive is a tar archive with one file.
func Archive(name string, content []byte) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = w.Close()
	}
	return out.Bytes(), err
}

// Zipped is data packed by gzip.
func Zipped(data []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(data)
	if err == nil {
		err = w.Close()
	}
	return out.Bytes(), err
}

// Config adds the config of an image whose layers have these contents.
func (c *Content) Config(p ocispec.Platform, diffIDs ...digest.Digest) ocispec.Descriptor {
	return c.Blob(ocispec.MediaTypeImageConfig, c.json(ocispec.Image{Platform: p, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: diffIDs}}))
}

// Unpacked is the digest of what is in a layer; of one that is not packed, its
// own.
func (c *Content) Unpacked(d ocispec.Descriptor) digest.Digest {
	z, err := gzip.NewReader(bytes.NewReader(c.blobs[d.Digest].Body))
	if err != nil {
		return d.Digest
	}
	content, err := digest.FromReader(z)
	if err != nil {
		return d.Digest
	}
	return content
}

// Image adds a manifest with its config.
func (c *Content) Image(p ocispec.Platform, layers ...ocispec.Descriptor) ocispec.Descriptor {
	var diffIDs []digest.Digest
	for _, layer := range layers {
		diffIDs = append(diffIDs, c.Unpacked(layer))
	}
	d := c.Artifact(c.Config(p, diffIDs...), layers...)
	d.Platform = &p
	return d
}

// Artifact adds a manifest with a config of any kind.
func (c *Content) Artifact(config ocispec.Descriptor, layers ...ocispec.Descriptor) ocispec.Descriptor {
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: layers}
	m.SchemaVersion = 2
	return c.Manifest(ocispec.MediaTypeImageManifest, c.json(m))
}

// Index adds an index.
func (c *Content) Index(manifests ...ocispec.Descriptor) ocispec.Descriptor {
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests}
	index.SchemaVersion = 2
	return c.Manifest(ocispec.MediaTypeImageIndex, c.json(index))
}

// Manifest adds anything in the place of a manifest.
func (c *Content) Manifest(mediaType string, body []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(body), Size: int64(len(body))}
	c.manifests[d.Digest] = Object{Type: mediaType, Body: body}
	return d
}

// Body is what a manifest or a blob has in it; none if there is no such.
func (c *Content) Body(d ocispec.Descriptor) []byte {
	if m, ok := c.manifests[d.Digest]; ok {
		return m.Body
	}
	return c.blobs[d.Digest].Body
}

// Tagged is the digest of the manifest with a name, "" for none.
func (c *Content) Tagged(name string) digest.Digest { return c.tags[name] }

// Tag gives a manifest a name.
func (c *Content) Tag(name string, d ocispec.Descriptor) { c.tags[name] = d.Digest }

// Break changes how a manifest or a blob is answered.
func (c *Content) Break(d ocispec.Descriptor, change func(*Object)) {
	for _, objects := range []map[digest.Digest]Object{c.manifests, c.blobs} {
		if o, ok := objects[d.Digest]; ok {
			change(&o)
			objects[d.Digest] = o
		}
	}
}

func (c *Content) json(v any) []byte {
	c.tb.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		c.tb.Fatal(err)
	}
	return body
}

// manifest answers a request for a manifest.
func (c *Content) manifest(w http.ResponseWriter, r *http.Request, object string) {
	d, ok := c.tags[object]
	if !ok {
		d = digest.Digest(object)
	}
	o, ok := c.manifests[d]
	if !ok {
		fail(w, http.StatusNotFound, "MANIFEST_UNKNOWN")
		return
	}
	if o.Said == "" {
		o.Said = d.String()
	}
	w.Header().Set("Docker-Content-Digest", o.Said)
	o.answer(w, r)
}

// blob answers a request for a blob.
func (c *Content) blob(w http.ResponseWriter, r *http.Request, object string) {
	o, ok := c.blobs[digest.Digest(object)]
	if !ok {
		fail(w, http.StatusNotFound, "BLOB_UNKNOWN")
		return
	}
	o.answer(w, r)
}

func (o Object) answer(w http.ResponseWriter, r *http.Request) {
	body := o.Body
	if o.Sent != nil {
		body = o.Sent
	}
	part := r.Header.Get("Range") != ""
	switch {
	case o.Handler != nil:
		o.Handler(w, r, body)
		return
	case o.Hang:
		<-r.Context().Done()
		return
	case o.Status != 0:
		if o.Words != "" {
			w.WriteHeader(o.Status)
			_, _ = w.Write([]byte(o.Words))
			return
		}
		fail(w, o.Status, codeOf(o.Status))
		return
	case o.Location != "":
		http.Redirect(w, r, o.Location, http.StatusTemporaryRedirect)
		return
	case part && o.Refuse:
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	w.Header().Set("Content-Type", o.Type)
	if part && !o.NoRange {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if !o.Cut && !o.Stall || r.Method == http.MethodHead {
		_, _ = w.Write(body)
		return
	}
	_, _ = w.Write(body[:len(body)/2])
	_ = http.NewResponseController(w).Flush()
	if o.Stall {
		<-r.Context().Done()
	}
}
