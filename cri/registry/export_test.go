package registry

import (
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// On is for a node of another platform than this process, Within for another
// time than 9 s.
func (o InspectOptions) On(p ocispec.Platform) InspectOptions {
	if o.Platform == nil {
		o.Platform = &p
	}
	return o
}

func (o InspectOptions) Within(total time.Duration) InspectOptions {
	o.total = total
	return o
}

// Fill takes all of a room, until it is given back.
func (r *Room) Fill() (free func()) {
	if !r.small.TryAcquire(smallRoom) || !r.large.TryAcquire(largeRoom) {
		panic("the room is in use")
	}
	return func() {
		r.small.Release(smallRoom)
		r.large.Release(largeRoom)
	}
}
