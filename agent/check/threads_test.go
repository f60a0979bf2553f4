//go:build linux

package check

import (
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/registry/registrytest"
	"github.com/whypull/whypull/cri/sockettest"
)

const refusedByACR = `{"errors":[{"code":"DENIED","message":"client with IP '203.0.113.9' is not allowed access."}]}`

const limited = `{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your unauthenticated pull rate limit."}]}`

// Pulls that were reported in public and fail in ways of their own.
func TestThreads(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		run        func(t *testing.T, m *machine) diagnosed
		cause      diagnosis.Cause
		confidence diagnosis.Confidence
		words      []string
	}{
		"realm with another scheme": {func(t *testing.T, m *machine) diagnosed {
			r, _ := image(t, "team/app")
			r.Auth, r.Challenge = registrytest.Bearer, `Bearer realm="null://registry.test:5000/v2/token",service="x"`
			return m.check(m.serve("registry.test", only(r)) + "/team/app:v1")
		}, diagnosis.RegistryError, diagnosis.Likely, []string{"names no URL of a token server"}},
		"other name redirects to a private registry, no secret": {func(t *testing.T, m *machine) diagnosed {
			return m.check(facade(m) + "/team/app:v1")
		}, diagnosis.AuthenticationRequired, diagnosis.Confirmed, []string{"https://private.test", "(redirected from https://facade.test", "requires credentials"}},
		"other name redirects to a private registry, secret": {func(t *testing.T, m *machine) diagnosed {
			at := facade(m)
			return m.pod(at+"/team/app:v1", []string{entryOf(t, at)})
		}, diagnosis.Unknown, diagnosis.Suspected, nil}, // the runtime may send them there
		"firewall of ACR": {func(t *testing.T, m *machine) diagnosed {
			return m.check(m.serve("registry.test", answering("team/app", func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, refusedByACR, http.StatusForbidden)
			})) + "/team/app:v1")
		}, diagnosis.PolicyBlocked, diagnosis.Confirmed, []string{"firewall"}},
		"firewall of ACR at the token server": {func(t *testing.T, m *machine) diagnosed {
			at := m.private("registry.test", registrytest.Bearer, refusesTokens(refusedByACR))
			return m.pod(at+"/team/app:v1", []string{entryOf(t, at)})
		}, diagnosis.PolicyBlocked, diagnosis.Confirmed, []string{"token server", "firewall"}},
		"token server denies credentials as it denies none": {func(t *testing.T, m *machine) diagnosed {
			at := m.private("registry.test", registrytest.Bearer, refusesTokens(""))
			return m.pod(at+"/team/app:v1", []string{entryOf(t, at)})
		}, diagnosis.DeniedOrNotFound, diagnosis.Likely, []string{"denies the credentials in pull secret regcred too", "Replace pull secret regcred"}},
		"manifest without its Content-Type": {func(t *testing.T, m *machine) diagnosed {
			r, content := image(t, "team/app")
			content.Break(ocispec.Descriptor{Digest: content.Tagged("v1")}, func(o *registrytest.Object) { o.Type = "binary/octet-stream" })
			return m.check(m.serve("registry.test", only(r)) + "/team/app:v1")
		}, diagnosis.UnsupportedFormat, diagnosis.Confirmed, []string{"Content-Type"}},
		"zstd layers, and a Docker that cannot decompress them": {func(t *testing.T, m *machine) diagnosed {
			return m.check(zstd(t, m)+"/team/app:v1", on(t, "docker", "20.10.25"))
		}, diagnosis.UnsupportedFormat, diagnosis.Likely, []string{"compressed with zstd", "Docker 23.0"}},
		"zstd layers, and a Docker that decompresses them": {func(t *testing.T, m *machine) diagnosed {
			return m.check(zstd(t, m)+"/team/app:v1", on(t, "docker", "23.0.1"))
		}, diagnosis.NotReproducible, diagnosis.Likely, nil},
		"token server on plain HTTP that is not there": {func(t *testing.T, m *machine) diagnosed {
			at := m.private("registry.test", registrytest.Bearer, func(c *registrytest.Config) {
				c.Realm = "http://" + m.named("tokens.test", "127.0.0.1:"+sockettest.ClosedPort(t)) + "/token"
			})
			return m.pod(at+"/team/app:v1", []string{entryOf(t, at)})
		}, diagnosis.ConnectionRefused, diagnosis.Confirmed, []string{"token server tokens.test"}},
		"key of the old file in hosts.toml": {func(t *testing.T, m *machine) diagnosed {
			return m.check(strange(t, m, "  insecure_skip_verify = true\n") + "/team/app:v1")
		}, diagnosis.TLSUntrusted, diagnosis.Confirmed, []string{"hosts.toml (line 4)", "skip_verify, ca and client"}},
		"table of the old file in hosts.toml": {func(t *testing.T, m *machine) diagnosed {
			return m.check(strange(t, m, "  [host.\"https://AT\".tls]\n  ca_file = \"ca.crt\"\n") + "/team/app:v1")
		}, diagnosis.TLSUntrusted, diagnosis.Confirmed, []string{"hosts.toml (line 4)"}},
		"URL in NO_PROXY": {func(t *testing.T, m *machine) diagnosed {
			return proxied(t, m, "NO_PROXY=localhost,https://registry.test/")
		}, diagnosis.ProxyFailed, diagnosis.Confirmed, []string{"NO_PROXY (/etc/systemd/system/containerd.service)", "without scheme or path"}},
		"NO_PROXY without commas": {func(t *testing.T, m *machine) diagnosed {
			return proxied(t, m, "\"NO_PROXY=localhost registry.test\"")
		}, diagnosis.ProxyFailed, diagnosis.Confirmed, []string{"commas in between"}},
		"limit of pulls without credentials, and a secret for another host": {func(t *testing.T, m *machine) diagnosed {
			at := m.serve("registry.test", answering("team/app", func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, limited, http.StatusTooManyRequests)
			}))
			return m.pod(at+"/team/app:v1", []string{entryOf(t, "hub.docker.com")})
		}, diagnosis.RateLimited, diagnosis.Confirmed, []string{"has a limit of its own: secret regcred has credentials for hub.docker.com"}},
		"malformed certificate": {func(t *testing.T, m *machine) diagnosed {
			pair := m.ca.Issue(catest.Request{Names: []string{"registry.test"}}).TLS()
			pair.Certificate = [][]byte{[]byte("no certificate")}
			return m.check(m.named("registry.test", sockettest.Listen(t, func(conn net.Conn) {
				_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}).HandshakeContext(t.Context())
			})) + "/team/app:v1")
		}, diagnosis.TLSHandshakeFailed, diagnosis.Confirmed, []string{"its certificate is malformed", "Replace the certificate"}},
		"mirror of all registries": {func(t *testing.T, m *machine) diagnosed {
			m.hostsFile("_default", "server = \"*\"\n[host.\"https://"+m.named("mirror.test", "127.0.0.1:"+sockettest.ClosedPort(t))+"\"]\n")
			return m.check(m.serve("registry.test", registrytest.Config{}) + "/team/app:v1")
		}, diagnosis.MirrorFailed, diagnosis.Confirmed, []string{"/_default/hosts.toml"}},
		"number sign in the password of a proxy": {func(t *testing.T, m *machine) diagnosed {
			m.file("etc/systemd/system/containerd.service", "[Service]\nExecStart=/usr/bin/containerd\nEnvironment=\"HTTPS_PROXY=http://user:p#ss@proxy.test:3128\"\n")
			m.names("registry.test", "10.9.8.7")
			return m.check("registry.test/team/app:v1", on(t, "containerd", "v2.4.2"))
		}, diagnosis.ProxyFailed, diagnosis.Confirmed, []string{"its URL is not valid"}},
		"key that ends with a blank": {func(t *testing.T, m *machine) diagnosed {
			at := m.private("registry.test", registrytest.Basic)
			return m.pod(at+"/team/app:v1", []string{entryOf(t, at+" ")})
		}, diagnosis.PullSecretNoMatch, diagnosis.Confirmed, []string{"has credentials for \"registry.test:", " \", but the image is on"}},
		"secret in UTF-16": {func(t *testing.T, m *machine) diagnosed {
			return m.pod("registry.test/team/app:v1", []string{secretOf(t, "regcred", "shop", "\xff\xfe{\x00}\x00")})
		}, diagnosis.PullSecretMalformed, diagnosis.Confirmed, []string{"UTF-16"}},
		"password changed, auth not": {func(t *testing.T, m *machine) diagnosed {
			at := m.private("registry.test", registrytest.Basic)
			entry := `{"username":"user","password":"` + password + `","auth":"` + basic("user", "old") + `"}`
			return m.pod(at+"/team/app:v1", []string{secretOf(t, "regcred", "shop", `{"auths":{"`+at+`":`+entry+`}}`)})
		}, diagnosis.CredentialsRejected, diagnosis.Confirmed, []string{`the kubelet uses "auth"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.run(t, newMachine(t)).is(c.cause, c.confidence, c.words...)
		})
	}
}

// facade is a registry that redirects to a private one.
func facade(m *machine) (at string) {
	m.t.Helper()
	to := m.private("private.test", registrytest.Basic)
	return m.serve("facade.test", answering("team/app", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+to+r.URL.Path, http.StatusTemporaryRedirect)
	}))
}

// strange is a registry with a certificate that the node does not trust, and with its own
// table in hosts.toml that ends with some lines. What is ca.crt is no certificate.
func strange(t *testing.T, m *machine, lines string) (at string) {
	t.Helper()
	r, _ := image(t, "team/app")
	config := only(r)
	config.Certificate = catest.New(t).Issue(catest.Request{Names: []string{"registry.test"}})
	at = m.serve("registry.test", config)
	m.file("etc/containerd/certs.d/"+at+"/ca.crt", "no certificate")
	m.hostsFile(at, strings.ReplaceAll("server = \"https://AT\"\n[host.\"https://AT\"]\n  capabilities = [\"pull\", \"resolve\"]\n"+lines, "AT", at))
	return at
}

// proxied pulls through a proxy that refuses, in an environment with one more variable.
func proxied(t *testing.T, m *machine, variable string) diagnosed {
	t.Helper()
	r, _ := image(t, "team/app")
	at := m.serve("registry.test", only(r))
	proxy, _ := connectProxy(t, http.StatusForbidden)
	m.file("etc/systemd/system/containerd.service", "[Service]\nEnvironment=HTTPS_PROXY="+proxy+" "+variable+"\n")
	return m.check(at+"/team/app:v1", on(t, "containerd", "v2.4.2"))
}

// zstd is a registry of an image whose layer is compressed with zstd.
func zstd(t *testing.T, m *machine) (at string) {
	t.Helper()
	content := registrytest.NewContent(t)
	layer := content.Layer(10)
	layer.MediaType = ocispec.MediaTypeImageLayerZstd
	content.Tag("v1", content.Image(ocispec.Platform{OS: "linux", Architecture: "amd64"}, layer))
	return m.serve("registry.test", only(registrytest.Repository{Name: "team/app", Content: content}))
}

// entryOf is secret regcred with the credentials of a private registry under a key.
func entryOf(t *testing.T, key string) string {
	t.Helper()
	return secretOf(t, "regcred", "shop", `{"auths":{"`+key+`":{"auth":"`+basic("user", password)+`"}}}`)
}

// refusesTokens makes a registry's token server answer 403 to everyone.
func refusesTokens(body string) func(*registrytest.Config) {
	return func(c *registrytest.Config) { c.TokenStatus, c.TokenBody = http.StatusForbidden, body }
}
