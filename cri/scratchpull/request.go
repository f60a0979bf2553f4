package scratchpull

import (
	"context"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/whypull/whypull/cri/credential"
)

// Request describes what to pull, and with which credential.
type Request struct {
	// Ref is the image as the kubelet passes it to the runtime.
	Ref string
	// Credential is offered to every host that asks, as CRI does if the kubelet
	// passes no server address, which it never does; nil means none. The
	// kubelet tries one credential after the other; so must the caller, with
	// one Pull each.
	Credential *credential.Credential
	// HostsDir is the runtime's config_path, as containerd sees it: the
	// directory with one directory per registry. "" if there is none. With
	// containerd 1.7 it must be "", so omit it if it has nothing for this
	// registry.
	HostsDir string
	// Yield, if set, reports whether a pod waits for a pull that the runtime
	// does not know of yet. It is called before the pull and ten times a second
	// during it, by one goroutine at a time.
	Yield func(context.Context) bool `json:"-"`
	// Progress, if set, is called whenever something new is known about a blob.
	// It is called by one goroutine at a time, and blocks only that goroutine.
	Progress func(Blob) `json:"-"`
}

// target is a parsed request.
type target struct {
	Request
	named reference.Named
}

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
}

// Result is how a pull went, whether or not it succeeded.
type Result struct {
	// Begun reports whether the runtime has begun to pull.
	Begun   bool
	Stopped Stop
	// Bytes is the compressed size of the image as far as it is known: of all
	// parts that its manifests list for the platform.
	Bytes int64
	// Fetched is how many bytes came from the registry. What another namespace
	// had before the pull, and was not seen arriving, did not. (With the sharing
	// policy "isolated", a small blob may have been fetched too quickly to be
	// seen.)
	Fetched int64
	// Free is the free space when StoppedLowSpace ended the pull or prevented
	// it, and Floor is the space that had to remain; in bytes.
	Free, Floor uint64
}
