package registry

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func unpackable(size int64) *atomic.Int64 {
	left := new(atomic.Int64)
	left.Store(size)
	return left
}

// bomb returns a layer that unpacks to a thousand times its own size: a file of so many
// zeros.
func bomb(t *testing.T, size int64) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Mode: 0o644, Size: size}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// All layers of an image together are unpacked to no more than a number of bytes, however
// many they are. What is beyond it counts as right.
func TestUnpackedBytesAreBoundedForAllLayers(t *testing.T) {
	const size = 1 << 20
	layer, other := bomb(t, size), digest.FromString("other")
	left := unpackable(5 * size / 2)
	sound := func() bool {
		return isSound(bytes.NewReader(layer), ocispec.MediaTypeImageLayerGzip, other, left)
	}
	for n := range 2 {
		if sound() {
			t.Errorf("layer %d has not the digest, want it found out", n)
		}
	}
	for n := range 3 {
		if !sound() {
			t.Errorf("layer %d beyond the bound is not right", n)
		}
	}
	if left.Load() != 0 {
		t.Errorf("%d bytes are left", left.Load())
	}
	if isSound(bytes.NewReader(layer[:4]), ocispec.MediaTypeImageLayerGzip, "", left) {
		t.Error("a cut layer is right")
	}
}
