package hostfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"

	pathrs "github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"
)

// Handle returns a descriptor for a file of any kind without opening it
// (O_PATH), for fstat(2) and the like.
func (f FS) Handle(name string) (*os.File, error) {
	if f.IsHost() {
		return os.OpenFile(path.Clean("/"+name), unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	return pathrs.OpenInRoot(f.root, name)
}

// Stat returns the result of stat(2).
func (f FS) Stat(name string) (fs.FileInfo, error) {
	handle, err := f.Handle(name)
	if err != nil {
		return nil, err
	}
	defer handle.Close() //nolint:errcheck // nothing was written
	return handle.Stat()
}

// open opens a file whose mode accept permits, and below a mount point no device.
func (f FS) open(name string, accept func(fs.FileMode) error) (*os.File, error) {
	handle, err := f.Handle(name)
	if err != nil {
		return nil, err
	}
	defer handle.Close() //nolint:errcheck // nothing was written
	info, err := handle.Stat()
	if err == nil {
		err = accept(info.Mode())
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return Reopen(handle, name)
}

// Reopen opens the file of a descriptor for reading, and not its name, which may be
// another file by now. The name is for the error. It does not block on a pipe.
func Reopen(handle *os.File, name string) (*os.File, error) {
	file, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", handle.Fd()), os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if wrong := (*fs.PathError)(nil); errors.As(err, &wrong) {
		wrong.Path = name
	}
	return file, err
}

// Readlink returns the target of a link as written, or "" if the name is not a
// link.
func (f FS) Readlink(name string) string {
	dir, err := f.Handle(path.Dir(name))
	if err != nil {
		return ""
	}
	defer dir.Close() //nolint:errcheck // nothing was written
	target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), path.Base(name)))
	if err != nil {
		return ""
	}
	return target
}
