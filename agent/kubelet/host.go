package kubelet

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/whypull/whypull/agent/share"
	"github.com/whypull/whypull/cri/hostfs"
)

// Presence is whether something is on the node.
type Presence string

// The presences. The zero value says nothing.
const (
	NotVisible Presence = ""
	Absent     Presence = "absent"
	Present    Presence = "present"
)

// maxFile limits the size of a file to read. The largest, a record of an image
// that a hundred secrets pull, has about 40 KiB.
const maxFile = 1 << 20

// defaultDir is the default of the kubelet's --root-dir.
const defaultDir = "/var/lib/kubelet"

// Options say where the kubelet's files are.
type Options struct {
	// Root is where the node's file system is mounted; empty means "/".
	Root string
	// Dir is the kubelet's --root-dir on the node; empty means
	// /var/lib/kubelet.
	Dir string
	// ProviderConfig is the kubelet's --image-credential-provider-config, a
	// file or directory on the node; detected when empty.
	ProviderConfig string
	// PluginDir is the kubelet's --image-credential-provider-bin-dir, a directory on
	// the node; detected when empty.
	PluginDir string
	// Kubeconfig is the path of the kubelet's kubeconfig on the node; detected
	// when empty.
	Kubeconfig string
}

// Kubelet is a node's kubelet as its files show it. What it reads is cached for
// one second. It is safe for concurrent use and must not be copied.
type Kubelet struct {
	host           hostfs.FS
	dir            string
	providerConfig string
	pluginDir      string
	kubeconfig     string

	services, docker, plugins, images *share.Cache[string, any]
}

// New returns a Kubelet. It reads nothing yet.
func New(o Options) *Kubelet {
	dir := cmp.Or(o.Dir, defaultDir)
	return &Kubelet{
		host: hostfs.New(o.Root), dir: path.Clean("/" + dir), providerConfig: o.ProviderConfig, pluginDir: o.PluginDir, kubeconfig: o.Kubeconfig,
		services: newCache(), docker: newCache(), plugins: newCache(), images: newCache(),
	}
}

// read reads a file of the node. Present means that something of that name
// exists; the error, that it is not a readable file.
func (k *Kubelet) read(name string) (hostfs.File, Presence, error) {
	f, err := k.host.Read(name, maxFile)
	return f, k.presence(name, err), err
}

// presence derives the presence of a file from the error of reading it.
func (k *Kubelet) presence(name string, err error) Presence {
	switch {
	case err == nil, errors.Is(err, hostfs.ErrNotRegular), errors.Is(err, hostfs.ErrTooLarge):
		return Present
	case !errors.Is(err, fs.ErrNotExist):
		return NotVisible
	}
	// A link may point to a place that is not mounted.
	real, err := k.host.Resolve(name)
	if err != nil || !k.isVisible(path.Dir(k.host.Within(real))) {
		return NotVisible
	}
	return Absent
}

// isVisible reports whether a file that is missing in a directory of the node
// is really absent. The parents of a mount point exist and are otherwise empty,
// so a directory counts only if something that exists on every node is there
// too.
func (k *Kubelet) isVisible(dir string) bool {
	switch {
	case k.host.IsHost(), k.host.IsDir("/usr"):
		return true
	case isUnder(dir, "/etc"):
		return k.host.IsDir("/etc")
	case isUnder(dir, k.recordsDir()):
		return k.host.IsDir(k.recordsDir()) || k.host.IsDir(path.Join(k.dir, "pods"))
	case isUnder(dir, k.dir):
		return k.host.IsDir(path.Join(k.dir, "pods"))
	default:
		return false
	}
}

func isUnder(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

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
