package registry

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/cri/oci"
)

const (
	maxGlances   = 8         // layers of which the first byte is asked for
	maxDownloads = 16        // layers that are downloaded
	maxDownload  = 32 << 20  // bytes of them
	maxUnpacked  = 256 << 20 // bytes that all downloaded layers of an image are unpacked to
	markSize     = 262       // bytes up to where an archive says that it is one
)

// contents checks the blobs of a manifest.
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

// described fetches the config and compares it with the manifest.
func (i *inspection) described(ctx context.Context, m ocispec.Manifest) flaw {
	config, f := i.config(ctx, m.Config)
	if f.found() {
		return f
	}
	if f := i.unpackFlaw(ctx, m, config); f.found() {
		return f
	}
	i.unpacked = unpackedDigests(m, config)
	return flaw{}
}

// unpackedDigests returns the digests of the unpacked layers (rootfs.diff_ids) by the
// layers' digests; none if the lists differ in length.
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

// order returns the layers that the runtime would fetch from this registry, each once, those
// in InspectOptions.Blobs first. An artifact's entries are fetched, unless they look like an
// image's layers (core/unpack, Unpack). Layers with their own URLs are not in this registry.
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
	sort.SliceStable(layers, func(n, m int) bool { return i.rank(layers[n]) < i.rank(layers[m]) })
	return layers
}

// rank returns the position of a blob in InspectOptions.Blobs.
func (i *inspection) rank(d ocispec.Descriptor) int {
	if n := slices.Index(i.want.Blobs, d.Digest.String()); n >= 0 {
		return n
	}
	return len(i.want.Blobs)
}

// at counts a blob as checked and, if it has a flaw, records which blob it is and the host
// that was asked.
func (i *inspection) at(d ocispec.Descriptor, f flaw) flaw {
	if f.unfinished() {
		return f
	}
	i.looked[d.Digest] = true
	if !f.found() {
		return f
	}
	i.answer.Content.Blob = ""
	if d.Digest.Validate() == nil {
		i.answer.Content.Blob = d.Digest.String()
	}
	i.sentTo(i.notes.now().hops)
	return f
}

// config fetches the config and reads the image's platform. An artifact's config may be
// anything.
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

// isImage reports whether a config's media type is an image's (the old one is in
// core/remotes/docker/converter.go).
func isImage(configType string) bool {
	return images.IsConfigType(configType) || configType == docker.LegacyConfigMediaType
}

// platformFlaw returns the flaw of a config's platform. It matters if the index has no
// platform (core/images, Manifest); without an index the pull ignores it.
func (i *inspection) platformFlaw(p ocispec.Platform) flaw {
	match := i.match.Match(p)
	switch {
	case i.chosen == nil:
		if name := platformName(p); name != "" {
			i.answer.Content.Platforms = []string{name}
			i.answer.Content.OtherPlatform = !match
		}
	case i.chosen.Platform == nil && !match:
		return flaw{fault: FaultPlatformMismatch, status: http.StatusOK}
	}
	return flaw{}
}

// unpackFlaw returns the flaw of layers that containerd cannot unpack: those without a
// processor (core/diff, compressedHandler), and another number of layers than in the config
// (core/unpack, unpack). containerd does not unpack artifacts and images for other
// platforms. Encrypted layers and file system images depend on the node's plugins and are
// not checked.
func (i *inspection) unpackFlaw(ctx context.Context, m ocispec.Manifest, config ocispec.Image) flaw {
	unsupported := flaw{fault: FaultUnsupportedFormat, status: http.StatusOK}
	i.answer.Content.Artifact = isArtifact(m)
	if i.endpoint.Settings.NoDockerZstd && slices.ContainsFunc(m.Layers, func(d ocispec.Descriptor) bool { return d.MediaType == images.MediaTypeDockerSchema2LayerZstd }) {
		return unsupported
	}
	// containerd fetches layers once it has a config of a type that it knows (core/unpack,
	// Unpack), and that of images of 2015 is none: it pulls the config alone.
	if m.Config.MediaType == docker.LegacyConfigMediaType && knownLayers(m) > 0 && !i.endpoint.Settings.Pings {
		return unsupported
	}
	if i.answer.Content.Artifact || i.answer.Content.OtherPlatform || !images.IsConfigType(m.Config.MediaType) || m.Config.Size > maxManifest {
		return flaw{}
	}
	for _, d := range m.Layers {
		if i.endpoint.Settings.NoZstd && strings.HasSuffix(d.MediaType, "zstd") {
			unsupported.form = FormZstd
			return unsupported
		}
		_, err := images.DiffCompression(ctx, d.MediaType)
		if err != nil && images.IsLayerType(d.MediaType) && d.MediaType != images.MediaTypeErofsLayer {
			return unsupported
		}
	}
	if knownLayers(m) != len(config.RootFS.DiffIDs) {
		unsupported.form = FormLayers
		return unsupported
	}
	return flaw{}
}

// knownLayers returns the number of layers with a known layer type.
func knownLayers(m ocispec.Manifest) int {
	known := 0
	for _, d := range m.Layers {
		if images.IsLayerType(d.MediaType) {
			known++
		}
	}
	return known
}

// isArtifact reports whether a manifest is not an image's.
func isArtifact(m ocispec.Manifest) bool {
	return !isImage(m.Config.MediaType) || knownLayers(m) == 0 && len(m.Layers) > 0
}

// span is a requested byte range of a blob: first and last byte, as in RFC 9110, 14.1.2. nil
// is the whole blob.
type span struct{ first, last int64 }

// open requests a blob, or a part that begins with its first byte. If there is no flaw, the
// caller must close the body.
func (i *inspection) open(ctx context.Context, d ocispec.Descriptor, part *span) (*http.Response, flaw) {
	var resp *http.Response
	f := i.inTurn(func() (f flaw) {
		resp, f = i.openOne(ctx, d, part) //nolint:bodyclose // the caller closes it
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
	if part != nil && noRanges(resp.StatusCode) { // an empty blob, or a server without ranges
		_ = resp.Body.Close()
		return i.openOne(ctx, d, nil)
	}
	if f := i.declined(resp, d); f.found() {
		return nil, f
	}
	return resp, flaw{}
}

// noRanges reports whether a status is that of a server that rejects ranges.
func noRanges(status int) bool {
	return status == http.StatusBadRequest || status == http.StatusRequestedRangeNotSatisfiable || status == http.StatusNotImplemented
}

// fetch requests a blob or a part of it and returns any status.
func (i *inspection) fetch(ctx context.Context, d ocispec.Descriptor, part *span) (*http.Response, flaw) {
	if i.late(i.rest) {
		return nil, flaw{err: context.DeadlineExceeded}
	}
	resp, err := i.get(ctx, d, part)
	if err == nil && resp.StatusCode == http.StatusUnauthorized && i.answer.Auth.Scheme == SchemeNone && !i.endpoint.Settings.Pings {
		// The registry protects its blobs but not its manifests.
		if i.challenged(ctx, i.receive(resp, maxBody)) == nil {
			resp, err = i.get(ctx, d, part)
		}
	}
	if err != nil {
		return nil, i.unanswered(err)
	}
	return resp, flaw{}
}

// declined returns the flaw of a response without a blob or a part of one, and reads it to
// its end.
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

// metered adds what is read to a total. Once it has failed, it fails with the same error:
// that of net/http, which says why a request has ended, is returned only once.
type metered struct {
	io.ReadCloser
	total *int64
	err   error
}

// Read implements io.Reader.
func (m *metered) Read(p []byte) (n int, err error) {
	if m.err == nil {
		n, m.err = m.ReadCloser.Read(p)
		*m.total += int64(n)
	}
	return n, m.err
}

// glance requests the first byte of a blob and compares the size in the response.
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

// cutShort returns the flaw of a blob that ends too early.
func (i *inspection) cutShort(status int, err error) flaw {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return i.brokenOff(status, err)
}

// sizeOf returns the size of a blob from the response header: the length of a whole
// response, or from Content-Range (RFC 9110, 14.4), also of a 416 (15.5.17).
func sizeOf(resp *http.Response) (size int64, known bool) {
	switch resp.StatusCode {
	case http.StatusOK:
		encoded := resp.Uncompressed || resp.Header.Get("Content-Encoding") != ""
		return resp.ContentLength, resp.ContentLength >= 0 && !encoded
	case http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		_, total, _ := strings.Cut(resp.Header.Get("Content-Range"), "/")
		size, err := strconv.ParseInt(total, 10, 64)
		return size, err == nil
	}
	return 0, false
}

// whole fetches and verifies a small blob. The caller must release the reply.
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

// download fetches layers, those in InspectOptions.Blobs first and then the smallest, within
// the limits.
func (i *inspection) download(ctx context.Context, layers []ocispec.Descriptor) flaw {
	sort.SliceStable(layers, func(n, m int) bool {
		a, b := layers[n], layers[m]
		return cmp.Or(cmp.Compare(i.rank(a), i.rank(b)), cmp.Compare(a.Size, b.Size)) < 0
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

// verify downloads and verifies a layer without storing it.
func (i *inspection) verify(ctx context.Context, d ocispec.Descriptor) flaw {
	resp, f := i.open(ctx, d, nil)
	if f.found() {
		return f
	}
	defer resp.Body.Close() //nolint:errcheck // only read from
	return i.verifyBody(resp, d)
}

// verifyBody verifies a layer's body.
func (i *inspection) verifyBody(resp *http.Response, d ocispec.Descriptor) flaw {
	corrupt := flaw{fault: FaultContentCorrupt, status: resp.StatusCode}
	held := place{room: i.room}
	defer held.leave()
	if err := held.take(resp.Request.Context(), unpackRoom); err != nil {
		return flaw{err: err}
	}
	verifier, before := d.Digest.Verifier(), i.received
	body := io.TeeReader(resp.Body, verifier)
	sound := isSound(body, d.MediaType, i.unpacked[d.Digest], i.unpackable)
	_, err := io.Copy(io.Discard, body) // the rest
	switch {
	case errors.Is(err, ErrBodyTooLarge):
		return corrupt
	case err != nil:
		return i.brokenOff(resp.StatusCode, err)
	case i.received-before != d.Size || !verifier.Verified() || !sound:
		return corrupt
	}
	return flaw{}
}

// isSound reports whether a layer can be unpacked. unpacked is the expected digest of its
// unpacked content; "" if unknown. left is the number of bytes that may still be unpacked.
func isSound(body io.Reader, mediaType string, unpacked digest.Digest, left *atomic.Int64) bool {
	buffered := bufio.NewReader(body)
	mark, _ := buffered.Peek(markSize)
	if compression.DetectCompression(mark) == compression.Gzip {
		return isGzip(buffered, images.IsLayerType(mediaType), unpacked, left)
	}
	return isMarked(mark, mediaType)
}

// isMarked reports whether the first bytes of a layer are right. The runtime detects the
// compression by them and treats anything else as a tar archive.
func isMarked(mark []byte, mediaType string) bool {
	switch {
	case compression.DetectCompression(mark) != compression.Uncompressed:
		return true
	case !images.IsLayerType(mediaType) || strings.Contains(mediaType, "encrypted") || len(mark) < markSize:
		return true // unknown
	}
	packed := strings.HasSuffix(mediaType, "gzip") || strings.HasSuffix(mediaType, "zstd")
	mark = mark[:markSize]
	return !packed || bytes.HasSuffix(mark, []byte("ustar")) || len(bytes.Trim(mark, "\x00")) == 0
}

// isGzip reports whether a stream decompresses and, for a layer, whether its content is an
// archive with the expected digest. What is beyond the bytes left counts as right: a few bytes
// may unpack to a thousand times as many.
func isGzip(r io.Reader, layer bool, unpacked digest.Digest, left *atomic.Int64) bool {
	z, err := gzip.NewReader(r)
	if err != nil {
		return false
	}
	check := digest.Canonical.Digester()
	limited := &io.LimitedReader{R: z, N: max(left.Load(), 0)}
	defer func(limit int64) { left.Add(limited.N - limit) }(limited.N)
	content := io.TeeReader(limited, check.Hash())
	if layer {
		if _, err := tar.NewReader(io.LimitReader(content, maxArchiveHeader)).Next(); errors.Is(err, tar.ErrHeader) {
			return false
		}
	}
	if _, err := io.Copy(io.Discard, content); err != nil {
		return false
	}
	return limited.N == 0 || !layer || unpacked.Validate() != nil || unpacked.Algorithm() != digest.Canonical || check.Digest() == unpacked
}
