package retry

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// sparseSize is the size of a layer of zeros.
const sparseSize = 1 << 30

// sparse is an archive of one file of zeros, generated while it is read.
type sparse struct{}

// ReadAt implements io.ReaderAt.
func (sparse) ReadAt(p []byte, at int64) (int, error) {
	head, err := sparseHead()
	if err != nil {
		return 0, err
	}
	n := min(len(p), int(max(sparseSize-at, 0)))
	clear(p[:n])
	if at < int64(len(head)) {
		copy(p[:n], head[at:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// sparseHead returns the start of the archive. Everything after it is zeros: the file's
// and those at the archive's end.
func sparseHead() ([]byte, error) {
	var b bytes.Buffer
	header := &tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Mode: 0o644, Size: sparseSize - 3*512}
	if err := tar.NewWriter(&b).WriteHeader(header); err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	return b.Bytes(), nil
}

// counted counts the bytes sent.
type counted struct {
	http.ResponseWriter
	sent *atomic.Int64
}

// Write implements io.Writer.
func (c *counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// sparseLayer is a layer that the registry does not store. Nobody reads it to the end,
// so its digest is made up.
type sparseLayer struct{ digest v1.Hash }

// Digest implements v1.Layer.
func (l sparseLayer) Digest() (v1.Hash, error) { return l.digest, nil }

// DiffID implements v1.Layer. It equals the digest, because the layer is not
// compressed.
func (l sparseLayer) DiffID() (v1.Hash, error) { return l.digest, nil }

// Size implements v1.Layer.
func (sparseLayer) Size() (int64, error) { return sparseSize, nil }

// MediaType implements v1.Layer.
func (sparseLayer) MediaType() (types.MediaType, error) { return types.OCIUncompressedLayer, nil }

// Compressed implements v1.Layer.
func (sparseLayer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(sparse{}, 0, sparseSize)), nil
}

// Uncompressed implements v1.Layer.
func (l sparseLayer) Uncompressed() (io.ReadCloser, error) { return l.Compressed() }

// sparse adds an image with a layer of zeros to the registry; sent counts the bytes of
// it that were sent.
func (s *store) sparse(repository string) (reference string, sent *atomic.Int64, err error) {
	digest, _, err := v1.SHA256(strings.NewReader(repository))
	if err != nil {
		return "", nil, fmt.Errorf("digest: %w", err)
	}
	sent = &atomic.Int64{}
	s.mu.Lock()
	s.zeros[digest.String()] = sent
	s.mu.Unlock()
	image, err := noise(1<<10, 1)
	if err != nil {
		return "", nil, err
	}
	if image, err = mutate.AppendLayers(image, sparseLayer{digest}); err != nil {
		return "", nil, fmt.Errorf("image: %w", err)
	}
	reference = host + "/" + repository + ":1"
	return reference, sent, s.manifest(reference, image)
}
