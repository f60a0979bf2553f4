package disk

// Unseen is why nothing is known about a place.
type Unseen string

// The reasons, as a report has them.
const (
	// UnseenNotMounted: neither the directory nor a stand-in is mounted into
	// the agent's container. By default it is not.
	UnseenNotMounted Unseen = "not mounted into the agent"
	// UnseenMissing: the node has no such directory.
	UnseenMissing Unseen = "no such directory on the node"
	// UnseenForbidden: the agent may not access it.
	UnseenForbidden Unseen = "permission denied"
	// UnseenTimeout: the file system does not respond, for example a network
	// file system whose server is gone.
	UnseenTimeout Unseen = "the file system does not respond"
	// UnseenFailed: the file system returned another error, such as an I/O
	// error.
	UnseenFailed Unseen = "the file system returns an error"
)

// Filesystem is a file system of the node. Its numbers are known only if Unseen
// is empty.
type Filesystem struct {
	// Path is the first of the places on it, as a path on the node. Seen is the
	// directory that was examined instead; "" if it was Path itself.
	Path, Seen string
	// Uses are what pulls use it for, sorted.
	Uses []Use
	// Presumed reports whether a stand-in was examined for one of the uses.
	Presumed bool
	// Unseen is why nothing is known; "" if something is.
	Unseen Unseen
	// Device is the device ID of stat(2).
	Device uint64
	// Total and Free are in bytes. Free is what root, and so the runtime, may use.
	// If the directory has a quota, XFS and ext4 report what is left of that.
	Total, Free uint64
	// TotalInodes is 0 for a file system without a fixed number (btrfs).
	TotalInodes, FreeInodes uint64
}

// Full reports whether nothing more can be written because no bytes or no
// inodes are left. It is false if nothing is known.
func (f Filesystem) Full() bool { return f.Unseen == "" && (f.Free == 0 || f.NoInodes()) }

// NoInodes reports whether no inodes are left; writing then fails with ENOSPC
// just as without free bytes.
func (f Filesystem) NoInodes() bool {
	return f.Unseen == "" && f.TotalInodes > 0 && f.FreeInodes == 0
}
