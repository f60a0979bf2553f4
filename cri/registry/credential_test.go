package registry_test

import (
	"crypto/tls"
	"net/http"
	"testing"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/credential/credentialtest"
	"github.com/whypull/whypull/cri/registry"
)

// An endpoint has the node's own credential, the headers of hosts.toml, and the
// key of a client certificate.
func TestEndpointsDoNotPrint(t *testing.T) {
	header := credential.Redact(http.Header{"X-Api-Key": {secret}})
	certificate := tls.Certificate{PrivateKey: []byte(secret)}
	credentialtest.NeverShows(t, registry.Endpoint{
		Scheme: "https", Host: "hub.test", NodeCredential: given("the-user", secret),
		Settings: registry.Settings{
			Header: header, TokenHeader: header,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}},
		},
	}, "the-user", secret)
}
