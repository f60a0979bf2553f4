package scratchpull

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/containerd/containerd/v2/core/transfer"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func none(digest.Digest, int64) ([]byte, error) { return nil, errors.New("none") }

func name(kind, of string) string { return kind + "-" + digest.FromString(of).String() }

// Sizes from a registry are untrusted.
func TestUntrustedSizes(t *testing.T) {
	t.Parallel()
	manifest, err := json.Marshal(ocispec.Manifest{
		Config: ocispec.Descriptor{Digest: digest.FromString("c"), Size: -5},
		Layers: []ocispec.Descriptor{
			{Digest: digest.FromString("a"), Size: math.MaxInt64}, {Digest: digest.FromString("b"), Size: math.MaxInt64},
			{Digest: digest.FromString("a"), Size: 7}, {Digest: "no digest", Size: 1},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	tr := newTracker(func(digest.Digest, int64) ([]byte, error) { return manifest, nil }, nil)
	tr.event(transfer.Progress{Event: "waiting", Name: name("manifest", "m"), Total: -3})
	tr.event(transfer.Progress{Event: "complete", Name: name("manifest", "m"), Progress: -3, Total: -3})
	if bytes, rest, tooMany := tr.remaining(); bytes != math.MaxInt64 || rest != math.MaxInt64 || tooMany {
		t.Errorf("%d, %d, %v", bytes, rest, tooMany)
	}
	if r := tr.result(nil); r.Bytes != math.MaxInt64 || r.Fetched != 0 || !r.Begun {
		t.Errorf("%+v", r)
	}
}

func TestTooManyParts(t *testing.T) {
	t.Parallel()
	tr := newTracker(none, nil)
	for i := range maxBlobs + 1 {
		tr.event(transfer.Progress{Event: "waiting", Name: name("layer", fmt.Sprint(i)), Total: 1})
	}
	if bytes, _, tooMany := tr.remaining(); !tooMany || bytes != maxBlobs || len(tr.digests()) != maxBlobs {
		t.Errorf("%d bytes, %v", bytes, tooMany)
	}
	var m ocispec.Manifest
	for i := range 2*maxBlobs + 1 {
		m.Layers = append(m.Layers, ocispec.Descriptor{Digest: digest.FromString(fmt.Sprint(i)), Size: 1})
	}
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	tr = newTracker(none, nil)
	tr.addManifest(data)
	if _, _, tooMany := tr.remaining(); !tooMany {
		t.Error("a manifest may name any number of layers")
	}
}

func TestEventsOfOtherThings(t *testing.T) {
	t.Parallel()
	tr := newTracker(none, func(b Blob) { t.Errorf("unexpected progress: %+v", b) })
	for _, n := range []string{"", "layer-", "layer-sha256:00", "sha256:e3b0c442", "registry.example/app:1"} {
		for _, e := range []string{"waiting", "complete", "saved", "Resolving from x"} {
			tr.event(transfer.Progress{Event: e, Name: n, Total: 5, Progress: 5})
		}
	}
	tr.addManifest([]byte("no manifest"))
	if r := tr.result(nil); len(tr.digests()) > 0 || r.Bytes != 0 {
		t.Errorf("%+v", r)
	}
}

func TestProgressReportsChanges(t *testing.T) {
	t.Parallel()
	var reported []Blob
	tr := newTracker(none, func(b Blob) { reported = append(reported, b) })
	layer := name("layer", "l")
	for _, e := range []transfer.Progress{
		{Event: "waiting", Name: layer, Total: 10},
		{Event: "downloading", Name: layer, Progress: 4, Total: 10},
		{Event: "downloading", Name: layer, Progress: 4, Total: 10},
		{Event: "complete", Name: layer, Progress: 10, Total: 10},
		{Event: "complete", Name: layer, Progress: 10, Total: 10}, // 1.7 repeats it
		{Event: "extracting", Name: layer, Progress: 2, Total: 10},
	} {
		tr.event(e)
	}
	if len(reported) != 3 || reported[1].Fetched != 4 || reported[1].Done || !reported[2].Done || reported[2].Fetched != 10 {
		t.Errorf("%+v", reported)
	}
	if _, rest, _ := tr.remaining(); rest != 0 {
		t.Errorf("%d are to come", rest)
	}
	// A part of it was seen arriving, so the node did not have it.
	if r := tr.result(map[digest.Digest]bool{digest.FromString("l"): true}); r.Fetched != 10 {
		t.Errorf("%+v", r)
	}
}

func TestKindsOfBlobs(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"index": "index", "manifest": "manifest", "config": "config", "layer": "layer", "attestation": "other", "unknown": "other",
	} {
		if kind, d, ok := blobOf(name(given, "x")); !ok || kind != want || d != digest.FromString("x") {
			t.Errorf("%s: %s, %s, %v", given, kind, d, ok)
		}
	}
}

func TestAddSizes(t *testing.T) {
	t.Parallel()
	for _, test := range [][3]int64{{1, 2, 3}, {-1, 2, 2}, {2, -1, 2}, {math.MaxInt64, 1, math.MaxInt64}, {math.MaxInt64, math.MaxInt64, math.MaxInt64}, {math.MinInt64, math.MinInt64, 0}} {
		if got := addSizes(test[0], test[1]); got != test[2] {
			t.Errorf("%d + %d = %d", test[0], test[1], got)
		}
	}
}
