package kubelet

import (
	"context"
	"time"

	"github.com/whypull/whypull/agent/share"
)

// cacheTTL is how long data that was read serves other pods that fail at the
// same time. It is short because the data contains passwords. When a registry
// fails, all pods of a node (250 and more) fail together, and reading what they
// need takes most of a millisecond.
const cacheTTL = time.Second

// maxCachedImages limits the number of images whose records are cached.
const maxCachedImages = 32

// cached is data that was read. It must not be changed.
type cached struct {
	value    any
	presence Presence
}

func newCache() *share.Cache[string, *cached] {
	return share.New[string](maxCachedImages, share.For[*cached](cacheTTL), time.Now)
}

// readCached reads something on the node, or returns the data if it was read
// less than cacheTTL ago.
func readCached[T any](c *share.Cache[string, *cached], key string, read func() (T, Presence)) (T, Presence) {
	// There is no error: the context has no deadline and read does not fail.
	f, _ := c.Get(context.Background(), key, func(context.Context) (*cached, error) {
		value, presence := read()
		return &cached{value, presence}, nil
	})
	value, _ := f.value.(T)
	return value, f.presence
}
