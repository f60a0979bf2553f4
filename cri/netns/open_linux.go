package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	pathrs "github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"

	"github.com/whypull/whypull/cri/hostfs"
)

// threadNetNS is the network namespace of the thread that opens it.
const threadNetNS = "/proc/thread-self/ns/net"

// Namespace is a network namespace of the node. It keeps the namespace alive
// until Close, and is safe for concurrent use.
type Namespace struct {
	file *os.File
	// setns is setns(2); tests make it fail.
	setns func(fd, kind int) error
}

// Open opens the namespace file at path on the node, whose file system is
// mounted at root. Symbolic links are resolved inside root. /run and /var/run
// are the same directory on a node; either of them mounted below root is
// enough.
//
// Errors are ErrGone, ErrNotMounted, ErrNotNamespace, ErrNotPermitted, and
// others of the operating system.
func Open(root, path string) (*Namespace, error) {
	file, err := openFile(root, path)
	if err != nil {
		return nil, fmt.Errorf("network namespace %s: %w", path, err)
	}
	n := &Namespace{file: file, setns: unix.Setns}
	if err := n.examine(); err != nil {
		_ = n.Close()
		return nil, fmt.Errorf("network namespace %s: %w", path, err)
	}
	return n, nil
}

// Close releases the namespace. Connections that were opened in it stay open.
func (n *Namespace) Close() error { return n.file.Close() }

// openFile tries all spellings of the path. A missing file (the pod is gone)
// and a missing directory give the same error but need different fixes.
func openFile(root, name string) (*os.File, error) {
	if !path.IsAbs(name) || path.Clean(name) != name {
		return nil, fmt.Errorf("want an absolute path without . or ..: %w", unix.EINVAL)
	}
	missing := ErrNotMounted
	for _, n := range spellings(name) {
		file, err := openIn(root, n)
		switch {
		case err == nil:
			return file, nil
		case errors.Is(err, fs.ErrPermission):
			return nil, fmt.Errorf("%w: open: %w", ErrNotPermitted, err)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("open: %w", err)
		}
		if parent, err := pathrs.OpenInRoot(root, path.Dir(n)); err == nil {
			_ = parent.Close()
			missing = ErrGone
		}
	}
	return nil, missing
}

// spellings returns the path itself and, below /run or /var/run, its other
// spelling.
func spellings(name string) []string {
	if rest, ok := strings.CutPrefix(name, "/var/run/"); ok {
		return []string{name, "/run/" + rest}
	}
	if strings.HasPrefix(name, "/run/") {
		return []string{name, "/var" + name}
	}
	return []string{name}
}

// openIn opens a path as if root were the root of the file system, including for
// absolute links. No magic link of /proc is followed.
func openIn(root, name string) (*os.File, error) {
	handle, err := pathrs.OpenInRoot(root, name)
	if err != nil {
		return nil, err
	}
	defer handle.Close() //nolint:errcheck // only looked up
	return hostfs.Reopen(handle, name)
}

// examine checks what was opened.
func (n *Namespace) examine() error {
	var examined error
	if err := n.control(func(fd int) { examined = isNetNS(fd) }); err != nil {
		return err
	}
	return examined
}

func isNetNS(fd int) error {
	var system unix.Statfs_t
	if err := unix.Fstatfs(fd, &system); err != nil {
		return fmt.Errorf("statfs: %w", err)
	}
	if system.Type != unix.NSFS_MAGIC {
		return notNamespace(fd)
	}
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil {
		return fmt.Errorf("%w: read its type: %w", ErrNotNamespace, err)
	}
	if kind != unix.CLONE_NEWNET {
		return fmt.Errorf("%w: a namespace of another type", ErrNotNamespace)
	}
	return nil
}

// notNamespace describes a file that is not a namespace.
func notNamespace(fd int) error {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err == nil && stat.Mode&unix.S_IFMT == unix.S_IFREG && stat.Size == 0 {
		return fmt.Errorf("%w: an empty file; its directory is mounted without mountPropagation HostToContainer", ErrNotNamespace)
	}
	return fmt.Errorf("%w: another kind of file", ErrNotNamespace)
}

// control calls f with the file's descriptor, which stays open during the call.
// The only error is os.ErrClosed.
func (n *Namespace) control(f func(fd int)) error {
	raw, err := n.file.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { f(int(fd)) })
	}
	if err != nil {
		return os.ErrClosed // Control's own error for it is internal to Go
	}
	return nil
}
