package dns

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/dnstest"
)

// The system's resolver does not say what its servers answer, only what comes of it.
func TestSystemLookup(t *testing.T) {
	t.Parallel()
	s := dnstest.New(t, "127.0.0.1")
	s.Set("hub.test", dnstest.Zone{Addresses: []string{"192.0.2.9", "192.0.2.1"}})
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), s.Port).String())
	}}
	found := System(t.Context(), r, "hub.test.")
	wantAnswer(t, found, "", "192.0.2.1 192.0.2.9", "")
	if !found.System {
		t.Errorf("%+v does not say that the system was asked", found)
	}
	wantAnswer(t, System(t.Context(), r, "192.0.2.7"), "", "192.0.2.7", "it is an IP address")
	wantAnswer(t, System(t.Context(), r, "gone.test."), diagnosis.FaultNameNotFound, "", "no such name")

	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	silent := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		<-t.Context().Done()
		return nil, t.Context().Err()
	}}
	if a := System(canceled, silent, "hub.test."); !a.Unknown || a.Fault != "" {
		t.Errorf("a canceled lookup counts as a failure: %+v", a)
	}
	for err, want := range map[*net.DNSError]Code{
		{IsTimeout: true}: Timeout, {IsTemporary: true}: ServerFailure, {IsNotFound: true}: NameError,
	} {
		a := systemFailure(err)
		if a.Code != want {
			t.Errorf("%+v: %s, want %s", err, a.Code, want)
		}
		wellFormed(t, a)
	}
}
