package message

import (
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
)

// The public reports that are known by their text alone. The others are in packages
// check and probe.
func TestReadReports(t *testing.T) {
	const (
		resolve = `Failed to pull image "IMAGE": failed to pull and unpack image "IMAGE": failed to resolve reference "IMAGE": `
		copied  = `Failed to pull image "IMAGE": failed to pull and unpack image "IMAGE": failed to copy: httpReadSeeker: failed open: `
		unpack  = `Failed to pull image "IMAGE": failed to pull and unpack image "IMAGE": `
		daemon  = `Failed to pull image "squid:6": rpc error: code = Unknown desc = Error response from daemon: `
	)
	for _, c := range []struct {
		id    string
		cause diagnosis.Cause
		text  string
	}{
		// The address of an endpoint, in the words of net/url and net/http.
		{"R41", diagnosis.RegistryConfigInvalid, resolve + `parse ":///reg.company.example/v2/": missing protocol scheme`},
		{"R41", diagnosis.RegistryConfigInvalid, resolve + `failed to do request: Head "reg.company.example/v2/team/app/manifests/v1": unsupported protocol scheme ""`},
		{"R41", diagnosis.RegistryConfigInvalid, resolve + `failed to do request: Head "htps://reg.company.example/v2/team/app/manifests/v1?ns=docker.io": unsupported protocol scheme "htps"`},
		{"R41", diagnosis.RegistryConfigInvalid, resolve + `parse "https://reg.company.example:50o0": invalid port ":50o0" after host`},
		{"R41", diagnosis.RegistryConfigInvalid, resolve + `unable to parse server reg.company.example:5000: parse "reg.company.example:5000": first path segment in URL cannot contain colon`},
		{"R41", diagnosis.RegistryConfigInvalid, resolve + `get registry endpoints: parse registry endpoint "https:// reg.company.example" from mirrors: parse "https:// reg.company.example": invalid character " " in host name`},
		{"R41", diagnosis.RegistryConfigInvalid, resolve + `failed to do request: Head "https:///v2/team/app/manifests/v1": http: no Host in request URL`},

		// Azure's registry: its data hosts, its firewall, its credentials.
		{"R48", diagnosis.ConnectionTimeout, copied + `failed to do request: Get "https://acme.westeurope.data.azurecr.io/0123?sig=REDACTED": dial tcp 20.61.97.129:443: i/o timeout`},
		{"R48", diagnosis.ConnectionTimeout, resolve + `failed to do request: Head "https://acme.azurecr.io/v2/team/app/manifests/v1": net/http: TLS handshake timeout`},
		{"R48", diagnosis.TLSHostnameMismatch, copied + `failed to do request: Get "https://acme.westeurope.data.azurecr.io/0123": tls: failed to verify certificate: x509: certificate is valid for *.azurecr.io, *.westeurope.azurecr.io, not acme.westeurope.data.azurecr.io`},
		{"R48", diagnosis.PolicyBlocked, resolve + `failed to authorize: failed to fetch oauth token: unexpected status from GET request to https://acme.azurecr.io/oauth2/token?scope=repository%3Ateam%2Fapp%3Apull&service=acme.azurecr.io: 403 Forbidden: denied: client with IP '20.1.2.3' is not allowed access. Refer https://aka.ms/acr/firewall to grant access`},
		{"R48", diagnosis.CredentialProviderFailed, `Failed to pull image "IMAGE": failed to get credentials from external registry credential provider plugin: error execing credential provider plugin acr-credential-provider for image IMAGE: exit status 1`},
		{"R48", diagnosis.CredentialsRejected, resolve + `failed to authorize: failed to fetch oauth token: unexpected status from POST request to https://acme.azurecr.io/oauth2/token: 401 Unauthorized`},

		// Snapshotters that fetch content when it is read.
		{"R49", diagnosis.RuntimeError, unpack + `failed to extract layer sha256:0123: mount callback failed: failed to prepare extraction snapshot: nydusd: start daemon: wait until daemon is RUNNING: get daemon state: unknown`},
		{"R49", diagnosis.ImageStoreCorrupt, unpack + `failed to prepare extraction snapshot "extract-1 sha256:0123": missing parent "k8s.io/7/sha256:0123" bucket: not found`},
		{"R49", diagnosis.ImageStoreCorrupt, `failed to create containerd container: failed to get reader from content store: content digest sha256:0123: not found: snapshotter soci`},
		{"R49", diagnosis.ContentCorrupt, unpack + `failed to extract layer sha256:0123: failed to unpack with snapshotter stargz: invalid checksum: gzip: invalid header`},

		// Layers with owners that the user namespace does not have.
		{"R50", diagnosis.RuntimeError, unpack + `failed to extract layer sha256:0123: mount callback failed on /var/lib/containerd/tmpmounts/containerd-mount1: failed to Lchown "/x" for UID 0, GID 42: lchown /x: invalid argument (Hint: try increasing the number of subordinate IDs in /etc/subuid and /etc/subgid): unknown`},
		{"R50", diagnosis.RuntimeError, `writing blob: adding layer with blob "sha256:0123": processing tar file(potentially insufficient UIDs or GIDs available in user namespace (requested 0:42 for /etc/shadow): Check /etc/subuid and /etc/subgid if configured locally and run "podman system migrate": lchown /etc/shadow: invalid argument): exit status 1`},

		// An image whose name is a word of a rule, without a registry.
		{"R51", diagnosis.DeniedOrNotFound, daemon + `pull access denied for squid, repository does not exist or may require 'docker login': denied: requested access to the resource is denied`},
		{"R51", diagnosis.DeniedOrNotFound, strings.ReplaceAll(daemon, "squid:6", "quarantine") + `pull access denied for quarantine, repository does not exist or may require 'docker login'`},
		{"R51", diagnosis.TagNotFound, daemon + `manifest for squid:6 not found: manifest unknown: manifest unknown`},

		{"R54", diagnosis.RegistryConfigInvalid, "failed to load plugin io.containerd.grpc.v1.cri: invalid plugin config: `mirrors` cannot be set when `config_path` is provided"},
		{"R55", diagnosis.UnsupportedFormat, `failed to pull and unpack image "docker.example.com/k8s/x:2.9.0": no signatures`},
	} {
		for _, image := range []string{"acme.azurecr.io/team/app:v1", "reg.test:5000/timeout/denied:404"} {
			if text := strings.ReplaceAll(c.text, "IMAGE", image); Read("", text).Cause != c.cause {
				t.Errorf("%s: %s, want %s: %s", c.id, Read("", text).Cause, c.cause, text)
			}
		}
	}
}
