package registry

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
)

const hostsFile = "hosts.toml"

// hostDirs gives the names that a host's directory may have, in containerd's
// order (core/remotes/docker/config, hostPaths).
func hostDirs(host string) []string {
	names := []string{host, "_default"}
	if i := strings.LastIndex(host, ":"); i > 0 {
		return append([]string{host[:i] + "_" + host[i+1:] + "_"}, names...)
	}
	return names
}

// findHostDir gives the directory of the node for a host: the first one that
// exists; "" if there is none.
func (c *Config) findHostDir(host string, roots []string) (string, error) {
	for _, root := range roots {
		for _, name := range hostDirs(host) {
			dir := path.Join(root, name)
			if ok, err := c.fs.exists(dir); err != nil || ok {
				return dir, err
			}
		}
	}
	return "", nil
}

// view is a host's directory as containerd's package can read it.
type view struct {
	dir  string // of this process
	temp bool   // to be removed
}

func (v view) close() error {
	if !v.temp {
		return nil
	}
	return os.RemoveAll(v.dir)
}

// view makes the node's directory readable with ordinary file access. With
// the node's root at a mount point, absolute paths in hosts.toml and absolute
// links point to the wrong place; then it is a directory with a copy of
// hosts.toml in which they are right.
func (c *Config) view(nodeDir string) (view, error) {
	real, err := c.fs.resolve(nodeDir)
	if err != nil || c.fs.isHost() {
		return view{dir: real}, err
	}
	doc, err := c.fs.readFile(path.Join(nodeDir, hostsFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return view{}, err
	}
	doc, changed := rewritePaths(doc, func(p string) string { return c.rebase(nodeDir, p) })
	if !changed && !hasLinks(real) {
		return view{dir: real}, nil
	}
	return c.copyView(nodeDir, real, doc)
}

// rebase gives the path, for this process, of a file that hosts.toml names.
func (c *Config) rebase(nodeDir, name string) string {
	if !path.IsAbs(name) {
		name = path.Join(nodeDir, name)
	}
	real, err := c.fs.resolve(name)
	if err != nil {
		return filepath.Join(c.fs.dir, name) // does not open, which is the point
	}
	return real
}

func hasLinks(dir string) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if e.Type()&os.ModeSymlink != 0 {
			return true
		}
	}
	return false
}

// copyView makes the copy: hosts.toml rewritten, and links to the certificate
// files, which containerd uses when there is no valid hosts.toml.
func (c *Config) copyView(nodeDir, real string, doc []byte) (view, error) {
	dir, err := os.MkdirTemp(c.opts.TempDir, "whypull-hosts-")
	if err != nil {
		return view{}, err
	}
	v := view{dir: dir, temp: true}
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, hostsFile), doc, 0o600), // an empty one counts as none
		c.linkCerts(nodeDir, real, dir),
	)
	if err != nil {
		return view{}, errors.Join(err, v.close())
	}
	return v, nil
}

func (c *Config) linkCerts(nodeDir, real, dir string) error {
	entries, err := os.ReadDir(real)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".crt", ".cert", ".key":
		default:
			continue
		}
		if e.IsDir() {
			continue
		}
		if err := os.Symlink(c.rebase(nodeDir, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
