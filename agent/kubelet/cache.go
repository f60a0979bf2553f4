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

func newCache() *share.Cache[string, any] {
	return share.New[string](maxCachedImages, share.For[any](cacheTTL), time.Now)
}

// readCached reads something on the node, or returns the data if it was read
// less than cacheTTL ago. The data must not be changed.
func readCached[T any](c *share.Cache[string, any], key string, read func() T) T {
	// There is no error: the context has no deadline and read does not fail.
	data, _ := c.Get(context.Background(), key, func(context.Context) (any, error) { return read(), nil })
	value, _ := data.(T)
	return value
}
