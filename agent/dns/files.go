package dns

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"

	"github.com/whypull/whypull/cri/hostfs"
)

// The files of a machine and their size limits.
const (
	configFile = "/etc/resolv.conf"
	hostsFile  = "/etc/hosts"
	// resolvedFile lists the servers that systemd-resolved forwards to, see
	// systemd-resolved.service(8).
	resolvedFile = "/run/systemd/resolve/resolv.conf"

	maxConfig = 64 << 10
	maxHosts  = 1 << 20
)

// FromFiles returns the view of the machine whose file system is mounted at
// root; "/" or "" means this machine. Symbolic links are resolved inside root.
// A file that cannot be opened there, for example because a link points outside
// of what is mounted, is read from this machine instead. A missing hosts file
// counts as empty.
func FromFiles(root string) View {
	files := files{host: hostfs.New(root)}
	hosts, _, _ := files.read(hostsFile, maxHosts)
	config, own, err := files.read(configFile, maxConfig)
	if own {
		files.host = hostfs.New("/")
	}
	v := View{Config: ParseConfig(config), Unconfigured: err != nil, Hosts: ParseHosts(hosts)}
	if slices.ContainsFunc(v.Servers, isStub) {
		v.Upstream = files.upstream()
	}
	return v
}

// isStub reports whether the address is one of systemd-resolved's stubs:
// 127.0.0.53 applies the machine's search list, 127.0.0.54 forwards queries
// unchanged.
func isStub(a netip.Addr) bool {
	return a == netip.AddrFrom4([4]byte{127, 0, 0, 53}) || a == netip.AddrFrom4([4]byte{127, 0, 0, 54})
}

// files reads the files of a machine.
type files struct{ host hostfs.FS }

func (f files) upstream() []netip.Addr {
	text, own, err := f.read(resolvedFile, maxConfig)
	if err != nil || own {
		return nil
	}
	return ParseConfig(text).Servers
}

// read returns the start of a file of the machine, or of this process's own
// file system if the file cannot be opened there.
func (f files) read(name string, most int64) (text []byte, own bool, err error) {
	text, err = f.host.ReadStart(name, most)
	if err != nil && !errors.Is(err, hostfs.ErrNotRegular) && !f.host.IsHost() {
		own = true
		text, err = hostfs.New("/").ReadStart(name, most)
	}
	if err != nil {
		return nil, false, err
	}
	if int64(len(text)) == most { // the last line may be incomplete
		text = text[:bytes.LastIndexByte(text, '\n')+1]
	}
	return text, own, nil
}
