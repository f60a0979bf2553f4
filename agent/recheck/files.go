package recheck

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"github.com/whypull/whypull/cri/hostfs"
)

// racy is the age below which a file's last change is not trusted: the content
// that was read may be older, since readers share what they have read for a
// second.
const racy = 2 * time.Second

// state is the state of a path at one time.
type state struct {
	mark    string // stays the same until the file changes
	changed time.Time
}

// look returns the state of a path on the node whose file system is mounted at
// root. A symbolic link that leads out of the mount is followed in the agent's own
// file system, as the readers of resolv.conf do.
func look(root, name string) state {
	host := hostfs.New(root)
	info, err := host.Stat(name)
	if err != nil && !host.IsHost() {
		info, err = hostfs.New("/").Stat(name)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return state{mark: "absent"}
	case err != nil:
		return state{mark: "unusable"}
	}
	s := state{mark: fmt.Sprint(info.Size(), " ", info.ModTime().UnixNano()), changed: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.changed = time.Unix(sys.Ctim.Unix())
		s.mark += fmt.Sprint(" ", sys.Ino, " ", s.changed.UnixNano())
	}
	return s
}

// settled reports whether the last change was long enough before at.
func (s state) settled(at time.Time) bool {
	return s.changed.IsZero() || at.Sub(s.changed).Abs() >= racy
}
