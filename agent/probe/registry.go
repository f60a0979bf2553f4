package probe

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"
	"github.com/distribution/reference"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
)

// maxLogins bounds what one pod's secrets can make whypull ask of a registry.
const maxLogins = 8

// visit is the asking of one image's endpoints for one failure.
type visit struct {
	c      *Collector
	f      diagnosis.Failure
	text   diagnosis.Evidence // what the runtime's message supports
	config *nodeconfig.Config
	ref    reference.Named
	logins []keyring.Login
	since  time.Time // earlier answers do not serve
	blind  bool      // the node's certificate authorities were not found
}

// endpoints asks one endpoint after the other, until one would serve the pull.
// The registry that the image names often stands twice in the runtime's list,
// as a host and as the server behind all hosts; it is asked once, with the
// settings that come first.
func (v visit) endpoints(ctx context.Context, all []registry.Endpoint) []diagnosis.Evidence {
	var out []diagnosis.Evidence
	asked := map[string]bool{}
	for _, e := range all {
		if asked[e.Key(v.ref)] || !e.Serves(v.ref) {
			continue
		}
		asked[e.Key(v.ref)] = true
		found := v.endpoint(ctx, e)
		out = append(out, found...)
		if served(found, v.attempts(e)) {
			break
		}
	}
	return out
}

// served tells that the kubelet's attempt would succeed at this endpoint: with
// one of the logins where there are any, else without; and that nothing is wrong
// with what it would get.
func served(found []diagnosis.Evidence, attempts []*keyring.Login) bool {
	return slices.ContainsFunc(found, func(e diagnosis.Evidence) bool {
		bad := func(o diagnosis.Evidence) bool {
			return o.Content && o.Outcome == diagnosis.Failed && o.Credential.Is(e.Credential)
		}
		return e.Check == diagnosis.CheckRegistry && e.Outcome == diagnosis.Passed &&
			(e.Credential != nil || len(attempts) == 1) && !slices.ContainsFunc(found, bad)
	})
}

// endpoint resolves one endpoint's name and asks it: with each login in the
// kubelet's order until one is good, then without any. A login that gets the
// manifest and is refused what it names is not good: the kubelet goes on to the
// next after any failure (kuberuntime, PullImage). Without any it then is not
// asked, since that would tell no more.
func (v visit) endpoint(ctx context.Context, e registry.Endpoint) []diagnosis.Evidence {
	name, reachable := v.name(ctx, e)
	if !reachable {
		why := "does not resolve"
		if name[0].Fault == "" {
			why = "could not be looked up"
		}
		return v.tell(nil, append(name, v.mark(e, diagnosis.Evidence{Outcome: diagnosis.NotRun,
			Detail: fmt.Sprintf("%s was not asked, since its name %s", e, why)}))...)
	}
	out := v.tell(nil, name...)
	attempts := v.attempts(e)
	if e.WithoutCredential && len(v.logins) > 0 {
		out = v.tell(out, v.mark(e, diagnosis.Evidence{Outcome: diagnosis.Inconclusive,
			Detail: fmt.Sprintf("the runtime does not send the pod's credentials to %s, which is another host than the image's; the node's own would be used", e)}))
	}
	refused := false
	for i, login := range attempts {
		if refused && login == nil {
			break
		}
		answer, found := v.attempt(ctx, e, login, len(attempts) == 1 || login != nil)
		out = append(out, found...)
		if answer.Fault == registry.FaultRateLimited {
			out = v.tell(out, v.untried(e, attempts[i+1:], "since it limits the rate of requests")...)
		}
		another := answer.Found && slices.ContainsFunc(found, contentRefused)
		refused = refused || another
		if !another && (answer.Found || aboutEndpoint(answer) || answer.Fault == registry.FaultRateLimited || login != nil && unasked(answer)) {
			return out
		}
	}
	if usable := v.usable(); len(usable) > maxLogins && !e.WithoutCredential {
		out = v.tell(out, v.untried(e, usable[maxLogins:], fmt.Sprintf("since %d others were", maxLogins))...)
	}
	return out
}

// attempt asks an endpoint with one login, for the content too where it is one of
// the kubelet's own attempts.
func (v visit) attempt(ctx context.Context, e registry.Endpoint, login *keyring.Login, kubelets bool) (registry.Answer, []diagnosis.Evidence) {
	start := time.Now()
	answer, borrowed := v.c.asker.ask(ctx, e, v.ref, login, v.since, kubelets)
	evidence := v.mark(e, v.evidence(e, answer, login))
	if borrowed {
		evidence.Outcome = diagnosis.NotRun
		evidence.Detail = fmt.Sprintf("%s was not asked %s: it limits the requests of others on this node, and wants to be left alone for now", e, with(login))
	}
	v.c.Metrics.Checked(evidence.Check, evidence.Outcome, time.Since(start))
	out := v.tell(nil, evidence)
	if answer.Found && kubelets {
		out = v.tell(out, v.content(ctx, e, answer, login)...)
	}
	return answer, out
}

// contentRefused tells of a login that may not have what the manifest names, so
// that another may.
func contentRefused(e diagnosis.Evidence) bool {
	faults := []diagnosis.Fault{diagnosis.FaultForbidden, diagnosis.FaultUnauthorized, diagnosis.FaultInsufficientScope}
	return e.Content && e.Outcome == diagnosis.Failed && slices.Contains(faults, e.Fault)
}

// tell adds evidence to what there is, and tells of it.
func (v visit) tell(out []diagnosis.Evidence, e ...diagnosis.Evidence) []diagnosis.Evidence {
	v.c.found(v.f, e...)
	return append(out, e...)
}

// unasked tells that an endpoint has answered without asking for the login, so
// that it gives any other the same answer.
func unasked(a registry.Answer) bool {
	return a.Status != 0 && !a.CredentialSent && a.Scheme == registry.SchemeNone
}

// untried tells of logins that the kubelet would try and whypull has not tried.
func (v visit) untried(e registry.Endpoint, logins []*keyring.Login, why string) []diagnosis.Evidence {
	var out []diagnosis.Evidence
	for _, login := range logins {
		if login == nil {
			continue
		}
		out = append(out, v.mark(e, diagnosis.Evidence{Outcome: diagnosis.NotRun, Credential: credential(*login),
			Detail: fmt.Sprintf("%s was not asked %s, %s", e, with(login), why)}))
	}
	return out[:min(len(out), maxLogins)]
}

// usable are the logins that a runtime sends: one without a user is none.
func (v visit) usable() []*keyring.Login {
	var out []*keyring.Login
	for i := range v.logins {
		if !v.logins[i].Empty() {
			out = append(out, &v.logins[i])
		}
	}
	return out
}

// attempts are the logins to try at an endpoint; nil stands for none. The
// node's own stands in where the pull brings none.
func (v visit) attempts(e registry.Endpoint) []*keyring.Login {
	out := v.usable()
	if e.WithoutCredential {
		out = nil
	}
	if len(out) == 0 && e.NodeLogin != nil && (len(v.logins) == 0 || e.WithoutCredential || v.config.EmptyLoginFallsBack()) {
		own := keyring.NewLogin(e.NodeLoginSource, e.Host, 1, e.NodeLogin.Username, e.NodeLogin.Password)
		own.OfNode = true
		out = append(out, &own)
	}
	return append(out[:min(len(out), maxLogins)], nil)
}

// name checks the endpoint's name. A literal address has none, and behind a
// proxy the node does not resolve it.
func (v visit) name(ctx context.Context, e registry.Endpoint) ([]diagnosis.Evidence, bool) {
	host := hostname(e.Host)
	if net.ParseIP(host) != nil {
		return []diagnosis.Evidence{v.mark(e, diagnosis.Evidence{Check: diagnosis.CheckNodeDNS, Outcome: diagnosis.NotRun,
			Detail: host + " is an address; there is no name to resolve"})}, true
	}
	if proxy, source := v.config.ProxyFor(e); proxy != "" {
		return []diagnosis.Evidence{v.mark(e, diagnosis.Evidence{Check: diagnosis.CheckNodeDNS, Outcome: diagnosis.NotRun, Proxy: proxy,
			Detail: fmt.Sprintf("%s is asked through the proxy %s%s, which resolves the name", e, proxy, setIn(source))})}, true
	}
	start := time.Now()
	answer := v.c.dns.lookup(ctx, v.c.dns.node, host)
	evidence := v.mark(e, lookupEvidence(answer, host, v.f.Node))
	v.c.Metrics.Checked(evidence.Check, evidence.Outcome, time.Since(start))
	return []diagnosis.Evidence{evidence}, len(answer.Addresses) > 0
}

// setIn says where a setting of the node is from, if that is known.
func setIn(source string) string {
	if source == "" {
		return ""
	}
	return fmt.Sprintf(" (%s)", source)
}

// mark puts the endpoint to a piece of evidence.
func (v visit) mark(e registry.Endpoint, ev diagnosis.Evidence) diagnosis.Evidence {
	if ev.Check == "" {
		ev.Check = diagnosis.CheckRegistry
	}
	if ev.Endpoint == "" {
		ev.Endpoint = e.String()
	}
	ev.Mirror = e.Mirror
	switch path.Ext(e.Source) {
	case ".toml", ".conf": // the runtime's own file
		ev.ConfigFile = e.Source
	default:
		if e.Source != "" {
			ev.ConfigDir = path.Dir(e.Source)
		}
	}
	return ev
}

func hostname(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

// aboutEndpoint tells that an answer is the same whatever is asked of the
// endpoint, and with which login.
func aboutEndpoint(a registry.Answer) bool {
	switch a.Phase {
	case registry.PhaseDNS, registry.PhaseConnect, registry.PhaseTLS:
		return a.Fault != ""
	case registry.PhaseBlob:
		return false
	case registry.PhasePing, registry.PhaseToken, registry.PhaseManifest:
	}
	return a.Fault == registry.FaultConnectionTimeout || a.Fault == registry.FaultHTTPSMismatch
}

// evidence puts an answer into the words of a report.
func (v visit) evidence(at registry.Endpoint, a registry.Answer, login *keyring.Login) diagnosis.Evidence {
	a = meant(a, login)
	e := typed(a, login)
	e.Detail = v.sentence(a, login)
	switch {
	case a.Found:
		e.Outcome = diagnosis.Passed
	case a.Fault == "":
		e.Outcome = diagnosis.Inconclusive
	case a.Fault == registry.FaultAddressForbidden: // the runtime may talk to it all the same
		e.Outcome = diagnosis.NotRun
	case a.Fault == registry.FaultTLSUntrusted && v.blind:
		e.Outcome, e.Fault = diagnosis.Inconclusive, ""
		e.Detail += "; but whypull has not found the node's authorities, so it cannot tell"
	case a.Fault == registry.FaultTLSUntrusted && at.Blind, a.Fault == registry.FaultTLSHandshakeFailed && at.BlindClient:
		e.Outcome, e.Fault = diagnosis.Inconclusive, ""
		e.Detail += "; but whypull cannot see the certificate that the node's configuration names for it"
	case a.Fault == registry.FaultConnectionTimeout && a.Proxy == "" && !v.config.ProxyKnown():
		e.Detail += "; whether the runtime goes through a proxy is not known"
	case a.Fault == registry.FaultTagNotFound:
		e.Candidates = nearest(a.Tags, tagOf(v.ref))
	}
	return e
}

// meant is the answer with the fault that it has in this conversation: a token
// server that forbids a login, and does not call it wrong, may as well forbid
// the repository; a page for people is not a registry's word that it has
// nothing.
func meant(a registry.Answer, login *keyring.Login) registry.Answer {
	if login != nil && a.Phase == registry.PhaseToken && a.Status == http.StatusForbidden && a.Fault == registry.FaultUnauthorized {
		a.Fault = registry.FaultForbidden
	}
	if a.Fault == registry.FaultNotFound && a.HTML {
		a.Fault = registry.FaultWebPage
	}
	return a
}

// typed is the part of evidence that is taken from the answer as it is.
func typed(a registry.Answer, login *keyring.Login) diagnosis.Evidence {
	e := diagnosis.Evidence{
		Check: diagnosis.CheckRegistry, Outcome: diagnosis.Failed, Fault: reportFault(a.Fault),
		Endpoint: a.Endpoint, Phase: registryPhases[a.Phase], Status: a.Status, RetryAfter: int(a.RetryAfter / time.Second),
		Proxy: a.Proxy, Via: a.Via, Blob: a.Blob, Platform: a.Platform, Platforms: a.Platforms,
		Exists: a.Exists == registry.ExistsYes, SaysExpired: a.SaysExpired, Timings: timings(a.Durations),
	}
	if login != nil {
		e.Credential = credential(*login)
	}
	if a.Via != "" { // the addresses are those of the registry
		return e
	}
	for _, addr := range a.Addresses {
		e.Addresses = append(e.Addresses, addr.String())
	}
	return e
}

// with names the login of an attempt.
func with(login *keyring.Login) string {
	switch {
	case login == nil:
		return "without credentials"
	case login.OfNode:
		return fmt.Sprintf("with the node's own credential from %s (entry %s)", login.Source, login.Key)
	}
	return fmt.Sprintf("with secret %s (entry %s)", login.Source, login.Key)
}

// sentence says in one sentence what came of asking.
func (v visit) sentence(a registry.Answer, login *keyring.Login) string {
	with := with(login)
	repo := v.f.Repository
	switch a.Fault {
	case "":
		if a.Found {
			return fmt.Sprintf("%s has the manifest and gives it %s", a.Endpoint, with)
		}
		return fmt.Sprintf("%s was not asked to the end", a.Endpoint)
	case registry.FaultUnauthorized:
		return v.unauthorized(a, login, with)
	case registry.FaultInsufficientScope:
		return fmt.Sprintf("%s issues a token %s, but not for pulling %s", cmp.Or(a.TokenHost, a.Endpoint), with, repo)
	case registry.FaultForbidden:
		return fmt.Sprintf("%s forbids pulling %s %s%s", who(a), repo, with, status(a))
	case registry.FaultPolicyBlocked:
		return fmt.Sprintf("%s withholds %s by a policy%s", a.Endpoint, v.f.Image, status(a))
	case registry.FaultWebPage:
		return fmt.Sprintf("%s answers with a web page%s: a login page in between, a web server, no registry", who(a), status(a))
	case registry.FaultUnsupportedFormat:
		return fmt.Sprintf("%s has %s in a format that the runtime does not take (schema 1)", a.Endpoint, v.f.Image)
	case registry.FaultTagNotFound:
		return fmt.Sprintf("%s has repository %s, but not what is asked for%s", a.Endpoint, repo, status(a))
	case registry.FaultRepositoryNotFound:
		return fmt.Sprintf("%s has no repository %s%s", a.Endpoint, repo, status(a))
	case registry.FaultNotFound:
		return fmt.Sprintf("%s finds nothing at %s and does not say whether the repository exists%s", a.Endpoint, v.ref.String(), status(a))
	case registry.FaultRateLimited:
		return fmt.Sprintf("%s limits the rate of requests%s%s", who(a), status(a), retry(a))
	case registry.FaultServerError:
		return fmt.Sprintf("%s answers with a server error%s", who(a), status(a))
	default:
		return v.trouble(a)
	}
}

func (v visit) unauthorized(a registry.Answer, login *keyring.Login, with string) string {
	if login == nil {
		return fmt.Sprintf("%s wants credentials%s", who(a), status(a))
	}
	expired := ""
	if a.SaysExpired {
		expired = " and says that it has expired"
	}
	return fmt.Sprintf("%s refuses the login %s%s%s", who(a), with, expired, status(a))
}

// who is whom the last part of a conversation was with.
func who(a registry.Answer) string {
	if a.Phase == registry.PhaseToken && a.TokenHost != "" {
		return "token server " + a.TokenHost
	}
	return a.Endpoint
}

// whoAt is who with the address that was talked to, as far as it is known.
func whoAt(a registry.Answer) string {
	switch at := who(a); {
	case at != a.Endpoint: // the address is not its own
		return at
	case a.Remote.IsValid():
		return at + " (" + a.Remote.String() + ")"
	case len(a.Addresses) > 0:
		return at + " (" + a.Addresses[0].String() + ")"
	default:
		return at
	}
}

// trouble says what kept the registry from being asked.
func (v visit) trouble(a registry.Answer) string {
	at := whoAt(a)
	switch a.Fault {
	case registry.FaultConnectionRefused:
		return at + " refuses the connection: nothing listens there"
	case registry.FaultConnectionTimeout:
		return fmt.Sprintf("%s did not answer in time (%s)", at, step(a.Phase))
	case registry.FaultNetworkUnreachable:
		return fmt.Sprintf("%s cannot be reached or breaks the connection (%s)", at, step(a.Phase))
	case registry.FaultTLSUntrusted:
		return at + " has a certificate that the node does not trust" + issuer(a)
	case registry.FaultTLSHostnameMismatch:
		return at + " has a certificate for another name" + namesOf(a)
	case registry.FaultTLSExpired:
		return at + " has a certificate that is not valid now" + validity(a) + oddClock(a)
	case registry.FaultTLSHandshakeFailed:
		return at + " and the node do not agree on TLS: client certificate, protocol or cipher"
	case registry.FaultHTTPSMismatch:
		return at + mismatch(a)
	case registry.FaultProxyFailed:
		return fmt.Sprintf("the proxy %s fails for %s%s%s", a.Proxy, a.Endpoint, proxyStatus(a), unreached(a))
	case registry.FaultNameNotFound, registry.FaultDNSFailure:
		return fmt.Sprintf("the name of %s cannot be resolved", who(a))
	case registry.FaultAddressForbidden:
		return at + " leads to a link-local or metadata address, which whypull does not talk to"
	default:
		return fmt.Sprintf("%s gives an answer that no registry should give%s", at, status(a))
	}
}

func mismatch(a registry.Answer) string {
	if strings.HasPrefix(a.Endpoint, "https://") {
		return " speaks plain HTTP, and the node is set to speak TLS with it"
	}
	return " speaks TLS, and the node is set to speak plain HTTP with it"
}

func step(p registry.Phase) string {
	switch p {
	case registry.PhaseConnect:
		return "connecting"
	case registry.PhaseTLS:
		return "TLS handshake"
	case registry.PhaseToken:
		return "asking for a token"
	case registry.PhaseBlob:
		return "asking for a blob"
	case registry.PhaseDNS, registry.PhasePing, registry.PhaseManifest:
	}
	return "waiting for an answer"
}

func status(a registry.Answer) string {
	if a.Status == 0 {
		return ""
	}
	return fmt.Sprintf(" (HTTP %d)", a.Status)
}

func retry(a registry.Answer) string {
	if a.RetryAfter <= 0 && a.RateLimit != nil && a.RateLimit.Window > 0 {
		return fmt.Sprintf("; it counts %d requests in %s", a.RateLimit.Limit, a.RateLimit.Window)
	}
	if a.RetryAfter <= 0 {
		return ""
	}
	return fmt.Sprintf("; it may be asked again in %s", a.RetryAfter)
}

func proxyStatus(a registry.Answer) string {
	if a.ProxyStatus == 0 {
		return ""
	}
	return fmt.Sprintf(" (the proxy's own answer is HTTP %d)", a.ProxyStatus)
}

// unreached says why a proxy could not be asked.
func unreached(a registry.Answer) string {
	switch a.ProxyFault {
	case registry.FaultNameNotFound, registry.FaultDNSFailure:
		return ": its name cannot be resolved"
	case registry.FaultConnectionRefused:
		return ": it refuses the connection, nothing listens there"
	case registry.FaultConnectionTimeout:
		return ": it did not answer in time"
	case registry.FaultNetworkUnreachable:
		return ": it cannot be reached or breaks the connection"
	default:
		return ""
	}
}

func issuer(a registry.Answer) string {
	if a.Certificate == nil || a.Certificate.Issuer == "" {
		return ""
	}
	return fmt.Sprintf(" (issued by %q)", a.Certificate.Issuer)
}

func namesOf(a registry.Answer) string {
	if a.Certificate == nil || len(a.Certificate.Names) == 0 {
		return ""
	}
	return ": it is for " + strings.Join(a.Certificate.Names, ", ")
}

func validity(a registry.Answer) string {
	if a.Certificate == nil {
		return ""
	}
	return fmt.Sprintf(": it is valid from %s to %s", a.Certificate.NotBefore.UTC().Format(time.RFC3339), a.Certificate.NotAfter.UTC().Format(time.RFC3339))
}

// oddClock says whose clock is the odd one.
func oddClock(a registry.Answer) string {
	switch c := a.Clock; {
	case !c.Known:
		return ""
	case c.Ahead == 0:
		return "; the registry's clock agrees with the node's"
	case c.Ahead > 0:
		return fmt.Sprintf("; the node's clock is %s behind the registry's", roughly(c.Ahead))
	default:
		return fmt.Sprintf("; the node's clock is %s ahead of the registry's", roughly(-c.Ahead))
	}
}

// roughly is a duration as people say it, which does not change while a clock
// drifts.
func roughly(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d days", d.Round(day)/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d.Round(time.Hour)/time.Hour)
	}
	return fmt.Sprintf("%d minutes", d/time.Minute)
}

// tagOf is the tag that is asked for; none if it is a digest.
func tagOf(ref reference.Named) string {
	if _, ok := ref.(reference.Digested); ok {
		return ""
	}
	if t, ok := ref.(reference.Tagged); ok {
		return t.Tag()
	}
	return ""
}

// nearest puts tags in the order of their likeness to want, the most alike
// first, and of those that are as alike the newest version; at most five. Without
// want there is no order to offer.
func nearest(tags []string, want string) []string {
	const most = 5
	if want == "" {
		return nil
	}
	out := slices.Clone(tags)
	slices.SortStableFunc(out, func(a, b string) int {
		return cmp.Or(cmp.Compare(levenshtein.ComputeDistance(a, want), levenshtein.ComputeDistance(b, want)), byVersion(b, a), cmp.Compare(b, a))
	})
	return out[:min(len(out), most)]
}

// byVersion compares tags as versions: runs of digits as numbers, the rest as
// text, so that 1.10 comes after 1.9.
func byVersion(a, b string) int {
	for a != "" && b != "" {
		var x, y string
		x, a = run(a)
		y, b = run(b)
		m, errA := strconv.ParseUint(x, 10, 64)
		n, errB := strconv.ParseUint(y, 10, 64)
		c := cmp.Compare(x, y)
		if errA == nil && errB == nil {
			c = cmp.Compare(m, n)
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// run cuts off the longest start of s that is of digits alone, or has none.
func run(s string) (start, rest string) {
	digit := func(i int) bool { return s[i] >= '0' && s[i] <= '9' }
	i := 1
	for i < len(s) && digit(i) == digit(0) {
		i++
	}
	return s[:i], s[i:]
}
