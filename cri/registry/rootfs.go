package registry

import (
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	// maxLinks is the kernel's own bound on symbolic links in a path.
	maxLinks = 40
	// maxConfigFile bounds any configuration file or CA bundle of the node. The
	// bundles of the distributions have 200 to 500 KiB.
	maxConfigFile = 8 << 20
)

// rootFS is the node's file system, mounted at dir. Paths of the node are
// absolute; a symbolic link in them means what it means on the node, also when
// it is absolute. os.Root does not do: it refuses absolute links.
type rootFS struct{ dir string }

func newRootFS(dir string) rootFS { return rootFS{dir: filepath.Clean("/" + dir)} }

func (f rootFS) isHost() bool { return f.dir == "/" }

// resolve turns a path of the node into one of this process that has no more
// links in it. Parts that do not exist stay as they are: opening them tells.
func (f rootFS) resolve(name string) (string, error) {
	if f.isHost() {
		return path.Clean("/" + name), nil
	}
	at, rest, links := "/", strings.Split(name, "/"), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		next := path.Join(at, part) // "" and "." stay; ".." of the resolved parent
		target, err := os.Readlink(filepath.Join(f.dir, next))
		if err != nil || next == at {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", &os.PathError{Op: "resolve", Path: name, Err: syscall.ELOOP}
		}
		if path.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return filepath.Join(f.dir, at), nil
}

// readFile reads a regular file of the node, at most maxConfigFile bytes.
func (f rootFS) readFile(name string) ([]byte, error) {
	real, err := f.resolve(name)
	if err != nil {
		return nil, err
	}
	// A pipe would block on open.
	if info, err := os.Stat(real); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: name, Err: syscall.EINVAL}
	}
	file, err := os.Open(real) //nolint:gosec // the path comes from the node's configuration
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read from
	data, err := io.ReadAll(io.LimitReader(file, maxConfigFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxConfigFile {
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxConfigFile)
	}
	return data, nil
}

// exists reports whether a path of the node exists. Errors other than "does
// not exist" are returned, as containerd does when it looks for a directory.
func (f rootFS) exists(name string) (bool, error) {
	real, err := f.resolve(name)
	if err != nil {
		return false, err
	}
	_, err = os.Stat(real)
	if os.IsNotExist(err) {
		return false, nil
	}
	return err == nil, err
}

// list gives the sorted names in a directory of the node; none if it is not
// there.
func (f rootFS) list(dir string) []string {
	real, err := f.resolve(dir)
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir(real)
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// isFile tells a file that can be read. A unit or drop-in that is a link to
// /dev/null is masked: it is none.
func (f rootFS) isFile(name string) bool {
	real, err := f.resolve(name)
	if err != nil {
		return false
	}
	info, err := os.Stat(real)
	return err == nil && info.Mode().IsRegular()
}

// isDir tells a directory of the node.
func (f rootFS) isDir(name string) bool {
	there, err := f.exists(name)
	return err == nil && there && !f.isFile(name)
}

// under gives the files in a directory of the node, sorted.
func (f rootFS) under(dir string) []string {
	var files []string
	for _, name := range f.list(dir) {
		if name = path.Join(dir, name); f.isFile(name) {
			files = append(files, name)
		}
	}
	return files
}
