package scratchpull

import "github.com/opencontainers/go-digest"

// Stage is how far a pull got.
type Stage string

// The stages, in order.
const (
	StageNone      Stage = ""          // the runtime has not started
	StageResolving Stage = "Resolving" // resolving the reference to a manifest
	StageFetching  Stage = "Fetching"  // the manifest is known; fetching manifests, config, layers
	StageUnpacking Stage = "Unpacking" // all blobs are there
	StageDone      Stage = "Done"      // the pull succeeded
)

// Stop is why this package ended a pull. It says nothing about the image.
type Stop string

// The reasons.
const (
	NotStopped      Stop = ""         // the pull was not ended early
	StoppedTooLarge Stop = "TooLarge" // the image is larger than Limits.Bytes
	StoppedLowSpace Stop = "LowSpace" // free space would have fallen below Limits.Floor
	StoppedTimeout  Stop = "Timeout"  // Limits.Time has passed
	StoppedIdle     Stop = "Idle"     // nothing was received for Limits.Idle
	StoppedGaveWay  Stop = "GaveWay"  // the kubelet needs the runtime's downloads, possibly before the pull started
)

// Source is where a blob came from.
type Source string

// The sources.
const (
	SourceUnknown  Source = ""         // it was not received
	SourceRegistry Source = "Registry" // fetched by this pull
	// SourceNode: another namespace had it before the pull started, and no
	// fetch was observed. (With the sharing policy "isolated", a small blob may
	// have been fetched too quickly to be observed.)
	SourceNode Source = "Node"
)

// Blob is a part of the image.
type Blob struct {
	Digest digest.Digest
	// Kind is index, manifest, config, layer, or other.
	Kind string
	// Size is the size in its descriptor, Fetched how much has been received;
	// in bytes.
	Size, Fetched int64
	// Done reports whether the runtime has all of it.
	Done bool
	// Source is set at the end of the pull.
	Source Source
}

// Result is how a pull went, whether or not it succeeded.
type Result struct {
	Stage   Stage
	Stopped Stop
	// Unpacked reports whether the pull also unpacked. After StageDone it is
	// false only if the transfer service is not configured to unpack for the
	// platform; unpacking was then not tested.
	Unpacked bool
	// Bytes is the compressed size of the image as far as it is known: of all
	// parts that its manifests list for the platform.
	Bytes int64
	// Blobs are the parts that the runtime has started with, sorted by kind and
	// digest.
	Blobs []Blob
	// Free is the free space when StoppedLowSpace ended the pull or prevented
	// it, and Floor is the space that had to remain; in bytes.
	Free, Floor uint64
	// Leftover is not nil if something of this pull could not be removed. Sweep
	// tries again; so does the next Pull.
	Leftover error
}

// Fetched returns how many bytes came from the registry.
func (r Result) Fetched() int64 {
	var n int64
	for _, b := range r.Blobs {
		if b.Source != SourceNode {
			n = addSizes(n, b.Fetched)
		}
	}
	return n
}
