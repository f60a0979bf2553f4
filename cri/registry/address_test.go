package registry

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// embeddings are the ways in which IPv6 has addresses of IPv4, but for those
// with a prefix of a length that only the network knows.
func embeddings() map[string]func([4]byte) netip.Addr {
	behind := func(prefix string) func([4]byte) netip.Addr {
		return func(v [4]byte) netip.Addr {
			b := netip.MustParseAddr(prefix).As16()
			copy(b[12:], v[:])
			return netip.AddrFrom16(b)
		}
	}
	return map[string]func([4]byte) netip.Addr{
		"mapped": behind("::ffff:0:0"), "compatible": behind("::"), "translated": behind("::ffff:0:0:0"),
		"nat64": behind("64:ff9b::"), "nat64 local": behind("64:ff9b:1::"), "nat64 local, a part of it": behind("64:ff9b:1:8:7:6::"),
		"isatap": behind("2001:db8::5efe:0:0"), "isatap, global": behind("2001:db8::200:5efe:0:0"),
		"6to4": func(v [4]byte) netip.Addr {
			return netip.AddrFrom16([16]byte{0x20, 2, v[0], v[1], v[2], v[3], 0, 1, 15: 9})
		},
		"teredo client": func(v [4]byte) netip.Addr {
			return netip.AddrFrom16([16]byte{0x20, 1, 0, 0, 192, 0, 2, 45, 0x80, 0, 1, 2, ^v[0], ^v[1], ^v[2], ^v[3]})
		},
		"teredo server": func(v [4]byte) netip.Addr {
			return netip.AddrFrom16([16]byte{0x20, 1, 0, 0, v[0], v[1], v[2], v[3], 0x80, 0, 1, 2, 63, 255, 253, 210})
		},
	}
}

// shortEmbeddings are those of RFC 6052, 2.2, with whatever behind the address.
func shortEmbeddings() map[string]func([4]byte) netip.Addr {
	local := [16]byte{0, 0x64, 0xff, 0x9b, 0, 1}
	return map[string]func([4]byte) netip.Addr{
		"/48": func(v [4]byte) netip.Addr {
			b := local
			b[6], b[7], b[9], b[10], b[15] = v[0], v[1], v[2], v[3], 1
			return netip.AddrFrom16(b)
		},
		"/56": func(v [4]byte) netip.Addr {
			b := local
			b[6], b[7], b[9], b[10], b[11], b[12] = 77, v[0], v[1], v[2], v[3], 8
			return netip.AddrFrom16(b)
		},
		"/64": func(v [4]byte) netip.Addr {
			b := local
			b[6], b[7], b[9], b[10], b[11], b[12], b[13] = 77, 78, v[0], v[1], v[2], v[3], 9
			return netip.AddrFrom16(b)
		},
	}
}

// Every forbidden address of IPv4 is forbidden in every dress, and the dresses
// of others are not.
func TestEmbeddedAddresses(t *testing.T) {
	t.Parallel()
	ranges := []string{
		"0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32",
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, s := range ranges {
		p := netip.MustParsePrefix(s)
		first := binary.BigEndian.Uint32(p.Addr().AsSlice())
		hosts := uint32(1)<<(32-p.Bits()) - 1
		for _, n := range []uint32{0, hosts, 1 & hosts, r.Uint32() & hosts, r.Uint32() & hosts, 0xa9fea9fe & hosts} {
			var v [4]byte
			binary.BigEndian.PutUint32(v[:], first+n)
			v4 := netip.AddrFrom4(v)
			if !Forbidden(v4) {
				t.Errorf("%s is allowed", v4)
			}
			for name, in := range embeddings() {
				if got := in(v); !Forbidden(got) && !got.IsLoopback() {
					t.Errorf("%s: %s, which is %s, is allowed", name, got, v4)
				}
			}
			for name, in := range shortEmbeddings() {
				if got := in(v); !Forbidden(got) && v[0] != 0 {
					t.Errorf("a prefix of %s: %s, which is %s, is allowed", name, got, v4)
				}
			}
		}
	}
	for _, s := range []string{"192.0.2.1", "10.0.0.1", "127.0.0.1", "140.82.121.34", "100.64.0.1"} {
		v := netip.MustParseAddr(s).As4()
		for name, in := range embeddings() {
			if got := in(v); Forbidden(got) {
				t.Errorf("%s: %s, which is %s, is forbidden", name, got, s)
			}
		}
	}
}

func TestForbidden(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"fd00:ec2::254": true, "fd00:ec2::23": true, "fd00:ec2::253": true, "fd20:ce::254": true, "fd00:42::42": true,
		"fd00:c1::a9fe:a9fe": true, "::": true, "::ffff:0.0.0.0": true, "fe80::1%eth0": true, "ff02::1": true,
		"::1": false, "127.0.0.1": false, "fd00::1": false, "2001:db8::1": false, "2a00:1450:4001::200e": false,
	} {
		if got := Forbidden(netip.MustParseAddr(s)); got != want {
			t.Errorf("%s: %t, want %t", s, got, want)
		}
	}
}
