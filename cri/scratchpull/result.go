package scratchpull

import "github.com/opencontainers/go-digest"

// Stage is how far a pull came.
type Stage string

// The stages, in their order.
const (
	StageNone      Stage = ""          // the runtime has not begun
	StageResolving Stage = "Resolving" // asking which manifest the reference means
	StageFetching  Stage = "Fetching"  // the manifest is known; manifests, config, layers
	StageUnpacking Stage = "Unpacking" // every blob is there
	StageDone      Stage = "Done"      // the pull succeeded
)

// Stop is why a pull was ended by us. It says nothing about the image.
type Stop string

// The reasons.
const (
	NotStopped      Stop = ""         // it ended by itself
	StoppedTooLarge Stop = "TooLarge" // the image has more bytes than Limits.Bytes
	StoppedLowSpace Stop = "LowSpace" // free space would have gone below Limits.Floor
	StoppedTimeout  Stop = "Timeout"  // Limits.Time is over
	StoppedIdle     Stop = "Idle"     // no byte came for Limits.Idle
	StoppedGaveWay  Stop = "GaveWay"  // the kubelet wants the runtime's downloads; also before it began
)

// Source is where a blob came from.
type Source string

// The sources.
const (
	SourceUnknown  Source = ""         // it did not come
	SourceRegistry Source = "Registry" // fetched by this pull
	// SourceNode: another namespace had it before the pull began, and no byte of
	// it was seen to be fetched. (Under the sharing policy "isolated" a small
	// one may have been fetched nevertheless, too quickly to be seen.)
	SourceNode Source = "Node"
)

// Blob is a part of the image.
type Blob struct {
	Digest digest.Digest
	// Kind is index, manifest, config, layer, or other.
	Kind string
	// Size is what its descriptor says, Fetched what has come of it; bytes.
	Size, Fetched int64
	// Done is true once the runtime has it.
	Done bool
	// Source is filled in at the end of the pull.
	Source Source
}

// Result is how a pull went, whether it succeeded or not.
type Result struct {
	Stage   Stage
	Stopped Stop
	// Unpacked is true if the pull succeeded with unpacking. After StageDone it
	// is false only where the transfer service is not set up to unpack for the
	// platform and the snapshotter: an error of unpacking was then not looked for.
	Unpacked bool
	// Bytes is the size of the image as far as it is known: of all parts that
	// its manifests name for the platform, compressed.
	Bytes int64
	// Blobs are the parts that the runtime has begun with, sorted by kind and
	// digest.
	Blobs []Blob
	// Free is the space that was free when StoppedLowSpace ended the pull, or kept
	// it from beginning, and Floor what had to be left of it; bytes.
	Free, Floor uint64
	// Leftover is not nil if something of this pull could not be removed. Sweep
	// tries again; so does the next Pull.
	Leftover error
}

// Fetched is how many bytes came from the registry.
func (r Result) Fetched() int64 {
	var n int64
	for _, b := range r.Blobs {
		if b.Source != SourceNode {
			n = add(n, b.Fetched)
		}
	}
	return n
}
