package registry

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/cri/oci"
)

const (
	maxGlances   = 8         // layers of which the first byte is asked for
	maxDownloads = 16        // layers that are downloaded
	maxDownload  = 32 << 20  // bytes of them
	maxUnpacked  = 256 << 20 // bytes that a downloaded layer is unpacked to
	markSize     = 262       // bytes up to where an archive says that it is one
)

// contents looks at the blobs of a manifest.
func (i *inspection) contents(ctx context.Context, m ocispec.Manifest) flaw {
	if f := i.described(ctx, m); f.found() {
		return f
	}
	layers := i.order(m)
	for _, d := range layers[:min(len(layers), maxGlances)] {
		if f := i.at(d, i.glance(ctx, d)); f.found() {
			return f
		}
	}
	if !i.want.Thorough {
		return flaw{}
	}
	return i.download(ctx, layers)
}

// described fetches the config, and holds it against the manifest.
func (i *inspection) described(ctx context.Context, m ocispec.Manifest) flaw {
	config, f := i.config(ctx, m.Config)
	if f.found() {
		return f
	}
	if fault := i.unpackFault(ctx, m, config); fault != "" {
		return flaw{fault: fault, status: http.StatusOK}
	}
	i.unpacked = unpackedDigests(m, config)
	return flaw{}
}

// unpackedDigests gives, by a layer's digest, the one that the config says of
// what is in it (rootfs.diff_ids); none if the two lists do not go together.
func unpackedDigests(m ocispec.Manifest, config ocispec.Image) map[digest.Digest]digest.Digest {
	if len(m.Layers) != len(config.RootFS.DiffIDs) {
		return nil
	}
	out := map[digest.Digest]digest.Digest{}
	for n, d := range m.Layers {
		out[d.Digest] = config.RootFS.DiffIDs[n]
	}
	return out
}

// order returns the layers that the runtime would fetch from this registry, those
// first that the caller names, each once. What an artifact has in the place of
// layers is fetched, and what looks like a layer of an image is not (core/unpack,
// Unpack). Those with addresses of their own are not of this registry.
func (i *inspection) order(m ocispec.Manifest) []ocispec.Descriptor {
	var layers []ocispec.Descriptor
	listed, artifact := map[digest.Digest]bool{}, isArtifact(m)
	for _, d := range m.Layers {
		skipped := listed[d.Digest] || artifact && images.IsLayerType(d.MediaType)
		if d.Digest.Validate() == nil && d.Size >= 0 && len(d.URLs) == 0 && !skipped {
			layers = append(layers, d)
			listed[d.Digest] = true
		}
	}
	slices.SortStableFunc(layers, func(a, b ocispec.Descriptor) int { return i.rank(a) - i.rank(b) })
	return layers
}

// rank is the place of a blob among those that the caller names.
func (i *inspection) rank(d ocispec.Descriptor) int {
	if n := slices.Index(i.want.Blobs, d.Digest.String()); n >= 0 {
		return n
	}
	return len(i.want.Blobs)
}

// at notes a blob as looked at and, if something is wrong with it, which one it
// is and where it was asked for.
func (i *inspection) at(d ocispec.Descriptor, f flaw) flaw {
	if f.unfinished() {
		return f
	}
	i.looked[d.Digest] = true
	if !f.found() {
		return f
	}
	i.answer.Blob = ""
	if d.Digest.Validate() == nil {
		i.answer.Blob = d.Digest.String()
	}
	i.sentTo(i.notes.trail())
	return f
}

// config fetches the config and reads what the image is for. That of an
// artifact may be anything.
func (i *inspection) config(ctx context.Context, d ocispec.Descriptor) (ocispec.Image, flaw) {
	var image ocispec.Image
	if d.Digest.Validate() != nil || d.Size < 0 {
		return image, i.at(d, flaw{fault: FaultUnsupportedFormat, status: http.StatusOK})
	}
	if d.Size > maxManifest {
		return image, i.at(d, i.glance(ctx, d))
	}
	r, f := i.whole(ctx, d)
	defer r.release()
	if i.at(d, f).found() || !isImage(d.MediaType) {
		return image, f
	}
	image, err := oci.ReadImage(r.body)
	switch {
	case errors.Is(err, oci.ErrTooLarge):
		return image, flaw{err: ErrTooManyParts}
	case err != nil:
		return image, i.at(d, flaw{fault: FaultContentCorrupt, status: http.StatusOK})
	}
	return image, i.platformFlaw(image.Platform)
}

// isImage tells the configs of images (core/remotes/docker/converter.go has the
// old one).
func isImage(configType string) bool {
	return images.IsConfigType(configType) || configType == docker.LegacyConfigMediaType
}

// platformFlaw is for the platform that a config names: it decides where an
// index does not say (core/images, Manifest), and is nothing to the pull where
// there is no index.
func (i *inspection) platformFlaw(p ocispec.Platform) flaw {
	match := i.match.Match(p)
	switch {
	case i.chosen == nil:
		if name := platformName(p); name != "" {
			i.answer.Platforms = []string{name}
			i.answer.OtherPlatform = !match
		}
	case i.chosen.Platform == nil && !match:
		return flaw{fault: FaultPlatformMismatch, status: http.StatusOK}
	}
	return flaw{}
}

// unpackFault tells layers that containerd cannot unpack: those without a
// processor (core/diff, compressedHandler), and a number of layers that is not
// that of the config (core/unpack, unpack). It unpacks neither artifacts nor
// images for other platforms. What is encrypted, or a file system image, depends
// on plugins of the node, and is not judged.
func (i *inspection) unpackFault(ctx context.Context, m ocispec.Manifest, config ocispec.Image) Fault {
	i.answer.Artifact = isArtifact(m)
	if i.forgetsLayers(m) {
		return FaultUnsupportedFormat
	}
	if i.answer.Artifact || i.answer.OtherPlatform || !images.IsConfigType(m.Config.MediaType) || m.Config.Size > maxManifest {
		return ""
	}
	for _, d := range m.Layers {
		_, err := images.DiffCompression(ctx, d.MediaType)
		if err != nil && images.IsLayerType(d.MediaType) && d.MediaType != images.MediaTypeErofsLayer {
			return FaultUnsupportedFormat
		}
	}
	if knownLayers(m) != len(config.RootFS.DiffIDs) {
		return FaultUnsupportedFormat
	}
	return ""
}

// forgetsLayers reports whether containerd pulls the config and none of the layers:
// its unpacker fetches them once it has a config of a type that it knows (core/unpack,
// Unpack), and the one of images of 2015 is none.
func (i *inspection) forgetsLayers(m ocispec.Manifest) bool {
	return m.Config.MediaType == docker.LegacyConfigMediaType && knownLayers(m) > 0 && !i.endpoint.Settings.Pings
}

// knownLayers is how many layers of a manifest are of a type that is a layer's.
func knownLayers(m ocispec.Manifest) int {
	known := 0
	for _, d := range m.Layers {
		if images.IsLayerType(d.MediaType) {
			known++
		}
	}
	return known
}

// isArtifact tells a manifest that is not an image's.
func isArtifact(m ocispec.Manifest) bool {
	return !isImage(m.Config.MediaType) || knownLayers(m) == 0 && len(m.Layers) > 0
}

// span is the part of a blob that is asked for: its first and its last byte, as
// in RFC 9110, 14.1.2. No span is the whole.
type span struct{ first, last int64 }

// open asks for a blob, or for a part that begins with its first byte. The body
// is the caller's to close if there is no flaw.
func (i *inspection) open(ctx context.Context, d ocispec.Descriptor, part *span) (*http.Response, flaw) {
	var resp *http.Response
	f := i.inTurn(func() (f flaw) {
		resp, f = i.openOne(ctx, d, part)
		return f
	})
	return resp, f
}

// openOne is open at one source.
func (i *inspection) openOne(ctx context.Context, d ocispec.Descriptor, part *span) (*http.Response, flaw) {
	resp, f := i.fetch(ctx, d, part)
	if f.found() {
		return nil, f
	}
	if part != nil && noRanges(resp.StatusCode) { // the first byte of nothing, or a server without ranges
		_ = resp.Body.Close()
		return i.openOne(ctx, d, nil)
	}
	if f := i.declined(resp, d); f.found() {
		return nil, f
	}
	return resp, flaw{}
}

// noRanges tells what servers without ranges answer who do not ignore them.
func noRanges(status int) bool {
	return status == http.StatusBadRequest || status == http.StatusRequestedRangeNotSatisfiable || status == http.StatusNotImplemented
}

// fetch asks for a blob or a part of it, whatever the answer's status.
func (i *inspection) fetch(ctx context.Context, d ocispec.Descriptor, part *span) (*http.Response, flaw) {
	if i.late(i.rest) {
		return nil, flaw{err: context.DeadlineExceeded}
	}
	resp, err := i.get(ctx, d, part)
	if err == nil && resp.StatusCode == http.StatusUnauthorized && i.answer.Scheme == SchemeNone && !i.endpoint.Settings.Pings {
		// A registry that protects its blobs and not its manifests.
		if i.challenged(ctx, i.receive(resp, maxBody)) == nil {
			resp, err = i.get(ctx, d, part)
		}
	}
	if err != nil {
		return nil, i.unanswered(err)
	}
	return resp, flaw{}
}

// declined is the flaw of an answer that has neither a blob nor a part of one. It
// is read to its end then.
func (i *inspection) declined(resp *http.Response, d ocispec.Descriptor) flaw {
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent {
		if !isHTML(resp.Header) || d.MediaType == "text/html" {
			return flaw{}
		}
	}
	f := i.refusal(i.receive(resp, maxBody))
	if !f.found() {
		f.fault = FaultUnexpectedAnswer
	}
	return f
}

func (i *inspection) get(ctx context.Context, d ocispec.Descriptor, part *span) (*http.Response, error) {
	ctx = withAside(i.notes.traceAside(ctx), PhaseBlob)
	req, err := i.request(withLimit(ctx, min(d.Size, maxDownload)+1), http.MethodGet, "", "blobs", d.Digest.String())
	if err != nil {
		return nil, err
	}
	if part != nil {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", part.first, part.last))
	}
	resp, err := i.do(req)
	if err == nil {
		resp.Body = &metered{ReadCloser: resp.Body, total: &i.received}
	}
	return resp, err
}

// metered adds what is read to a total.
type metered struct {
	io.ReadCloser
	total *int64
}

// Read implements io.Reader.
func (m *metered) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	*m.total += int64(n)
	return n, err
}

// glance asks for the first byte of a blob, and compares the size that comes
// with it.
func (i *inspection) glance(ctx context.Context, d ocispec.Descriptor) flaw {
	resp, f := i.open(ctx, d, &span{})
	if f.found() {
		return f
	}
	defer resp.Body.Close() //nolint:errcheck // only read from
	if size, known := sizeOf(resp); known && size != d.Size {
		return flaw{fault: FaultContentCorrupt, status: resp.StatusCode}
	}
	if d.Size == 0 {
		return flaw{}
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil {
		return i.cutShort(resp.StatusCode, err)
	}
	return flaw{}
}

// cutShort is the flaw of a blob that ends too early.
func (i *inspection) cutShort(status int, err error) flaw {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return i.brokenOff(status, err)
}

// sizeOf is the size of a blob by the header of an answer: of the whole in
// Content-Range (RFC 9110, 14.4), or the length of an answer that is the whole.
func sizeOf(resp *http.Response) (size int64, known bool) {
	if resp.StatusCode == http.StatusPartialContent {
		_, total, _ := strings.Cut(resp.Header.Get("Content-Range"), "/")
		size, err := strconv.ParseInt(total, 10, 64)
		return size, err == nil
	}
	encoded := resp.Uncompressed || resp.Header.Get("Content-Encoding") != ""
	return resp.ContentLength, resp.ContentLength >= 0 && !encoded
}

// whole fetches and verifies a small blob. The reply is the caller's to release.
func (i *inspection) whole(ctx context.Context, d ocispec.Descriptor) (reply, flaw) {
	resp, f := i.open(ctx, d, nil)
	if f.found() {
		return reply{}, f
	}
	r := i.receive(resp, limitFor(resp))
	switch {
	case errors.Is(r.broken, ErrBodyTooLarge), r.broken == nil && int64(len(r.body)) != d.Size,
		r.broken == nil && d.Digest.Algorithm().FromBytes(r.body) != d.Digest:
		return r, flaw{fault: FaultContentCorrupt, status: r.status}
	case r.broken != nil:
		return r, i.brokenOff(r.status, r.broken)
	}
	return r, flaw{}
}

// download fetches layers, those first that the caller names and then the
// smallest, as far as they fit.
func (i *inspection) download(ctx context.Context, layers []ocispec.Descriptor) flaw {
	slices.SortStableFunc(layers, func(a, b ocispec.Descriptor) int {
		if order := i.rank(a) - i.rank(b); order != 0 {
			return order
		}
		return int(min(a.Size, maxDownload+1) - min(b.Size, maxDownload+1))
	})
	left := int64(maxDownload)
	for _, d := range layers[:min(len(layers), maxDownloads)] {
		if d.Size > left {
			continue
		}
		left -= d.Size
		if f := i.at(d, i.verify(ctx, d)); f.found() {
			return f
		}
	}
	return flaw{}
}

// verify downloads a layer, and keeps nothing of it.
func (i *inspection) verify(ctx context.Context, d ocispec.Descriptor) flaw {
	resp, f := i.open(ctx, d, nil)
	if f.found() {
		return f
	}
	defer resp.Body.Close() //nolint:errcheck // only read from
	return i.verifyBody(resp, d)
}

// verifyBody reads a layer to its end.
func (i *inspection) verifyBody(resp *http.Response, d ocispec.Descriptor) flaw {
	corrupt := flaw{fault: FaultContentCorrupt, status: resp.StatusCode}
	held := place{room: i.room}
	defer held.leave()
	if err := held.take(resp.Request.Context(), unpackRoom); err != nil {
		return flaw{err: err}
	}
	verifier := d.Digest.Verifier()
	body := &counted{Reader: io.TeeReader(resp.Body, verifier)}
	sound := isSound(body, d.MediaType, i.unpacked[d.Digest])
	_, _ = io.Copy(io.Discard, body) // what is left; the error is kept
	switch {
	case errors.Is(body.err, ErrBodyTooLarge):
		return corrupt
	case body.err != nil && !errors.Is(body.err, io.EOF):
		return i.brokenOff(resp.StatusCode, body.err)
	case body.n != d.Size || !verifier.Verified() || !sound:
		return corrupt
	}
	return flaw{}
}

// counted counts what is read and keeps the first error.
type counted struct {
	io.Reader
	n   int64
	err error
}

// Read implements io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	if c.err == nil {
		c.err = err
	}
	return n, err
}

// isSound tells whether a layer is packed as it should be. unpacked is the digest
// that what is in it has to have, "" if not known.
func isSound(body io.Reader, mediaType string, unpacked digest.Digest) bool {
	buffered := bufio.NewReader(body)
	mark, _ := buffered.Peek(markSize)
	if bytes.HasPrefix(mark, gzipMark()) {
		return isGzip(buffered, images.IsLayerType(mediaType), unpacked)
	}
	return isMarked(mark, mediaType)
}

func gzipMark() []byte { return []byte{0x1f, 0x8b, 0x08} }

// isMarked tells whether the beginning of a layer is as it should be. The runtime
// goes by the first bytes, and takes what has no mark of a packer for a plain
// archive (pkg/archive/compression, DetectCompression).
func isMarked(mark []byte, mediaType string) bool {
	switch {
	case bytes.HasPrefix(mark, gzipMark()):
		return true
	case bytes.HasPrefix(mark, []byte{0x28, 0xb5, 0x2f, 0xfd}), bytes.HasPrefix(mark[min(1, len(mark)):], []byte{0x2a, 0x4d, 0x18}):
		return true // zstd
	case !images.IsLayerType(mediaType) || strings.Contains(mediaType, "encrypted") || len(mark) < markSize:
		return true // nothing is known of it
	}
	packed := strings.HasSuffix(mediaType, "gzip") || strings.HasSuffix(mediaType, "zstd")
	mark = mark[:markSize]
	return !packed || bytes.HasSuffix(mark, []byte("ustar")) || len(bytes.Trim(mark, "\x00")) == 0
}

// isGzip tells whether a stream unpacks to its end and, for a layer, whether
// what is in it is an archive with the digest that it has to have. One that
// unpacks to more than we look at is taken for good.
func isGzip(r io.Reader, layer bool, unpacked digest.Digest) bool {
	z, err := gzip.NewReader(r)
	if err != nil {
		return false
	}
	check := digest.Canonical.Digester()
	content := io.TeeReader(io.LimitReader(z, maxUnpacked), check.Hash())
	if layer {
		if _, err := tar.NewReader(io.LimitReader(content, maxArchiveHeader)).Next(); errors.Is(err, tar.ErrHeader) {
			return false
		}
	}
	n, err := io.Copy(io.Discard, content)
	if err != nil {
		return false
	}
	if more, _ := z.Read(make([]byte, 1)); more > 0 || n >= maxUnpacked {
		return true
	}
	return !layer || unpacked.Validate() != nil || unpacked.Algorithm() != digest.Canonical || check.Digest() == unpacked
}
