package probe

import (
	"context"
	"sync"
	"time"

	"github.com/whypull/whypull/cri/registry"
)

// configLife is how long the node's registry configuration serves pods that
// fail at the same time: reading it parses the node's trust store.
const configLife = time.Second

// configs shares what was read of the node's registry configuration. A registry's
// own hosts.toml is read for each visit all the same.
type configs struct {
	mu     sync.Mutex
	loaded *registry.Config
	until  time.Time
}

// forget has the configuration read anew.
func (c *configs) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loaded = nil
}

// load reads the configuration as the runtime reads it: which files count, and
// what they mean, depends on its name and version. Without an answer of the
// runtime it is taken for a new containerd.
func (c *configs) load(ctx context.Context, o registry.Options, runtime Images) *registry.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.loaded != nil && now.Before(c.until) {
		return c.loaded
	}
	if runtime != nil {
		if name, version, err := runtime.Version(ctx); err == nil {
			o.Runtime, o.RuntimeVersion = name, version
		}
	}
	c.loaded, c.until = registry.Load(o), now.Add(configLife)
	return c.loaded
}
