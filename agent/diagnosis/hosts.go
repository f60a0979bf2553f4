package diagnosis

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// maxHosts is the most hosts that a verdict names: no registry needs as many.
const maxHosts = 16

// hosts returns the servers that the pull needs, as far as whypull has come, each as
// host:port: the registry, its mirrors, the token server and the targets of redirects.
// Firewalls are opened for them, so none is a guess or comes from a text.
func (x *facts) hosts() []string {
	var out []string
	for _, check := range []Check{CheckNodeDNS, CheckRegistry, CheckPull} {
		for _, e := range x.of(check) {
			if e.Registry().Config != nil {
				continue
			}
			r := e.Answer()
			for _, place := range slices.Concat([]string{r.Via, e.Endpoint.URL, r.TokenHost}, r.Hops, r.Targets) {
				if host := hostPort(place); host != "" && len(out) < maxHosts && !slices.Contains(out, host) {
					out = append(out, host)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// hostPort returns the host:port of a place that has the form [scheme://]host[:port],
// with a path or without: "" if it is none to which a firewall could be opened.
func hostPort(place string) string {
	scheme, rest, found := strings.Cut(place, "://")
	if !found {
		scheme, rest = "https", place
	}
	host, _, _ := strings.Cut(rest, "/")
	port := map[string]string{"https": "443", "http": "80"}[scheme]
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host, port = host[:i], host[i+1:]
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return ""
	}
	bare, bracketed := strings.CutPrefix(host, "[")
	bare = strings.TrimSuffix(bare, "]")
	if address, err := netip.ParseAddr(bare); err == nil {
		if address.Is4() == bracketed || address.Zone() != "" || address.IsUnspecified() || address.IsLinkLocalUnicast() {
			return ""
		}
		return net.JoinHostPort(address.String(), port)
	}
	if !isHostName(host) {
		return ""
	}
	return strings.ToLower(host) + ":" + port
}

// isHostName reports whether s can be the name of a host in DNS.
func isHostName(s string) bool {
	const longest, longestLabel = 253, 63
	other := func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > longestLabel || strings.ContainsFunc(label, other) {
			return false
		}
	}
	return len(s) <= longest
}
