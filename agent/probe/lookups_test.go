package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/dns"
	"github.com/whypull/whypull/cri/dnstest"
)

// sharedLookups are lookups with a server and a clock of the test's.
func sharedLookups(t *testing.T) (*lookups, *dnstest.Server, *clock) {
	t.Helper()
	s, c := dnstest.New(t, "127.0.0.1"), newClock()
	return newLookups(resolver(t, s, "nameserver 127.0.0.1\n"), c.Now), s, c
}

func TestLookupsShared(t *testing.T) {
	noGoroutinesLeft(t)
	l, s, c := sharedLookups(t)
	s.Set("hub.test", dnstest.Zone{Addresses: []string{"192.0.2.1"}})
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() { wantAnswer(t, l.lookup(t.Context(), "hub.test"), "", "192.0.2.1", "") })
	}
	wg.Wait()
	c.advance(lookupLife - 1)
	l.lookup(t.Context(), "hub.test")
	wantLines(t, "questions", s.Queries(), "udp A hub.test.", "udp AAAA hub.test.")
	c.advance(time.Nanosecond)
	l.lookup(t.Context(), "hub.test")
	if n := len(s.Queries()); n != 4 {
		t.Errorf("%d questions after the answer has expired, want 4", n)
	}
}

func TestLookupsBounded(t *testing.T) {
	t.Parallel()
	l, _, c := sharedLookups(t)
	for i := range 50 {
		l.lookup(t.Context(), fmt.Sprintf("hub%d.test", i))
		c.advance(lookupLife)
	}
	if n := l.answers.Len(); n > 2 {
		t.Errorf("%d answers are kept, want those that still serve", n)
	}
}

// heldBack is a place whose lookups wait until they are let go.
type heldBack struct {
	from  NodeResolver
	begun chan struct{}
	letGo chan struct{}
}

func (h heldBack) Lookup(ctx context.Context, host string) dns.Answer {
	h.begun <- struct{}{}
	<-h.letGo
	return h.from.Lookup(ctx, host)
}

// One who gives up has learnt nothing, and takes nothing from those who wait or
// come later, also if it was the first.
func TestLookupsCancelled(t *testing.T) {
	noGoroutinesLeft(t)
	s := dnstest.New(t, "127.0.0.1")
	s.Set("hub.test", dnstest.Zone{Addresses: []string{"192.0.2.1"}})
	node := resolver(t, s, "nameserver 127.0.0.1\n")
	l := newLookups(node, newClock().Now)
	h := heldBack{node, make(chan struct{}), make(chan struct{})}
	l.resolver = h
	gone, cancel := context.WithCancel(t.Context())
	first := make(chan dns.Answer)
	go func() { first <- l.lookup(gone, "hub.test") }()
	<-h.begun
	cancel()
	a := <-first
	if a.Fault != "" || !a.Unknown || len(a.Addresses) > 0 {
		t.Errorf("answer %+v to one who gave up", a)
	}
	if _, err := l.resolve(gone, "hub.test"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
	if lookupEvidence(a, "hub.test").Outcome != diagnosis.Inconclusive {
		t.Errorf("evidence %+v", lookupEvidence(a, "hub.test"))
	}
	close(h.letGo)
	wantAnswer(t, l.lookup(t.Context(), "hub.test"), "", "192.0.2.1", "")
	if n := len(s.Queries()); n != 2 {
		t.Errorf("%d questions, want 2", n)
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	l, s, _ := sharedLookups(t)
	s.Set("hub.test", dnstest.Zone{Addresses: []string{"192.0.2.1"}})
	s.Set("ill.test", dnstest.Zone{Rcode: 2})
	addrs, err := l.resolve(t.Context(), "hub.test")
	if err != nil || texts(addrs) != "192.0.2.1" {
		t.Errorf("addresses %v, error %v", addrs, err)
	}
	for host, want := range map[string]struct {
		notFound bool
		why      string
	}{"gone.test": {true, "no such name (NXDOMAIN)"}, "ill.test": {false, "it answered SERVFAIL"}} {
		_, err := l.resolve(t.Context(), host)
		var dnsErr *net.DNSError
		if !errors.As(err, &dnsErr) || dnsErr.IsNotFound != want.notFound || dnsErr.IsTemporary == want.notFound {
			t.Errorf("%s: error %#v", host, err)
			continue
		}
		if dnsErr.Name != host || dnsErr.Err != want.why || !strings.HasPrefix(dnsErr.Server, "127.0.0.1:") {
			t.Errorf("%s: error %#v", host, dnsErr)
		}
	}
}

// unknown is a place where lookups cannot be made.
type unknown struct{}

func (unknown) Lookup(context.Context, string) dns.Answer { return dns.Answer{Unknown: true, Why: "w"} }

// A lookup that could not be made is an error and not an empty answer.
func TestResolveUnknown(t *testing.T) {
	t.Parallel()
	l, _, _ := sharedLookups(t)
	l.resolver = unknown{}
	addrs, err := l.resolve(t.Context(), "hub.test")
	var dnsErr *net.DNSError
	if addrs != nil || !errors.As(err, &dnsErr) || dnsErr.IsNotFound {
		t.Errorf("addresses %v, error %v", addrs, err)
	}
}
