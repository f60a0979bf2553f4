package probe

import (
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

func (c *configs) load(o registry.Options) *registry.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); c.loaded == nil || now.After(c.until) {
		c.loaded, c.until = registry.Load(o), now.Add(configLife)
	}
	return c.loaded
}
