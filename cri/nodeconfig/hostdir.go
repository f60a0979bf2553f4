package nodeconfig

import (
	"cmp"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/whypull/whypull/cri/hostfs"
)

const hostsFile = "hosts.toml"

// hostDirs returns the possible names of a host's directory in containerd's order
// (core/remotes/docker/config, hostPaths).
func hostDirs(host string) []string { return append(ownDirs(host), "_default") }

// ownDirs is hostDirs without the directory for all hosts.
func ownDirs(host string) []string {
	if i := strings.LastIndex(host, ":"); i > 0 {
		return []string{host[:i] + "_" + host[i+1:] + "_", host}
	}
	return []string{host}
}

// findHostDir returns the first existing directory of the node for a host; "" if there
// is none. That for all hosts is one since 1.6.17.
func (c *Config) findHostDir(host string, roots []string) (string, error) {
	for _, root := range roots {
		for _, name := range hostDirs(host) {
			if name == "_default" && !c.version.since(6, 17) {
				continue
			}
			dir := path.Join(root, name)
			if ok, err := c.fs.Exists(dir); err != nil || ok {
				return dir, err
			}
		}
	}
	return "", nil
}

// view is a host's directory in a form that containerd's package can read.
type view struct {
	dir    string // of this process
	temp   string // dir, if it is to be removed
	doc    []byte // hosts.toml, as containerd's package reads it
	hidden []hiddenFile
	// without is true if hosts.toml is invalid to the runtime because it has no host
	// table.
	without bool
}

// hiddenFile is a file that hosts.toml names and that this process cannot see.
type hiddenFile struct {
	host string // of the table that names it; "" for the server's
	key  string // "ca" or "client"
	path string // on the node
}

func (v view) close() error { return os.RemoveAll(v.temp) } // nothing if it is ""

// view makes the node's directory readable for containerd's package. If the node's root
// is at a mount point, absolute paths in hosts.toml and absolute links are wrong in this
// process; then the view is a directory with a copy of hosts.toml with adjusted paths
// and without files that are not mounted.
func (c *Config) view(nodeDir string) (view, error) {
	real, err := c.fs.Resolve(nodeDir)
	if err != nil {
		return view{}, err
	}
	doc, err := c.fs.ReadFile(path.Join(nodeDir, hostsFile), maxConfigFile)
	if err == nil && c.version.wantsHostTable() && lacksHosts(doc) {
		return c.copyView(nodeDir, view{without: true})
	}
	if odd := cmp.Or(unbounded(err), c.unboundedCertificate(nodeDir, doc)); odd != nil {
		return view{}, odd
	}
	doc, unknown := c.version.asOlder(doc)
	if c.fs.IsHost() && !unknown {
		return view{dir: real, doc: doc}, nil // containerd's package gets the same error
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return view{}, err
	}
	v := view{dir: real}
	onNode := func(name string) string { return within(nodeDir, name) }
	doc, dropped := dropPaths(doc, func(host, key, name string) bool {
		hidden := c.hides(onNode(name))
		if hidden {
			v.hidden = append(v.hidden, hiddenFile{host, key, onNode(name)})
		}
		return hidden
	})
	doc, changed := rewritePaths(doc, func(name string) string { return c.rebase(onNode(name)) })
	v.doc = doc
	if !unknown && !dropped && !changed && !c.hasLinks(nodeDir) {
		return v, nil
	}
	return c.copyView(nodeDir, v)
}

// within returns the path of a file that a file in a directory names.
func within(dir, name string) string {
	if path.IsAbs(name) {
		return name
	}
	return path.Join(dir, name)
}

// unboundedCertificate returns an error if a certificate or key that containerd's package
// may read is no file but, for example, a pipe, for which it would wait without end, or is
// too large. With what is no file the runtime does not pull either.
func (c *Config) unboundedCertificate(nodeDir string, doc []byte) error {
	var names []string
	dropPaths(doc, func(_, _, name string) bool {
		names = append(names, within(nodeDir, name))
		return false
	})
	for _, name := range c.fs.List(nodeDir) { // for a hosts.toml that is not valid
		if file := path.Join(nodeDir, name); slices.Contains([]string{".crt", ".cert", ".key"}, path.Ext(name)) && !c.fs.IsDir(file) {
			names = append(names, file)
		}
	}
	for _, name := range names {
		info, err := c.fs.Stat(name)
		switch {
		case err != nil: // containerd's package gets the same error, or does not read it
		case !info.Mode().IsRegular():
			return &ConfigError{Notice{Kind: NoticeCertificateUnusable, Path: path.Join(nodeDir, hostsFile)}, hostfs.ErrNotRegular}
		case info.Size() > maxConfigFile:
			return &os.PathError{Op: "read", Path: name, Err: hostfs.ErrTooLarge}
		}
	}
	return nil
}

// unbounded returns an error that only this process gets: of what is no file, or too large.
func unbounded(err error) error {
	if errors.Is(err, hostfs.ErrNotRegular) || errors.Is(err, hostfs.ErrTooLarge) {
		return err
	}
	return nil
}

// rebase returns the path in this process of a file of the node.
func (c *Config) rebase(name string) string {
	real, err := c.fs.Resolve(name)
	if err != nil {
		return filepath.Join(c.fs.Root(), name) // does not open, which is the point
	}
	return real
}

// hides reports whether a file of the node may exist although this process cannot see
// it: it is outside of the mounted directories, or only a link to it is inside, or this
// process may not read it. Below /etc, which is always mounted, a missing file does not
// exist.
func (c *Config) hides(name string) bool {
	if c.fs.IsHost() {
		return false
	}
	file, err := c.fs.Open(name)
	if err == nil {
		return file.Close() != nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return errors.Is(err, os.ErrPermission)
	}
	real, err := c.fs.Resolve(name)
	if err != nil {
		return false
	}
	name = c.fs.Within(real)
	if strings.HasPrefix(name, "/etc/") {
		return false
	}
	there := path.Dir(name)
	for ; there != "/"; there = path.Dir(there) {
		if ok, _ := c.fs.Exists(there); ok {
			break
		}
	}
	return there == "/" || c.leadsToMount(there)
}

// leadsToMount reports whether a directory may exist only because a mounted one is below
// it.
func (c *Config) leadsToMount(dir string) bool {
	return slices.ContainsFunc([]string{c.opts.ConfigFile, c.opts.CertsDir}, func(name string) bool {
		return strings.HasPrefix(path.Clean("/"+name), dir+"/")
	})
}

func (c *Config) hasLinks(dir string) bool {
	entries, err := c.fs.ReadDir(dir)
	return err == nil && slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Type()&os.ModeSymlink != 0 })
}

// copyView makes the copy: the rewritten hosts.toml and links to the certificate files,
// which containerd uses if there is no valid hosts.toml.
func (c *Config) copyView(nodeDir string, v view) (view, error) {
	dir, err := os.MkdirTemp(c.opts.TempDir, "whypull-hosts-")
	if err != nil {
		return view{}, err
	}
	v.dir, v.temp = dir, dir
	hidden, linkErr := c.linkCerts(nodeDir, dir)
	if len(v.doc) == 0 {
		v.hidden = append(v.hidden, hidden...)
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, hostsFile), v.doc, 0o600), // an empty one counts as none
		linkErr,
	)
	if err != nil {
		return view{}, errors.Join(err, v.close())
	}
	return v, nil
}

// linkCerts links the certificate files, except hidden ones and the files that belong to
// them.
func (c *Config) linkCerts(nodeDir, dir string) (hidden []hiddenFile, err error) {
	entries, err := c.fs.ReadDir(nodeDir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name := path.Join(nodeDir, e.Name())
		base, extension := strings.TrimSuffix(name, path.Ext(name)), path.Ext(name)
		key, needed := "ca", []string{name}
		switch extension {
		case ".crt":
		case ".cert", ".key":
			key, needed = "client", []string{base + ".cert", base + ".key"}
		default:
			continue
		}
		if e.IsDir() {
			continue
		}
		if c.hiddenOf(needed...) != "" {
			hidden = append(hidden, hiddenFile{"", key, name})
			continue
		}
		if err := os.Symlink(c.rebase(name), filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return hidden, nil
}
