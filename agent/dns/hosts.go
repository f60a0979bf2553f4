package dns

import (
	"net/netip"
	"slices"
	"strings"
)

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
