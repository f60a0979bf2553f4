//go:build !linux

package hostfs

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
)

// No node runs here: whypull check reads files that its user names, and concurrent
// changes can make it read others.

// Stat returns the file's properties.
func (f FS) Stat(name string) (fs.FileInfo, error) {
	real, err := f.Resolve(name)
	if err != nil {
		return nil, err
	}
	// Windows reads a colon as the beginning of a stream's name.
	if runtime.GOOS == "windows" && strings.Contains(real[len(filepath.VolumeName(real)):], ":") {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return os.Stat(real)
}

// open opens a file whose mode accept permits.
func (f FS) open(name string, accept func(fs.FileMode) error) (*os.File, error) {
	info, err := f.Stat(name)
	if err == nil {
		err = accept(info.Mode())
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	real, err := f.Resolve(name)
	if err != nil {
		return nil, err
	}
	return os.Open(real) //nolint:gosec // the user names it
}

// Readlink returns the target of a link as written, or "" if the name is not a
// link.
func (f FS) Readlink(name string) string {
	dir, err := f.Resolve(path.Dir(name))
	if err != nil {
		return ""
	}
	target, err := os.Readlink(filepath.Join(dir, path.Base(name)))
	if err != nil {
		return ""
	}
	return target
}
