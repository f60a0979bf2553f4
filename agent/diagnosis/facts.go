package diagnosis

import (
	"slices"
	"strings"
)

// facts is a failure with its evidence, asked in the words of the rules.
type facts struct {
	Failure
	all []Evidence
}

// of returns the evidence of a check. With the policy Never the kubelet asks
// nobody, so no answer from outside the node has to do with the failure.
func (x *facts) of(c Check) []Evidence {
	if x.PullPolicy == "Never" && outside(c) {
		return nil
	}
	return filter(x.all, func(e Evidence) bool { return e.Check == c })
}

func outside(c Check) bool {
	return slices.Contains([]Check{CheckNodeDNS, CheckPodDNS, CheckRegistry, CheckPull}, c)
}

// first returns the first evidence of a check that found one of the faults.
func (x *facts) first(c Check, faults ...Fault) (Evidence, bool) {
	return firstOf(filter(x.of(c), faulty), faults...)
}

func (x *facts) has(c Check, faults ...Fault) bool {
	_, ok := x.first(c, faults...)
	return ok
}

// noted returns the first evidence of a check that speaks of one of the
// faults, also where the check could not tell or could not be tried.
func (x *facts) noted(c Check, faults ...Fault) (Evidence, bool) {
	return firstOf(x.of(c), faults...)
}

// message is the evidence of the runtime's text: the first that supports a
// cause, else the first.
func (x *facts) message() Evidence {
	all := filter(x.of(CheckMessage), ran)
	i := slices.IndexFunc(all, func(e Evidence) bool { return e.Cause != "" && e.Cause != Unknown })
	switch {
	case i >= 0:
		return all[i]
	case len(all) > 0:
		e := all[0]
		e.Cause = Unknown
		return e
	default:
		return Evidence{Cause: Unknown}
	}
}

// reading is the cause that the runtime's text supports, Unknown if none.
func (x *facts) reading() Cause { return x.message().Cause }

// elsewhere is the host[:port] that the runtime's text blames, where that is not
// the image's own registry: a mirror, a token server, a content network. It is
// empty when our own attempt fails on the way to the registry itself.
func (x *facts) elsewhere() string {
	host := x.message().Host
	if e, ok := x.redirected(); ok {
		return hostOf(e.Endpoint)
	}
	own := func(e Evidence) bool { return e.Phase != PhaseToken }
	if host == "" || x.isOwn(host) || slices.ContainsFunc(x.origin(), own) {
		return ""
	}
	return host
}

// redirected is the failure at a place that the registry sends its callers to
// for blobs.
func (x *facts) redirected() (Evidence, bool) {
	all := filter(x.origin(), func(e Evidence) bool { return e.Via != "" && e.Via != e.Endpoint })
	if len(all) == 0 {
		return Evidence{}, false
	}
	return all[0], true
}

// hostOf is the host[:port] of an endpoint.
func hostOf(endpoint string) string {
	_, host, _ := strings.Cut(endpoint, "://")
	return host
}

// isOwn tells that a host[:port] is the image's own registry.
func (x *facts) isOwn(host string) bool {
	return hostOnly(host) == hostOnly(x.Registry) || hostOnly(host) == hostOnly(x.host())
}

// endpoint is the image's own registry as it was talked to.
func (x *facts) endpoint() string {
	for _, e := range x.of(CheckRegistry) {
		if !e.Mirror && e.Endpoint != "" {
			return e.Endpoint
		}
	}
	if x.Registry == "docker.io" {
		return "https://registry-1.docker.io"
	}
	return "https://" + x.Registry
}

// host is the endpoint's host[:port].
func (x *facts) host() string {
	return hostOf(x.endpoint())
}

// hostOnly cuts the port off.
func hostOnly(registry string) string {
	if i := strings.LastIndex(registry, ":"); i > strings.LastIndex(registry, "]") {
		registry = registry[:i]
	}
	return strings.Trim(registry, "[]")
}

// present and absent tell what the runtime said of the image. Neither is true
// when it said nothing.
func (x *facts) present() bool {
	return slices.ContainsFunc(x.of(CheckImage), sound) || x.unverified()
}

// unverified tells that the kubelet's records keep this pod from using the
// image that is there.
func (x *facts) unverified() bool { return x.has(CheckImage, FaultNotVerified) }

func (x *facts) absent() bool { return x.has(CheckImage, FaultImageAbsent) }

// asked are the answers of registry endpoints, also about the content. What is odd about the node's
// registry configuration is evidence of the same check, but nobody's answer.
func (x *facts) asked() []Evidence {
	return filter(x.of(CheckRegistry), func(e Evidence) bool { return ran(e) && e.Fault != FaultConfigInvalid })
}

// attempts are the answers of the endpoints that the kubelet's own attempts
// would get: of each endpoint those with credentials where there are any, else
// the one without (kuberuntime PullImage makes no anonymous attempt after one
// with credentials, but a runtime may keep them from a mirror).
func (x *facts) attempts() []Evidence {
	all := x.asked()
	with := map[string]bool{}
	for _, e := range all {
		with[e.at()] = with[e.at()] || e.Credential != nil
	}
	return filter(all, func(e Evidence) bool { return e.Credential != nil || !with[e.at()] })
}

// at is the endpoint that was asked, wherever it sent.
func (e Evidence) at() string {
	if e.Via != "" {
		return e.Via
	}
	return e.Endpoint
}

// untried tells that the kubelet would try a login that was not tried here.
func (x *facts) untried() bool {
	return slices.ContainsFunc(x.of(CheckRegistry), func(e Evidence) bool { return e.Outcome == NotRun && e.Credential != nil })
}

// origin are the attempts that fail at the image's own registry; mirrors are
// left out.
func (x *facts) origin() []Evidence {
	return filter(x.attempts(), func(e Evidence) bool { return !e.Mirror && faulty(e) })
}

// anonymous are the origin's answers without credentials.
func (x *facts) anonymous() []Evidence {
	return filter(x.asked(), func(e Evidence) bool { return e.Credential == nil && !e.Mirror && !e.Content })
}

// works tells that one of the kubelet's attempts would succeed now: the
// manifest may be had, and nothing was found wrong with what it holds. The
// kubelet tries its logins until one is good, so that what fails for one of them
// says nothing against another.
func (x *facts) works() bool {
	all := x.attempts()
	bad := filter(all, func(e Evidence) bool { return e.Content && faulty(e) })
	return slices.ContainsFunc(all, func(e Evidence) bool {
		return sound(e) && !slices.ContainsFunc(bad, func(b Evidence) bool {
			return b.Credential == nil || e.Credential == nil || b.Credential.Is(e.Credential)
		})
	})
}

// whole tells that works also speaks of what the manifest holds.
func (x *facts) whole() bool {
	return x.works() && slices.ContainsFunc(x.attempts(), func(e Evidence) bool { return e.Content && sound(e) })
}

// credentialed tells that the kubelet would bring credentials.
func (x *facts) credentialed() bool {
	return slices.ContainsFunc(x.attempts(), func(e Evidence) bool { return e.Credential != nil })
}

// matched tells that a secret of the pod is for the image, whether or not it
// was tried.
func (x *facts) matched() bool { return slices.ContainsFunc(x.of(CheckCredentials), matches) }

// matches tells that evidence is of an entry that is for the image.
func matches(e Evidence) bool { return sound(e) || faulty(e) && e.Fault == FaultCredentialExpired }

// unread tells that there are secrets of which we know no more than the name.
func (x *facts) unread() bool {
	_, ok := x.noted(CheckCredentials, FaultSecretUnreadable)
	return ok
}

// refusal is the origin's refusal of an attempt without credentials.
func (x *facts) refusal() (Evidence, bool) {
	return firstOf(filter(x.anonymous(), faulty), FaultUnauthorized, FaultInsufficientScope, FaultForbidden)
}

// wantsCredentials tells that the registry refused an attempt without any.
func (x *facts) wantsCredentials() bool {
	_, ok := x.refusal()
	return ok
}

// evasive tells that the registry refuses the repository to anyone without
// saying whether it exists: a misspelt name looks the same.
func (x *facts) evasive() bool {
	e, ok := x.refusal()
	return ok && e.Fault != FaultUnauthorized && !e.Exists
}

// denied are the attempts whose login the registry took, but whose repository
// it refused.
func (x *facts) denied() []Evidence {
	return filter(x.refused(), func(e Evidence) bool { return e.Fault == FaultForbidden || e.Fault == FaultInsufficientScope })
}

// refused are the attempts whose login came to nothing: the pod's own where it
// has any, since whoever reads the verdict can change those.
func (x *facts) refused() []Evidence {
	all := filter(x.origin(), func(e Evidence) bool { return e.Credential != nil && !e.Content })
	if own := filter(all, func(e Evidence) bool { return !e.Credential.OfNode }); len(own) > 0 {
		return own
	}
	return all
}

// refusedContents are the attempts at the image's own registry that got the
// manifest, and were refused what it names.
func (x *facts) refusedContents() []Evidence {
	return filter(x.origin(), func(e Evidence) bool {
		return e.Content && slices.Contains([]Fault{FaultForbidden, FaultUnauthorized, FaultInsufficientScope}, e.Fault)
	})
}

// untriedMatch tells that there are more logins for the image than were tried.
func (x *facts) untriedMatch() bool {
	last := 0
	for _, e := range x.attempts() {
		if e.Credential != nil && !e.Credential.OfNode {
			last = max(last, e.Credential.Order)
		}
	}
	return x.untried() || last > 0 && len(filter(x.of(CheckCredentials), matches)) > last
}

// rejected are the attempts whose login the registry did not take.
func (x *facts) rejected() []Evidence {
	return filter(x.refused(), func(e Evidence) bool { return e.Fault == FaultUnauthorized })
}

// hushed are the denied attempts of which the registry does not say whether
// there is such a repository.
func (x *facts) hushed() []Evidence {
	return filter(x.denied(), func(e Evidence) bool { return e.Fault == FaultInsufficientScope && !e.Exists })
}

// overdue are the refused attempts whose login is over its time by its own
// account, by the registry's, or by its age.
func (x *facts) overdue() []Evidence {
	return filter(append(x.rejected(), x.denied()...), func(e Evidence) bool {
		return e.SaysExpired || e.Credential.Validity == ValidityExpired || e.Credential.Validity == ValidityOutlived
	})
}

// failedAgainWith are the logins with which the pull, tried again, failed for one of these
// causes.
func (x *facts) failedAgainWith(causes ...Cause) []Evidence {
	return filter(x.failedRetries(), func(e Evidence) bool { return e.Credential != nil && slices.Contains(causes, e.Cause) })
}

// orAgain are attempts, and where there are none those of the pull tried again.
func (x *facts) orAgain(attempts []Evidence, causes ...Cause) []Evidence {
	if len(attempts) > 0 {
		return attempts
	}
	return x.failedAgainWith(causes...)
}

// mirrors is what went wrong at mirrors.
func (x *facts) mirrors() []Evidence {
	return filter(append(x.of(CheckRegistry), x.of(CheckNodeDNS)...), func(e Evidence) bool { return e.Mirror && faulty(e) })
}

// replaced tells that the node asks mirrors only, so that the image's own
// registry has no part in the failure.
func (x *facts) replaced() bool {
	return !slices.ContainsFunc(append(x.of(CheckRegistry), x.of(CheckNodeDNS)...), func(e Evidence) bool {
		return !e.Mirror && e.Fault != FaultConfigInvalid
	})
}

// pod is the lookup of the registry's name in the pod, where there was one.
func (x *facts) pod() (Evidence, bool) {
	all := filter(x.of(CheckPodDNS), func(e Evidence) bool { return e.Compared != "" })
	if len(all) == 0 {
		return Evidence{}, false
	}
	return all[0], true
}

// onlyIPv6 tells that the node knows nothing but IPv6 addresses for the name of
// the image's own registry.
func (x *facts) onlyIPv6() bool {
	own := filter(x.of(CheckNodeDNS), func(e Evidence) bool { return !e.Mirror && len(e.Addresses) > 0 })
	return len(own) > 0 && !slices.ContainsFunc(own[0].Addresses, func(a string) bool { return !strings.Contains(a, ":") })
}

// podReaches tells that a connection to the registry was made from the pod.
func (x *facts) podReaches() bool {
	return slices.ContainsFunc(x.of(CheckPodDNS), func(e Evidence) bool { return e.Phase == PhaseConnect && sound(e) })
}

func sound(e Evidence) bool  { return e.Outcome == Passed }
func faulty(e Evidence) bool { return e.Outcome == Failed }
func ran(e Evidence) bool    { return sound(e) || faulty(e) || e.Outcome == Inconclusive }

func filter(all []Evidence, keep func(Evidence) bool) []Evidence {
	var out []Evidence
	for _, e := range all {
		if keep(e) {
			out = append(out, e)
		}
	}
	return out
}

func firstOf(all []Evidence, faults ...Fault) (Evidence, bool) {
	i := slices.IndexFunc(all, func(e Evidence) bool { return slices.Contains(faults, e.Fault) })
	if i < 0 {
		return Evidence{}, false
	}
	return all[i], true
}
