package probe

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/agnivade/levenshtein"
	"github.com/distribution/reference"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
)

// maxCredentials is the maximum number of a pod's credentials that are tried at an endpoint.
const maxCredentials = 8

// visit holds the context of asking an image's endpoints for one failure.
type visit struct {
	c      *Collector
	f      diagnosis.Failure
	text   diagnosis.Evidence // of the runtime's message
	config *nodeconfig.Config
	// notices are of the configuration, that of the image's registry included.
	notices []nodeconfig.Notice

	ref    reference.Named
	creds  []keyring.Credential
	since  time.Time // older cached answers are not used
	short  bool      // the image names no registry, and the runtime has found one
	silent bool      // what is found is not passed on
	brief  bool      // only the manifest is asked for
	// all are the endpoints of the image, and cut has the keys of those that the node
	// cannot reach.
	all []registry.Endpoint
	cut map[string]bool
}

// endpoints asks one endpoint after another until one would serve the pull. The
// upstream registry is often twice in the runtime's list, as a host and as the
// server; it is asked once for all that have the same settings.
func (v visit) endpoints(ctx context.Context) []diagnosis.Evidence {
	var out []diagnosis.Evidence
	asked := map[string]bool{}
	v.cut = map[string]bool{}
	for _, e := range v.all {
		if asked[e.Key(v.ref)] || !e.Serves(v.ref) {
			continue
		}
		asked[e.Key(v.ref)] = true
		before := ofEndpoint(out, e.String())
		if len(before) == 0 && e.Scheme == "https" { // as the server behind a host that is for plain HTTP
			before = ofEndpoint(out, "http://"+e.Host)
		}
		found, final := v.endpointAfter(ctx, e, before)
		out = append(out, found...)
		if final || served(found, v.attempts(e)) || e.Settings.Pings && slices.ContainsFunc(found, takenForManifest) {
			break
		}
	}
	return out
}

// endpointAfter is endpoint for one that may have been asked before with other
// settings. CRI-O reports what its last source has said.
func (v visit) endpointAfter(ctx context.Context, e registry.Endpoint, before []*diagnosis.Evidence) (found []diagnosis.Evidence, final bool) {
	if len(before) == 0 || e.Settings.Pings {
		return v.endpoint(ctx, e)
	}
	w := v
	w.silent = true
	found, final = w.endpoint(ctx, e)
	setAside(before, ofEndpoint(found, e.String()))
	return v.emit(nil, found...), final
}

// ofEndpoint returns what the registry check has found at an endpoint.
func ofEndpoint(all []diagnosis.Evidence, url string) []*diagnosis.Evidence {
	var out []*diagnosis.Evidence
	for i := range all {
		if e := &all[i]; e.Check == diagnosis.CheckRegistry && e.Endpoint.URL == url {
			out = append(out, e)
		}
	}
	return out
}

// setAside makes no fault of the lesser of two answers of one endpoint with different
// settings: containerd's resolver reports the one that got further, or the first.
func setAside(first, second []*diagnosis.Evidence) {
	lesser := second
	if progress(second) > progress(first) {
		lesser = first
	}
	for _, e := range lesser {
		if e.Outcome != diagnosis.Passed {
			e.Outcome, e.Fault, e.Reason = diagnosis.NotRun, "", diagnosis.ReasonOtherSettings
			e.Body = &diagnosis.RegistryFacts{Credential: e.Credential()}
		}
	}
}

// progress orders answers as containerd's resolver does: no answer, none of what is
// asked for, any other status, an image.
func progress(of []*diagnosis.Evidence) int {
	most := 0
	for _, e := range of {
		at := 0
		switch status := e.Registry().Status; {
		case e.Outcome == diagnosis.Passed:
			at = 3
		case status == http.StatusNotFound:
			at = 1
		case status != 0:
			at = 2
		}
		most = max(most, at)
	}
	return most
}

// served reports whether the kubelet's attempt would succeed at this endpoint, with
// one of the credentials or, if there are none, anonymously, and the content is
// right.
func served(found []diagnosis.Evidence, attempts []*keyring.Credential) bool {
	return slices.ContainsFunc(found, func(e diagnosis.Evidence) bool {
		bad := func(o diagnosis.Evidence) bool {
			return o.Registry().Content && o.Outcome == diagnosis.Failed && o.Credential().Is(e.Credential())
		}
		return e.Check == diagnosis.CheckRegistry && e.Outcome == diagnosis.Passed &&
			(e.Credential() != nil || len(attempts) == 1) && !slices.ContainsFunc(found, bad)
	})
}

// takenForManifest reports whether an endpoint answers with a page where the manifest
// should be, and as if it were one: CRI-O then asks nobody else.
func takenForManifest(e diagnosis.Evidence) bool {
	return e.Check == diagnosis.CheckRegistry && e.Outcome == diagnosis.Failed && e.Fault == diagnosis.FaultWebPage &&
		e.Registry().Status == http.StatusOK && e.Registry().Phase == diagnosis.PhaseManifest
}

// brokenCredentials is about an endpoint that the runtime does not come to: it fails
// over the node's file of credentials, which it reads where the pull brings none.
func (v visit) brokenCredentials(e registry.Endpoint) []diagnosis.Evidence {
	facts := &diagnosis.ConfigFacts{File: e.NodeCredentialBroken, Problem: diagnosis.ConfigAuthFileBroken}
	broken := v.mark(e, diagnosis.Evidence{
		Outcome: diagnosis.Failed, Fault: diagnosis.FaultConfigInvalid, Body: &diagnosis.RegistryFacts{Config: facts},
	})
	if len(v.usable()) > 0 { // which the registry itself gets
		broken.Outcome = diagnosis.NotRun
	}
	return v.emit(nil, broken)
}

// endpoint resolves one endpoint's name and asks it with each credential in the
// kubelet's order until one works, then anonymously. A credential that may read the
// manifest but not the content does not work, and neither does one with which no host
// has a piece of it: the kubelet tries the next one after any failure (kuberuntime,
// PullImage). After such a credential there is no
// anonymous request, which would show nothing new. final: the runtime asks no
// endpoint after this one, with any of the kubelet's credentials.
func (v visit) endpoint(ctx context.Context, e registry.Endpoint) (evidence []diagnosis.Evidence, final bool) {
	if e.NodeCredentialBroken != "" && (len(v.usable()) == 0 || e.WithoutCredential) {
		return v.brokenCredentials(e), false
	}
	name, reachable := v.name(ctx, e)
	if !reachable {
		v.cut[e.Key(v.ref)] = true
		why := diagnosis.ReasonUnresolved
		if name[0].Fault == "" {
			why = diagnosis.ReasonNotLookedUp
		}
		return v.emit(nil, append(name, v.mark(e, unaskedOf(why, nil)))...), false
	}
	out := v.emit(nil, name...)
	attempts := v.attempts(e)
	if e.WithoutCredential && len(v.creds) > 0 {
		withheld := unaskedOf(diagnosis.ReasonCredentialsWithheld, nil)
		withheld.Outcome = diagnosis.Inconclusive
		out = v.emit(out, v.mark(e, withheld))
	}
	refused, final := false, true
	var required *registry.AuthRequired
	for i, cred := range attempts {
		if refused && cred == nil {
			break
		}
		kubelets := len(attempts) == 1 || cred != nil
		answer, found := v.attempt(ctx, e, cred, kubelets, required)
		final = final && (answer.Final || !kubelets)
		required = cmp.Or(answer.Auth.Required, required)
		out = append(out, found...)
		if answer.Fault == registry.FaultRateLimited {
			out = v.emit(out, v.untried(e, attempts[i+1:], diagnosis.ReasonLimited)...)
		}
		another := answer.Found && (len(answer.Content.Missed) > 1 || slices.ContainsFunc(found, contentRefused))
		refused = refused || another
		if !another && settled(answer, cred) {
			return append(out, v.wayToTokens(ctx, e, answer)...), final
		}
	}
	if usable := v.usable(); len(usable) > maxCredentials && !e.WithoutCredential {
		out = v.emit(out, v.untried(e, usable[maxCredentials:], diagnosis.ReasonEnoughTried)...)
	}
	return out, final
}

// settled reports whether no other credential has to be tried after an answer: the kubelet
// tries none, or gets the same answer with it.
func settled(a registry.Answer, cred *keyring.Credential) bool {
	withheld := errors.Is(a.Err, registry.ErrRealmInsecure) // the kubelet makes no attempt without it either
	return a.Found || withheld || aboutEndpoint(a) || a.Fault == registry.FaultRateLimited || cred != nil && indifferent(a)
}

// wayToTokens asks without a credential a token server to which whypull sends none, since
// that is on plain HTTP, and returns the evidence if it is not reached: the runtime, which
// sends them, does not reach it either.
func (v visit) wayToTokens(ctx context.Context, e registry.Endpoint, withheld registry.Answer) []diagnosis.Evidence {
	if !errors.Is(withheld.Err, registry.ErrRealmInsecure) || !withheld.Auth.TokenPlain {
		return nil
	}
	answer, from := v.c.asker.ask(ctx, e, v.ref, nil, v.since, false, nil)
	unreached := []registry.Fault{
		registry.FaultNameNotFound, registry.FaultDNSFailure, registry.FaultConnectionRefused, registry.FaultConnectionTimeout, registry.FaultNetworkUnreachable,
	}
	if from.reason != "" || answer.Phase != registry.PhaseToken || !slices.Contains(unreached, answer.Fault) {
		return nil
	}
	return v.emit(nil, v.mark(e, v.evidence(e, answer, nil)))
}

// attempt asks an endpoint with one credential; also for the content, if it is an
// attempt that the kubelet makes (kubelets).
func (v visit) attempt(ctx context.Context, e registry.Endpoint, cred *keyring.Credential, kubelets bool, required *registry.AuthRequired) (registry.Answer, []diagnosis.Evidence) {
	start := time.Now()
	answer, from := v.c.asker.ask(ctx, e, v.ref, cred, v.since, kubelets, required)
	evidence := v.mark(e, v.evidence(e, answer, cred))
	if from.reason != "" {
		evidence.Outcome, evidence.Reason = diagnosis.NotRun, from.reason
	}
	if facts := evidence.Registry(); evidence.Fault == diagnosis.FaultUnauthorized && from.rejected != nil {
		facts.RejectedAt, facts.NotBefore = from.rejected.at, from.rejected.until()
	}
	v.c.Metrics.Checked(evidence.Check, evidence.Outcome, time.Since(start))
	v.cut[e.Key(v.ref)] = v.cut[e.Key(v.ref)] || aboutEndpoint(answer) && answer.Redirects.Via == ""
	if !answer.Found || !kubelets || v.brief {
		return answer, v.emit(nil, evidence)
	}
	if !e.Settings.Pings {
		out := v.emit(nil, evidence)
		inside, content := v.content(ctx, e, answer, cred)
		answer.Content.Missed = inside.Content.Missed
		return answer, v.emit(out, content...)
	}
	inside, content := v.content(ctx, e, answer, cred)
	if withoutManifest(inside) {
		return inside, v.emit(nil, v.mark(e, v.evidence(e, inside, cred)))
	}
	return answer, v.emit(nil, append([]diagnosis.Evidence{evidence}, content...)...)
}

// withoutManifest reports whether an endpoint that has the manifest for HEAD has none
// for GET. CRI-O makes only that, and then tries its next source, as if there were no
// manifest (newImageSource).
func withoutManifest(inside registry.Answer) bool {
	return inside.Fault != "" && inside.Fault != registry.FaultAddressForbidden &&
		inside.Phase != registry.PhaseBlob && inside.Content.Digest == "" && inside.Status != http.StatusOK
}

// contentRefused reports whether a credential may not read the content, so that the
// next one has to be tried.
func contentRefused(e diagnosis.Evidence) bool {
	return e.Registry().Content && e.Outcome == diagnosis.Failed && e.Fault.Refuses()
}

// emit appends evidence to out and passes it to Found.
func (v visit) emit(out []diagnosis.Evidence, e ...diagnosis.Evidence) []diagnosis.Evidence {
	if !v.silent {
		v.c.found(v.f, e...)
	}
	return append(out, e...)
}

// indifferent reports whether an endpoint answered without asking for credentials,
// so that other credentials give the same answer.
func indifferent(a registry.Answer) bool {
	return a.Status != 0 && !a.Auth.CredentialSent && a.Auth.Scheme == registry.SchemeNone
}

// untried returns the evidence about credentials that the kubelet would try but whypull did not.
func (v visit) untried(e registry.Endpoint, creds []*keyring.Credential, why diagnosis.Reason) []diagnosis.Evidence {
	var out []diagnosis.Evidence
	for _, cred := range creds {
		if cred != nil {
			out = append(out, v.mark(e, unaskedOf(why, credentialRef(*cred))))
		}
	}
	return out[:min(len(out), maxCredentials)]
}

// unaskedOf returns evidence that an endpoint was not asked with a credential.
func unaskedOf(why diagnosis.Reason, c *diagnosis.CredentialRef) diagnosis.Evidence {
	return diagnosis.Evidence{Outcome: diagnosis.NotRun, Reason: why, Body: &diagnosis.RegistryFacts{Credential: c}}
}

// usable returns the credentials that a runtime sends: those that are complete.
func (v visit) usable() []*keyring.Credential {
	var out []*keyring.Credential
	for i := range v.creds {
		if !v.creds[i].Incomplete() {
			out = append(out, &v.creds[i])
		}
	}
	return out
}

// attempts returns the credentials to try at an endpoint; nil is the anonymous
// request. The endpoint's own credential is used if the pull has none.
func (v visit) attempts(e registry.Endpoint) []*keyring.Credential {
	out := v.usable()
	if e.WithoutCredential {
		out = nil
	}
	if len(out) == 0 && e.NodeCredential != nil && (len(v.creds) == 0 || e.WithoutCredential || v.config.EmptyCredentialFallsBack()) {
		own := keyring.NewCredential(e.NodeCredentialSource, e.Host, 1, *e.NodeCredential)
		own.OfNode = true
		out = append(out, &own)
	}
	return append(out[:min(len(out), maxCredentials)], nil)
}

// name checks the DNS name of the endpoint and reports whether it can be asked. An IP
// address has no name, and with a proxy the node does not resolve it.
func (v visit) name(ctx context.Context, e registry.Endpoint) ([]diagnosis.Evidence, bool) {
	host := hostname(e.Host)
	unasked := diagnosis.Evidence{Check: diagnosis.CheckNodeDNS, Outcome: diagnosis.NotRun}
	if net.ParseIP(host) != nil {
		unasked.Reason, unasked.Body = diagnosis.ReasonIsAddress, &diagnosis.DNSFacts{Host: host}
		return []diagnosis.Evidence{v.mark(e, unasked)}, true
	}
	if proxy, source := v.config.ProxyFor(e); proxy != "" {
		unasked.Body = &diagnosis.DNSFacts{Proxy: proxy, ProxySource: source}
		return []diagnosis.Evidence{v.mark(e, unasked)}, true
	}
	start := time.Now()
	answer := v.c.dns.lookup(ctx, host)
	evidence := v.mark(e, lookupEvidence(answer, host))
	reachable := len(answer.Addresses) > 0
	if facts := evidence.DNS(); sinkhole(answer.Addresses) {
		blocked := *facts
		blocked.Sinkhole, blocked.Addresses = true, nil
		evidence.Outcome, evidence.Fault, evidence.Body = diagnosis.Failed, diagnosis.FaultNameNotFound, &blocked
		reachable = false
	}
	v.c.Metrics.Checked(evidence.Check, evidence.Outcome, time.Since(start))
	return []diagnosis.Evidence{evidence}, reachable
}

// mark sets the endpoint of a piece of evidence.
func (v visit) mark(e registry.Endpoint, ev diagnosis.Evidence) diagnosis.Evidence {
	ev.Check = cmp.Or(ev.Check, diagnosis.CheckRegistry)
	if ev.Endpoint.URL == "" {
		ev.Endpoint.URL = e.String()
	}
	ev.Endpoint.Mirror, ev.Endpoint.CRIO, ev.Endpoint.Unloaded = e.Mirror, e.Settings.Pings, e.Unloaded
	if v.short {
		ev.Endpoint.Image = v.ref.Name()
	}
	switch path.Ext(e.Source) {
	case ".toml", ".conf", ".json": // the runtime's own file
		ev.Endpoint.ConfigFile = e.Source
	default:
		if e.Source != "" {
			ev.Endpoint.ConfigDir = path.Dir(e.Source)
			if e.Mirror && path.Base(e.Source) == "_default" {
				ev.Endpoint.ConfigFile = e.Source + "/hosts.toml"
			}
		}
	}
	return ev
}

// sinkhole reports whether addresses are none: a DNS server that blocks a name
// answers 0.0.0.0 or ::.
func sinkhole(addresses []netip.Addr) bool {
	return len(addresses) > 0 && !slices.ContainsFunc(addresses, func(a netip.Addr) bool { return !a.IsUnspecified() })
}

func hostname(hostport string) string { return (&url.URL{Host: hostport}).Hostname() }

// aboutEndpoint reports whether the endpoint would give the same answer to any
// request with any credential.
func aboutEndpoint(a registry.Answer) bool {
	if !connected(a) {
		return a.Fault != ""
	}
	return a.Phase != registry.PhaseBlob && (a.Fault == registry.FaultConnectionTimeout || a.Fault == registry.FaultHTTPSMismatch)
}

// connected reports whether a request has got as far as a connection on which it can be
// sent.
func connected(a registry.Answer) bool {
	return a.Phase != registry.PhaseDNS && a.Phase != registry.PhaseConnect && a.Phase != registry.PhaseTLS
}

// evidence returns the evidence from the answer to a manifest request.
func (v visit) evidence(at registry.Endpoint, a registry.Answer, cred *keyring.Credential) diagnosis.Evidence {
	a = adjusted(a, cred)
	e, facts := typed(a, cred)
	facts.Reference = v.ref.String()
	// CRI-O takes a challenge from /v2/ alone: without one it keeps the credentials. The
	// others keep them where the 401 has none that they support.
	facts.NoChallenge = !at.Settings.Pings && a.Fault == registry.FaultUnauthorized && a.Auth.Scheme == registry.SchemeUnknown && a.Redirects.Via == ""
	facts.Unsent = cred != nil && (facts.NoChallenge || at.Settings.Pings && a.Fault == registry.FaultUnauthorized && !a.Auth.CredentialSent)
	switch {
	case a.Found:
		e.Outcome = diagnosis.Passed
	case a.Fault == "":
		e.Outcome = diagnosis.Inconclusive
	case a.Fault == registry.FaultAddressForbidden: // the runtime may use it
		e.Outcome = diagnosis.NotRun
	case facts.Reserve == diagnosis.ReserveChallengeElsewhere && a.Auth.Scheme == registry.SchemeUnknown: // it is no registry's 401
		facts.Reserve = ""
	case facts.Reserve == diagnosis.ReserveRealmInsecure, facts.Reserve == diagnosis.ReserveChallengeInsecure,
		facts.Reserve == diagnosis.ReserveChallengeElsewhere && cred != nil: // the runtime may do it
		e.Outcome = diagnosis.NotRun
	case a.Fault == registry.FaultTLSUntrusted && slices.ContainsFunc(v.notices, withoutAuthorities):
		facts.Reserve = diagnosis.ReserveAuthorities
	case a.Fault == registry.FaultTLSUntrusted && at.Blind, a.Fault == registry.FaultTLSHandshakeFailed && at.BlindClient:
		facts.Reserve = diagnosis.ReserveCertificate
	case a.Fault == registry.FaultConnectionTimeout && a.Proxy.Address == "" && !v.config.ProxyKnown():
		facts.Reserve = diagnosis.ReserveProxyUnknown
	case a.Fault == registry.FaultTagNotFound:
		facts.Candidates = nearest(a.Content.Tags, tagOf(v.ref))
	}
	if facts.Reserve == diagnosis.ReserveAuthorities || facts.Reserve == diagnosis.ReserveCertificate {
		e.Outcome, e.Fault, facts.Shown = diagnosis.Inconclusive, "", e.Fault
	}
	return e
}

// withoutAuthorities reports whether a notice says that the node's CA certificates were
// not found.
func withoutAuthorities(n nodeconfig.Notice) bool { return n.Kind == nodeconfig.NoticeNoAuthorities }

// adjusted returns the answer with a fault that fits this request: a 403 of a token
// server is about the repository where it takes the credential otherwise, and may be
// about either where it does not say; and an HTML page is no registry's "not found".
func adjusted(a registry.Answer, cred *keyring.Credential) registry.Answer {
	switch {
	case !tokenForbidden(a):
	case a.Auth.Standing == registry.StandingAccepted:
		a.Fault = registry.FaultInsufficientScope
	case a.Auth.Standing == "" && cred != nil:
		a.Fault = registry.FaultForbidden
	}
	if a.Fault == registry.FaultNotFound && a.Response.HTML {
		a.Fault = registry.FaultWebPage
	}
	return a
}

// typed returns evidence with the facts of an answer.
func typed(a registry.Answer, cred *keyring.Credential) (diagnosis.Evidence, *diagnosis.RegistryFacts) {
	facts := &diagnosis.RegistryFacts{
		Phase: diagnosis.Phase(a.Phase), Status: a.Status, Timings: timings(a.Durations),
		Via: a.Redirects.Via, Hops: a.Redirects.Hops, Targets: a.Redirects.Targets,
		Page: a.Response.HTML, NoAPI: a.Response.NoAPI, UpstreamRefuses: a.Response.UpstreamRefuses, RetryAfter: a.Response.RetryAfter,
		TokenHost: a.Auth.TokenHost, TokenPlain: a.Auth.TokenPlain, TokenRejected: a.Auth.TokenRejected, Skew: a.Auth.Skew, SaysExpired: a.Auth.SaysExpired, Exists: a.Auth.Exists,
		Waited: a.Connection.Waited, OtherProtocol: a.Connection.OtherProtocol,
		Proxy: a.Proxy.Address, ProxyStatus: a.Proxy.Status, ProxyFault: diagnosis.Fault(a.Proxy.Fault),
		Platform: a.Content.Platform, Platforms: a.Content.Platforms, OtherPlatform: a.Content.OtherPlatform, Encrypted: a.Content.Encrypted,
		Artifact: a.Content.Artifact, Looked: a.Content.Looked, Blob: a.Content.Blob, Form: diagnosis.Form(a.Content.Form), Outside: a.Content.Outside,
		Reserve: reserve(a.Err), Clock: a.TLS.Clock, Alert: diagnosis.Alert(a.TLS.Alert),
		Certificate: (*diagnosis.Certificate)(a.TLS.Certificate),
	}
	if cred != nil {
		facts.Credential = credentialRef(*cred)
	}
	if a.Redirects.Via == "" || a.Redirects.Via == a.Endpoint { // else they are the registry's
		facts.Addresses = addressTexts(a.Connection.Addresses)
	}
	if a.Connection.Remote.IsValid() {
		facts.Remote = a.Connection.Remote.String()
	}
	if a.Response.RateLimit != nil {
		facts.Limit, facts.Window = a.Response.RateLimit.Limit, a.Response.RateLimit.Window
	}
	return diagnosis.Evidence{
		Check: diagnosis.CheckRegistry, Outcome: diagnosis.Failed, Fault: diagnosis.Fault(a.Fault),
		Endpoint: diagnosis.Endpoint{URL: a.Endpoint}, Body: facts,
	}, facts
}

// tagOf returns the tag of a reference; "" if it has a digest.
func tagOf(ref reference.Named) string {
	if _, ok := ref.(reference.Digested); ok {
		return ""
	}
	if t, ok := ref.(reference.Tagged); ok {
		return t.Tag()
	}
	return ""
}

// nearest returns the five tags most similar to want, most similar first, newer
// versions before older ones; nil if want is empty.
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

// byVersion compares tags as versions: digits as numbers, the rest as text, so that
// 1.10 comes after 1.9.
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

// run splits s after its longest prefix of only digits or only non-digits.
func run(s string) (start, rest string) {
	digit := func(i int) bool { return s[i] >= '0' && s[i] <= '9' }
	i := 1
	for i < len(s) && digit(i) == digit(0) {
		i++
	}
	return s[:i], s[i:]
}
