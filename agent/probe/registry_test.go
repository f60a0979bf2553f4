package probe

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
)

// visitOf is a visit for a reference, without a node.
func visitOf(t *testing.T, ref string) visit {
	t.Helper()
	noProxy := func(*http.Request) (*url.URL, error) { return nil, nil }
	config := nodeconfig.Load(nodeconfig.Options{Root: writeFiles(t, nil), Proxy: noProxy})
	return visit{c: &Collector{}, config: config, ref: named(t, ref), f: failure(ref)}
}

func TestSentences(t *testing.T) {
	t.Parallel()
	cred := keyring.NewCredential("pull", "hub.test", 2, credential.New(user, password))
	cert := &registry.Certificate{Issuer: "Test Authority", Names: []string{"a.test", "b.test"},
		NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2026, 1, 2, 0, 0, 0, 0, time.FixedZone("", 3600))}
	type answer = registry.Answer
	const manifest, token = registry.PhaseManifest, registry.PhaseToken
	remote := netip.MustParseAddrPort("10.0.0.9:443")
	for name, tc := range map[string]struct {
		answer answer
		cred   *keyring.Credential
		blind  bool
		want   string
	}{
		"found":                 {answer{Found: true, Phase: manifest, Status: 200}, nil, false, "Passed | https://hub.test serves the manifest without credentials"},
		"found with credential": {answer{Found: true, Phase: manifest, Status: 200}, &cred, false, "Passed | https://hub.test serves the manifest with the credentials in secret pull (entry hub.test)"},
		"given up":              {answer{}, nil, false, "Inconclusive | the check of https://hub.test was not completed"},
		"wants credentials":     {answer{Fault: registry.FaultUnauthorized, Phase: manifest, Status: 401}, nil, false, "Failed | Unauthorized | https://hub.test requires credentials: HTTP 401"},
		"rejects credential":    {answer{Fault: registry.FaultUnauthorized, Phase: manifest, Status: 401}, &cred, false, "Failed | Unauthorized | https://hub.test rejects the credentials in secret pull (entry hub.test): HTTP 401"},
		"no scheme that runtimes know": {answer{Fault: registry.FaultUnauthorized, Phase: manifest, Status: 401, Auth: registry.Auth{Scheme: registry.SchemeUnknown}}, &cred, false,
			"Failed | Unauthorized | https://hub.test answers HTTP 401 without a WWW-Authenticate header for Basic or Bearer credentials, so the runtime sends none"},
		"firewall": {answer{Fault: registry.FaultForbidden, Phase: manifest, Status: 403, Response: registry.Response{HTML: true}}, &cred, false,
			"Failed | Forbidden | https://hub.test denies the request with a web page (HTTP 403), as a firewall or proxy does"},
		"token server requires credentials": {answer{Fault: registry.FaultUnauthorized, Phase: token, Status: 401, Auth: registry.Auth{TokenHost: "auth.test"}}, nil, false,
			"Failed | Unauthorized | token server auth.test requires credentials: HTTP 401"},
		"token server rejects credential": {answer{Fault: registry.FaultUnauthorized, Phase: token, Status: 403, Auth: registry.Auth{TokenHost: "auth.test"}}, &cred, false,
			"Failed | Forbidden | token server auth.test denies pull access to team/app with the credentials in secret pull (entry hub.test): HTTP 403"},
		"scope": {answer{Fault: registry.FaultInsufficientScope, Phase: manifest, Status: 401, Auth: registry.Auth{TokenHost: "auth.test"}}, &cred, false,
			"Failed | InsufficientScope | auth.test issues a token with the credentials in secret pull (entry hub.test), but without pull access to team/app"},
		"forbidden":         {answer{Fault: registry.FaultForbidden, Phase: manifest, Status: 403}, nil, false, "Failed | Forbidden | https://hub.test denies pull access to team/app without credentials: HTTP 403"},
		"tag":               {answer{Fault: registry.FaultTagNotFound, Phase: manifest, Status: 404}, nil, false, "Failed | TagNotFound | https://hub.test has repository team/app, but not tag 1.0: HTTP 404"},
		"repository":        {answer{Fault: registry.FaultRepositoryNotFound, Phase: manifest, Status: 404}, nil, false, "Failed | RepositoryNotFound | https://hub.test has no repository team/app: HTTP 404"},
		"not found":         {answer{Fault: registry.FaultNotFound, Phase: manifest, Status: 404}, nil, false, "Failed | NotFound | https://hub.test has no manifest for hub.test/team/app:1.0 (HTTP 404) and does not say whether the repository exists"},
		"limit":             {answer{Fault: registry.FaultRateLimited, Phase: manifest, Status: 429}, nil, false, "Failed | RateLimited | the rate limit of https://hub.test is exceeded (HTTP 429)"},
		"limit with wish":   {answer{Fault: registry.FaultRateLimited, Phase: manifest, Status: 429, Response: registry.Response{RetryAfter: 90 * time.Second}}, nil, false, "Failed | RateLimited | the rate limit of https://hub.test is exceeded (HTTP 429); retry in 1m30s"},
		"limit with window": {answer{Fault: registry.FaultRateLimited, Phase: manifest, Status: 429, Response: registry.Response{RateLimit: &registry.RateLimit{Limit: 100, Window: 6 * time.Hour}}}, nil, false, "Failed | RateLimited | the rate limit of https://hub.test is exceeded (HTTP 429); the limit is 100 requests in 6h"},
		"token limit":       {answer{Fault: registry.FaultRateLimited, Phase: token, Status: 429, Auth: registry.Auth{TokenHost: "auth.test"}}, nil, false, "Failed | RateLimited | the rate limit of token server auth.test is exceeded (HTTP 429)"},
		"server error":      {answer{Fault: registry.FaultServerError, Phase: manifest, Status: 503}, nil, false, "Failed | ServerError | https://hub.test returned a server error: HTTP 503"},
		"token error":       {answer{Fault: registry.FaultServerError, Phase: token, Status: 500, Auth: registry.Auth{TokenHost: "auth.test"}}, nil, false, "Failed | ServerError | token server auth.test returned a server error: HTTP 500"},

		"refused":          {answer{Fault: registry.FaultConnectionRefused, Phase: registry.PhaseConnect, Connection: registry.Connection{Addresses: []netip.Addr{remote.Addr()}}}, nil, false, "Failed | ConnectionRefused | https://hub.test (10.0.0.9) refuses connections: nothing is listening there"},
		"token refused":    {answer{Fault: registry.FaultConnectionRefused, Phase: token, Auth: registry.Auth{TokenHost: "auth.test"}, Connection: registry.Connection{Remote: remote}}, nil, false, "Failed | ConnectionRefused | token server auth.test refuses connections: nothing is listening there"},
		"connect timeout":  {answer{Fault: registry.FaultConnectionTimeout, Phase: registry.PhaseConnect}, nil, false, "Failed | ConnectionTimeout | the connection to https://hub.test timed out"},
		"tls timeout":      {answer{Fault: registry.FaultConnectionTimeout, Phase: registry.PhaseTLS, Connection: registry.Connection{Remote: remote}}, nil, false, "Failed | ConnectionTimeout | the TLS handshake with https://hub.test (10.0.0.9:443) timed out"},
		"manifest timeout": {answer{Fault: registry.FaultConnectionTimeout, Phase: manifest, Connection: registry.Connection{Remote: remote}}, nil, false, "Failed | ConnectionTimeout | the request to https://hub.test (10.0.0.9:443) timed out"},
		"token timeout":    {answer{Fault: registry.FaultConnectionTimeout, Phase: token, Auth: registry.Auth{TokenHost: "auth.test"}}, nil, false, "Failed | ConnectionTimeout | the token request to token server auth.test timed out"},
		"unreachable":      {answer{Fault: registry.FaultNetworkUnreachable, Phase: registry.PhaseConnect}, nil, false, "Failed | NetworkUnreachable | the connection to https://hub.test failed: unreachable or connection reset"},
		"untrusted":        {answer{Fault: registry.FaultTLSUntrusted, Phase: registry.PhaseTLS, TLS: registry.TLS{Certificate: cert}}, nil, false, `Failed | TLSUntrusted | the certificate of https://hub.test is not trusted by the node (issued by "Test Authority")`},
		"untrusted, unknown": {answer{Fault: registry.FaultTLSUntrusted, Phase: registry.PhaseTLS}, nil, true,
			"Inconclusive | the certificate of https://hub.test is not trusted by the node; but whypull did not find the node's CA certificates, so this is uncertain"},
		"other name": {answer{Fault: registry.FaultTLSHostnameMismatch, Phase: registry.PhaseTLS, TLS: registry.TLS{Certificate: cert}}, nil, false, "Failed | TLSHostnameMismatch | the certificate of https://hub.test is for a.test, b.test, not for this name"},
		"no alternative name": {answer{Fault: registry.FaultTLSHostnameMismatch, Phase: registry.PhaseTLS, TLS: registry.TLS{Certificate: &registry.Certificate{}}}, nil, false,
			"Failed | TLSHostnameMismatch | the certificate of https://hub.test names no host: it has no subject alternative name, and runtimes ignore the common name"},
		"self-signed": {answer{Fault: registry.FaultTLSUntrusted, Phase: registry.PhaseTLS, TLS: registry.TLS{Certificate: &registry.Certificate{Issuer: "x", SelfSigned: true}}}, nil, false,
			"Failed | TLSUntrusted | the certificate of https://hub.test is not trusted by the node (self-signed)"},
		"expired authority": {answer{Fault: registry.FaultTLSExpired, Phase: registry.PhaseTLS, TLS: registry.TLS{Certificate: &registry.Certificate{Authority: "CA 1", NotBefore: cert.NotBefore, NotAfter: cert.NotAfter}}}, nil, false,
			`Failed | TLSExpired | the certificate of authority "CA 1" in the chain of https://hub.test has expired or is not yet valid (valid from 2026-01-01T00:00:00Z to 2026-01-01T23:00:00Z)`},
		"unknown name": {answer{Fault: registry.FaultTLSHandshakeFailed, Phase: registry.PhaseTLS, TLS: registry.TLS{Alert: registry.AlertName}}, nil, false,
			"Failed | TLSHandshakeFailed | the TLS handshake with https://hub.test failed: it does not serve this name (TLS alert: unrecognized name)"},
		"no name":                  {answer{Fault: registry.FaultTLSHostnameMismatch, Phase: registry.PhaseTLS}, nil, false, "Failed | TLSHostnameMismatch | the certificate of https://hub.test is for another name"},
		"expired":                  {answer{Fault: registry.FaultTLSExpired, Phase: registry.PhaseTLS, TLS: registry.TLS{Certificate: cert}}, nil, true, "Failed | TLSExpired | the certificate of https://hub.test has expired or is not yet valid (valid from 2026-01-01T00:00:00Z to 2026-01-01T23:00:00Z)"},
		"expired, same clock":      {answer{Fault: registry.FaultTLSExpired, Phase: registry.PhaseTLS, TLS: registry.TLS{Clock: new(time.Duration(0))}}, nil, false, "Failed | TLSExpired | the certificate of https://hub.test has expired or is not yet valid; the registry's clock agrees with the node's"},
		"expired, clock behind":    {answer{Fault: registry.FaultTLSExpired, Phase: registry.PhaseTLS, TLS: registry.TLS{Clock: new(73 * time.Hour)}}, nil, false, "Failed | TLSExpired | the certificate of https://hub.test has expired or is not yet valid; the node's clock is 3 days behind the registry's"},
		"expired, clock ahead":     {answer{Fault: registry.FaultTLSExpired, Phase: registry.PhaseTLS, TLS: registry.TLS{Clock: new(-150 * time.Minute)}}, nil, false, "Failed | TLSExpired | the certificate of https://hub.test has expired or is not yet valid; the node's clock is 3 hours ahead of the registry's"},
		"expired, clock ahead now": {answer{Fault: registry.FaultTLSExpired, Phase: registry.PhaseTLS, TLS: registry.TLS{Clock: new(-6 * time.Minute)}}, nil, false, "Failed | TLSExpired | the certificate of https://hub.test has expired or is not yet valid; the node's clock is 6 minutes ahead of the registry's"},
		"expired, bare":            {answer{Fault: registry.FaultTLSExpired, Phase: registry.PhaseTLS}, nil, false, "Failed | TLSExpired | the certificate of https://hub.test has expired or is not yet valid"},
		"handshake":                {answer{Fault: registry.FaultTLSHandshakeFailed, Phase: registry.PhaseTLS}, nil, false, "Failed | TLSHandshakeFailed | the TLS handshake with https://hub.test failed: client certificate, protocol version or cipher suite"},
		"plain":                    {answer{Fault: registry.FaultHTTPSMismatch, Phase: registry.PhaseTLS}, nil, false, "Failed | HTTPSMismatch | https://hub.test speaks plain HTTP, but the node is configured to use HTTPS"},
		"tls":                      {answer{Endpoint: "http://hub.test", Fault: registry.FaultHTTPSMismatch, Phase: registry.PhasePing}, nil, false, "Failed | HTTPSMismatch | http://hub.test speaks HTTPS, but the node is configured to use plain HTTP"},
		"proxy":                    {answer{Fault: registry.FaultProxyFailed, Phase: registry.PhaseConnect, Proxy: registry.Proxy{Address: "proxy.test:3128"}}, nil, false, "Failed | ProxyFailed | proxy proxy.test:3128 fails for https://hub.test"},
		"name":                     {answer{Fault: registry.FaultNameNotFound, Phase: registry.PhaseDNS}, nil, false, "Failed | NameNotFound | the name of https://hub.test does not resolve"},
		"token name":               {answer{Fault: registry.FaultDNSFailure, Phase: token, Auth: registry.Auth{TokenHost: "auth.test"}}, nil, false, "Failed | DNSFailure | the name of token server auth.test does not resolve; https://hub.test requires tokens from it"},
		"realm over plain HTTP":    {answer{Fault: registry.FaultUnexpectedAnswer, Phase: registry.PhaseToken, Auth: registry.Auth{TokenHost: "auth.test"}, Err: registry.ErrRealmInsecure}, nil, false, "NotRun | UnexpectedAnswer | https://hub.test has its token server on plain HTTP (token server auth.test), where whypull sends no credentials"},
		"downgrade":                {answer{Fault: registry.FaultUnexpectedAnswer, Phase: registry.PhasePing, Err: registry.ErrChallengeInsecure}, nil, false, "NotRun | UnexpectedAnswer | https://hub.test redirects to plain HTTP and asks for credentials there, where whypull sends none"},
		"no room":                  {answer{Phase: registry.PhaseManifest, Err: registry.ErrNoRoom}, nil, false, "Inconclusive | the check of https://hub.test was not completed: the memory for responses is used by other registries"},
		"sinkhole":                 {answer{Fault: registry.FaultAddressUnspecified, Phase: registry.PhaseConnect, Connection: registry.Connection{Addresses: []netip.Addr{netip.MustParseAddr("0.0.0.0")}}}, nil, false, "Failed | AddressUnspecified | https://hub.test (0.0.0.0) resolves to an unspecified address, as DNS servers answer for names that they block (a DNS sinkhole)"},
		"metadata":                 {answer{Fault: registry.FaultAddressForbidden, Phase: registry.PhaseConnect, Connection: registry.Connection{Addresses: []netip.Addr{netip.MustParseAddr("169.254.169.254")}}}, nil, false, "NotRun | AddressForbidden | https://hub.test (169.254.169.254) has a link-local or metadata address, which whypull does not connect to"},
		"redirects in a circle": {answer{Fault: registry.FaultUnexpectedAnswer, Phase: manifest, Err: registry.ErrTooManyRedirects}, nil, false,
			"Failed | UnexpectedAnswer | https://hub.test redirects more often than the runtime follows, as in a circle"},
		"no realm": {answer{Fault: registry.FaultUnexpectedAnswer, Phase: token, Status: 401}, nil, false,
			"Failed | UnexpectedAnswer | https://hub.test asks for a token, but names no URL of a token server (realm in its WWW-Authenticate header)"},
		"strange": {answer{Fault: registry.FaultUnexpectedAnswer, Phase: manifest, Status: 418}, nil, false, "Failed | UnexpectedAnswer | https://hub.test returned an unexpected response: HTTP 418"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.answer.Endpoint == "" {
				tc.answer.Endpoint = "https://hub.test"
			}
			v := visitOf(t, image)
			if tc.blind {
				v.notices = []nodeconfig.Notice{{Kind: nodeconfig.NoticeNoAuthorities}}
			}
			e := v.evidence(hub(), tc.answer, tc.cred)
			wellFormed(t, failure(image), []diagnosis.Evidence{e})
			wantLines(t, "evidence", of(failure(image), []diagnosis.Evidence{e}, diagnosis.CheckRegistry), tc.want)
			if (e.Credential() != nil) != (tc.cred != nil) || string(e.Registry().Phase) != string(tc.answer.Phase) || e.Registry().Status != tc.answer.Status {
				t.Errorf("evidence %+v", e)
			}
		})
	}
}

func TestEvidenceFields(t *testing.T) {
	t.Parallel()
	cred := keyring.NewCredential("pull", "hub.test/v2/", 3, credential.New(user, password))
	e := visitOf(t, image).evidence(hub(), registry.Answer{
		Endpoint: "https://hub.test", Fault: registry.FaultTagNotFound, Phase: registry.PhaseManifest, Status: 404, Response: registry.Response{RetryAfter: 1500 * time.Millisecond}, Content: registry.Content{Tags: []string{"0.9", "1.0.1", "2.0"}}, Connection: registry.Connection{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
	}, &cred)
	if *e.Credential() != (diagnosis.CredentialRef{Source: "pull", Key: "hub.test/v2/", Order: 3}) {
		t.Errorf("credential %+v", e.Credential())
	}
	if e.Registry().RetryAfter != 1500*time.Millisecond || !slices.Equal(e.Registry().Addresses, []string{"192.0.2.1"}) {
		t.Errorf("evidence %+v", e)
	}
	wantLines(t, "candidates", e.Registry().Candidates, "2.0", "1.0.1", "0.9")
}

func TestNearest(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		tags []string
		want string
		got  []string
	}{
		"nearest first":     {[]string{"1.12.1", "1.12.11", "latest", "1.13.0"}, "1.12.2", []string{"1.12.1", "1.13.0", "1.12.11", "latest"}},
		"newest of equals":  {[]string{"1.0", "1.1", "1.2", "1.3"}, "1.9", []string{"1.3", "1.2", "1.1", "1.0"}},
		"at most five":      {[]string{"a1", "a2", "a3", "a4", "a5", "a6"}, "a0", []string{"a6", "a5", "a4", "a3", "a2"}},
		"a digest is asked": {[]string{"1.0"}, "", nil},
		"no tags":           {nil, "1.0", nil},
		"typing error":      {[]string{"stable", "latest"}, "lastest", []string{"latest", "stable"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := slices.Clone(tc.tags)
			wantLines(t, "tags", nearest(tc.tags, tc.want), tc.got...)
			if !slices.Equal(before, tc.tags) {
				t.Errorf("the tags given were put in order: %q", tc.tags)
			}
		})
	}
}

func TestTagOf(t *testing.T) {
	t.Parallel()
	digest := "@sha256:" + strings.Repeat("a", 64)
	for ref, want := range map[string]string{
		"hub.test/app:1": "1", "hub.test/app": "latest", "hub.test/app" + digest: "", "hub.test/app:1" + digest: "",
	} {
		if got := tagOf(named(t, ref)); got != want {
			t.Errorf("%s: %q, want %q", ref, got, want)
		}
	}
}

func TestHostname(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"hub.test": "hub.test", "hub.test:5000": "hub.test", "10.0.0.1": "10.0.0.1", "10.0.0.1:5000": "10.0.0.1",
		"[2001:db8::1]:5000": "2001:db8::1", "[2001:db8::1]": "2001:db8::1",
	} {
		if got := hostname(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestAttempts(t *testing.T) {
	t.Parallel()
	cred := func(source, user, password string) keyring.Credential {
		return keyring.NewCredential(source, "hub.test", 1, credential.New(user, password))
	}
	for name, tc := range map[string]struct {
		creds []keyring.Credential
		want  []string
	}{
		"none":          {nil, []string{"-"}},
		"two":           {[]keyring.Credential{cred("a", "u", "p"), cred("b", "u", "p")}, []string{"a", "b", "-"}},
		"empty":         {[]keyring.Credential{cred("a", "", "")}, []string{"-"}},
		"half":          {[]keyring.Credential{cred("a", "u", ""), cred("b", "", "p")}, []string{"-"}},
		"empty between": {[]keyring.Credential{cred("a", "u", "p"), cred("b", "", ""), cred("c", "u", "p")}, []string{"a", "c", "-"}},
	} {
		var got []string
		for _, l := range (visit{creds: tc.creds}).attempts(hub()) {
			if l == nil {
				got = append(got, "-")
			} else {
				got = append(got, l.Source)
			}
		}
		wantLines(t, name, got, tc.want...)
	}
}

func TestServed(t *testing.T) {
	t.Parallel()
	answer := func(o diagnosis.Outcome, facts diagnosis.RegistryFacts) diagnosis.Evidence {
		return diagnosis.Evidence{Check: diagnosis.CheckRegistry, Outcome: o, Body: &facts}
	}
	first, second := &diagnosis.CredentialRef{}, &diagnosis.CredentialRef{Order: 2}
	pass := answer(diagnosis.Passed, diagnosis.RegistryFacts{})
	with := answer(diagnosis.Passed, diagnosis.RegistryFacts{Credential: first})
	fail := answer(diagnosis.Failed, diagnosis.RegistryFacts{})
	dns := diagnosis.Evidence{Check: diagnosis.CheckNodeDNS, Outcome: diagnosis.Passed}
	bad := answer(diagnosis.Failed, diagnosis.RegistryFacts{Content: true, Credential: first})
	next := answer(diagnosis.Passed, diagnosis.RegistryFacts{Credential: second})
	badNext := answer(diagnosis.Failed, diagnosis.RegistryFacts{Content: true, Credential: second})
	one, two := []*keyring.Credential{nil}, []*keyring.Credential{{}, nil}
	for name, tc := range map[string]struct {
		found    []diagnosis.Evidence
		attempts []*keyring.Credential
		want     bool
	}{
		"anonymous, no credential":    {[]diagnosis.Evidence{dns, pass}, one, true},
		"name only":                   {[]diagnosis.Evidence{dns}, one, false},
		"failed":                      {[]diagnosis.Evidence{dns, fail}, one, false},
		"with the credential":         {[]diagnosis.Evidence{dns, with}, two, true},
		"only without the credential": {[]diagnosis.Evidence{dns, fail, pass}, two, false}, // the kubelet does not try that
		"nothing was found out":       {nil, two, false},
		"not the content":             {[]diagnosis.Evidence{dns, with, bad}, two, false},
		"not to the first":            {[]diagnosis.Evidence{dns, with, bad, next}, two, true},
		"the second's content":        {[]diagnosis.Evidence{dns, with, bad, next, badNext}, two, false},
	} {
		if got := served(tc.found, tc.attempts); got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}

func TestAboutEndpoint(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		phase registry.Phase
		fault registry.Fault
		want  bool
	}{
		{registry.PhaseDNS, registry.FaultNameNotFound, true},
		{registry.PhaseConnect, registry.FaultConnectionRefused, true},
		{registry.PhaseConnect, "", false},
		{registry.PhaseTLS, registry.FaultTLSExpired, true},
		{registry.PhasePing, registry.FaultConnectionTimeout, true},
		{registry.PhasePing, registry.FaultHTTPSMismatch, true},
		{registry.PhasePing, registry.FaultUnauthorized, false},
		{registry.PhaseToken, registry.FaultTLSExpired, false},
		{registry.PhaseManifest, registry.FaultServerError, false},
		{"", "", false},
	} {
		if got := aboutEndpoint(registry.Answer{Phase: tc.phase, Fault: tc.fault}); got != tc.want {
			t.Errorf("%s in phase %s: %t, want %t", tc.fault, tc.phase, got, tc.want)
		}
	}
}
