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
