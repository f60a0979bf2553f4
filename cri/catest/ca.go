package catest

import (
	"testing"
	"time"
)

// Name is the default host name in certificates of a CA. It does not resolve in
// DNS: give the client a resolver that returns 127.0.0.1.
const Name = "registry.test"

// CA is a certificate authority that fails its test if it cannot issue.
type CA struct {
	*Pair
	tb testing.TB
}

// New returns an authority that is valid from two days ago until two days from
// now.
func New(tb testing.TB) *CA {
	tb.Helper()
	const day = 24 * time.Hour
	pair, err := NewAuthority(Request{CommonName: "Test Authority", NotBefore: time.Now().Add(-2 * day), NotAfter: time.Now().Add(2 * day)})
	if err != nil {
		tb.Fatal(err)
	}
	return &CA{Pair: pair, tb: tb}
}

// Issue issues a certificate for servers and clients. By default it is for Name
// and the loopback address and expires in a day.
func (ca *CA) Issue(r Request) *Pair {
	ca.tb.Helper()
	if r.Names == nil {
		r.Names = []string{Name, "127.0.0.1"}
	}
	if r.NotAfter.IsZero() {
		r.NotAfter = time.Now().Add(24 * time.Hour)
	}
	pair, err := ca.Pair.Issue(r)
	if err != nil {
		ca.tb.Fatal(err)
	}
	return pair
}
