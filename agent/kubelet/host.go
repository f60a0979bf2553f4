package kubelet

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/whypull/whypull/agent/share"
	"github.com/whypull/whypull/cri/hostfs"
)

// Presence says whether something is on the node.
type Presence string

// The presences. The zero value is the one that says nothing.
const (
	NotVisible Presence = ""
	Absent     Presence = "absent"
	Present    Presence = "present"
)

// maxFile bounds what is read of any file. The largest, a record of an image
// that a hundred secrets pull, has about 40 KiB.
const maxFile = 1 << 20

// defaultDir is the kubelet's --root-dir if nothing else is said.
const defaultDir = "/var/lib/kubelet"

// Options say where the kubelet's files are.
type Options struct {
	// Root is where the node's file system is mounted; empty: "/".
	Root string
	// Dir is the kubelet's --root-dir on the node; empty: /var/lib/kubelet.
	Dir string
	// ProviderConfig is the kubelet's --image-credential-provider-config, a file
	// or directory on the node; empty: it is looked for.
	ProviderConfig string
}

// Kubelet is the kubelet of a node, as its files show it. What it has read serves
// all that ask within a second, and is forgotten then. It is safe for use by many
// goroutines, and must not be copied.
type Kubelet struct {
	host           hostfs.FS
	dir            string
	providerConfig string

	docker, plugins, images *share.Cache[string, *found]
}

// New returns a Kubelet. It reads nothing yet.
func New(o Options) *Kubelet {
	dir := o.Dir
	if dir == "" {
		dir = defaultDir
	}
	return &Kubelet{
		host: hostfs.New(o.Root), dir: path.Clean("/" + dir), providerConfig: o.ProviderConfig,
		docker: shared(), plugins: shared(), images: shared(),
	}
}

// read reads a file of the node. Present tells that there is something of that
// name; the error, that it is not a file that can be read.
func (k *Kubelet) read(name string) (hostfs.File, Presence, error) {
	f, err := k.host.Read(name, maxFile)
	return f, k.presence(name, err), err
}

// presence is what an error of reading says.
func (k *Kubelet) presence(name string, err error) Presence {
	switch {
	case err == nil, errors.Is(err, hostfs.ErrNotRegular), errors.Is(err, hostfs.ErrTooLarge):
		return Present
	case !errors.Is(err, fs.ErrNotExist):
		return NotVisible
	}
	// A link may lead to where nothing is mounted.
	real, err := k.host.Resolve(name)
	if err != nil || !k.sees(path.Dir(k.host.Within(real))) {
		return NotVisible
	}
	return Absent
}

// sees tells whether what is missing in a directory of the node is really not
// there. A mount point's parents exist, and are empty but for it: so a
// directory counts only if something that every node has in it is there too.
func (k *Kubelet) sees(dir string) bool {
	switch {
	case k.host.IsHost(), k.has("/usr"):
		return true
	case within(dir, "/etc"):
		return k.has("/etc")
	case within(dir, k.recordsDir()):
		return k.has(k.recordsDir()) || k.has(path.Join(k.dir, "pods"))
	case within(dir, k.dir):
		return k.has(path.Join(k.dir, "pods"))
	default:
		return false
	}
}

func (k *Kubelet) has(dir string) bool { return k.host.IsDir(dir) }

// list returns the names in a directory of the node, sorted.
func (k *Kubelet) list(dir string) []string { return k.host.List(dir) }

func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
