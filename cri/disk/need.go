package disk

import (
	"math"
	"slices"
)

// unpackedRatio is how many times as large as its compressed form an image is
// taken to be where nobody knows: gzip brings programs, libraries and texts of a
// distribution to between a half and a third.
const unpackedRatio = 3

// Store is what decides how much room a pull takes.
type Store struct {
	// CRIO: the runtime is CRI-O, and containerd otherwise.
	CRIO bool
	// DiscardsLayers is containerd's discard_unpacked_layers.
	DiscardsLayers bool
}

// Need is how much room a pull needs for one use.
type Need struct {
	Use Use
	// Bytes at the moment at which it is most.
	Bytes int64
	// Estimated: Bytes is not known but guessed.
	Estimated bool
	// Kept: the bytes stay in use after the pull.
	Kept bool
}

// Needed tells what a pull of an image needs of which nothing is on the node yet.
// compressed is the size of its layers as the registry has them, unpacked that of
// their content, 0 if it is not known: the registry does not know it, and it is
// estimated then. Inodes are not known before layers are unpacked.
//
// containerd writes a layer to its content store, where it is renamed once it is
// verified (plugins/content/local, writer.go, Commit), and unpacks it from there.
// It keeps both for as long as the image is there. With discard_unpacked_layers it
// sets no references to the layers (core/images, ChildGCLabelsFilterLayers;
// internal/cri/server/images, pullImageWithLocalPull), so that the next garbage
// collection removes them: the pull needs the same room, and less is kept.
//
// CRI-O writes layers as they come to files in its temporary directory
// (go.podman.io/image, storage, putBlobToPendingFile), and removes all of them
// together when the pull ends (storageImageDestination.Close).
func Needed(compressed, unpacked int64, s Store) []Need {
	compressed = max(compressed, 0)
	images := Need{Use: UseImages, Bytes: unpacked, Kept: true}
	if unpacked <= 0 {
		images.Bytes, images.Estimated = math.MaxInt64, compressed > 0
		if compressed <= math.MaxInt64/unpackedRatio {
			images.Bytes = compressed * unpackedRatio
		}
	}
	packed := Need{Use: UseContent, Bytes: compressed, Kept: !s.DiscardsLayers}
	if s.CRIO {
		packed.Use, packed.Kept = UseTemporary, false
	}
	return []Need{packed, images}
}

// Shortage is a file system with less room than a pull needs.
type Shortage struct {
	Filesystem
	// Needed is the sum of the needs for all its uses, in bytes; Estimated tells
	// that a part of it is, and that without that part there is room enough.
	Needed    uint64
	Estimated bool
}

// Shortages gives the file systems on which a pull does not fit, in their order:
// those that are full, and those with fewer free bytes than needed. One of which
// nothing is known is never short.
func Shortages(all []Filesystem, needs []Need) []Shortage {
	var out []Shortage
	for _, f := range all {
		sum := Sum(needs, f)
		known := Sum(slices.DeleteFunc(slices.Clone(needs), func(n Need) bool { return n.Estimated }), f)
		if f.Full() || f.Unseen == "" && f.Free < sum {
			out = append(out, Shortage{Filesystem: f, Needed: sum, Estimated: !f.Full() && f.Free >= known})
		}
	}
	return out
}

// Sum is how many bytes a pull needs of one file system.
func Sum(needs []Need, f Filesystem) uint64 {
	var sum uint64
	for _, n := range needs {
		if slices.Contains(f.Uses, n.Use) {
			sum = plus(sum, n.Bytes)
		}
	}
	return sum
}

// plus adds, and stays at the largest number.
func plus(sum uint64, bytes int64) uint64 {
	return min(sum, math.MaxUint64-uint64(max(bytes, 0))) + uint64(max(bytes, 0))
}
