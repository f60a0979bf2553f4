package probe

import (
	"context"
	"sync"
	"time"

	"github.com/whypull/whypull/cri/registry"
)

const (
	// configLife is how long the node's registry configuration serves pods that
	// fail at the same time: reading it parses the node's trust store. A change of
	// it that is noticed ends that, see NodeChanged.
	configLife = 5 * time.Second
	// versionLife is how long the runtime's answer to what it is serves.
	versionLife = time.Minute
)

// configs shares what was read of the node's registry configuration. A registry's
// own hosts.toml is read for each visit all the same.
type configs struct {
	mu     sync.Mutex
	loaded *registry.Config
	until  time.Time

	name, version string
	asked         time.Time // zero: the runtime has not answered
}

// forget has the configuration read anew.
func (c *configs) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loaded, c.asked = nil, time.Time{}
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
		o.Runtime, o.RuntimeVersion = c.runtime(ctx, runtime, now)
	}
	c.loaded, c.until = registry.Load(o), now.Add(configLife)
	return c.loaded
}

// runtime is the runtime's name and version; one that does not answer is what it
// last was.
func (c *configs) runtime(ctx context.Context, from Images, now time.Time) (name, version string) {
	if c.asked.IsZero() || now.Sub(c.asked) >= versionLife {
		if name, version, err := from.Version(ctx); err == nil {
			c.name, c.version, c.asked = name, version, now
		}
	}
	return c.name, c.version
}
