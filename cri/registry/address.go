package registry

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// IPv6 prefixes that embed IPv4 addresses, and prefixes of clouds.
//
//nolint:gochecknoglobals // never written
var (
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291, 2.5.5.1
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 7915, 6
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052, 2.1
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380
	awsLocal   = netip.MustParsePrefix("fd00:ec2::/32")   // metadata, credentials of pods, DNS, time
	thisHost   = netip.MustParsePrefix("0.0.0.0/8")       // RFC 1122, 3.2.1.3
)

// refuseForbidden returns an error for an address that no connection may be opened to. It
// is for the address itself that is dialed, not for a name, which may resolve differently
// later.
func refuseForbidden(addr netip.Addr) error {
	switch {
	case addr.Unmap().WithZone("").IsUnspecified():
		return ErrAddressUnspecified
	case Forbidden(addr):
		return ErrAddressForbidden
	}
	return nil
}

// forbiddenHost reports whether a proxy must not be asked to connect to a host: a forbidden
// address, the name of a cloud's metadata service, or a number that netip does not parse but
// inet_aton(3) reads as an address.
func forbiddenHost(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		return Forbidden(addr)
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	for _, base := range []int{0, 10} { // 08 is a number, too
		if _, err := strconv.ParseUint(last, base, 64); err == nil {
			return true
		}
	}
	return host == "metadata.google.internal" || host == "metadata"
}

// Forbidden reports whether an address cannot be a registry's: a service for the node itself,
// such as a cloud's metadata service, or not a unicast address. IPv6 addresses that embed a
// forbidden IPv4 address are forbidden, too. Loopback is allowed: node-local registries exist.
func Forbidden(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if addr.IsUnspecified() || addr.IsMulticast() || addr.IsLinkLocalUnicast() || thisHost.Contains(addr) || awsLocal.Contains(addr) {
		return true
	}
	switch addr.String() {
	case "fd20:ce::254", // Google metadata
		"fd00:c1::a9fe:a9fe", // Oracle metadata
		"fd00:42::42",        // Scaleway metadata
		"100.100.100.200",    // Alibaba metadata
		"168.63.129.16",      // Azure host services
		"192.0.0.192",        // Oracle metadata
		"255.255.255.255":    // broadcast
		return true
	}
	return !addr.Is4() && slices.ContainsFunc(embedded(addr), Forbidden)
}

// embedded returns the IPv4 addresses to which the network may translate an IPv6 address.
func embedded(addr netip.Addr) []netip.Addr {
	b := addr.As16()
	at := func(i, j, k, l int) netip.Addr { return netip.AddrFrom4([4]byte{b[i], b[j], b[k], b[l]}) }
	last := at(12, 13, 14, 15)
	switch {
	case addr.IsLoopback():
		return nil
	case compatible.Contains(addr), translated.Contains(addr), nat64.Contains(addr):
		return []netip.Addr{last}
	case nat64Local.Contains(addr):
		// The length of the prefix depends on the network (RFC 6052, 2.2). A longer one
		// has zeros in the place of the address.
		shorter := []netip.Addr{at(6, 7, 9, 10), at(7, 9, 10, 11), at(9, 10, 11, 12)}
		return append(slices.DeleteFunc(shorter, thisHost.Contains), last)
	case sixToFour.Contains(addr):
		return []netip.Addr{at(2, 3, 4, 5)}
	case teredo.Contains(addr):
		client := netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})
		return []netip.Addr{at(4, 5, 6, 7), client}
	case b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe: // ISATAP: RFC 5214, 6.1
		return []netip.Addr{last}
	}
	return nil
}
