package scratchpull

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

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
	// Platform is the node's platform, such as "linux/arm64/v8"; "" means this
	// process's.
	Platform string
	// Snapshotter unpacks the layers; "" means containerd's default for the
	// platform. With a snapshotter that the transfer service is not configured
	// for, nothing is unpacked; see Result.Unpacked.
	Snapshotter string
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
	named    reference.Named
	platform ocispec.Platform
}

// parse parses a request. It normalizes the reference like CRI, which drops a
// tag before a digest (distribution/reference, ParseDockerRef).
func (r Request) parse() (target, error) {
	named, err := reference.ParseDockerRef(r.Ref)
	if err != nil {
		return target{}, fmt.Errorf("image reference: %w", err)
	}
	t := target{Request: r, named: named, platform: platforms.DefaultSpec()}
	if r.Platform == "" {
		return t, nil
	}
	if t.platform, err = platforms.Parse(r.Platform); err != nil {
		return target{}, errors.New("platform: want os/architecture, such as linux/arm64")
	}
	return t, nil
}
