package kubelet

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/whypull/whypull/agent/share"
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
	root           string
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
		root: filepath.Clean("/" + o.Root), dir: path.Clean("/" + dir), providerConfig: o.ProviderConfig,
		docker: shared(), plugins: shared(), images: shared(),
	}
}

// notRegular is the error for what is there and not to be read: a directory, a
// pipe, or more than maxFile bytes.
type notRegular struct{}

func (notRegular) Error() string { return "not a regular file, or too large" }

// file is a regular file of the node.
type file struct {
	data    []byte
	changed time.Time
}

// read reads a file of the node. Present tells that there is something of that
// name; the error, that it is not a file that can be read.
func (k *Kubelet) read(name string) (file, Presence, error) {
	f, err := k.open(name)
	if err != nil {
		return file{}, k.presence(name, err), err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return file{}, NotVisible, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = notRegular{}
	}
	return file{data: data, changed: info.ModTime()}, Present, err
}

// open opens regular files only: a pipe would be waited for.
func (k *Kubelet) open(name string) (*os.File, error) {
	info, err := k.stat(name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, notRegular{}
	}
	return at(k, name, os.Open, (*os.Root).Open)
}

func (k *Kubelet) stat(name string) (fs.FileInfo, error) {
	return at(k, name, os.Stat, (*os.Root).Stat)
}

// at does something with a path of the node. Below a mount point a link that
// leads out of it, or is absolute, is refused: it would lead into whypull's own
// file system.
func at[T any](k *Kubelet, name string, plain func(string) (T, error), below func(*os.Root, string) (T, error)) (T, error) {
	name = path.Clean("/" + name)
	if k.root == "/" {
		return plain(name)
	}
	root, err := os.OpenRoot(k.root)
	if err != nil {
		var none T
		return none, err
	}
	defer root.Close() //nolint:errcheck // only read
	return below(root, strings.TrimPrefix(name, "/"))
}

// presence is what an error of opening says. A link to what does not exist may
// lead to where nothing is mounted.
func (k *Kubelet) presence(name string, err error) Presence {
	switch {
	case errors.Is(err, notRegular{}):
		return Present
	case !errors.Is(err, fs.ErrNotExist) || !k.sees(path.Dir(name)):
		return NotVisible
	}
	if _, err := at(k, name, os.Lstat, (*os.Root).Lstat); err == nil && k.root != "/" {
		return NotVisible
	}
	return Absent
}

// sees tells whether what is missing in a directory of the node is really not
// there. A mount point's parents exist, and are empty but for it: so a
// directory counts only if something that every node has in it is there too.
func (k *Kubelet) sees(dir string) bool {
	switch {
	case k.root == "/", k.has("/usr"):
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

func (k *Kubelet) has(dir string) bool {
	info, err := k.stat(dir)
	return err == nil && info.IsDir()
}

// list returns the names in a directory of the node, sorted.
func (k *Kubelet) list(dir string) []string {
	if !k.has(dir) {
		return nil
	}
	d, err := at(k, dir, os.Open, (*os.Root).Open)
	if err != nil {
		return nil
	}
	defer d.Close() //nolint:errcheck // only read
	names, _ := d.Readdirnames(-1)
	slices.Sort(names)
	return names
}

func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
