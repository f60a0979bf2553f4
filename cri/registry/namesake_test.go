package registry_test

import (
	"testing"
	"time"

	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// authority is a self-signed certificate of a name, which also serves the registry.
func authority(t *testing.T, name string) *catest.CA {
	t.Helper()
	pair, err := catest.NewAuthority(catest.Request{CommonName: name, Names: []string{catest.Name, "127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	ca := catest.New(t)
	ca.Pair = pair
	return ca
}

// A node that has the certificate of an authority from before that was issued again trusts
// its name and not its key.
func TestNamesake(t *testing.T) {
	current := authority(t, "Corp CA")
	for name, tc := range map[string]struct {
		certificate *catest.Pair
		trusted     *catest.CA
		want        bool
	}{
		"authority issued again":   {current.Issue(catest.Request{}), authority(t, "Corp CA"), true},
		"another authority":        {current.Issue(catest.Request{}), authority(t, "Other CA"), false},
		"self-signed, made again":  {current.Pair, authority(t, "Corp CA"), true},
		"self-signed, of no trust": {current.Pair, authority(t, "Other CA"), false},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t, registrytest.Config{CA: tc.trusted, Certificate: tc.certificate, Repositories: repositories()})
			a := app(t, options(trusting(t, s)), s.Host, nil)
			check(t, a, registry.FaultTLSUntrusted, registry.PhaseTLS)
			if c := a.TLS.Certificate; c == nil || c.Issuer != "Corp CA" || c.Namesake != tc.want {
				t.Errorf("certificate %+v", c)
			}
		})
	}
}

// An authority that a server itself sends is none that the node trusts.
func TestNamesakeOfTheServer(t *testing.T) {
	x, y, z := authority(t, "X"), authority(t, "X"), authority(t, "Z")
	leaf := x.Issue(catest.Request{NotAfter: time.Now().Add(time.Hour)})
	for name, tc := range map[string]struct {
		sent, trusted *catest.CA
		want          bool
	}{
		"sent, has not signed":         {y, z, false},
		"sent, has signed":             {x, z, false},
		"sent, the trusted one is old": {x, y, true},
	} {
		if got := registry.TrustsNamesake(leaf.Certificate, tc.sent.Certificate, tc.trusted.Pool()); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
