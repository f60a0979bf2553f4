package probe

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/whypull/whypull/agent/share"
	"github.com/whypull/whypull/cri/nodeconfig"
)

const (
	// configLife is how long the node's registry configuration is cached for pods
	// that fail at the same time: reading it parses the node's trust store. See also
	// NodeChanged.
	configLife = 5 * time.Second
	// versionLife is how long the runtime's name and version are cached.
	versionLife = time.Minute
)

// configs caches the node's registry configuration. A registry's hosts.toml is read
// for each visit.
type configs struct {
	loaded   *share.Cache[struct{}, *nodeconfig.Config]
	versions *share.Cache[struct{}, *version]
	last     atomic.Pointer[version]
}

// version is the runtime's name and version.
type version struct{ runtime, release string }

func newConfigs(now func() time.Time) *configs {
	return &configs{
		loaded:   share.New[struct{}](1, share.For[*nodeconfig.Config](configLife), now),
		versions: share.New[struct{}](1, share.For[*version](versionLife), now),
	}
}

// forget drops the cached configuration.
func (c *configs) forget() {
	c.loaded.Forget(nil)
	c.versions.Forget(nil)
}

// load returns the configuration as the runtime reads it: which files count and
// what they mean depends on its name and version. If the runtime does not answer,
// it is taken for a recent containerd. load is quick and ignores the end of ctx,
// since all other checks need the configuration.
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

// version returns the runtime's name and version; the last known ones if it does not
// answer.
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
