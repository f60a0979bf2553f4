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
	case e.Fault == FaultNameAmbiguous, e.Reason == ReasonShortNameUnresolvable:
		return f.shortNameDetail(e, r)
	case e.Reason != "":
		return notAskedDetail(e, r)
	case r.Content:
		return f.contentDetail(e, r) + alsoNeeded(e, r)
	case e.redirected():
		return f.hopDetail(e, r) + reserveDetail(r.Reserve)
	}
	return f.answerDetail(e, r) + reserveDetail(r.Reserve) + alsoNeeded(e, r)
}

// alsoNeeded names the hosts beside the endpoint's own that a pull which passes
// needs as well: token server, and what requests were redirected to.
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

// hopDetail says what came of asking for the manifest at the place that the
// registry has redirected to.
func (f Failure) hopDetail(e *Evidence, r *RegistryFacts) string {
	at := e.Endpoint.URL
	switch e.Fault { //nolint:exhaustive // the others have the registry's sentences
	case FaultForbidden, FaultUnauthorized, FaultInsufficientScope:
		if r.Page {
			return fmt.Sprintf("%s, to which %s redirects%s, refuses the request with a web page%s, as a firewall or a proxy does", at, r.Via, r.way(), r.status())
		}
		return fmt.Sprintf("%s, to which %s redirects%s, refuses the request%s", at, r.Via, r.way(), r.status())
	case FaultWebPage:
		return fmt.Sprintf("%s, to which %s redirects%s, answers with a web page%s, as a firewall, a proxy or a login page does", at, r.Via, r.way(), r.status())
	}
	return fmt.Sprintf("%s; %s redirects there%s", f.answerDetail(e, r), r.Via, r.way())
}

// way is the way of a redirect between its two ends.
func (r *RegistryFacts) way() string {
	if len(r.Hops) < 2 {
		return ""
	}
	return " by way of " + some(r.Hops[:len(r.Hops)-1])
}

func (c *ConfigFacts) detail() string {
	line := ""
	if c.Line > 0 {
		line = fmt.Sprintf(" (line %d)", c.Line)
	}
	return strings.NewReplacer("%s", c.File, "{line}", line).Replace(configSentences[c.Problem])
}

// shortNameDetail is about a name without a registry that the runtime resolves to
// none.
func (f Failure) shortNameDetail(e *Evidence, r *RegistryFacts) string {
	switch {
	case e.Reason == ReasonShortNameUnresolvable:
		return fmt.Sprintf("%s names no registry, and what the runtime makes of it could not be found out", f.Image)
	case len(r.Candidates) > 0:
		return fmt.Sprintf("%s names no registry, and the runtime will not choose among %s (%s)", f.Image, some(r.Candidates), r.Source)
	}
	return fmt.Sprintf("%s names no registry, and the node's %s has none to search for it", f.Image, cmp.Or(r.Source, "registries.conf"))
}

// maxCredentials is how many credentials of one pull are tried.
const maxCredentials = 8

// notAskedDetail says why an endpoint was not asked.
func notAskedDetail(e *Evidence, r *RegistryFacts) string {
	at, with := e.Endpoint.URL, r.Credential.with()
	switch e.Reason { //nolint:exhaustive // the others have sentences of their own
	case ReasonUnresolved:
		return fmt.Sprintf("%s was not asked, since its name does not resolve", at)
	case ReasonNotLookedUp:
		return fmt.Sprintf("%s was not asked, since its name could not be looked up", at)
	case ReasonCredentialsWithheld:
		return fmt.Sprintf("the runtime does not send the pod's credentials to %s, which is another host than the image's; the node's own would be used", at)
	case ReasonLimited:
		return fmt.Sprintf("%s was not asked %s, since it limits the rate of requests", at, with)
	case ReasonLimitedForOthers:
		return fmt.Sprintf("%s was not asked %s: it limits the requests of others on this node, and wants to be left alone for now", at, with)
	case ReasonQueueFull:
		return fmt.Sprintf("%s was not asked %s, since too many questions of this namespace wait for it", at, with)
	case ReasonOutOfTime:
		return fmt.Sprintf("%s was not asked %s: the examination's time was over", at, with)
	case ReasonEnoughTried:
		return fmt.Sprintf("%s was not asked %s, since %d others were", at, with, maxCredentials)
	}
	return ""
}

func reserveDetail(r Reserve) string {
	switch r {
	case ReserveAuthorities:
		return "; but whypull has not found the node's authorities, so it cannot tell"
	case ReserveCertificate:
		return "; but whypull cannot see the certificate that the node's configuration names for it"
	case ReserveProxyUnknown:
		return "; whether the runtime goes through a proxy is not known"
	case ReserveNoMemory:
		return ": other registries' answers took the memory that whypull has for them"
	case ReserveRealmInsecure, ReserveChallengeInsecure, ReserveTooManyParts: // have sentences of their own
	}
	return ""
}

// answerDetail says what came of asking for the manifest.
func (f Failure) answerDetail(e *Evidence, r *RegistryFacts) string {
	at, repo, with := e.Endpoint.URL, f.Repository, r.Credential.with()
	switch cmp.Or(e.Fault, r.Shown) { //nolint:exhaustive // the others kept the registry from being asked
	case "":
		if e.Outcome == Passed {
			return fmt.Sprintf("%s has the manifest and gives it %s", at, with)
		}
		return fmt.Sprintf("%s was not asked to the end", at)
	case FaultUnauthorized:
		return r.unauthorizedDetail(at)
	case FaultInsufficientScope:
		return fmt.Sprintf("%s issues a token %s, but not for pulling %s", cmp.Or(r.TokenHost, at), with, repo)
	case FaultForbidden:
		return fmt.Sprintf("%s forbids pulling %s %s%s", r.who(at), repo, with, r.status())
	case FaultPolicyBlocked:
		return fmt.Sprintf("%s withholds %s by a policy%s", at, f.Image, r.status())
	case FaultWebPage:
		return fmt.Sprintf("%s answers with a web page%s: a login page in between, a web server, no registry", r.who(at), r.status())
	case FaultUnsupportedFormat:
		return fmt.Sprintf("%s has %s in a format that the runtime does not take (schema 1)", at, f.Image)
	case FaultTagNotFound:
		return fmt.Sprintf("%s has repository %s, but not what is asked for%s", at, repo, r.status())
	case FaultRepositoryNotFound:
		return fmt.Sprintf("%s has no repository %s%s", at, repo, r.status())
	case FaultNotFound:
		return fmt.Sprintf("%s finds nothing at %s and does not say whether the repository exists%s", at, r.Reference, r.status())
	case FaultRateLimited:
		return fmt.Sprintf("%s limits the rate of requests%s%s", r.who(at), r.status(), r.retryDetail())
	case FaultServerError:
		return fmt.Sprintf("%s answers with a server error%s", r.who(at), r.status())
	}
	return r.troubleDetail(at, cmp.Or(e.Fault, r.Shown))
}

func (r *RegistryFacts) unauthorizedDetail(at string) string {
	if r.Credential == nil {
		return fmt.Sprintf("%s wants credentials%s", r.who(at), r.status())
	}
	if r.Unsent {
		return fmt.Sprintf("%s wants credentials%s, but asks for none at /v2/, where alone CRI-O looks; so it does not send the login %s", r.who(at), r.status(), r.Credential.with())
	}
	expired := ""
	if r.SaysExpired {
		expired = " and says that it has expired"
	}
	return fmt.Sprintf("%s refuses the login %s%s%s%s", r.who(at), r.Credential.with(), expired, r.status(), r.notBefore())
}

// notBefore says when the credential is tried again, which may lock its account.
func (r *RegistryFacts) notBefore() string {
	if r.RejectedAt.IsZero() {
		return ""
	}
	what := "the secret"
	if r.Credential.OfNode {
		what = "the file"
	}
	return fmt.Sprintf("; rejected at %s, not tried again before %s or a change of %s",
		r.RejectedAt.UTC().Format(minute), r.NotBefore.UTC().Format(minute), what)
}

// who is whom the last part of a conversation was with.
func (r *RegistryFacts) who(at string) string {
	if r.Phase == PhaseToken && r.TokenHost != "" {
		if n := len(r.Hops); n > 0 {
			return fmt.Sprintf("%s, to which token server %s redirects,", r.Hops[n-1], r.TokenHost)
		}
		return "token server " + r.TokenHost
	}
	return at
}

// whoAt is who with the address that was talked to, as far as it is known.
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

// troubleDetail says what kept the registry from being asked.
func (r *RegistryFacts) troubleDetail(at string, fault Fault) string {
	who := r.whoAt(at)
	switch fault { //nolint:exhaustive // the others have sentences of their own
	case FaultConnectionRefused:
		return who + " refuses the connection: nothing listens there"
	case FaultConnectionTimeout:
		return fmt.Sprintf("%s did not answer in time (%s)", who, r.Phase.step())
	case FaultNetworkUnreachable:
		return fmt.Sprintf("%s cannot be reached or breaks the connection (%s)", who, r.Phase.step())
	case FaultTLSUntrusted:
		return who + " has a certificate that the node does not trust" + r.Certificate.issuer()
	case FaultTLSHostnameMismatch:
		return who + " has a certificate for another name" + r.Certificate.names()
	case FaultTLSExpired:
		return who + " has a certificate that is not valid now" + r.Certificate.validity() + r.oddClock()
	case FaultTLSHandshakeFailed:
		return who + " and the node do not agree on TLS: client certificate, protocol or cipher"
	case FaultHTTPSMismatch:
		if r.OtherProtocol {
			return who + " does not speak TLS, and the node is set to speak TLS with it: another port, or another protocol"
		}
		if strings.HasPrefix(at, "https://") {
			return who + " speaks plain HTTP, and the node is set to speak TLS with it"
		}
		return who + " speaks TLS, and the node is set to speak plain HTTP with it"
	case FaultProxyFailed:
		return fmt.Sprintf("the proxy %s fails for %s%s%s", r.Proxy, at, r.proxyStatus(), r.proxyTrouble())
	case FaultNameNotFound, FaultDNSFailure:
		return fmt.Sprintf("the name of %s cannot be resolved", r.who(at))
	case FaultAddressForbidden:
		return who + " leads to a link-local or metadata address, which whypull does not talk to"
	case FaultAddressUnspecified:
		return who + " leads to no address at all: DNS servers answer so for names that they block (a DNS sinkhole)"
	}
	switch r.Reserve { //nolint:exhaustive // the others qualify an answer
	case ReserveRealmInsecure:
		return fmt.Sprintf("%s asks for a token over plain HTTP (%s), where whypull sends no credentials", at, r.who(at))
	case ReserveChallengeInsecure:
		return at + " redirects to plain HTTP and asks for credentials there, where whypull sends none"
	}
	return fmt.Sprintf("%s gives an answer that no registry should give%s", who, r.status())
}

// step is a phase in people's words.
func (p Phase) step() string {
	switch p {
	case PhaseConnect:
		return "connecting"
	case PhaseTLS:
		return "TLS handshake"
	case PhaseToken:
		return "asking for a token"
	case PhaseBlob:
		return "asking for a blob"
	case PhaseDNS, PhasePing, PhaseManifest:
	}
	return "waiting for an answer"
}

func (r *RegistryFacts) status() string {
	if r.Status == 0 {
		return ""
	}
	return fmt.Sprintf(" (HTTP %d)", r.Status)
}

func (r *RegistryFacts) retryDetail() string {
	switch {
	case r.RetryAfter > 0:
		return fmt.Sprintf("; it may be asked again in %s", r.RetryAfter)
	case r.Window > 0:
		return fmt.Sprintf("; it counts %d requests in %s", r.Limit, r.Window)
	}
	return ""
}

func (r *RegistryFacts) proxyStatus() string {
	if r.ProxyStatus == 0 {
		return ""
	}
	return fmt.Sprintf(" (the proxy's own answer is HTTP %d)", r.ProxyStatus)
}

// proxyTrouble says why a proxy could not be asked.
func (r *RegistryFacts) proxyTrouble() string {
	switch r.ProxyFault { //nolint:exhaustive // what keeps nobody from asking
	case FaultNameNotFound, FaultDNSFailure:
		return ": its name cannot be resolved"
	case FaultConnectionRefused:
		return ": it refuses the connection, nothing listens there"
	case FaultConnectionTimeout:
		return ": it did not answer in time"
	case FaultNetworkUnreachable:
		return ": it cannot be reached or breaks the connection"
	}
	return ""
}

func (c *Certificate) issuer() string {
	if c == nil || c.Issuer == "" {
		return ""
	}
	return fmt.Sprintf(" (issued by %q)", c.Issuer)
}

func (c *Certificate) names() string {
	if c == nil || len(c.Names) == 0 {
		return ""
	}
	return ": it is for " + strings.Join(c.Names, ", ")
}

func (c *Certificate) validity() string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf(": it is valid from %s to %s", c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339))
}

// oddClock says whose clock is the odd one.
func (r *RegistryFacts) oddClock() string {
	switch ahead := r.Clock; {
	case ahead == nil:
		return ""
	case *ahead == 0:
		return "; the registry's clock agrees with the node's"
	case *ahead > 0:
		return fmt.Sprintf("; the node's clock is %s behind the registry's", drift(*ahead))
	default:
		return fmt.Sprintf("; the node's clock is %s ahead of the registry's", drift(-*ahead))
	}
}

// drift is a duration as people say it, which does not change while a clock
// drifts.
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

// contentDetail says what came of looking at what the manifest holds.
func (f Failure) contentDetail(e *Evidence, r *RegistryFacts) string {
	at, what := e.Endpoint.URL, "the manifest"
	if r.Blob != "" {
		what = shortDigest(r.Blob)
	}
	from, redirected := at, r.Via != "" && r.Via != at
	if redirected {
		from = fmt.Sprintf("%s, to which %s sends%s,", at, r.Via, r.way())
	}
	switch fault := r.fault(e); fault { //nolint:exhaustive // what can be wrong with the way there has its own sentences
	case "":
		return f.soundDetail(e, r)
	case FaultPlatformMismatch:
		return f.platformDetail(r)
	case FaultUnsupportedFormat:
		return fmt.Sprintf("%s has %s in a format that the runtime does not unpack", at, f.Image)
	case FaultContentCorrupt:
		return fmt.Sprintf("%s sends %s otherwise than the image says: its digest, size or compression is wrong, or it breaks off", from, what)
	case FaultContentMissing:
		return fmt.Sprintf("%s does not have %s, which the image's own manifest names%s", from, what, r.status())
	case FaultForbidden, FaultUnauthorized, FaultInsufficientScope:
		if redirected {
			return fmt.Sprintf("%s gives the manifest, and %s, to which it sends, refuses %s%s", r.Via, at, what, r.status())
		}
		return fmt.Sprintf("%s gives the manifest and refuses %s %s%s", from, what, r.Credential.with(), r.status())
	case FaultRateLimited, FaultServerError:
		return fmt.Sprintf("%s fails for %s%s%s", from, what, r.status(), r.retryDetail())
	}
	if redirected {
		if r.Blob == "" {
			return f.hopDetail(e, r)
		}
		return fmt.Sprintf("%s; %s sends there for the image's blobs%s", f.answerDetail(e, r), r.Via, r.way())
	}
	return f.answerDetail(e, r)
}

// fault is the fault of an answer.
func (r *RegistryFacts) fault(e *Evidence) Fault { return cmp.Or(e.Fault, r.Shown) }

func (f Failure) platformDetail(r *RegistryFacts) string {
	if r.PlatformWanted {
		return fmt.Sprintf("the image is for %s, and %s is wanted", platformList(r.Platforms), r.Platform)
	}
	return fmt.Sprintf("%s is for %s; node %s is %s", f.Image, platformList(r.Platforms), f.Node, r.Platform)
}

// platformList names the platforms of an image. An index may have none: of
// attestations alone, or empty.
func platformList(all []string) string {
	if len(all) == 0 {
		return "no platform"
	}
	return some(all)
}

// soundDetail says what was looked at and is in order.
func (f Failure) soundDetail(e *Evidence, r *RegistryFacts) string {
	at := e.Endpoint.URL
	switch {
	case r.OtherPlatform && r.PlatformWanted:
		return fmt.Sprintf("the image is for %s and is pulled all the same; its container cannot start on %s", some(r.Platforms), r.Platform)
	case r.OtherPlatform:
		return fmt.Sprintf("%s has one image, for %s; node %s is %s: the pull succeeds and the container cannot start", at, some(r.Platforms), f.Node, r.Platform)
	case r.Artifact:
		return fmt.Sprintf("%s has something else than an image under this name: the pull succeeds and the container cannot start", at)
	case r.Reserve == ReserveTooManyParts:
		return fmt.Sprintf("%s has a manifest or a config for the image with more in it than whypull reads, and than any honest one has", at)
	case e.Outcome != Passed:
		return fmt.Sprintf("%s was not asked to the end for the image's content%s", at, reserveDetail(r.Reserve))
	}
	return fmt.Sprintf("%s has the image's manifest and blobs (%d looked at), and they are in order", at, r.Looked)
}
