package probe

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/whypull/whypull/agent/share"
	"github.com/whypull/whypull/cri/nodeconfig"
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
	loaded   *share.Cache[struct{}, *nodeconfig.Config]
	versions *share.Cache[struct{}, *version]
	last     atomic.Pointer[version]
}

// version is what the runtime says that it is.
type version struct{ runtime, release string }

func newConfigs(now func() time.Time) *configs {
	return &configs{
		loaded:   share.New[struct{}](1, share.For[*nodeconfig.Config](configLife), now),
		versions: share.New[struct{}](1, share.For[*version](versionLife), now),
	}
}

// forget has the configuration read anew.
func (c *configs) forget() {
	c.loaded.Forget(nil)
	c.versions.Forget(nil)
}

// load reads the configuration as the runtime reads it: which files count, and
// what they mean, depends on its name and version. Without an answer of the
// runtime it is taken for a new containerd. That takes a moment only, and is done
// also when ctx is over: nothing can be said without it.
func (c *configs) load(ctx context.Context, o nodeconfig.Options, runtime Images) *nodeconfig.Config {
	config, _ := c.loaded.Get(context.WithoutCancel(ctx), struct{}{}, func(ctx context.Context) (*nodeconfig.Config, error) {
		if runtime != nil {
			v := c.version(ctx, runtime)
			o.Runtime, o.RuntimeVersion = v.runtime, v.release
		}
		return nodeconfig.Load(o), nil
	})
	return config
}

// version is the runtime's name and version; one that does not answer is what it
// last was.
func (c *configs) version(ctx context.Context, from Images) version {
	v, err := c.versions.Get(ctx, struct{}{}, func(ctx context.Context) (*version, error) {
		name, release, err := from.Version(ctx)
		return &version{name, release}, err
	})
	if err == nil {
		c.last.Store(v)
	}
	if last := c.last.Load(); last != nil {
		return *last
	}
	return version{}
}
