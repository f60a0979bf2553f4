package dns

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"

	"github.com/whypull/whypull/cri/hostfs"
)

// Note is something about a view that a reader of its answers should know.
type Note string

// The notes.
const (
	// NoteNoConfig: resolv.conf cannot be read, and nothing can be asked.
	NoteNoConfig Note = "NoConfig"
	// NoteOwnConfig: the node's resolv.conf leads out of what is mounted, and
	// this process's own was read.
	NoteOwnConfig Note = "OwnConfig"
	// NoteOwnHosts: the same of the hosts file.
	NoteOwnHosts Note = "OwnHosts"
)

// The files of a machine, and how much of them is read.
const (
	configFile = "/etc/resolv.conf"
	hostsFile  = "/etc/hosts"
	// resolvedFile has the servers that systemd-resolved asks:
	// systemd-resolved.service(8).
	resolvedFile = "/run/systemd/resolve/resolv.conf"

	maxConfig = 64 << 10
	maxHosts  = 1 << 20
)

// FromFiles is the view of a machine whose file system is mounted at root; "/"
// or empty is this machine. A symbolic link means what it means there. A file
// that cannot be opened there, as where a link leads out of what is mounted, is
// taken from this machine, with a note. A hosts file that is nowhere is empty.
func FromFiles(root string) View {
	files := files{host: hostfs.New(root)}
	v := View{}
	text, own, err := files.read(hostsFile, maxHosts)
	if err == nil {
		v.Hosts = ParseHosts(text)
	}
	if own {
		v.Notes = append(v.Notes, NoteOwnHosts)
	}
	if text, own, err = files.read(configFile, maxConfig); err != nil {
		v.Notes = append(v.Notes, NoteNoConfig)
	}
	if own {
		v.Notes = append(v.Notes, NoteOwnConfig)
		files.host = hostfs.New("/")
	}
	v.Config = ParseConfig(text)
	if slices.ContainsFunc(v.Servers, isStub) {
		v.Upstream = files.upstream()
	}
	slices.Sort(v.Notes)
	return v
}

// isStub tells an address of systemd-resolved's stub: one has the search list
// of the machine applied, the other passes questions on as they are.
func isStub(a netip.Addr) bool {
	return a == netip.AddrFrom4([4]byte{127, 0, 0, 53}) || a == netip.AddrFrom4([4]byte{127, 0, 0, 54})
}

// files are those of a machine.
type files struct{ host hostfs.FS }

func (f files) upstream() []netip.Addr {
	text, own, err := f.read(resolvedFile, maxConfig)
	if err != nil || own {
		return nil
	}
	return ParseConfig(text).Servers
}

// read reads the beginning of a file of the machine, or of this process's own
// machine where that cannot be opened.
func (f files) read(name string, most int64) (text []byte, own bool, err error) {
	text, err = f.host.ReadStart(name, most)
	if err != nil && !errors.Is(err, hostfs.ErrNotRegular) && !f.host.IsHost() {
		own = true
		text, err = hostfs.New("/").ReadStart(name, most)
	}
	if err != nil {
		return nil, false, err
	}
	if int64(len(text)) == most { // the last line may be cut
		text = text[:bytes.LastIndexByte(text, '\n')+1]
	}
	return text, own, nil
}
