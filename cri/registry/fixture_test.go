package registry_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/whypull/whypull/cri/hostfs/hostfstest"
	"github.com/whypull/whypull/cri/leaktest"
	"github.com/whypull/whypull/cri/nodeconfig/nodeconfigtest"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

const secret = "s3cret-passw0rd"

func loopback() netip.Addr { return netip.MustParseAddr("127.0.0.1") }

// trusting is a node that trusts the authority of the registry.
func trusting(t *testing.T, s *registrytest.Server) string {
	return node(t, map[string]string{"etc/ssl/certs/ca-certificates.crt": string(s.CA.PEM())})
}

// The helpers of package nodeconfigtest, whose endpoints are asked here.
var (
	node, options, ref  = hostfstest.New, nodeconfigtest.Options, nodeconfigtest.Ref
	endpoint, endpoints = nodeconfigtest.Endpoint, nodeconfigtest.Endpoints
)

// folder is a host's directory in certs.d, in the one of its forms that Windows has.
func folder(host string) string { return strings.Replace(host, ":", "_", 1) + "_" }

// noGoroutinesLeft fails the test if it ends with more goroutines than it
// began with. It is to be called first.
func noGoroutinesLeft(t *testing.T) {
	t.Helper()
	leaktest.Check(t, leaktest.Without())
}

// checkErr asserts what holds for the Err of every answer.
func checkErr(t *testing.T, a registry.Answer) {
	t.Helper()
	if a.Found && a.Err != nil || !a.Found && a.Fault == "" && a.Err == nil {
		t.Errorf("found %t with error %v", a.Found, a.Err)
	}
	text := fmt.Sprintf("%v %+v %#v", a.Err, a, a)
	for _, taboo := range []string{secret, "own words", "?", "client_id", "Bearer ey"} {
		if strings.Contains(text, taboo) {
			t.Errorf("%q is in %s", taboo, text)
		}
	}
}
