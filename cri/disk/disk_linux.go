package disk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/bits"
	"slices"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/whypull/whypull/cri/hostfs"
)

// Filesystems returns the file systems of the places, each once, in the order
// of the places. root is where the node's root file system, or a part of it, is
// mounted; "" and "/" are for a process on the node itself. A place that is not
// accessible is a Filesystem of its own that says why. The error means that the
// process cannot read its own mounts.
//
// A path below root that is not on a mount of the node belongs to the agent's
// own container, so its file system is not reported.
//
// A system call on a file system that does not respond cannot be canceled: when
// ctx ends, a goroutine keeps waiting until the file system responds.
func Filesystems(ctx context.Context, root string, places []Place) ([]Filesystem, error) {
	n := node{host: hostfs.New(root)}
	var err error
	if n.mounts, err = mountinfo.GetMounts(nil); err != nil {
		return nil, fmt.Errorf("read own mounts: %w", err)
	}
	var out []Filesystem
	for _, p := range places {
		out = add(out, n.await(ctx, p))
	}
	return out, nil
}

// add adds a file system to a list, or merges it with its existing entry.
func add(list []Filesystem, f Filesystem) []Filesystem {
	same := slices.IndexFunc(list, func(o Filesystem) bool {
		if o.Unseen != "" || f.Unseen != "" {
			return o.Unseen == f.Unseen && o.Path == f.Path
		}
		return o.Device == f.Device
	})
	if same < 0 {
		return append(list, f)
	}
	list[same].Uses = with(list[same].Uses, f.Uses[0])
	list[same].Presumed = list[same].Presumed || f.Presumed
	return list
}

// node is the node's file system as this process sees it.
type node struct {
	host   hostfs.FS
	mounts []*mountinfo.Info
}

// await examines a place until ctx ends.
func (n node) await(ctx context.Context, p Place) Filesystem {
	done := make(chan Filesystem, 1)
	if ctx.Err() == nil {
		go func() { done <- n.look(p) }()
	}
	select {
	case f := <-done:
		return f
	case <-ctx.Done():
		return Filesystem{Path: p.Path, Uses: []Use{p.Use}, Unseen: UnseenTimeout}
	}
}

// look examines a place, or the first of its stand-ins that is accessible.
func (n node) look(p Place) Filesystem {
	f := Filesystem{Path: p.Path, Uses: []Use{p.Use}}
	f.Unseen = n.stat(p.Path, &f)
	if f.Unseen == "" || f.Unseen == UnseenFailed {
		return f
	}
	for _, other := range p.StandIns {
		if n.stat(other, &f) == "" {
			f.Seen, f.Presumed, f.Unseen = other, true, ""
			return f
		}
	}
	return f
}

// stat reads the numbers of the file system that a path of the node is on.
func (n node) stat(name string, f *Filesystem) Unseen {
	real, err := n.host.Resolve(name)
	if err != nil {
		return reason(err)
	}
	if !n.isNodes(real) {
		return UnseenNotMounted
	}
	dir, err := n.host.Handle(n.host.Within(real))
	if err != nil {
		return reason(err)
	}
	defer dir.Close() //nolint:errcheck // nothing was written
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return reason(err)
	}
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &s); err != nil {
		return reason(err)
	}
	f.Device = st.Dev
	unit := cmp.Or(uint64(max(s.Frsize, 0)), uint64(max(s.Bsize, 0))) // like statvfs(3)
	f.Total, f.Free = times(s.Blocks, unit), times(s.Bfree, unit)
	f.TotalInodes, f.FreeInodes = s.Files, s.Ffree
	return ""
}

// times multiplies with saturation.
func times(a, b uint64) uint64 {
	if high, low := bits.Mul64(a, b); high == 0 {
		return low
	}
	return math.MaxUint64
}

// isNodes reports whether a path is on a mount of the node and not part of the
// agent's own container.
func (n node) isNodes(real string) bool {
	if n.host.IsHost() {
		return true
	}
	deepest := "/"
	for _, m := range n.mounts {
		if below(real, m.Mountpoint) && len(m.Mountpoint) >= len(deepest) {
			deepest = m.Mountpoint
		}
	}
	return below(deepest, n.host.Root())
}

func reason(err error) Unseen {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return UnseenMissing
	case errors.Is(err, fs.ErrPermission):
		return UnseenForbidden
	default:
		return UnseenFailed
	}
}
