package diagnosis

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// facts is a failure with its evidence, asked in the words of the rules. The
// evidence does not change, so what takes long to find is found once.
type facts struct {
	Failure
	all    []*Evidence // in the order of the checks
	tables *tables
	seen   seen
}

// newFacts returns the facts of evidence, which must be in the order of the checks.
func newFacts(f Failure, evidence []Evidence) *facts {
	all := make([]*Evidence, len(evidence))
	for i := range evidence {
		all[i] = &evidence[i]
	}
	return &facts{Failure: f, all: all, tables: &allTables}
}

// seen is what takes long to find, because it compares attempts with each other or
// takes a run through the rules.
type seen struct {
	attempts          []*Evidence
	works, worksKnown bool
	hidden            ruling
	hiddenKnown       bool
}

// ruling is a cause with what it rests on; the zero value is none.
type ruling struct {
	cause      Cause
	confidence Confidence
}

// of returns the evidence of a check. With the policy Never the kubelet asks
// nobody, so no answer from outside the node has to do with the failure.
func (x *facts) of(c Check) []*Evidence {
	if x.PullPolicy == "Never" && slices.Contains([]Check{CheckNodeDNS, CheckPodDNS, CheckRegistry, CheckPull}, c) {
		return nil
	}
	isOf := func(e *Evidence) bool { return e.Check == c }
	start := slices.IndexFunc(x.all, isOf)
	if start < 0 {
		return nil
	}
	end := start
	for end < len(x.all) && isOf(x.all[end]) {
		end++
	}
	return x.all[start:end:end]
}

// first returns the first evidence of a check that found one of the faults, else
// empty evidence.
func (x *facts) first(c Check, faults ...Fault) (*Evidence, bool) {
	return find(x.of(c), func(e *Evidence) bool { return e.failed() && slices.Contains(faults, e.Fault) })
}

func (x *facts) has(c Check, faults ...Fault) bool {
	_, ok := x.first(c, faults...)
	return ok
}

// noted returns the first evidence of a check that speaks of one of the
// faults, also where the check could not tell or could not be tried.
func (x *facts) noted(c Check, faults ...Fault) (*Evidence, bool) {
	return firstOf(x.of(c), faults...)
}

// message is the evidence of the runtime's text: the first that supports a
// cause, else the first.
func (x *facts) message() *MessageFacts { return x.text().Message() }

func (x *facts) text() *Evidence {
	if e, ok := find(x.of(CheckMessage), func(e *Evidence) bool { return e.ran() && supported(e.Message().Cause) }); ok {
		return e
	}
	e, _ := find(x.of(CheckMessage), (*Evidence).ran)
	return e
}

// intentUnrecorded reports whether the kubelet could not record that it begins the
// pull.
func (x *facts) intentUnrecorded() bool {
	return slices.ContainsFunc(x.of(CheckMessage), func(e *Evidence) bool { return e.Message().IntentUnrecorded })
}

// supported reports whether a text, or a pull that was tried again, shows a cause.
func supported(c Cause) bool { return c != "" && c != Unknown }

// reading is the cause that the runtime's text supports, Unknown if none.
func (x *facts) reading() Cause {
	if c := x.message().Cause; supported(c) {
		return c
	}
	return Unknown
}

// elsewhere is the host[:port] that fails, by the runtime's text or else by our own
// attempt, where that is not the upstream registry: a mirror, a token server, a content
// network. It is empty when our own attempt fails on the way to the registry itself.
func (x *facts) elsewhere() string {
	if e, ok := x.redirected(); ok {
		return hostOf(e.Endpoint.URL)
	}
	own := func(e *Evidence) bool { return e.Registry().Phase != PhaseToken }
	if slices.ContainsFunc(x.origin(), own) {
		return ""
	}
	if host := x.message().Host; host != "" && !x.isOwn(host) {
		return host
	}
	e, _ := find(x.origin(), func(e *Evidence) bool { return e.failed() && e.Registry().TokenHost != "" })
	host := e.Registry().TokenHost
	if n := len(e.Registry().Hops); n > 0 {
		host = hostOf(e.Registry().Hops[n-1])
	}
	if x.isOwn(host) {
		return ""
	}
	return host
}

// redirected is the failure at a place that the registry redirects to.
func (x *facts) redirected() (*Evidence, bool) {
	return find(x.origin(), func(e *Evidence) bool { return e.redirected() })
}

// redirected reports whether another endpoint has redirected here.
func (e *Evidence) redirected() bool {
	via := e.Registry().Via
	return via != "" && via != e.Endpoint.URL
}

// challenged reports whether the target of a redirect asks for credentials, as a registry does.
func (e *Evidence) challenged() bool { return e.Registry().Reserve == ReserveChallengeElsewhere }

// hostOf is the host[:port] of an endpoint.
func hostOf(endpoint string) string {
	_, host, _ := strings.Cut(endpoint, "://")
	return host
}

// isOwn reports whether a host[:port] is the upstream registry.
func (x *facts) isOwn(host string) bool {
	name := hostOnly(host)
	if name != hostOnly(x.Registry) && name != hostOnly(x.host()) {
		return false
	}
	return !strings.HasPrefix(host, name+":") || slices.Contains([]string{name + ":443", name + ":80", x.Registry, x.host()}, host)
}

// endpoint is the upstream registry as it was talked to.
func (x *facts) endpoint() string {
	for _, e := range x.of(CheckRegistry) {
		if !e.Endpoint.Mirror && e.Endpoint.URL != "" {
			return e.Endpoint.URL
		}
	}
	if x.Registry == "docker.io" {
		return "https://registry-1.docker.io"
	}
	return "https://" + x.Registry
}

// host is the endpoint's host[:port].
func (x *facts) host() string { return hostOf(x.endpoint()) }

// hostOnly cuts the port off.
func hostOnly(registry string) string {
	if i := strings.LastIndex(registry, ":"); i > strings.LastIndex(registry, "]") {
		registry = registry[:i]
	}
	return strings.Trim(registry, "[]")
}

// present and absent report what the runtime said of the image. Neither is true
// when it said nothing.
func (x *facts) present() bool {
	return slices.ContainsFunc(x.of(CheckImage), (*Evidence).passed) || x.unverified()
}

// unverified reports whether the kubelet's records keep this pod from using the
// image that is there.
func (x *facts) unverified() bool { return x.has(CheckImage, FaultNotVerified) }

func (x *facts) absent() bool { return x.has(CheckImage, FaultImageAbsent) }

// found is the evidence of an image that is on the node without any fault.
func (x *facts) found() (*Evidence, bool) {
	return find(x.of(CheckImage), func(e *Evidence) bool { return e.passed() && e.Fault == "" })
}

// asked are the answers of registry endpoints, also about the content. What is
// odd about the node's registry configuration is evidence of the same check, but
// nobody's answer.
func (x *facts) asked() []*Evidence {
	return filter(x.of(CheckRegistry), func(e *Evidence) bool { return e.ran() && e.Fault != FaultConfigInvalid && !e.ofPolicy() })
}

// ofPolicy reports whether evidence is about the node's signature policy.
func (e *Evidence) ofPolicy() bool {
	p := e.Config().Problem
	return p == ConfigPolicyRejects || p == ConfigPolicySigned
}

// attempts are the answers of the endpoints that the kubelet's own attempts
// would get: of each endpoint those with credentials where there are any, else
// the one without (kuberuntime PullImage makes no anonymous attempt after one
// with credentials, but a runtime may keep them from a mirror).
func (x *facts) attempts() []*Evidence {
	if x.seen.attempts == nil {
		all := x.asked()
		x.seen.attempts = filter(all, func(e *Evidence) bool {
			with := func(o *Evidence) bool { return o.Registry().Credential != nil && o.at() == e.at() }
			return e.Registry().Credential != nil || !slices.ContainsFunc(all, with)
		})
	}
	return x.seen.attempts
}

// at is the endpoint that was asked, wherever it redirected to.
func (e *Evidence) at() string { return cmp.Or(e.Registry().Via, e.Endpoint.URL) }

// untried reports whether the kubelet would try credentials that were not tried
// here.
func (x *facts) untried() bool {
	return slices.ContainsFunc(x.of(CheckRegistry), func(e *Evidence) bool { return e.Outcome == NotRun && e.Registry().Credential != nil })
}

// origin are the attempts that fail at the upstream registry; mirrors are left
// out.
func (x *facts) origin() []*Evidence {
	return filter(x.attempts(), func(e *Evidence) bool { return !e.Endpoint.Mirror && e.failed() })
}

// atOrigin returns the first attempt that fails at the upstream registry over one
// of the faults.
func (x *facts) atOrigin(faults ...Fault) (*Evidence, bool) { return firstOf(x.origin(), faults...) }

// The runtimes' own limits (containerd, core/remotes/docker/config, ConfigureHosts;
// containers/image has the same of net/http). For an answer there is none.
const (
	runtimeConnects    = 30 * time.Second
	runtimeShakesHands = 10 * time.Second
)

// impatient reports whether the upstream registry was too slow for whypull, and need
// not be for the runtime.
func (x *facts) impatient() bool {
	e, ok := x.atOrigin(FaultConnectionTimeout)
	return ok && x.tooSlow(e)
}

// maySucceed reports whether one of the kubelet's attempts was too slow for whypull, so
// that with the runtime's patience it need not come to what else was found.
func (x *facts) maySucceed() bool {
	return x.reading() == Unknown && slices.ContainsFunc(x.attempts(), x.tooSlow)
}

// tooSlow reports whether an answer did not come in whypull's time, and may come in
// the runtime's: the runtime's text does not say otherwise.
func (x *facts) tooSlow(e *Evidence) bool {
	r, proxy := x.reading(), e.Fault == FaultProxyFailed && e.Registry().ProxyFault == FaultConnectionTimeout
	if e.Fault != FaultConnectionTimeout && !proxy || r != Unknown && x.row(r).kin&kinTimeout != 0 || proxy && r == ProxyFailed {
		return false
	}
	if proxy { // net/http gives it a minute more
		return e.Registry().Waited < runtimeConnects
	}
	switch e.Registry().Phase { //nolint:exhaustive // the others have no limit
	case PhaseConnect:
		return e.Registry().Waited < runtimeConnects
	case PhaseTLS:
		return e.Registry().Waited < runtimeShakesHands
	}
	return true
}

// anonymous are the upstream registry's answers without credentials.
func (x *facts) anonymous() []*Evidence {
	return filter(x.asked(), func(e *Evidence) bool {
		return e.Registry().Credential == nil && !e.Endpoint.Mirror && !e.Registry().Content
	})
}

// works reports whether one of the kubelet's attempts would succeed now: the
// manifest can be pulled, and nothing was found wrong with what it holds. The
// kubelet tries its credentials until one is accepted, so that what fails for one
// of them says nothing against another.
func (x *facts) works() bool {
	if !x.seen.worksKnown {
		x.seen.works, x.seen.worksKnown = slices.ContainsFunc(x.attempts(), x.serves), true
	}
	return x.seen.works
}

// serves reports whether an attempt passes, and what it would get with the same
// credentials is in order.
func (x *facts) serves(e *Evidence) bool {
	return e.passed() && !slices.ContainsFunc(x.attempts(), func(b *Evidence) bool {
		own, other := e.Registry().Credential, b.Registry().Credential
		return b.Registry().Content && b.failed() && (own == nil || other == nil || other.Is(own))
	})
}

// whole reports whether works also speaks of what the manifest holds.
func (x *facts) whole() bool {
	return x.works() && slices.ContainsFunc(x.attempts(), func(e *Evidence) bool { return e.Registry().Content && e.passed() })
}

// encrypted reports whether the image has encrypted layers.
func (x *facts) encrypted() bool {
	return slices.ContainsFunc(x.asked(), func(e *Evidence) bool { return e.Registry().Encrypted })
}

// unfinished reports whether whypull's time was over before it had looked at what
// the manifest holds.
func (x *facts) unfinished() bool {
	return slices.ContainsFunc(x.attempts(), func(e *Evidence) bool {
		r := e.Registry()
		return r.Content && e.Outcome == Inconclusive && !r.OtherPlatform && !r.Artifact
	})
}

// ineffective is what is odd about the node's configuration, and not about the
// address of one endpoint.
func (x *facts) ineffective() (*Evidence, bool) {
	return find(x.of(CheckRegistry), func(e *Evidence) bool { return e.Fault == FaultConfigInvalid && e.Config().Endpoint == "" })
}

// wrongConfig is what is wrong with the node's configuration: what the runtime
// refuses, an address at which there is no registry, what has no effect.
func (x *facts) wrongConfig() (*Evidence, bool) {
	if e, ok := x.first(CheckRegistry, FaultConfigInvalid); ok {
		return e, true
	}
	if e, ok := x.misconfigured(); ok {
		return e, true
	}
	return x.ineffective()
}

// config is the first note of one of these problems of the node's configuration; nil
// if there is none.
func (x *facts) config(problems ...ConfigProblem) *Evidence {
	e, ok := find(x.of(CheckRegistry), func(e *Evidence) bool { return slices.Contains(problems, e.Config().Problem) })
	if !ok {
		return nil
	}
	return e
}

// misconfigured is the address in the node's configuration at which no registry's
// API can be, and where nothing was found.
func (x *facts) misconfigured() (*Evidence, bool) {
	nothing := []Fault{FaultNotFound, FaultTagNotFound, FaultRepositoryNotFound, FaultWebPage, FaultUnexpectedAnswer, FaultUnsupportedFormat}
	answers := func(e *Evidence) bool { return e.Registry().Status != 0 && !e.Endpoint.Mirror }
	return find(x.of(CheckRegistry), func(c *Evidence) bool {
		at := c.Config().Endpoint
		e, ok := find(x.attempts(), func(e *Evidence) bool { return e.failed() && e.at() == at && slices.Contains(nothing, e.Fault) })
		return c.ran() && at != "" && ok && (!e.Endpoint.Mirror || !slices.ContainsFunc(x.origin(), answers))
	})
}

// credentialed reports whether the kubelet would bring credentials.
func (x *facts) credentialed() bool {
	return slices.ContainsFunc(x.attempts(), func(e *Evidence) bool { return e.Registry().Credential != nil })
}

// matched reports whether a secret of the pod is for the image, whether or not it
// was tried.
func (x *facts) matched() bool { return slices.ContainsFunc(x.of(CheckCredentials), matches) }

// matches reports whether evidence is of an entry that is for the image.
func matches(e *Evidence) bool { return e.passed() || e.failed() && e.Fault == FaultCredentialExpired }

// unread reports whether there are secrets of which we know no more than the
// name.
func (x *facts) unread() bool {
	_, ok := x.noted(CheckCredentials, FaultSecretUnreadable)
	return ok
}

// refusal is the upstream registry's refusal of an attempt without credentials.
func (x *facts) refusal() (*Evidence, bool) {
	return find(x.anonymous(), func(e *Evidence) bool { return e.failed() && (!e.redirected() || e.challenged()) && e.Fault.Refuses() })
}

// unasked reports whether the registry denies the image without asking for credentials,
// so that containerd sends none. CRI-O and Docker may have been asked for them at /v2/.
func (x *facts) unasked() bool {
	e, ok := x.refusal()
	return ok && e.Fault == FaultForbidden && e.Registry().Phase == PhaseManifest && e.Registry().TokenHost == "" &&
		!x.credentialed() && !x.crio() && !x.docker()
}

// wantsCredentials reports whether the registry refused an attempt without any.
func (x *facts) wantsCredentials() bool {
	_, ok := x.refusal()
	return ok
}

// evasive reports whether the registry refuses the repository to anyone without
// saying whether it exists: a misspelt name looks the same.
func (x *facts) evasive() bool {
	e, ok := x.refusal()
	return ok && e.Fault != FaultUnauthorized && !e.Registry().Exists
}

// refused are the attempts whose credentials came to nothing: the pod's own where
// it has any, since whoever reads the verdict can change those.
func (x *facts) refused() []*Evidence {
	with := func(e *Evidence) bool {
		return e.Registry().Credential != nil && !e.Registry().Content && !e.redirected()
	}
	ofPod := func(e *Evidence) bool { return with(e) && !e.Registry().Credential.OfNode }
	if slices.ContainsFunc(x.origin(), ofPod) {
		return filter(x.origin(), ofPod)
	}
	return filter(x.origin(), with)
}

// rejected are the attempts whose credentials the registry did not take.
func (x *facts) rejected() []*Evidence {
	return filter(x.refused(), func(e *Evidence) bool { return e.Fault == FaultUnauthorized && !e.Registry().Unsent })
}

// unsent are the attempts whose credentials the runtime does not send.
func (x *facts) unsent() []*Evidence {
	return filter(x.refused(), func(e *Evidence) bool { return e.Registry().Unsent })
}

// denied are the attempts whose credentials the registry took, but whose
// repository it refused.
func (x *facts) denied() []*Evidence {
	return filter(x.refused(), func(e *Evidence) bool { return e.Fault == FaultForbidden || e.Fault == FaultInsufficientScope })
}

// undisclosed are the denied attempts of which the registry does not say whether
// there is such a repository.
func (x *facts) undisclosed() []*Evidence {
	return filter(x.denied(), func(e *Evidence) bool { return e.Fault == FaultInsufficientScope && !e.Registry().Exists })
}

// pageDenies reports whether a web page denies the request for the manifest at the
// registry's own address, as no registry does.
func (r *RegistryFacts) pageDenies() bool {
	return r.Page && r.Status == http403 && !r.Content && r.Phase != PhaseToken
}

// http401 is the status of a request without the credentials that are wanted, http402 that
// of one to an account that is not paid for, http403 that of one that is denied, http451 that
// of what is withheld for legal reasons.
const (
	http401 = 401
	http402 = 402
	http403 = 403
	http451 = 451
)

// refusedElsewhere is the refusal of a place that the registry redirects to for the
// manifest, or the page of such a place where the manifest or a blob should be, or that
// of a firewall in front of the registry: none has to do with the credentials for the
// registry.
func (x *facts) refusedElsewhere() (*Evidence, bool) {
	denied := filter(x.origin(), func(e *Evidence) bool { return e.Fault == FaultForbidden && e.Registry().pageDenies() })
	if len(denied) > 0 && len(denied) == len(x.origin()) {
		return denied[0], true
	}
	return find(x.origin(), func(e *Evidence) bool {
		return e.redirected() && (e.Fault == FaultWebPage || e.Fault.Refuses() && !e.Registry().Content && !e.challenged())
	})
}

// rejectedToken is the answer of a registry that rejects a token of its own token server.
func (x *facts) rejectedToken() (*Evidence, bool) {
	return find(x.origin(), func(e *Evidence) bool { return e.Registry().TokenRejected })
}

// refusedUpstream reports whether the registry is refused by the one that it caches; the
// texts are ECR's and Harbor's.
func (x *facts) refusedUpstream() bool {
	_, refused := find(x.origin(), func(e *Evidence) bool { return e.Registry().UpstreamRefuses })
	shows := func(words string) bool { return strings.Contains(x.message().Text, words) }
	return refused || x.reading() == RegistryError && (shows("pull through cache rule") || shows("http status code: 401") || shows("http status code: 403"))
}

// childMissing reports whether the runtime's text alone shows that the registry lacks a
// manifest, after it has given the one with its digest in it.
func (x *facts) childMissing() bool {
	_, ok := x.atOrigin(FaultTagNotFound)
	return !ok && x.reading() == TagNotFound && x.message().AfterManifest
}

// blockedHere reports whether the node's registries.conf blocks the registry, in the words
// of containers/image.
func (x *facts) blockedHere() bool {
	return x.reading() == PolicyBlocked && strings.Contains(x.message().Text, "is blocked in /")
}

// unsigned reports whether it is the registry that requires a signature: in the words of
// Harbor.
func (x *facts) unsigned() bool {
	return strings.Contains(x.message().Text, "image is not signed ")
}

// noAPI is the answer of a server that has no registry's API.
func (x *facts) noAPI() (*Evidence, bool) {
	return find(x.origin(), func(e *Evidence) bool { return e.Fault == FaultNotFound && e.Registry().NoAPI })
}

// refusedContents are the attempts at the upstream registry that got the
// manifest, and were refused what it names.
func (x *facts) refusedContents() []*Evidence {
	return filter(x.origin(), func(e *Evidence) bool { return e.Registry().Content && e.Fault.Refuses() })
}

// untriedMatch reports whether there are more credentials for the image than were
// tried.
func (x *facts) untriedMatch() bool {
	last := 0
	for _, e := range x.attempts() {
		if c := e.Registry().Credential; c != nil && !c.OfNode {
			last = max(last, c.Order)
		}
	}
	return x.untried() || last > 0 && len(filter(x.of(CheckCredentials), matches)) > last
}

// overdue are the refused attempts whose credentials have expired by their own
// account, by the registry's, or by their age.
func (x *facts) overdue() []*Evidence {
	return filter(slices.Concat(x.rejected(), x.denied()), func(e *Evidence) bool {
		validity := e.Registry().Credential.Validity
		return e.Registry().SaysExpired || validity == ValidityExpired || validity == ValidityOutlived
	})
}

// orAgain are attempts, and where there are none those of the pull tried again that failed
// with credentials for one of these causes.
func (x *facts) orAgain(attempts []*Evidence, causes ...Cause) []*Evidence {
	if len(attempts) > 0 {
		return attempts
	}
	return filter(x.failedRetries(), func(e *Evidence) bool { return e.Credential() != nil && slices.Contains(causes, e.Retry().Cause) })
}

// mirrors is what went wrong at mirrors: what they answer, then their names.
func (x *facts) mirrors() []*Evidence {
	bad := func(e *Evidence) bool { return e.Endpoint.Mirror && e.failed() }
	return append(filter(x.of(CheckRegistry), bad), filter(x.of(CheckNodeDNS), bad)...)
}

// replaced reports whether the node asks mirrors only, so that the upstream
// registry has no part in the failure.
func (x *facts) replaced() bool {
	own := func(e *Evidence) bool {
		return !e.Endpoint.Mirror && e.Fault != FaultConfigInvalid && e.Registry().Config == nil
	}
	return !slices.ContainsFunc(x.of(CheckRegistry), own) && !slices.ContainsFunc(x.of(CheckNodeDNS), own)
}

// pod is the lookup of the registry's name in the pod, where there was one.
func (x *facts) pod() (*Evidence, bool) {
	return find(x.of(CheckPodDNS), func(e *Evidence) bool { return e.DNS().Compared != "" })
}

// onlyIPv6 reports whether the node knows nothing but IPv6 addresses for the name
// of the upstream registry.
func (x *facts) onlyIPv6() bool {
	e, ok := find(x.of(CheckNodeDNS), func(e *Evidence) bool { return !e.Endpoint.Mirror && len(e.DNS().Addresses) > 0 })
	return ok && !slices.ContainsFunc(e.DNS().Addresses, func(a string) bool { return !strings.Contains(a, ":") })
}

// fromHostsFile reports whether the node has the address of the registry from its own
// hosts file, and the pod's DNS has none of these addresses.
func (x *facts) fromHostsFile() bool {
	node, ok := find(x.of(CheckNodeDNS), func(e *Evidence) bool { return !e.Endpoint.Mirror && len(e.DNS().Addresses) > 0 })
	pod, _ := x.pod()
	shared := func(a string) bool { return slices.Contains(node.DNS().Addresses, a) }
	return ok && node.DNS().Server == "" && !node.DNS().System && len(pod.DNS().Addresses) > 0 && !slices.ContainsFunc(pod.DNS().Addresses, shared)
}

// podReaches reports whether a connection to the registry was made from the pod.
func (x *facts) podReaches() bool {
	return slices.ContainsFunc(x.of(CheckPodDNS), func(e *Evidence) bool { return e.DNS().Connection != "" && e.passed() })
}

func (e *Evidence) passed() bool { return e.Outcome == Passed }
func (e *Evidence) failed() bool { return e.Outcome == Failed }
func (e *Evidence) ran() bool    { return e.passed() || e.failed() || e.Outcome == Inconclusive }

// detail is the sentence of a piece of evidence.
func (x *facts) detail(e *Evidence) string { return Detail(x.Failure, e) }

// none stands for evidence that there is not.
var none Evidence //nolint:gochecknoglobals // never written

// filter returns the part of all that passes.
func filter(all []*Evidence, keep func(*Evidence) bool) []*Evidence {
	var out []*Evidence
	for _, e := range all {
		if keep(e) {
			out = append(out, e)
		}
	}
	return out
}

// find returns the first that passes, else empty evidence.
func find(all []*Evidence, is func(*Evidence) bool) (*Evidence, bool) {
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i], true
	}
	return &none, false
}

// firstOf returns the first with one of the faults, else empty evidence.
func firstOf(all []*Evidence, faults ...Fault) (*Evidence, bool) {
	return find(all, func(e *Evidence) bool { return slices.Contains(faults, e.Fault) })
}
