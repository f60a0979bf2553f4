package diagnosis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

func (f Failure) registryDetail(e *Evidence, r *RegistryFacts) string {
	switch {
	case r.Config != nil:
		return r.Config.detail()
	case e.Fault == FaultNameAmbiguous:
		return f.shortNameDetail(r)
	case r.Content:
		return f.contentDetail(e, r) + alsoNeeded(e, r)
	case e.redirected():
		return f.hopDetail(e, r) + reserveDetails[r.Reserve]
	}
	return f.answerDetail(e, r) + reserveDetails[r.Reserve] + alsoNeeded(e, r)
}

// alsoNeeded names the other hosts that a pull which passes needs: the token server,
// and the targets of redirects.
func alsoNeeded(e *Evidence, r *RegistryFacts) string {
	if e.Outcome != Passed {
		return ""
	}
	var hosts []string
	for _, host := range append([]string{r.TokenHost}, r.Targets...) {
		host = strings.TrimPrefix(strings.TrimPrefix(host, "https://"), "http://")
		if host != "" && host != hostOf(e.Endpoint.URL) && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	if len(hosts) == 0 {
		return ""
	}
	return "; a pull also needs " + some(hosts)
}

// hopDetail returns the sentence about a request for the manifest at the server that
// the registry redirects to.
func (f Failure) hopDetail(e *Evidence, r *RegistryFacts) string {
	at := e.Endpoint.URL
	if r.Reserve == ReserveChallengeElsewhere {
		unsent := ""
		if r.Credential != nil {
			unsent = ", where whypull sends none"
		}
		return fmt.Sprintf("%s (redirected from %s%s) requires credentials%s%s", at, r.Via, r.way(), r.httpStatus(), unsent)
	}
	switch e.Fault { //nolint:exhaustive // the others have the registry's sentences
	case FaultForbidden, FaultUnauthorized, FaultInsufficientScope:
		if r.Page {
			return fmt.Sprintf("%s (redirected from %s%s) denies the request with a web page%s, as a firewall or proxy does", at, r.Via, r.way(), r.httpStatus())
		}
		return fmt.Sprintf("%s (redirected from %s%s) denies the request%s", at, r.Via, r.way(), r.status())
	case FaultWebPage:
		return fmt.Sprintf("%s (redirected from %s%s) returned a web page%s, as a firewall, proxy or login page does", at, r.Via, r.way(), r.httpStatus())
	}
	return fmt.Sprintf("%s; %s redirects there%s", f.answerDetail(e, r), r.Via, r.way())
}

// way is the way of a redirect between its two ends.
func (r *RegistryFacts) way() string {
	if len(r.Hops) < 2 {
		return ""
	}
	return " through " + some(r.Hops[:len(r.Hops)-1])
}

func (c *ConfigFacts) detail() string {
	line := ""
	if c.Line > 0 {
		line = fmt.Sprintf(" (line %d)", c.Line)
	}
	return strings.NewReplacer("{file}", c.File, "{line}", line).Replace(configProblems[c.Problem].says)
}

// shortNameDetail returns the sentence about a short name that the runtime does not
// resolve.
func (f Failure) shortNameDetail(r *RegistryFacts) string {
	if len(r.Candidates) > 0 {
		return fmt.Sprintf("%s has no registry, and the runtime does not choose among %s (%s)", f.Image, some(r.Candidates), r.Source)
	}
	return fmt.Sprintf("%s has no registry, and %s on the node lists none to search", f.Image, cmp.Or(r.Source, "registries.conf"))
}

// reserveDetails end a sentence; the other reserves have sentences of their own.
var reserveDetails = map[Reserve]string{ //nolint:gochecknoglobals // never written
	ReserveAuthorities:  "; but whypull did not find the node's CA certificates, so this is uncertain",
	ReserveCertificate:  "; but whypull cannot read the certificate that the node's configuration names for it",
	ReserveProxyUnknown: "; whether the runtime uses a proxy is unknown",
	ReserveNoMemory:     ": the memory for responses is used by other registries",
}

// answerDetail returns the sentence about a request for the manifest.
func (f Failure) answerDetail(e *Evidence, r *RegistryFacts) string {
	at, repo, with := e.Endpoint.URL, f.Repository, r.Credential.with()
	switch cmp.Or(e.Fault, r.Shown) { //nolint:exhaustive // the others kept the registry from being asked
	case "":
		if e.Outcome == Passed {
			return fmt.Sprintf("%s serves the manifest %s", at, with)
		}
		return fmt.Sprintf("the check of %s was not completed", at)
	case FaultUnauthorized:
		return r.unauthorizedDetail(at, e.Endpoint.CRIO)
	case FaultInsufficientScope:
		return fmt.Sprintf("%s issues a token %s, but without pull access to %s", cmp.Or(r.TokenHost, at), with, repo)
	case FaultForbidden:
		if r.pageDenies() {
			return fmt.Sprintf("%s denies the request with a web page%s, as a firewall or proxy does", at, r.httpStatus())
		}
		return fmt.Sprintf("%s denies pull access to %s %s%s", r.who(at), repo, with, r.status())
	case FaultPolicyBlocked:
		return r.policyDetail(at, f.image())
	case FaultWebPage:
		return fmt.Sprintf("%s returned a web page%s: a login page, proxy or web server responds instead of a registry", r.who(at), r.httpStatus())
	case FaultUnsupportedFormat:
		return fmt.Sprintf("%s has %s %s", at, f.image(), cmp.Or(r.Form, FormSchema1))
	case FaultTagNotFound:
		return fmt.Sprintf("%s has repository %s, but not %s%s", at, repo, f.version(), r.status())
	case FaultRepositoryNotFound:
		return fmt.Sprintf("%s has no repository %s%s", at, repo, r.status())
	case FaultNotFound:
		if r.NoAPI {
			return fmt.Sprintf("%s has no registry API (HTTP 404 for /v2/ too): a web server or an ingress responds instead of a registry", at)
		}
		return fmt.Sprintf("%s has no manifest for %s%s and does not say whether the repository exists", at, r.Reference, r.httpStatus())
	case FaultRateLimited:
		return fmt.Sprintf("the rate limit of %s is exceeded%s%s", r.who(at), r.httpStatus(), r.retryDetail())
	case FaultServerError:
		return fmt.Sprintf("%s returned a server error%s", r.who(at), r.status())
	}
	return r.troubleDetail(at, cmp.Or(e.Fault, r.Shown))
}

// policyDetail returns the sentence about a registry that withholds an image.
func (r *RegistryFacts) policyDetail(at, image string) string {
	switch r.Status {
	case http402:
		return fmt.Sprintf("%s withholds %s, as for an account that is not paid for or has used up its quota%s", r.who(at), image, r.status())
	case http451:
		return fmt.Sprintf("%s withholds %s for legal reasons%s", r.who(at), image, r.status())
	}
	return fmt.Sprintf("%s blocks %s by policy%s", r.who(at), image, r.status())
}

func (r *RegistryFacts) unauthorizedDetail(at string, crio bool) string {
	if r.NoChallenge && !crio {
		return at + " answers HTTP 401 without a WWW-Authenticate header for Basic or Bearer credentials, so the runtime sends none"
	}
	if r.Credential == nil {
		return fmt.Sprintf("%s requires credentials%s", r.who(at), r.status())
	}
	if r.Unsent {
		return fmt.Sprintf("%s requires credentials%s, but not at /v2/, the only place that CRI-O checks, so CRI-O does not send %s", r.who(at), r.status(), r.Credential.where())
	}
	expired := ""
	if r.SaysExpired {
		expired = " as expired"
	}
	return fmt.Sprintf("%s rejects %s%s%s%s", r.who(at), r.Credential.where(), expired, r.status(), r.notBefore())
}

// notBefore returns when the credential is tried again: each try may lock its account.
func (r *RegistryFacts) notBefore() string {
	if r.RejectedAt.IsZero() {
		return ""
	}
	what := "the secret"
	switch {
	case r.Credential.OfProvider:
		what = "what it returns"
	case r.Credential.OfNode:
		what = "the file"
	}
	return fmt.Sprintf("; rejected at %s, not tried again before %s or a change of %s",
		r.RejectedAt.UTC().Format(minute), r.NotBefore.UTC().Format(minute), what)
}

// who names the server that the last request went to.
func (r *RegistryFacts) who(at string) string {
	if r.Phase == PhaseToken && r.TokenHost != "" {
		if n := len(r.Hops); n > 0 {
			return fmt.Sprintf("%s (redirected from token server %s)", r.Hops[n-1], r.TokenHost)
		}
		return "token server " + r.TokenHost
	}
	return at
}

// whoAt is who with the address of the server, if that is known.
func (r *RegistryFacts) whoAt(at string) string {
	switch who := r.who(at); {
	case who != at, r.Via != "" && r.Via != at && r.Remote == "": // the address is not its own
		return who
	case r.Remote != "":
		return who + " (" + r.Remote + ")"
	case len(r.Addresses) > 0:
		return who + " (" + r.Addresses[0] + ")"
	default:
		return who
	}
}

// troubleDetail says what kept whypull from an answer of the registry.
func (r *RegistryFacts) troubleDetail(at string, fault Fault) string {
	who := r.whoAt(at)
	switch fault { //nolint:exhaustive // the others have sentences of their own
	case FaultConnectionRefused:
		return who + " refuses connections: nothing is listening there"
	case FaultConnectionTimeout:
		return fmt.Sprintf("the %s %s timed out", r.Phase.step(), who)
	case FaultNetworkUnreachable:
		if r.Phase.connected() {
			return fmt.Sprintf("the %s %s failed: it closed or reset the connection without an answer", r.Phase.step(), who)
		}
		return fmt.Sprintf("the %s %s failed: unreachable or connection reset", r.Phase.step(), who)
	case FaultTLSUntrusted:
		return fmt.Sprintf("the certificate of %s is not trusted by the node%s", who, r.Certificate.issuer())
	case FaultTLSHostnameMismatch:
		return fmt.Sprintf("the certificate of %s %s", who, r.Certificate.names())
	case FaultTLSExpired:
		return fmt.Sprintf("the certificate of %s%s has expired or is not yet valid%s%s", r.Certificate.authority(), who, r.Certificate.validity(), r.oddClock())
	case FaultTLSHandshakeFailed:
		return fmt.Sprintf("the TLS handshake with %s failed: %s", who, cmp.Or(r.Alert, "client certificate, protocol version or cipher suite"))
	case FaultHTTPSMismatch:
		if r.OtherProtocol {
			return who + " does not speak TLS, but the node is configured to use HTTPS: wrong port or another protocol"
		}
		if strings.HasPrefix(at, "https://") {
			return who + " speaks plain HTTP, but the node is configured to use HTTPS"
		}
		return who + " speaks HTTPS, but the node is configured to use plain HTTP"
	case FaultProxyFailed:
		trouble := proxyTroubles[r.ProxyFault]
		if strings.HasSuffix(r.Proxy, ":") { // httpproxy adds a scheme to what does not parse
			trouble = ": its URL is not valid; # / and ? in a password must be percent-encoded"
		}
		return fmt.Sprintf("proxy %s fails for %s%s%s", r.Proxy, at, unlessZero(": HTTP %d from the proxy", r.ProxyStatus), trouble)
	case FaultNameNotFound, FaultDNSFailure:
		if r.Phase == PhaseToken && r.TokenHost != "" {
			return fmt.Sprintf("the name of %s does not resolve; %s requires tokens from it", r.who(at), at)
		}
		return fmt.Sprintf("the name of %s does not resolve", r.who(at))
	case FaultAddressForbidden:
		return who + " has a link-local or metadata address, which whypull does not connect to"
	case FaultAddressUnspecified:
		return who + " resolves to an unspecified address, as DNS servers answer for names that they block (a DNS sinkhole)"
	}
	switch r.Reserve { //nolint:exhaustive // the others qualify an answer
	case ReserveRealmInsecure:
		return fmt.Sprintf("%s has its token server on plain HTTP (%s), where whypull sends no credentials", at, r.who(at))
	case ReserveChallengeInsecure:
		return at + " redirects to plain HTTP and asks for credentials there, where whypull sends none"
	case ReserveRedirects:
		return at + " redirects more often than the runtime follows, as in a circle"
	}
	if r.UpstreamRefuses {
		return fmt.Sprintf("%s caches another registry, which does not accept the credentials of the cache%s", at, r.status())
	}
	if r.TokenRejected {
		return fmt.Sprintf("%s rejects the token that %s has just issued (invalid_token)%s%s", at, cmp.Or(after("token server ", r.TokenHost), "its token server"), r.status(), r.skew())
	}
	if r.Status == http401 && fault == FaultUnexpectedAnswer {
		return at + " asks for a token, but names no URL of a token server (realm in its WWW-Authenticate header)"
	}
	return fmt.Sprintf("%s returned an unexpected response%s", who, r.status())
}

// step returns what is done in a phase, before the name of the server.
func (p Phase) step() string { return cmp.Or(steps[p], "request to") }

var steps = map[Phase]string{ //nolint:gochecknoglobals // never written
	PhaseConnect: "connection to", PhaseTLS: "TLS handshake with", PhaseToken: "token request to", PhaseBlob: "blob request to",
}

// connected reports whether a phase comes after the connection.
func (p Phase) connected() bool {
	return p == PhaseTLS || p == PhasePing || p == PhaseToken || p == PhaseManifest || p == PhaseBlob
}

// status returns the HTTP status for the end of a sentence.
func (r *RegistryFacts) status() string { return unlessZero(": HTTP %d", r.Status) }

// httpStatus returns the HTTP status for the middle of a sentence.
func (r *RegistryFacts) httpStatus() string { return unlessZero(" (HTTP %d)", r.Status) }

func unlessZero(format string, n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(format, n)
}

func (r *RegistryFacts) retryDetail() string {
	switch {
	case r.RetryAfter > 0:
		return "; retry in " + plain(r.RetryAfter)
	case r.Window > 0:
		return fmt.Sprintf("; the limit is %d requests in %s", r.Limit, plain(r.Window))
	}
	return ""
}

// plain returns a duration in whole seconds, without parts at its end that are zero.
func plain(d time.Duration) string {
	s := d.Truncate(time.Second).String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-len("0s")]
		}
	}
	return s
}

// proxyTroubles say why the proxy could not be used: only these faults keep whypull
// from it.
var proxyTroubles = map[Fault]string{ //nolint:gochecknoglobals // never written
	FaultNameNotFound: ": its name does not resolve", FaultDNSFailure: ": its name does not resolve",
	FaultConnectionRefused: ": it refuses connections", FaultConnectionTimeout: ": it timed out",
	FaultNetworkUnreachable: ": it is unreachable or resets the connection",
}

func (c *Certificate) issuer() string {
	if c == nil || c.Issuer == "" {
		return ""
	}
	switch {
	case c.SelfSigned && c.Namesake:
		return " (self-signed; the node trusts another certificate of this name)"
	case c.SelfSigned:
		return " (self-signed)"
	case c.Namesake:
		return fmt.Sprintf(" (issued by %q; the node trusts an authority of this name, but with another key)", c.Issuer)
	}
	return fmt.Sprintf(" (issued by %q)", c.Issuer)
}

func (c *Certificate) names() string {
	switch {
	case c == nil:
		return "is for another name"
	case len(c.Names) == 0:
		return "names no host: it has no subject alternative name, and runtimes ignore the common name"
	}
	return "is for " + strings.Join(c.Names, ", ") + ", not for this name"
}

// authority returns the beginning of a sentence about another certificate than the
// registry's own.
func (c *Certificate) authority() string {
	if c == nil || c.Authority == "" {
		return ""
	}
	return fmt.Sprintf("authority %q in the chain of ", c.Authority)
}

func (c *Certificate) validity() string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf(" (valid from %s to %s)", c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339))
}

// oddClock compares the registry's clock with the node's.
func (r *RegistryFacts) oddClock() string {
	return clocks(r.Clock, "; the registry's clock agrees with the node's",
		"; the node's clock is %s behind the registry's", "; the node's clock is %s ahead of the registry's")
}

// skew compares the registry's clock with its token server's.
func (r *RegistryFacts) skew() string {
	return clocks(r.Skew, "; their clocks agree",
		"; the registry's clock is %s ahead of the token server's", "; the registry's clock is %s behind the token server's")
}

// clocks returns the sentence on how far one clock is ahead of another; "" if that is not
// known.
func clocks(by *time.Duration, agree, ahead, behind string) string {
	switch {
	case by == nil:
		return ""
	case *by == 0:
		return agree
	case *by > 0:
		return fmt.Sprintf(ahead, drift(*by))
	}
	return fmt.Sprintf(behind, drift(-*by))
}

// drift returns a rounded duration, which does not change while a clock drifts.
func drift(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d days", d.Round(day)/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d.Round(time.Hour)/time.Hour)
	}
	return fmt.Sprintf("%d minutes", d/time.Minute)
}

// contentDetail returns the sentence about the content that a manifest lists.
func (f Failure) contentDetail(e *Evidence, r *RegistryFacts) string {
	at, what, ofManifest := e.Endpoint.URL, "the manifest", r.Blob == "" || r.Phase == PhaseManifest
	switch {
	case r.Blob != "" && ofManifest:
		what = "manifest " + shortDigest(r.Blob)
	case r.Blob != "":
		what = "blob " + shortDigest(r.Blob)
	}
	from, redirected := at, r.Via != "" && r.Via != at
	if redirected {
		from = fmt.Sprintf("%s (redirected from %s%s)", at, r.Via, r.way())
	}
	switch cmp.Or(e.Fault, r.Shown) { //nolint:exhaustive // the others kept whypull from an answer
	case "":
		return f.contentPassed(e, r)
	case FaultPlatformMismatch:
		return f.platformDetail(r)
	case FaultUnsupportedFormat:
		return fmt.Sprintf("%s has %s %s", at, f.image(), cmp.Or(r.Form, "in a format that the runtime cannot unpack"))
	case FaultContentCorrupt:
		if ofManifest {
			return fmt.Sprintf("%s from %s is corrupt: digest mismatch, not JSON, or truncated", what, from)
		}
		return fmt.Sprintf("%s from %s is corrupt: digest or size mismatch, bad compression, or truncated", what, from)
	case FaultContentMissing:
		by := "the manifest lists"
		if ofManifest {
			by = fmt.Sprintf("the tag or index of %s names", f.image())
		}
		return fmt.Sprintf("%s does not have %s, which %s%s", from, what, by, r.status())
	case FaultForbidden, FaultUnauthorized, FaultInsufficientScope:
		if redirected {
			return fmt.Sprintf("%s serves the manifest, but %s, where it redirects to, denies %s%s", r.Via, at, what, r.status())
		}
		return fmt.Sprintf("%s serves the manifest, but denies %s %s%s", from, what, r.Credential.with(), r.status())
	case FaultRateLimited, FaultServerError:
		return fmt.Sprintf("%s cannot be downloaded from %s%s%s", what, from, r.status(), r.retryDetail())
	}
	if redirected {
		if r.Blob == "" {
			return f.hopDetail(e, r)
		}
		return fmt.Sprintf("%s; %s redirects there for blobs%s", f.answerDetail(e, r), r.Via, r.way())
	}
	return f.answerDetail(e, r)
}

func (f Failure) platformDetail(r *RegistryFacts) string {
	if r.PlatformWanted {
		return fmt.Sprintf("the image is for %s, not for %s", platformList(r.Platforms), r.Platform)
	}
	if len(r.Platforms) == 0 {
		return fmt.Sprintf("%s is an index that names no platform, but node %s is %s", f.Image, f.Node, r.Platform)
	}
	return fmt.Sprintf("%s is for %s, but node %s is %s", f.Image, platformList(r.Platforms), f.Node, r.Platform)
}

// platformList names the platforms of an image. An index may have none: of
// attestations alone, or empty.
func platformList(all []string) string {
	if len(all) == 0 {
		return "no platform"
	}
	return some(all)
}

// contentPassed returns the sentence about content without a fault.
func (f Failure) contentPassed(e *Evidence, r *RegistryFacts) string {
	at := e.Endpoint.URL
	switch {
	case r.OtherPlatform && r.PlatformWanted:
		return fmt.Sprintf("the image is for %s: the pull succeeds, but the container cannot start on %s", some(r.Platforms), r.Platform)
	case r.OtherPlatform:
		return fmt.Sprintf("%s has one image, for %s, but node %s is %s: the pull succeeds, but the container cannot start", at, some(r.Platforms), f.Node, r.Platform)
	case r.Artifact:
		return fmt.Sprintf("%s has an artifact under this name that is not an image: the pull succeeds, but the container cannot start", at)
	case r.Reserve == ReserveTooManyParts:
		return fmt.Sprintf("%s has a manifest or config for the image with more entries than whypull reads", at)
	case e.Outcome != Passed:
		return fmt.Sprintf("the check of the image content at %s was not completed%s", at, reserveDetails[r.Reserve])
	}
	if r.Encrypted {
		return fmt.Sprintf("%s serves the manifest and blobs of the image (%d checked); its layers are encrypted, so the runtime needs a key for them", at, r.Looked)
	}
	if r.Outside {
		return fmt.Sprintf("%s serves the manifest and blobs of the image (%d checked), but not its foreign layers, which come from other servers", at, r.Looked)
	}
	return fmt.Sprintf("%s serves the manifest and blobs of the image (%d checked)", at, r.Looked)
}
