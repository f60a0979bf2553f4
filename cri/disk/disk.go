package disk

import (
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

// Unseen is why nothing is known of a place.
type Unseen string

// The reasons.
const (
	// UnseenNotMounted: neither the directory nor a stand-in is mounted into the
	// agent's container. That is so unless somebody has asked for it.
	UnseenNotMounted Unseen = "NotMounted"
	// UnseenMissing: the node has no such directory.
	UnseenMissing Unseen = "Missing"
	// UnseenForbidden: the agent may not look at it.
	UnseenForbidden Unseen = "Forbidden"
	// UnseenTimeout: the file system does not answer, as one over a network whose
	// server is gone.
	UnseenTimeout Unseen = "Timeout"
	// UnseenFailed: the file system answered with another error, such as one of
	// input and output.
	UnseenFailed Unseen = "Failed"
)

// Filesystem is one file system of the node. Only with an empty Unseen is
// anything known of it.
type Filesystem struct {
	// Path is the first of the places that are on it, as a path of the node; Seen
	// is the directory that was looked at instead, "" if it was Path itself.
	Path, Seen string
	// Uses are what pulls need it for, sorted.
	Uses []Use
	// Presumed: for one of the uses a stand-in was looked at.
	Presumed bool
	// Unseen is why nothing is known; "" if something is.
	Unseen Unseen
	// Device is that of stat(2).
	Device uint64
	// ReadOnly is about the file system as the agent has it. A mount that is
	// read-only for the agent is so whatever it is for the runtime.
	ReadOnly bool
	// Total and Free are bytes. Free is what root may use, and the runtime is
	// root; Available is without what is kept for root, which the kubelet goes by
	// when it evicts pods. Where a quota is set on the directory, XFS and ext4
	// tell what is left of it.
	Total, Free, Available uint64
	// TotalInodes is 0 for a file system without a fixed number (btrfs).
	TotalInodes, FreeInodes uint64
}

// Full tells that nothing more can be written: no bytes are left, or no inodes.
// It is false where nothing is known.
func (f Filesystem) Full() bool { return f.Unseen == "" && (f.Free == 0 || f.NoInodes()) }

// NoInodes tells that no inodes are left, which is the same error to who writes
// (ENOSPC) as no bytes.
func (f Filesystem) NoInodes() bool {
	return f.Unseen == "" && f.TotalInodes > 0 && f.FreeInodes == 0
}

// Filesystems tells about the file systems of the places, each once, in the order
// of the places. root is where the node's root file system, or a part of it, is
// mounted; "" and "/" are for a process on the node itself. A place that cannot be
// looked at is a Filesystem of its own, which says why. The error is for a process
// that does not know its own mounts.
//
// A path below root that no mount of the node leads to is one of the agent's own
// container: its file system is not the node's, and is not told.
//
// A system call for a file system that does not answer cannot be ended: when ctx is
// over, a goroutine waits on until the file system answers.
func Filesystems(ctx context.Context, root string, places []Place) ([]Filesystem, error) {
	n := node{host: hostfs.New(root)}
	var err error
	if n.mounts, err = mountinfo.GetMounts(nil); err != nil {
		return nil, fmt.Errorf("own mounts: %w", err)
	}
	var out []Filesystem
	for _, p := range places {
		out = add(out, n.await(ctx, p))
	}
	return out, nil
}

// add puts a file system into a list, to the one that is the same.
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

// node is the node's file system as this process has it.
type node struct {
	host   hostfs.FS
	mounts []*mountinfo.Info
}

// await looks at a place for as long as there is time.
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

// look looks at a place, or at the first of its stand-ins that can be looked at.
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

// stat asks for the numbers of the file system that a path of the node is on.
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
	f.Device, f.ReadOnly = st.Dev, s.Flags&unix.ST_RDONLY != 0
	unit := uint64(max(s.Frsize, 0))
	if unit == 0 {
		unit = uint64(max(s.Bsize, 0)) // as statvfs(3) does
	}
	f.Total, f.Free, f.Available = times(s.Blocks, unit), times(s.Bfree, unit), times(s.Bavail, unit)
	f.TotalInodes, f.FreeInodes = s.Files, s.Ffree
	return ""
}

// times multiplies, and stays at the largest number.
func times(a, b uint64) uint64 {
	if high, low := bits.Mul64(a, b); high == 0 {
		return low
	}
	return math.MaxUint64
}

// isNodes tells a path at which the agent has something of the node, and not of
// its own container.
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
