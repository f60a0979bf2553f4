package scratchpull

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/transfer"
	"github.com/opencontainers/go-digest"

	"github.com/whypull/whypull/cri/oci"
)

const (
	// maxBlobs limits what is remembered. No image has that many layers: the
	// limit of overlayfs is 127.
	maxBlobs = 4096
	// maxManifest is the largest manifest to read. containerd rejects larger
	// ones (core/remotes/docker, MaxManifestSize).
	maxManifest = 8 << 20
)

// tracker builds a Result from containerd's progress events
// (core/transfer/local: pull, ProgressTracker).
type tracker struct {
	// manifest reads a manifest that the runtime has; progress is
	// Request.Progress, which may be nil.
	manifest func(digest.Digest, int64) ([]byte, error)
	progress func(Blob)

	mu      sync.Mutex
	begun   bool
	blobs   map[digest.Digest]*Blob
	sizes   map[digest.Digest]int64 // of the parts that manifests list, and of blobs
	bytes   int64                   // their sum
	seen    map[digest.Digest]bool  // whether a part of it was seen arriving
	tooMany bool
}

func newTracker(manifest func(digest.Digest, int64) ([]byte, error), progress func(Blob)) *tracker {
	return &tracker{manifest: manifest, progress: progress,
		blobs: map[digest.Digest]*Blob{}, sizes: map[digest.Digest]int64{}, seen: map[digest.Digest]bool{}}
}

// event handles one event. Events come one at a time.
func (t *tracker) event(e transfer.Progress) {
	b, changed := t.record(e)
	if changed && t.progress != nil {
		t.progress(b)
	}
	if !changed || !b.Done || b.Kind != "manifest" {
		return
	}
	if data, err := t.manifest(b.Digest, b.Size); err == nil {
		t.addManifest(data)
	}
}

// record records an event. It returns the blob that it is about, and whether anything is
// new of one.
func (t *tracker) record(e transfer.Progress) (b Blob, changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begun = true
	kind, d, ok := blobOf(e.Name)
	if !ok {
		return Blob{}, false
	}
	blob := t.blob(kind, d, e.Total)
	if blob == nil {
		return Blob{}, false
	}
	before := *blob
	switch e.Event {
	case "waiting", "downloading":
		blob.Fetched = max(blob.Fetched, e.Progress)
		t.seen[d] = t.seen[d] || e.Progress > 0
	case "complete", "already exists", "extracting", "extracted":
		blob.Fetched, blob.Done = blob.Size, true
	}
	return *blob, *blob != before || e.Event == "waiting"
}

// blob returns the blob of a digest; nil if there are too many.
func (t *tracker) blob(kind string, d digest.Digest, size int64) *Blob {
	b := t.blobs[d]
	if b == nil {
		if t.tooMany = t.tooMany || len(t.blobs) == maxBlobs; t.tooMany {
			return nil
		}
		b = &Blob{Digest: d, Kind: kind, Size: max(size, 0)}
		t.blobs[d] = b
		t.size(d, size)
	}
	return b
}

func (t *tracker) size(d digest.Digest, size int64) {
	if _, known := t.sizes[d]; !known {
		t.sizes[d] = size
		t.bytes = addSizes(t.bytes, size)
	}
}

// addManifest adds the parts that a manifest lists to the size of the image:
// containerd starts with only a few layers at a time.
func (t *tracker) addManifest(data []byte) {
	m, err := oci.ReadManifest(data)
	tooMany := errors.Is(err, oci.ErrTooLarge)
	if err != nil && !tooMany {
		return // the runtime will report it
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tooMany = t.tooMany || tooMany
	for _, d := range append(m.Layers, m.Config) {
		if t.tooMany = t.tooMany || len(t.sizes) >= 2*maxBlobs; t.tooMany {
			return
		}
		if d.Digest.Validate() == nil {
			t.size(d.Digest, d.Size)
		}
	}
}

// blobOf parses containerd's name of a blob: its kind, a dash, and the digest
// (core/remotes, MakeRefKey).
func blobOf(name string) (kind string, d digest.Digest, ok bool) {
	kind, rest, _ := strings.Cut(name, "-")
	d, err := digest.Parse(rest)
	if err != nil {
		return "", "", false
	}
	switch kind {
	case "index", "manifest", "config", "layer":
		return kind, d, true
	}
	return "other", d, true
}

// remaining returns the size of the image, as far as it is known, and how much
// of it is still missing. tooMany is true if it has more parts than any real
// image.
func (t *tracker) remaining() (bytes, rest int64, tooMany bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	rest = t.bytes
	for _, b := range t.blobs {
		rest -= min(b.Fetched, b.Size)
	}
	return t.bytes, max(rest, 0), t.tooMany
}

// hasBegun reports whether there was any event.
func (t *tracker) hasBegun() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.begun
}

// result returns what is known. onNode holds the blobs that the node had
// before.
func (t *tracker) result(onNode map[digest.Digest]bool) Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := Result{Begun: t.begun, Bytes: t.bytes}
	for d, b := range t.blobs {
		if t.seen[d] || !onNode[d] || !b.Done {
			r.Fetched = addSizes(r.Fetched, b.Fetched)
		}
	}
	return r
}

// digests returns the digests of all blobs, sorted.
func (t *tracker) digests() []digest.Digest {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Sorted(maps.Keys(t.blobs))
}

// addSizes adds untrusted sizes: negative ones count as zero, and the sum
// saturates.
func addSizes(a, b int64) int64 {
	a, b = max(a, 0), max(b, 0)
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
