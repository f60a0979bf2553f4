package diagnosis

import (
	"strings"
	"testing"
)

// Builders of evidence, as the checks make it.

func text(c Cause) Evidence {
	return Evidence{Check: CheckMessage, Outcome: Failed, Body: &MessageFacts{Cause: c}}
}

func found(c Check, f Fault) Evidence { return Evidence{Check: c, Outcome: Failed, Fault: f} }

func secretOf(name string, o Outcome, f Fault) Evidence {
	return Evidence{Check: CheckCredentials, Outcome: o, Fault: f, Body: &CredentialFacts{Secret: name}}
}

func answer(f Fault) Evidence {
	e := Evidence{Check: CheckRegistry, Outcome: Failed, Fault: f, Endpoint: Endpoint{URL: "https://hub.example.com"}, Body: &RegistryFacts{}}
	if f == "" {
		e.Outcome = Passed
	}
	return e
}

// with returns evidence with changed facts of a registry.
func with(e Evidence, change func(*RegistryFacts)) Evidence {
	facts := *e.Registry()
	change(&facts)
	e.Body = &facts
	return e
}

// withCredential returns evidence with a changed credential.
func withCredential(e Evidence, change func(*CredentialRef)) Evidence {
	return with(e, func(r *RegistryFacts) {
		c := *r.Credential
		change(&c)
		r.Credential = &c
	})
}

func attemptWith(source string, e Evidence) Evidence {
	return with(e, func(r *RegistryFacts) { r.Credential = &CredentialRef{Source: source, Order: 1} })
}

// withKey gives the credential of an attempt the key of its entry.
func withKey(key string, e Evidence) Evidence {
	return withCredential(e, func(c *CredentialRef) { c.Key = key })
}

// withHosts gives a secret the keys of its entries.
func withHosts(e Evidence, keys ...string) Evidence {
	e.Credentials().Hosts = keys
	return e
}

func about(e Evidence) Evidence { return with(e, func(r *RegistryFacts) { r.Content = true }) }

func through(proxy string, e Evidence) Evidence {
	return with(e, func(r *RegistryFacts) { r.Proxy = proxy })
}

func existing(e Evidence) Evidence { return with(e, func(r *RegistryFacts) { r.Exists = true }) }

func validity(v Validity, e Evidence) Evidence {
	return withCredential(e, func(c *CredentialRef) { c.Validity = v })
}

func provider() Evidence {
	return Evidence{Check: CheckCredentials, Outcome: NotRun, Fault: FaultProviderMatches, Body: &CredentialFacts{Provider: "ecr-credential-provider"}}
}

func use(u Use) Evidence {
	record := map[Use]Record{UseAllowed: RecordThisPod, UseDefault: RecordNotPulled, UseRefused: RecordOtherCredentials}[u]
	return Evidence{Check: CheckImage, Outcome: Passed, Body: &ImageFacts{Record: record}}
}

func sent(e Evidence) Evidence {
	facts := *e.Message()
	facts.CredentialsSent = true
	e.Body = &facts
	return e
}

func untried(source string) Evidence {
	return Evidence{Check: CheckRegistry, Outcome: NotRun, Body: &RegistryFacts{Credential: &CredentialRef{Source: source, Order: 2}}}
}

func ofNode(e Evidence) Evidence {
	return withCredential(e, func(c *CredentialRef) { c.OfNode = true })
}

func at(endpoint, via string, e Evidence) Evidence {
	e.Endpoint.URL = endpoint
	return with(e, func(r *RegistryFacts) { r.Via = via })
}

func always(x *facts) *facts {
	x.PullPolicy = "Always"
	return x
}

func atPhase(p Phase, e Evidence) Evidence {
	return with(e, func(r *RegistryFacts) { r.Phase = p })
}

func atMirror(e Evidence) Evidence {
	e.Endpoint = Endpoint{URL: "https://mirror.example.com", Mirror: true}
	return e
}

func given(all ...Evidence) *facts { return newFacts(ordinary(), sorted(all)) }

func never(x *facts) *facts {
	x.PullPolicy = "Never"
	return x
}

// maybe is evidence that a check could not tell.
func maybe(c Check, f Fault) Evidence { return Evidence{Check: c, Outcome: Inconclusive, Fault: f} }

// TestDecide is the table of single decisions that no scenario file needs to
// spell out.
func TestDecide(t *testing.T) {
	auth, reject := answer(FaultUnauthorized), attemptWith("a", answer(FaultUnauthorized))
	for _, c := range []struct {
		name       string
		x          *facts
		cause      Cause
		confidence Confidence
	}{
		{"nothing", given(), Unknown, Suspected},
		{"empty evidence", given(Evidence{}), Unknown, Suspected},
		{"only a pass", given(answer("")), NotReproducible, Likely},
		{"pass of a text that is answered", given(text(TagNotFound), answer("")), NotReproducible, Confirmed},
		{"pass, text beyond", given(text(DiskFull), answer("")), DiskFull, Suspected},
		{"full, and the text says so", given(text(DiskFull), found(CheckPull, FaultDiskFull)), DiskFull, Confirmed},
		{"full, and the text says nothing", given(text(Unknown), found(CheckPull, FaultDiskFull), auth), DiskFull, Confirmed},
		{"full, and the text says something else", given(text(RuntimeError), found(CheckPull, FaultDiskFull)), DiskFull, Likely},
		{"perhaps full, and the text says so", given(text(DiskFull), maybe(CheckPull, FaultDiskFull)), DiskFull, Likely},
		{"perhaps full, and the text says nothing", given(text(Unknown), maybe(CheckPull, FaultDiskFull), answer("")), NotReproducible, Likely},
		{"full after the policy Never", never(given(text(Unknown), found(CheckPull, FaultDiskFull))), Unknown, Suspected},
		{"pass after the policy Never", never(given(text(TagNotFound), answer(""))), TagNotFound, Suspected},
		{"Never does not look at names", never(given(found(CheckNodeDNS, FaultNameNotFound))), Unknown, Suspected},
		{"Never does not look at the registry", never(given(auth, secretOf("", Failed, FaultNoCredentials))), Unknown, Suspected},
		{"Never, absent, text of something else", never(given(found(CheckImage, FaultImageAbsent), text(RuntimeError))), ImageNotPresent, Confirmed},
		{"Never, present, text of something else", never(given(Evidence{Check: CheckImage, Outcome: Passed}, text(RuntimeError))), RuntimeError, Suspected},
		{"absent is no fault by itself", given(found(CheckImage, FaultImageAbsent)), Unknown, Suspected},
		{"malformed before anything of the network", given(secretOf("a", Failed, FaultSecretMalformed), auth), PullSecretMalformed, Confirmed},
		{"invalid name before a malformed secret", given(found(CheckImage, FaultNameInvalid), secretOf("a", Failed, FaultSecretMalformed)), InvalidImageName, Confirmed},
		{"missing, public", given(secretOf("a", Failed, FaultSecretMissing), answer("")), NotReproducible, Likely},
		{"missing, registry silent, no text", given(secretOf("a", Failed, FaultSecretMissing)), Unknown, Suspected},
		{"missing before wrong type", given(secretOf("a", Failed, FaultSecretWrongType), secretOf("b", Failed, FaultSecretMissing), auth), PullSecretMissing, Confirmed},
		{"wrong type before no match", given(secretOf("a", Failed, FaultNoMatchingCredential), secretOf("b", Failed, FaultSecretWrongType), auth), PullSecretMalformed, Confirmed},
		{"missing beside credentials that are refused", given(secretOf("a", Failed, FaultSecretMissing), secretOf("b", Passed, ""), attemptWith("b", answer(FaultUnauthorized)), auth), CredentialsRejected, Confirmed},
		{"missing beside credentials to be tried", given(text(AuthenticationRequired), secretOf("a", Failed, FaultSecretMissing), secretOf("b", Passed, "")), AuthenticationRequired, Suspected},
		{"one credential refused, another passes", given(reject, attemptWith("b", answer(""))), NotReproducible, Likely},
		{"refused credentials, public image", given(text(CredentialsRejected), reject, answer("")), CredentialsRejected, Confirmed},
		{"403 outranks 401 whatever the order", given(attemptWith("a", answer(FaultForbidden)), attemptWith("b", answer(FaultUnauthorized))), AccessDenied, Confirmed},
		{"404 outranks both", given(reject, attemptWith("b", answer(FaultForbidden)), attemptWith("c", answer(FaultTagNotFound))), TagNotFound, Confirmed},
		{"rate limit outranks a refusal", given(reject, attemptWith("b", answer(FaultRateLimited))), RateLimited, Confirmed},
		{"expired outranks denied", given(text(CredentialsExpired), attemptWith("a", answer(FaultForbidden))), CredentialsExpired, Likely},
		{"expired, and it works", given(text(CredentialsExpired), attemptWith("a", answer(""))), NotReproducible, Confirmed},
		{"anonymous 404 does not outrank the 401 of credentials", given(reject, answer(FaultTagNotFound)), CredentialsRejected, Confirmed},
		{"mirror passes, origin refuses", given(atMirror(answer("")), auth), NotReproducible, Likely},
		{"mirror 401 is no want of the origin, without a text that says which is shown", given(atMirror(auth), answer(FaultTagNotFound)), TagNotFound, Likely},
		{"mirror 401 is what the text shows", given(text(AuthenticationRequired), atMirror(auth), answer(FaultTagNotFound)), MirrorFailed, Confirmed},
		{"mirror 401, and the text shows the origin's answer", given(text(TagNotFound), atMirror(auth), answer(FaultTagNotFound)), TagNotFound, Confirmed},
		{"mirror 404, and the origin's is the same", given(text(TagNotFound), atMirror(answer(FaultNotFound)), answer(FaultTagNotFound)), TagNotFound, Confirmed},
		{"mirror's content is corrupt", given(text(ContentCorrupt), atMirror(answer("")), about(atMirror(answer(FaultContentCorrupt)))), MirrorFailed, Confirmed},
		{"mirror's content is corrupt as the origin's is", given(text(ContentCorrupt), about(atMirror(answer(FaultContentCorrupt))), answer(""), about(answer(FaultContentCorrupt))), ContentCorrupt, Confirmed},
		{"manifest there, no such platform", given(text(PlatformMismatch), answer(""), about(answer(FaultPlatformMismatch))), PlatformMismatch, Confirmed},
		{"manifest there, a blob missing", given(text(ContentCorrupt), answer(""), about(answer(FaultContentMissing))), ContentCorrupt, Confirmed},
		{"manifest there, a page instead of it", given(answer(FaultWebPage)), UnsupportedFormat, Confirmed},
		{"a page, and a proxy in between", given(through("proxy:3128", answer(FaultWebPage))), ProxyFailed, Likely},
		{"manifest there, a blob refused", given(text(AccessDenied), answer(""), about(answer(FaultForbidden))), AccessDenied, Confirmed},
		{"manifest there, blobs refused by a closed port", given(text(ConnectionRefused), answer(""), about(answer(FaultConnectionRefused))), ConnectionRefused, Confirmed},
		{"text of a proxy, and ours lets us through", given(text(ProxyFailed), through("proxy:3128", answer(""))), ProxyFailed, Suspected},
		{"the registry has answered the runtime, and we do not come through", given(text(CredentialsRejected), answer(FaultConnectionTimeout)), CredentialsRejected, Suspected},
		{"the registry has answered the runtime, and the same proxy does not let us through", given(text(CredentialsRejected), through("proxy:3128", answer(FaultConnectionTimeout))), ConnectionTimeout, Likely},
		{"nobody comes through", given(text(ConnectionTimeout), answer(FaultConnectionTimeout)), ConnectionTimeout, Confirmed},
		{"the token server has gone away since", given(text(CredentialsRejected), atPhase(PhaseToken, answer(FaultConnectionRefused))), ConnectionRefused, Likely},
		{"withheld by a policy", given(answer(FaultPolicyBlocked)), PolicyBlocked, Confirmed},
		{"token that names its end, refused", given(validity(ValidityExpired, reject)), CredentialsExpired, Confirmed},
		{"token that names its end, taken", given(validity(ValidityExpired, attemptWith("a", answer("")))), NotReproducible, Likely},
		{"token older than such tokens live, refused", given(validity(ValidityOutlived, reject)), CredentialsExpired, Likely},
		{"token that is still good, refused", given(validity(ValidityGood, reject)), CredentialsRejected, Confirmed},
		{"scope refused to credentials", given(attemptWith("a", answer(FaultInsufficientScope))), DeniedOrNotFound, Confirmed},
		{"scope refused to credentials, repository known to exist", given(existing(attemptWith("a", answer(FaultInsufficientScope)))), AccessDenied, Confirmed},
		{"scope refused to one credential, forbidden to another", given(attemptWith("a", answer(FaultInsufficientScope)), attemptWith("b", answer(FaultForbidden))), AccessDenied, Confirmed},
		{"scope refused to anyone, repository known to exist", given(existing(answer(FaultInsufficientScope)), secretOf("", Failed, FaultNoCredentials)), AuthenticationRequired, Confirmed},
		{"a provider is for it, and has given nothing", given(text(AuthenticationRequired), auth, provider(), secretOf("", Failed, FaultNoCredentials)), CredentialProviderFailed, Likely},
		{"a provider is for it, and the text says nothing", given(auth, provider(), secretOf("", Failed, FaultNoCredentials)), AuthenticationRequired, Likely},
		{"a provider is for it, and nobody knows whether it exists", given(answer(FaultInsufficientScope), provider(), secretOf("", Failed, FaultNoCredentials)), DeniedOrNotFound, Likely},
		{"the records keep the pod from it, no secret", given(found(CheckImage, FaultNotVerified), auth, secretOf("", Failed, FaultNoCredentials)), ImageNotVerifiedForPod, Confirmed},
		{"the records keep the pod from it, registry down", given(found(CheckImage, FaultNotVerified), answer(FaultConnectionRefused)), ConnectionRefused, Confirmed},
		{"the records keep the pod from it, Never", never(given(found(CheckImage, FaultNotVerified))), ImageNotVerifiedForPod, Confirmed},
		{"the runtime will not guess a registry", given(found(CheckRegistry, FaultNameAmbiguous)), ShortNameAmbiguous, Confirmed},
		{"only mirrors, and one passes", given(atMirror(answer(FaultNotFound)), atMirror(answer(""))), NotReproducible, Likely},
		{"only mirrors, text of something else", given(text(TLSUntrusted), atMirror(answer(FaultNotFound))), MirrorFailed, Likely},
		{"no way to the upstream registry, the mirror's certificate is not trusted", given(atMirror(answer(FaultTLSUntrusted)), answer(FaultConnectionRefused)), MirrorFailed, Likely},
		{"no way to either", given(atMirror(answer(FaultConnectionTimeout)), answer(FaultConnectionRefused)), ConnectionRefused, Likely},
		{"only mirrors, origin pending", given(atMirror(answer(FaultNotFound)), Evidence{Check: CheckRegistry, Outcome: NotRun, Fault: FaultPending}), Unknown, Suspected},
		{"unexpected answer", given(answer(FaultUnexpectedAnswer)), RegistryError, Likely},
		{"an address that we do not talk to", given(text(ConnectionTimeout), answer(FaultAddressForbidden)), ConnectionTimeout, Suspected},
		{"configuration refused", given(found(CheckRegistry, FaultConfigInvalid), text(RegistryConfigInvalid)), RegistryConfigInvalid, Confirmed},
		{"configuration refused, text of something else", given(found(CheckRegistry, FaultConfigInvalid), text(TagNotFound)), RegistryConfigInvalid, Likely},
		{"configuration of the registry odd, no name", given(Evidence{Check: CheckRegistry, Outcome: Inconclusive, Fault: FaultConfigInvalid, Body: &RegistryFacts{Config: &ConfigFacts{File: "/certs.d/hub.example.com/hosts.toml", Problem: "HostsUnreadable"}}}, found(CheckNodeDNS, FaultNameNotFound), answer(FaultNameNotFound)), RegistryConfigInvalid, Likely},
		{"configuration of the node odd, no name", given(Evidence{Check: CheckRegistry, Outcome: Inconclusive, Fault: FaultConfigInvalid, Body: &RegistryFacts{Config: &ConfigFacts{File: "/etc/containerd/config.toml", Problem: "HostsUnreadable"}}}, found(CheckNodeDNS, FaultNameNotFound), answer(FaultNameNotFound)), RegistryNameNotFound, Confirmed},
		{"configuration of the node odd, certificate", given(Evidence{Check: CheckRegistry, Outcome: Inconclusive, Fault: FaultConfigInvalid, Body: &RegistryFacts{Config: &ConfigFacts{File: "/etc/containerd/config.toml", Problem: "HostsUnreadable"}}}, answer(FaultTLSUntrusted)), RegistryConfigInvalid, Likely},
		{"on the node now, and allowed", never(given(text(ImageNotPresent), use(UseAllowed))), NotReproducible, Confirmed},
		{"on the node now, and allowed, registry down", given(text(ConnectionRefused), use(UseAllowed), answer(FaultConnectionRefused)), NotReproducible, Confirmed},
		{"on the node now, and allowed, but always pulled", always(given(text(ConnectionRefused), use(UseAllowed), answer(FaultConnectionRefused))), ConnectionRefused, Confirmed},
		{"on the node, and the default policy allows it", never(given(text(ImageNotPresent), use(UseDefault))), ImageNotVerifiedForPod, Likely},
		{"on the node, and the runtime fails over it", never(given(text(RuntimeError), use(UseAllowed))), RuntimeError, Suspected},
		{"the text shows credentials that are not the pod's", given(sent(text(CredentialsRejected)), auth, secretOf("", Failed, FaultNoCredentials)), CredentialsRejected, Likely},
		{"the text shows credentials, and a secret is missing", given(sent(text(CredentialsRejected)), auth, secretOf("a", Failed, FaultSecretMissing)), CredentialsRejected, Likely},
		{"one credential refused, one not tried", given(reject, untried("b")), CredentialsRejected, Likely},
		{"one credential limited, one not tried", given(attemptWith("a", answer(FaultRateLimited)), untried("b")), RateLimited, Likely},
		{"limited for others, and the text says so", given(text(RateLimited), Evidence{Check: CheckRegistry, Outcome: NotRun, Fault: FaultRateLimited}), RateLimited, Likely},
		{"limited for others, and the text is of something else", given(text(TagNotFound), Evidence{Check: CheckRegistry, Outcome: NotRun, Fault: FaultRateLimited}), TagNotFound, Suspected},
		{"the pod's credentials before the node's", given(reject, ofNode(attemptWith("file", answer(FaultForbidden)))), CredentialsRejected, Confirmed},
		{"the node's credentials alone", given(ofNode(attemptWith("file", answer(FaultForbidden)))), AccessDenied, Confirmed},
		{"a mirror refuses the node's credentials, the registry gives the image to anyone", given(ofNode(atMirror(attemptWith("file", answer(FaultUnauthorized)))), answer("")), NotReproducible, Likely},
		{"a mirror refuses the node's credentials, the registry has no such tag", given(text(TagNotFound), ofNode(atMirror(attemptWith("file", answer(FaultUnauthorized)))), answer(FaultTagNotFound)), TagNotFound, Confirmed},
		{"a blob's place refuses", given(text(AccessDenied), attemptWith("a", answer("")), about(at("https://cdn.example.com", "https://hub.example.com", attemptWith("a", answer(FaultForbidden))))), AccessDenied, Likely},
		{"a mirror hides what is only likely", given(text(RegistryError), atMirror(answer(FaultServerError)), answer(FaultNotFound)), MirrorFailed, Likely},
		{"configuration odd, tag missing", given(Evidence{Check: CheckRegistry, Outcome: Inconclusive, Fault: FaultConfigInvalid}, answer(FaultTagNotFound)), TagNotFound, Confirmed},
		{"pod DNS decides nothing", given(found(CheckPodDNS, FaultNameNotFound)), Unknown, Suspected},
		{"throttle before a tag", given(text(PullThrottled), answer(FaultTagNotFound)), PullThrottled, Suspected},
		{"provider's failure and a public image", given(text(CredentialProviderFailed), answer("")), NotReproducible, Confirmed},
		{"provider's failure and a secret's refusal", given(text(CredentialProviderFailed), reject, auth), CredentialsRejected, Confirmed},
		{"pull retried and failed decides nothing yet", given(found(CheckPull, FaultDNSFailure)), Unknown, Suspected},
	} {
		cause, confidence := c.x.decide()
		if cause != c.cause || confidence != c.confidence {
			t.Errorf("%s: %s, %s; want %s, %s", c.name, cause, confidence, c.cause, c.confidence)
		}
	}
}

// TestAgreed: what the text says decides between Confirmed and Likely.
func TestAgreed(t *testing.T) {
	for _, c := range []struct {
		x     *facts
		cause Cause
		want  Confidence
	}{
		{given(), ConnectionRefused, Confirmed},
		{given(text(Unknown)), ConnectionRefused, Confirmed},
		{given(text(ConnectionRefused)), ConnectionRefused, Confirmed},
		{given(text(ConnectionTimeout)), ConnectionRefused, Confirmed},
		{given(text(PullTimeout)), ConnectionTimeout, Confirmed},
		{given(text(PullTimeout)), ConnectionRefused, Likely},
		{given(text(TagNotFound)), ConnectionRefused, Likely},
		{given(text(TagNotFound), atMirror(answer(FaultNotFound))), ConnectionRefused, Confirmed},
		{given(text(TagNotFound), answer(FaultNotFound)), ConnectionRefused, Likely},
		{given(text(TagNotFound), atMirror(answer(""))), ConnectionRefused, Likely},
		{given(text(RegistryNameNotFound), atMirror(found(CheckNodeDNS, FaultNameNotFound))), AuthenticationRequired, Confirmed},
		{given(Evidence{Check: CheckMessage, Outcome: NotRun, Body: &MessageFacts{Cause: TagNotFound}}), ConnectionRefused, Confirmed},
	} {
		if got := c.x.agreed(c.cause); got != c.want {
			t.Errorf("%s after %s: %s, want %s", c.cause, c.x.reading(), got, c.want)
		}
	}
}

func TestAkin(t *testing.T) {
	for _, e := range Catalogue() {
		if !given().akin(e.Cause, e.Cause) {
			t.Errorf("%s is not akin to itself", e.Cause)
		}
		for _, other := range Catalogue() {
			if given().akin(e.Cause, other.Cause) != given().akin(other.Cause, e.Cause) {
				t.Errorf("%s and %s", e.Cause, other.Cause)
			}
		}
	}
	for _, c := range []struct {
		a, b Cause
		want bool
	}{
		{AuthenticationRequired, PullSecretNoMatch, true},
		{DeniedOrNotFound, RepositoryNotFound, true},
		{AuthenticationRequired, TagNotFound, false},
		{RegistryNameNotFound, ConnectionRefused, false},
		{TLSUntrusted, ConnectionRefused, false},
		{Unknown, TagNotFound, false},
	} {
		if got := given().akin(c.a, c.b); got != c.want {
			t.Errorf("%s, %s: %v", c.a, c.b, got)
		}
	}
}

// TestFamilies: a family of one is a mistake.
func TestFamilies(t *testing.T) {
	for family := kinAccess; family <= kinOtherName; family <<= 1 {
		n := 0
		for _, r := range catalogue {
			if r.kin&family != 0 {
				n++
			}
		}
		if n < 2 {
			t.Errorf("%d causes in family %b", n, family)
		}
	}
	if given().row(Unknown).kin != 0 {
		t.Error("nothing is akin to what is unknown")
	}
}

// TestRanks: of the causes that credentials decide, no two have the same place.
func TestRanks(t *testing.T) {
	seen := map[int]Cause{}
	for _, r := range catalogue {
		if other, ok := seen[r.Rank]; ok && r.Rank > 0 {
			t.Errorf("%s and %s have the same rank", r.Cause, other)
		}
		seen[r.Rank] = r.Cause
	}
}

// TestFaultCauses: every fault of a check leads to a cause of the catalogue, or to none; and
// every cause that a text can support has its fault.
func TestFaultCauses(t *testing.T) {
	for _, f := range constantsOf("fault.go", "Fault") {
		if cause := Fault(f).Points(); cause != "" && byCause[cause] == nil {
			t.Errorf("%s: %s", f, cause)
		}
	}
	for _, e := range Catalogue() {
		if f := FaultOf(e.Cause); string(f) != string(e.Cause) && (e.Cause != Unknown || f != "") || e.Cause != Unknown && f.Points() != e.Cause {
			t.Errorf("a text of %s has fault %q", e.Cause, f) // which is part of the report
		}
	}
}

// TestPoints: each fault that an endpoint can show leads to a cause.
func TestPoints(t *testing.T) {
	for fault, want := range map[Fault]Cause{
		FaultNameNotFound: RegistryNameNotFound, FaultDNSFailure: DNSFailure, FaultConnectionRefused: ConnectionRefused,
		FaultConnectionTimeout: ConnectionTimeout, FaultNetworkUnreachable: NetworkUnreachable, FaultProxyFailed: ProxyFailed,
		FaultTLSUntrusted: TLSUntrusted, FaultTLSHostnameMismatch: TLSHostnameMismatch, FaultTLSExpired: TLSExpired,
		FaultTLSHandshakeFailed: TLSHandshakeFailed, FaultHTTPSMismatch: HTTPSMismatch, FaultUnauthorized: AuthenticationRequired,
		FaultInsufficientScope: AccessDenied, FaultForbidden: AccessDenied, FaultNotFound: TagNotFound, FaultTagNotFound: TagNotFound,
		FaultRepositoryNotFound: RepositoryNotFound, FaultRateLimited: RateLimited, FaultServerError: RegistryError,
		FaultUnexpectedAnswer: RegistryError,
	} {
		if got := fault.Points(); got != want {
			t.Errorf("%s: %s", fault, got)
		}
	}
}

func TestWeaker(t *testing.T) {
	order := []Confidence{"", Suspected, Likely, Confirmed}
	for i, a := range order {
		for j, b := range order {
			if got := weaker(a, b); got != order[min(i, j)] {
				t.Errorf("%q, %q: %q", a, b, got)
			}
		}
	}
}

// TestFurther: a credential that we do not see has brought the pull further than we
// get.
func TestFurther(t *testing.T) {
	anonymous := answer(FaultUnauthorized)
	for _, c := range []struct {
		name string
		x    *facts
		want bool
	}{
		{"no text", given(anonymous), false},
		{"want of credentials", given(text(AuthenticationRequired), anonymous), false},
		{"401", given(text(CredentialsRejected), anonymous), false},
		{"not found", given(text(TagNotFound), anonymous), true},
		{"not found at a mirror", given(text(TagNotFound), anonymous, atMirror(answer(FaultNotFound))), false},
		{"forbidden where credentials are wanted", given(text(AccessDenied), anonymous), true},
		{"forbidden to everybody", given(text(AccessDenied), answer(FaultForbidden)), false},
		{"expired", given(text(CredentialsExpired), anonymous), true},
		{"blob", given(Evidence{Check: CheckMessage, Outcome: Failed, Body: &MessageFacts{Cause: ConnectionRefused, AfterManifest: true}}, anonymous), true},
		{"blob, words unknown", given(Evidence{Check: CheckMessage, Outcome: Inconclusive, Body: &MessageFacts{Cause: Unknown, AfterManifest: true}}, anonymous), true},
	} {
		if got := c.x.further(); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestReached: the text is the answer of the image's own registry.
func TestReached(t *testing.T) {
	host := func(h string, c Cause) Evidence {
		e := text(c)
		e.Body = &MessageFacts{Cause: c, Host: h}
		return e
	}
	for _, c := range []struct {
		name string
		x    *facts
		want bool
	}{
		{"no text", given(), false},
		{"401", given(text(CredentialsRejected)), true},
		{"401 of the registry", given(host("hub.example.com:443", CredentialsRejected)), true},
		{"401 of a mirror", given(host("mirror.example.com", CredentialsRejected)), false},
		{"404", given(text(TagNotFound)), true},
		{"404, as at the mirror", given(text(TagNotFound), atMirror(answer(FaultNotFound))), false},
		{"refused", given(text(ConnectionRefused)), false},
		{"certificate", given(text(TLSUntrusted)), false},
		{"name", given(text(RegistryNameNotFound)), false},
		{"server error", given(text(RegistryError)), true},
	} {
		if got := c.x.reached(); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestRulesHaveCauses: the table is about causes of the catalogue, and a rule
// that nothing is known to applies to nothing.
func TestRulesHaveCauses(t *testing.T) {
	for i, r := range rules {
		if byCause[r.cause] == nil {
			t.Errorf("rule %d: %q", i, r.cause)
		}
		for _, x := range []*facts{given(), newFacts(Failure{}, nil), never(given())} {
			if c := r.when(x, r.cause); c != "" {
				t.Errorf("rule %d (%s) applies to nothing: %s", i, r.cause, c)
			}
		}
	}
}

func TestConfidenceWeaker(t *testing.T) {
	t.Parallel()
	order := []Confidence{"", Suspected, Likely, Confirmed}
	for i, a := range order {
		for j, b := range order {
			if got := a.Weaker(b); got != (i < j) {
				t.Errorf("%q weaker than %q: %t", a, b, got)
			}
		}
	}
}

// TestReasonsAreSaid: each reason and each problem of a configuration is a sentence, with the
// facts that it names.
func TestReasonsAreSaid(t *testing.T) {
	bodies := []Body{
		&ImageFacts{Error: "no socket"}, &CredentialFacts{Secret: "regcred", Provider: "ecr", Pattern: "*.example.com"},
		&DNSFacts{Host: "hub.example.com", Why: "it did not answer in time"}, &RegistryFacts{Credential: &CredentialRef{Source: "regcred", Key: "hub.example.com"}},
	}
	for _, r := range constantsOf("reason.go", "Reason") {
		longest := ""
		for _, b := range bodies {
			detail := Detail(ordinary(), &Evidence{Check: CheckRegistry, Outcome: NotRun, Reason: Reason(r), Endpoint: Endpoint{URL: "https://hub.example.com"}, Body: b})
			if len(detail) > len(longest) {
				longest = detail
			}
		}
		if checkText(t, longest); !strings.Contains(longest, " ") || strings.Contains(longest, "{") {
			t.Errorf("%s is not said: %s", r, longest)
		}
	}
	for _, p := range constantsOf("reason.go", "ConfigProblem") {
		if configProblems[ConfigProblem(p)].says == "" {
			t.Errorf("%s is not said", p)
		}
	}
	for p, is := range configProblems {
		if ofProxy := strings.HasPrefix(string(p), "Proxy"); ofProxy && is.effect != ConfigOfWay {
			t.Errorf("%s would matter where a registry is not reached", p)
		}
		sentence := (&ConfigFacts{File: "/etc/hosts.toml", Line: 3, Problem: p}).detail()
		if !strings.Contains(sentence, "/etc/hosts.toml") || strings.ContainsAny(sentence, "{%") {
			t.Errorf("%s: %q", p, sentence)
		}
	}
}
