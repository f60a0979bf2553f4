package scratchpull

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Login is one credential. It shows itself nowhere: not in text, not in logs,
// not in JSON.
type Login struct {
	User     string `json:"-"`
	Password string `json:"-"`
}

// hidden stands for a Login.
const hidden = "login (hidden)"

// String hides the login.
func (Login) String() string { return hidden }

// GoString hides the login.
func (Login) GoString() string { return hidden }

// LogValue hides the login.
func (Login) LogValue() slog.Value { return slog.StringValue(hidden) }

// Request is what to pull, and as whom.
type Request struct {
	// Ref is the image as the kubelet gives it to the runtime.
	Ref string
	// Login is offered to every host that asks, as CRI does when the kubelet
	// gives no server address, which it never does; nil: nobody. The kubelet
	// tries one credential after the other: so does the caller, one Pull each.
	Login *Login
	// HostsDir is the runtime's config_path, as containerd sees it: the folder
	// with a folder for each registry. "" if there is none. With containerd 1.7
	// it must be "", so leave it out where it has nothing for this registry.
	HostsDir string
	// Platform is the node's, "linux/arm64/v8"; "" is that of this process.
	Platform string
	// Snapshotter unpacks; "" is containerd's default for the platform. A
	// snapshotter that the transfer service is not set up for unpacks nothing:
	// see Result.Unpacked.
	Snapshotter string
	// Yield, if set, reports whether somebody waits for a pull by the runtime that
	// the runtime does not know of yet. It is asked before the pull and ten times a
	// second while it runs, by one goroutine at a time.
	Yield func(context.Context) bool `json:"-"`
	// Progress, if set, is told whenever something becomes known of a blob. It
	// is called by one goroutine at a time and holds up nothing but itself.
	Progress func(Blob) `json:"-"`
}

// target is a request whose text has been understood.
type target struct {
	Request
	named    reference.Named
	platform ocispec.Platform
}

// parse understands a request. The reference is normalised as CRI does, which
// drops a tag before a digest (distribution/reference, ParseDockerRef).
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
		return target{}, errors.New("platform: want os/architecture")
	}
	return t, nil
}
