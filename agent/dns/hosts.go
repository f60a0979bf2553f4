package dns

import (
	"net/netip"
	"slices"
	"strings"
)

// Host is a line of a hosts file.
type Host struct {
	Addr  netip.Addr
	Names []string
}

// Hosts are the lines of a hosts file.
type Hosts []Host

// ParseHosts reads the text of a hosts file, hosts(5). Lines whose address is
// none are left out.
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

// Addresses are all that the file has for a name, sorted, at most eight. The
// case of letters and a last dot make no difference.
func (h Hosts) Addresses(host string) []netip.Addr {
	var out []netip.Addr
	for _, line := range h {
		if slices.ContainsFunc(line.Names, func(n string) bool { return same(n, host) }) {
			out = append(out, line.Addr)
		}
	}
	return tidy(out)
}

// same tells that two names differ in nothing but case and a last dot.
func same(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}
