package disk

import (
	"math"
	"slices"
)

// unpackedRatio is the assumed ratio of an image's unpacked to its compressed
// size: gzip compresses programs, libraries
// and texts of a distribution to between a half and a third.
const unpackedRatio = 3

// Need is how much space a pull needs for one use.
type Need struct {
	Use Use
	// Bytes is the peak.
	Bytes int64
	// Estimated reports whether Bytes is an estimate.
	Estimated bool
}

// Needed returns what a pull by containerd, or by CRI-O, needs of an image of which the
// node has nothing yet. compressed is the size of its layers in the registry; that of
// their contents, which the registry does not know, is estimated. Inodes are not known
// before layers are unpacked.
//
// containerd writes a layer to its content store, renames it there once it is
// verified (plugins/content/local, writer.go, Commit), and unpacks it from there,
// with discard_unpacked_layers too.
//
// CRI-O writes incoming layers to files in its temporary directory
// (go.podman.io/image, storage, putBlobToPendingFile) and removes all of them
// when the pull ends (storageImageDestination.Close).
func Needed(compressed int64, crio bool) []Need {
	compressed = max(compressed, 0)
	images := Need{Use: UseImages, Bytes: math.MaxInt64, Estimated: compressed > 0}
	if compressed <= math.MaxInt64/unpackedRatio {
		images.Bytes = compressed * unpackedRatio
	}
	packed := Need{Use: UseContent, Bytes: compressed}
	if crio {
		packed.Use = UseTemporary
	}
	return []Need{packed, images}
}

// Shortage is a file system with less space than a pull needs.
type Shortage struct {
	Filesystem
	// Needed is the sum of the needs for all its uses, in bytes. Estimated
	// reports whether the space would suffice without the estimated part.
	Needed    uint64
	Estimated bool
}

// Shortages returns the file systems on which a pull does not fit, in order:
// those that are full, and those with fewer free bytes than needed. An Unseen
// file system is never short.
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

// Sum returns how many bytes a pull needs on one file system.
func Sum(needs []Need, f Filesystem) uint64 {
	var sum uint64
	for _, n := range needs {
		if slices.Contains(f.Uses, n.Use) {
			sum = plus(sum, n.Bytes)
		}
	}
	return sum
}

// plus adds with saturation.
func plus(sum uint64, bytes int64) uint64 {
	return min(sum, math.MaxUint64-uint64(max(bytes, 0))) + uint64(max(bytes, 0))
}
