package kubelet

import (
	"context"
	"time"

	"github.com/whypull/whypull/agent/share"
)

// shareLife is how long what was read serves other pods that fail at the same
// time, and no longer, since there are passwords in it. All pods of a node, 250
// and more, fail together when a registry does, and what is asked for them takes
// most of a millisecond to read.
const shareLife = time.Second

// mostShared bounds the images whose records are shared.
const mostShared = 32

// found is what was read. Nobody may change it.
type found struct {
	value    any
	presence Presence
}

func shared() *share.Cache[string, *found] {
	return share.New[string](mostShared, share.For[*found](shareLife), time.Now)
}

// once reads something on the node, or returns what was read less than shareLife
// ago.
func once[T any](c *share.Cache[string, *found], key string, read func() (T, Presence)) (T, Presence) {
	// Without a deadline and with reads that do not fail, there is no error.
	f, _ := c.Get(context.Background(), key, func(context.Context) (*found, error) {
		value, presence := read()
		return &found{value, presence}, nil
	})
	value, _ := f.value.(T)
	return value, f.presence
}
