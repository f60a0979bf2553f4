package dns

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/asserttest"
	"github.com/whypull/whypull/cri/dnstest"
	"github.com/whypull/whypull/cri/leaktest"
)

// long is how long a test waits for something that must happen, even on a slow
// machine; a passing test never waits that long.
const long = 30 * time.Second

// asking returns a view that asks the server and has long timeouts.
func asking(s *dnstest.Server, conf string) View {
	return View{Config: ParseConfig([]byte("nameserver 127.0.0.1\n" + conf)), Port: s.Port, ServerTimeout: long, LookupTimeout: 2 * long}
}

// hasty shortens the timeouts, for servers that do not respond.
func hasty(v View) View {
	v.ServerTimeout, v.LookupTimeout = 300*time.Millisecond, long
	return v
}

func texts(addrs []netip.Addr) string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

func wantAnswer(t *testing.T, got Answer, fault diagnosis.Fault, addrs, why string) {
	t.Helper()
	if got.Fault != fault || texts(got.Addresses) != addrs || got.Why != why {
		t.Errorf("fault %q, addresses %q, why %q; want %q, %q, %q", got.Fault, texts(got.Addresses), got.Why, fault, addrs, why)
	}
	wellFormed(t, got)
}

// wellFormed checks what must hold for every answer.
func wellFormed(t *testing.T, a Answer) {
	t.Helper()
	n := 0
	for _, is := range []bool{len(a.Addresses) > 0, a.Fault != "", a.Unknown} {
		if is {
			n++
		}
	}
	if n != 1 || a.Code == "" {
		t.Errorf("not one of good, bad and unknown: %+v", a)
	}
	if len(a.Addresses) > maxAddresses || !slices.IsSortedFunc(a.Addresses, netip.Addr.Compare) {
		t.Errorf("not bounded or sorted: %+v", a)
	}
	for _, name := range []string{a.Name, a.Canonical} {
		if name != "" && !isName(name) {
			t.Errorf("name %q", name)
		}
	}
}

var wantLines = asserttest.Lines

// counting has a view count how often it dials each server. The function that it returns
// returns the counts since its last call, as "address times".
func counting(v *View) func() []string {
	var mu sync.Mutex
	times := map[string]int{}
	v.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		times[netip.MustParseAddrPort(address).Addr().String()]++
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		var out []string
		for _, address := range slices.Sorted(maps.Keys(times)) {
			out = append(out, fmt.Sprint(address, " ", times[address]))
		}
		clear(times)
		return out
	}
}

// noGoroutinesLeft fails the test if it ends with more goroutines of this
// package than it started with. It does not work for parallel tests.
func noGoroutinesLeft(t *testing.T) {
	t.Helper()
	leaktest.Check(t, leaktest.With("agent/dns.(*lookup)"))
}
