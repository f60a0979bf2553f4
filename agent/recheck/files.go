package recheck

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"github.com/whypull/whypull/cri/hostfs"
)

// racy is how young a change is about which a file's state says nothing: what
// was read beside may be older than it, since readers share what they read for
// a second.
const racy = 2 * time.Second

// state is what a path showed at one look.
type state struct {
	mark    string // equal as long as nothing has changed
	changed time.Time
}

// look returns the state of a path of the node whose file system is mounted at
// root. A link that leads out of what is mounted is followed on this machine, as
// the readers of resolv.conf do.
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

// settled tells that the state had been so for a while at the time of the look.
func (s state) settled(at time.Time) bool {
	return s.changed.IsZero() || at.Sub(s.changed).Abs() >= racy
}
