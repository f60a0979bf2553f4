package nodeconfig

import (
	"cmp"
	"path"
)

// Storage is where the runtime stores images, as paths on the node.
type Storage struct {
	// Root is containerd's root, CRI-O's graph root or Docker's data root.
	Root string
	// Temporary is CRI-O's directory for large files; "" for its default, /var/tmp, and
	// with containerd.
	Temporary string
}

const (
	defaultContainerdRoot = "/var/lib/containerd"         // defaults, DefaultRootDir
	defaultGraphRoot      = "/var/lib/containers/storage" // go.podman.io/storage, types
)

// Storage returns the storage in the node's configuration. A directory on the runtime's
// command line (containerd --root, crio --root) is not known.
func (c *Config) Storage() Storage {
	if c.opts.isCRIO() {
		return Storage{Root: c.graphRoot(), Temporary: c.crio.BigFilesTemporaryDir}
	}
	if c.opts.isDocker() {
		return Storage{Root: cmp.Or(c.docker.DataRoot, "/var/lib/docker")}
	}
	if path.IsAbs(c.settings.root) {
		return Storage{Root: path.Clean(c.settings.root)}
	}
	return Storage{Root: defaultContainerdRoot}
}

// graphRoot returns "root" of crio.conf, else that of storage.conf (pkg/config,
// DefaultConfig and RootConfig).
func (c *Config) graphRoot() string {
	if path.IsAbs(c.crioRoot) {
		return path.Clean(c.crioRoot)
	}
	// The first that exists counts. Drop-ins are not read.
	name := c.fs.First("/etc/containers/storage.conf", "/usr/share/containers/storage.conf")
	var file struct {
		Storage struct {
			GraphRoot string `toml:"graphroot"`
		} `toml:"storage"`
	}
	if readTOML(c.fs, name, &file) == nil && path.IsAbs(file.Storage.GraphRoot) {
		return path.Clean(file.Storage.GraphRoot)
	}
	return defaultGraphRoot
}
