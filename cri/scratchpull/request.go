package scratchpull

import (
	"context"
	"fmt"

	"github.com/distribution/reference"

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

// parse parses a request. It normalizes the reference like CRI, which drops a
// tag before a digest (distribution/reference, ParseDockerRef).
func (r Request) parse() (target, error) {
	named, err := reference.ParseDockerRef(r.Ref)
	if err != nil {
		return target{}, fmt.Errorf("image reference: %w", err)
	}
	return target{Request: r, named: named}, nil
}
