package probe

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/share"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
)

const (
	// configLife is how long the node's registry configuration is cached for pods
	// that fail at the same time: reading it parses the node's trust store. See also
	// NodeChanged.
	configLife = 5 * time.Second
	// versionLife is how long the runtime's name and version are cached.
	versionLife = time.Minute
	// endpointsLife is how long the endpoints of an image, and which files determine those
	// of a registry, are cached for pods that fail at the same time: the files of a registry
	// are listed and read for them. maxEndpoints limits for how many images and registries.
	endpointsLife = time.Second
	maxEndpoints  = 32
)

// configs caches the node's registry configuration.
type configs struct {
	loaded    *share.Cache[struct{}, *nodeconfig.Config]
	versions  *share.Cache[struct{}, *version]
	endpoints *share.Cache[endpointsKey, *endpointsResult]
	files     *share.Cache[string, []string] // by registry
	last      atomic.Pointer[version]
}

// endpointsKey is what determines the endpoints of an image on a node.
type endpointsKey struct {
	namespace string
	kind      diagnosis.Kind
	image     string // as the pod has it
	ref       string // one of the names that the runtime tries for it
}

// endpointsResult is the result of nodeconfig.Config.EndpointsFor.
type endpointsResult struct {
	endpoints []registry.Endpoint
	notices   []nodeconfig.Notice
	err       error
}

// version is the runtime's name and version.
type version struct{ runtime, release string }

func newConfigs(now func() time.Time) *configs {
	return &configs{
		loaded:   share.New[struct{}](1, share.For[*nodeconfig.Config](configLife), now),
		versions: share.New[struct{}](1, share.For[*version](versionLife), now),

		endpoints: share.New[endpointsKey](maxEndpoints, share.For[*endpointsResult](endpointsLife), now),
		files:     share.New[string](maxEndpoints, share.For[[]string](endpointsLife), now),
	}
}

// forget drops the cached configuration.
func (c *configs) forget() {
	c.loaded.Forget(nil)
	c.versions.Forget(nil)
	c.endpoints.Forget(nil)
	c.files.Forget(nil)
}

// filesOf returns the paths of the files that determine the endpoints of a registry.
func (c *configs) filesOf(ctx context.Context, config *nodeconfig.Config, registry string) []string {
	// There is no error, as in endpointsFor.
	paths, _ := c.files.Get(context.WithoutCancel(ctx), registry, func(context.Context) ([]string, error) {
		return config.Sources(registry), nil
	})
	return slices.Clone(paths)
}

// endpointsFor is nodeconfig.Config.EndpointsFor for a failure's image under one of its
// names, with the configuration as it is for the failure (configFor).
func (c *configs) endpointsFor(ctx context.Context, config *nodeconfig.Config, f diagnosis.Failure, ref reference.Named) ([]registry.Endpoint, []nodeconfig.Notice, error) {
	key := endpointsKey{f.Namespace, f.Kind, f.Image, ref.String()}
	// There is no error: reading the files is quick, and ignores the end of ctx.
	s, _ := c.endpoints.Get(context.WithoutCancel(ctx), key, func(ctx context.Context) (*endpointsResult, error) {
		endpoints, notices, err := config.EndpointsFor(ctx, domain(ref, f), ref)
		return &endpointsResult{endpoints, notices, err}, nil
	})
	return slices.Clone(s.endpoints), slices.Clone(s.notices), s.err
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
