package hostfs

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
	"time"

	securejoin "github.com/cyphar/filepath-securejoin"
)

var (
	// ErrNotRegular is returned for something that is not a regular file.
	ErrNotRegular = errors.New("not a regular file")
	// ErrTooLarge is returned for a file that is larger than the caller's
	// limit.
	ErrTooLarge = errors.New("too large")
)

// maxEntries limits how many entries of a directory are read. The largest
// directory of interest, /proc, has an entry for each process.
const maxEntries = 1 << 16

// FS is the file system of a node. The zero value is that of this process.
type FS struct{ root string }

// New returns the file system mounted at root; "" and "/" are for a process on
// the node itself.
func New(root string) FS {
	if root = path.Clean("/" + filepath.ToSlash(root)); root == "/" {
		return FS{}
	}
	return FS{root: local(root)}
}

// Root returns the directory of this process at which the node's root is
// mounted.
func (f FS) Root() string { return cmp.Or(f.root, "/") }

// IsHost reports whether this process has the node's own root.
func (f FS) IsHost() bool { return f.root == "" }

// Resolve returns the path, in this process, of a file of the node, with links
// resolved; missing parts are kept as they are. It is for callers that must
// open a path themselves, and is subject to races. On the node's own root links
// are kept, since the kernel follows them as the node does.
func (f FS) Resolve(name string) (string, error) {
	if f.IsHost() {
		return local(path.Clean("/" + filepath.ToSlash(name))), nil
	}
	return securejoin.SecureJoin(f.root, name)
}

// local returns the path in this process for an absolute path with slashes. On
// Windows that may begin with a volume, as in /C:/certs.d.
func local(name string) string {
	if filepath.VolumeName(name[1:]) != "" {
		name = name[1:]
	}
	return filepath.FromSlash(name)
}

// Within returns the path on the node for a path that Resolve has returned.
func (f FS) Within(real string) string {
	return path.Clean("/" + filepath.ToSlash(strings.TrimPrefix(real, f.root)))
}

// Exists reports whether a file or directory exists. It returns errors other
// than "does not exist".
func (f FS) Exists(name string) (bool, error) {
	_, err := f.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// IsFile reports whether the name is a regular file.
func (f FS) IsFile(name string) bool {
	info, err := f.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// First returns the first of the names that is a regular file; "" if none is.
func (f FS) First(names ...string) string {
	for _, name := range names {
		if f.IsFile(name) {
			return name
		}
	}
	return ""
}

// IsDir reports whether the name is a directory.
func (f FS) IsDir(name string) bool {
	info, err := f.Stat(name)
	return err == nil && info.IsDir()
}

// Open opens a regular file for reading.
func (f FS) Open(name string) (*os.File, error) {
	return f.open(name, func(mode fs.FileMode) error {
		if !mode.IsRegular() {
			return ErrNotRegular
		}
		return nil
	})
}

// File is the content of a file.
type File struct {
	Data []byte
	// Changed is the modification time.
	Changed time.Time
}

// Read reads a regular file of at most limit bytes.
func (f FS) Read(name string, limit int64) (File, error) {
	file, err := f.Open(name)
	if err != nil {
		return File{}, err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	info, err := file.Stat()
	if err != nil {
		return File{}, err
	}
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		return File{}, &fs.PathError{Op: "read", Path: name, Err: ErrTooLarge}
	}
	return File{Data: data, Changed: info.ModTime()}, err
}

// ReadFile returns the content of a regular file of at most limit bytes.
func (f FS) ReadFile(name string, limit int64) ([]byte, error) {
	file, err := f.Read(name, limit)
	return file.Data, err
}

// ReadStart returns at most the first limit bytes of a regular file.
func (f FS) ReadStart(name string, limit int64) ([]byte, error) {
	file, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	return io.ReadAll(io.LimitReader(file, limit))
}

// ReadDir returns the entries of a directory, sorted by name. Callers must not
// use their Info method.
func (f FS) ReadDir(name string) ([]fs.DirEntry, error) {
	dir, err := f.open(name, func(mode fs.FileMode) error {
		if !mode.IsDir() {
			return syscall.ENOTDIR
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	defer dir.Close() //nolint:errcheck // nothing was written
	entries, err := dir.ReadDir(maxEntries)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name() < entries[j].Name() })
	return entries, nil
}

// List returns the sorted names in a directory; nil if it cannot be read.
func (f FS) List(dir string) []string {
	entries, err := f.ReadDir(dir)
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Files returns the sorted paths of the regular files in a directory.
func (f FS) Files(dir string) []string {
	var files []string
	for _, name := range f.List(dir) {
		if name = path.Join(dir, name); f.IsFile(name) {
			files = append(files, name)
		}
	}
	return files
}

// Glob returns the sorted paths whose last element matches that of the pattern
// (path.Match), in the pattern's directory.
func (f FS) Glob(pattern string) []string {
	var names []string
	for _, name := range f.List(path.Dir(pattern)) {
		if ok, err := path.Match(path.Base(pattern), name); err == nil && ok {
			names = append(names, path.Join(path.Dir(pattern), name))
		}
	}
	return names
}

// DropIns returns the *.conf files in the named subdirectories of the directories,
// sorted by file name. Of files with the same name the first one found counts, so
// list the directory with the highest precedence first. A link to /dev/null masks
// a file (systemd.unit(5)).
func (f FS) DropIns(dirs, names []string) []string {
	found := map[string]string{}
	for _, name := range names {
		for _, dir := range dirs {
			dir = path.Join(dir, name)
			for _, entry := range f.List(dir) {
				if _, hidden := found[entry]; !hidden && path.Ext(entry) == ".conf" {
					found[entry] = path.Join(dir, entry)
				}
			}
		}
	}
	var files []string
	for _, entry := range slices.Sorted(maps.Keys(found)) {
		if f.IsFile(found[entry]) {
			files = append(files, found[entry])
		}
	}
	return files
}
