package dns

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strings"

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

// Host is one line of a hosts file.
type Host struct {
	Addr  netip.Addr
	Names []string
}

// Hosts holds the lines of a hosts file.
type Hosts []Host

// ParseHosts parses a hosts file, see hosts(5). It skips lines without a valid
// address.
func ParseHosts(text []byte) Hosts {
	var out Hosts
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		if addr, err := netip.ParseAddr(words[0]); err == nil {
			out = append(out, Host{Addr: addr, Names: words[1:]})
		}
	}
	return out
}

// Addresses returns all addresses of a name, sorted, at most eight. It ignores
// case and a trailing dot.
func (h Hosts) Addresses(host string) []netip.Addr {
	var out []netip.Addr
	for _, line := range h {
		if slices.ContainsFunc(line.Names, func(n string) bool { return sameName(n, host) }) {
			out = append(out, line.Addr)
		}
	}
	return sortAndLimit(out)
}

// sameName reports whether two names are equal apart from case and a trailing
// dot.
func sameName(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}
