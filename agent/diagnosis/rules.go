package diagnosis

import (
	"slices"
	"strings"
)

// Diagnose decides: it reads the rules from the top, and the first that
// applies gives the cause. It always answers; Unknown where nothing applies.
func Diagnose(f Failure, evidence []Evidence) Verdict {
	x := &facts{Failure: f, all: sorted(evidence)}
	cause, confidence := x.judged()
	return Verdict{
		Failure:    f,
		Cause:      cause,
		Confidence: confidence,
		Summary:    clip(summary(cause, x), SummaryLimit),
		Remedy:     remedy(cause, x),
		Evidence:   x.all,
	}
}

// judged is what the rules say, held against the pull tried again.
func (x *facts) judged() (Cause, Confidence) { return x.retried(x.decide()) }

func (x *facts) decide() (Cause, Confidence) {
	for _, r := range rules() {
		if c := r.when(x); c != "" {
			return r.cause, x.capped(c)
		}
	}
	if c := x.reading(); c != Unknown {
		return c, Suspected
	}
	return Unknown, Suspected
}

// capped: what the runtime has not said, of a pull that it may not have begun,
// is at most Likely.
func (x *facts) capped(c Confidence) Confidence {
	if x.Stall == StallUnbegun || x.Kind == KindSandbox {
		return weaker(Likely, c)
	}
	return c
}

// sorted puts evidence in the order of the checks; within a check the order
// of arrival stays, which is the kubelet's or the runtime's own.
func sorted(evidence []Evidence) []Evidence {
	order := Checks()
	out := slices.Clone(evidence)
	slices.SortStableFunc(out, func(a, b Evidence) int {
		return slices.Index(order, a.Check) - slices.Index(order, b.Check)
	})
	return out
}

// rule gives a cause when its condition holds; the condition returns the
// confidence, or "" when it does not apply.
type rule struct {
	cause Cause
	when  func(*facts) Confidence
}

// rules is the whole decision, read from the top.
func rules() []rule {
	return []rule{
		// The image of the sandbox: the rules below say why it cannot be had.
		{SandboxImageFailed, sandboxImage},
		// A transfer that has begun and stands still is no failure yet, whatever
		// the registry says now.
		{PullStalled, stalled(FaultStalled, FaultWaitsForIt)},

		// The pod's own words: nothing is asked of a registry.
		{InvalidImageName, confirmedBy(InvalidImageName, CheckImage, FaultNameInvalid)},
		{ImageNotPresent, neverAndAbsent},
		{NotReproducible, usableNow},
		{ImageNotVerifiedForPod, neverAndPresent},
		{ImageNotPresent, neverAndSilent},
		{RuntimeError, runtimeDown},

		// A look at the node's file systems, before anybody else is blamed.
		{DiskFull, diskFull},

		// The kubelet's and the runtime's own refusals, which no probe can see.
		{ShortNameAmbiguous, confirmedBy(ShortNameAmbiguous, CheckRegistry, FaultNameAmbiguous)},
		{ShortNameAmbiguous, textOnly(ShortNameAmbiguous)},
		{SignatureRejected, textOnly(SignatureRejected)},
		{PolicyBlocked, atOrigin(PolicyBlocked, FaultPolicyBlocked)},
		{PolicyBlocked, textOnly(PolicyBlocked)},
		{PullThrottled, textOnly(PullThrottled)},
		// Behind a proxy the node does not resolve the registry's name itself.
		{ProxyFailed, atOrigin(ProxyFailed, FaultProxyFailed)},
		{ProxyFailed, pageOfProxy},
		{ProxyFailed, proxyByText},

		// One malformed entry makes the kubelet give up before any request.
		{PullSecretMalformed, confirmedBy(PullSecretMalformed, CheckCredentials, FaultSecretMalformed)},

		// A node's setting that would matter for this registry and is not in effect.
		{RegistryConfigInvalid, configRefused},
		{RegistryConfigInvalid, configWithoutEffect},

		// A mirror's answer is what the runtime shows, or takes.
		{MirrorFailed, mirrorHides},
		{MirrorFailed, mirrorReplaces},

		// The way to the registry, step by step.
		{RegistryNameNotFound, name(RegistryNameNotFound, FaultNameNotFound)},
		{DNSFailure, name(DNSFailure, FaultDNSFailure)},
		{RegistryNameNotFound, atOrigin(RegistryNameNotFound, FaultNameNotFound)},
		{DNSFailure, atOrigin(DNSFailure, FaultDNSFailure)},
		{ConnectionRefused, noWay(ConnectionRefused, FaultConnectionRefused)},
		{ConnectionTimeout, noWay(ConnectionTimeout, FaultConnectionTimeout)},
		{NetworkUnreachable, noWay(NetworkUnreachable, FaultNetworkUnreachable)},
		{TLSUntrusted, atOrigin(TLSUntrusted, FaultTLSUntrusted)},
		{TLSHostnameMismatch, atOrigin(TLSHostnameMismatch, FaultTLSHostnameMismatch)},
		{TLSExpired, atOrigin(TLSExpired, FaultTLSExpired)},
		{TLSHandshakeFailed, atOrigin(TLSHandshakeFailed, FaultTLSHandshakeFailed)},
		{HTTPSMismatch, atOrigin(HTTPSMismatch, FaultHTTPSMismatch)},
		{RateLimited, unlessUntried(atOrigin(RateLimited, FaultRateLimited))},
		{RateLimited, limitedForOthers},
		{RegistryError, atOrigin(RegistryError, FaultServerError)},
		{RegistryError, pageOfTokenServer},
		{RegistryError, unexpected},

		{RepositoryNotFound, pageNotFound},

		// The manifest may be had, and what it holds is of no use.
		{PlatformMismatch, atOrigin(PlatformMismatch, FaultPlatformMismatch)},
		{UnsupportedFormat, atOrigin(UnsupportedFormat, FaultUnsupportedFormat, FaultWebPage)},
		{ContentCorrupt, atOrigin(ContentCorrupt, FaultContentCorrupt, FaultContentMissing)},
		{AccessDenied, contentRefused},

		// The registry knows the caller well enough to say what is missing.
		{TagNotFound, atOrigin(TagNotFound, FaultTagNotFound)},
		{RepositoryNotFound, atOrigin(RepositoryNotFound, FaultRepositoryNotFound)},
		{TagNotFound, notFoundAnywhere},

		// Credentials: what the pod brings, then what it fails to bring.
		{CredentialsExpired, unlessUntried(expired)},
		{DeniedOrNotFound, unlessUntried(scopeRefusedToLogin)},
		{AccessDenied, unlessUntried(accessDenied)},
		{CredentialsRejected, unlessUntried(credentialsRejected)},
		{CredentialsRejected, unreadable(CredentialsRejected)},
		{CredentialsExpired, unreadable(CredentialsExpired)},
		{AccessDenied, unreadable(AccessDenied)},
		{CredentialsRejected, othersLogin},
		{AccessDenied, forbiddenToAnyone},
		{CredentialProviderFailed, providerFailed},
		{CredentialProviderFailed, providerSilent},
		{PullSecretMissing, wantedBut(PullSecretMissing, FaultSecretMissing)},
		{PullSecretMalformed, wantedBut(PullSecretMalformed, FaultSecretWrongType, FaultSecretEmpty)},
		{PullSecretNoMatch, wantedBut(PullSecretNoMatch, FaultNoMatchingCredential)},
		{ImageNotVerifiedForPod, presentButUnproved},
		{DeniedOrNotFound, scopeRefusedToAnyone},
		{AuthenticationRequired, wantedBut(AuthenticationRequired, FaultNoCredentials)},
		{AuthenticationRequired, unlessWorks(unreadable(AuthenticationRequired))},
		{DeniedOrNotFound, unlessWorks(unreadable(DeniedOrNotFound))},

		// Only mirrors are asked, and none has helped.
		{MirrorFailed, onlyMirrors},

		// All that we can ask passes now.
		{NotReproducible, worksNow},
	}
}

// sandboxImage: a pod has no sandbox, and there is a cause why its image cannot
// be had.
func sandboxImage(x *facts) Confidence {
	if x.Kind != KindSandbox {
		return ""
	}
	_, confidence := x.ofSandbox()
	return confidence
}

// ofSandbox is the cause that keeps the sandbox's image from the node; "" and
// no confidence where it could be had.
func (x *facts) ofSandbox() (Cause, Confidence) {
	inner := *x
	inner.Kind = KindContainer
	cause, confidence := inner.decide()
	if cause == Unknown || cause == NotReproducible || cause == SandboxImageFailed {
		return "", ""
	}
	return cause, confidence
}

// stalled: the runtime's own books show that a pull stands still.
func stalled(faults ...Fault) func(*facts) Confidence {
	return func(x *facts) Confidence {
		if !x.has(CheckPull, faults...) {
			return ""
		}
		return Confirmed
	}
}

// diskFull: a file system that a pull writes to is full, or has less room than
// the image needs; or may have less by an estimate, and the runtime's text says
// that it does.
func diskFull(x *facts) Confidence {
	full := filter(x.of(CheckPull), func(e Evidence) bool { return faulty(e) && e.Fault == FaultDiskFull })
	if slices.ContainsFunc(full, func(e Evidence) bool { return !e.Estimated }) {
		return x.agreed(DiskFull)
	}
	if len(full) > 0 {
		return weaker(Likely, x.agreed(DiskFull))
	}
	if _, ok := x.noted(CheckPull, FaultDiskFull); ok && x.reading() == DiskFull {
		return Likely
	}
	return ""
}

// configRefused: the runtime refuses the pull over the node's configuration.
func configRefused(x *facts) Confidence {
	if !x.has(CheckRegistry, FaultConfigInvalid) {
		return ""
	}
	return x.agreed(RegistryConfigInvalid)
}

// configWithoutEffect: a setting for this registry is not in effect, and the
// registry cannot be talked to without one.
func configWithoutEffect(x *facts) Confidence {
	e, ok := x.noted(CheckRegistry, FaultConfigInvalid)
	if !ok || e.Outcome != Inconclusive || x.works() {
		return ""
	}
	trust := []Fault{FaultTLSUntrusted, FaultTLSHandshakeFailed, FaultHTTPSMismatch}
	if _, ok := firstOf(x.origin(), trust...); ok {
		return Likely
	}
	if !perRegistry(e.ConfigFile) { // it need not have to do with this one
		return ""
	}
	if !slices.ContainsFunc(x.of(CheckRegistry), func(e Evidence) bool { return e.Endpoint != "" }) {
		return Likely // it leaves no endpoint to ask
	}
	if _, ok := firstOf(x.origin(), FaultConnectionRefused, FaultConnectionTimeout, FaultNetworkUnreachable); !ok &&
		!x.has(CheckNodeDNS, FaultNameNotFound, FaultDNSFailure) {
		return ""
	}
	return Likely
}

// perRegistry tells a file that is about one registry, and that the runtime
// reads anew for each pull.
func perRegistry(file string) bool {
	return strings.HasSuffix(file, "/hosts.toml") || strings.HasSuffix(file, "/host.toml")
}

// confirmedBy applies when a check found the fault.
func confirmedBy(cause Cause, check Check, fault Fault) func(*facts) Confidence {
	return func(x *facts) Confidence {
		if !x.has(check, fault) {
			return ""
		}
		return x.agreed(cause)
	}
}

// pageOfProxy: a web page where the registry's answer should be, and a proxy in
// between.
func pageOfProxy(x *facts) Confidence {
	if e, ok := firstOf(x.origin(), FaultWebPage); !ok || e.Proxy == "" || x.works() {
		return ""
	}
	return Likely
}

// pageOfTokenServer: a web page where a token should be.
func pageOfTokenServer(x *facts) Confidence {
	if e, ok := firstOf(x.origin(), FaultWebPage); !ok || e.Phase != PhaseToken || x.works() {
		return ""
	}
	return x.agreed(RegistryError)
}

// unexpected: an answer that no registry should give, and that is none of the
// others.
func unexpected(x *facts) Confidence {
	return weaker(Likely, atOrigin(RegistryError, FaultUnexpectedAnswer)(x))
}

// pageNotFound: a web server's page that says that there is nothing. Whether it
// is a registry at all is not said.
func pageNotFound(x *facts) Confidence {
	if e, ok := firstOf(x.origin(), FaultWebPage); !ok || e.Status != 404 {
		return ""
	}
	return weaker(Likely, atOrigin(RepositoryNotFound, FaultWebPage)(x))
}

// proxyByText: the text speaks of a proxy, and whypull has not come through one
// by itself.
func proxyByText(x *facts) Confidence {
	through := func(e Evidence) bool { return e.Proxy != "" }
	if x.works() && slices.ContainsFunc(x.asked(), through) {
		return ""
	}
	return textOnly(ProxyFailed)(x)
}

// mirrorHides: both a mirror and the image's own registry fail, each in its own
// way, and the runtime shows the mirror's (containerd's resolver returns one
// host's error of several).
func mirrorHides(x *facts) Confidence {
	cause, confidence := x.hidden()
	if x.works() || cause == "" || !x.showsMirror() {
		return ""
	}
	return confidence
}

// hidden is the cause at the image's own registry, "" where it has none or
// where a mirror fails in the same way.
func (x *facts) hidden() (Cause, Confidence) {
	if len(x.mirrors()) == 0 || x.replaced() {
		return "", ""
	}
	cause, confidence := x.behind().decide()
	if cause == Unknown || cause == NotReproducible || cause == RegistryConfigInvalid {
		return "", ""
	}
	if slices.ContainsFunc(x.mirrors(), func(e Evidence) bool { return akin(pointsTo(e.Fault), cause) }) {
		return "", ""
	}
	return cause, confidence
}

// behind is what would be known if there were no mirror, and no text either.
func (x *facts) behind() *facts {
	own := filter(x.all, func(e Evidence) bool { return !e.Mirror && e.Check != CheckMessage })
	return &facts{Failure: x.Failure, all: own}
}

// showsMirror tells that the runtime's text is a mirror's answer, and not that
// of the image's own registry.
func (x *facts) showsMirror() bool {
	e := x.message()
	at := func(m Evidence) bool { return hostOf(m.Endpoint) == e.Host }
	switch {
	case e.Host != "":
		return slices.ContainsFunc(x.mirrors(), at)
	case e.Cause == Unknown:
		return false
	}
	return x.ofMirror(e.Cause)
}

// mirrorReplaces: a mirror has the manifest, so that the runtime takes it from
// there, and what it holds is of no use though the origin's may be.
func mirrorReplaces(x *facts) Confidence {
	bad := x.spoilt()
	own := func(e Evidence) bool { return e.Content && faulty(e) }
	if len(bad) == 0 || slices.ContainsFunc(x.origin(), own) {
		return ""
	}
	return x.agreed(MirrorFailed)
}

// spoilt are the mirrors' answers that the runtime takes for the image's, and
// fails over: what the manifest holds, or a page in its place.
func (x *facts) spoilt() []Evidence {
	works := x.works() // with another login than what fails
	return filter(x.mirrors(), func(e Evidence) bool {
		return e.Content && !works || (e.Fault == FaultWebPage || e.Fault == FaultUnsupportedFormat) && e.Status == 200
	})
}

// contentRefused: the manifest may be had, a blob of it not, with any login that
// the kubelet would try.
func contentRefused(x *facts) Confidence {
	all := x.refusedContents()
	if len(all) == 0 || x.works() {
		return ""
	}
	if e := all[0]; e.Via != "" && e.Via != e.Endpoint || x.untriedMatch() { // it need not be about the login, or the kubelet has one more
		return weaker(Likely, x.agreed(AccessDenied))
	}
	return x.agreed(AccessDenied)
}

// name applies when the name of the image's own registry does not resolve, no
// mirror serves instead, and the runtime has not reached the registry either.
func name(cause Cause, fault Fault) func(*facts) Confidence {
	return unlessWorks(func(x *facts) Confidence {
		if _, ok := x.unresolved(fault); !ok || x.reached() {
			return ""
		}
		return x.agreed(cause)
	})
}

// unresolved is the failed lookup of the image's own registry.
func (x *facts) unresolved(fault Fault) (Evidence, bool) {
	return firstOf(filter(x.of(CheckNodeDNS), func(e Evidence) bool { return !e.Mirror && faulty(e) }), fault)
}

// reached tells that the runtime's text is an answer of the image's own
// registry. Behind a proxy the node need not resolve the registry's name, and
// which proxy the runtime has cannot be known.
func (x *facts) reached() bool {
	e := x.message()
	if e.BehindProxy {
		return true
	}
	if e.Host != "" && !x.isOwn(e.Host) || x.ofMirror(e.Cause) {
		return false
	}
	refusals := []Cause{AuthenticationRequired, CredentialsRejected, AccessDenied, DeniedOrNotFound, RegistryError}
	return e.AfterManifest || slices.Contains(refusals, e.Cause) || slices.Contains(loggedIn(), e.Cause)
}

// atOrigin applies when an attempt at the image's own registry ended in one of
// the faults and none succeeded.
func atOrigin(cause Cause, faults ...Fault) func(*facts) Confidence {
	return unlessWorks(func(x *facts) Confidence {
		if _, ok := firstOf(x.origin(), faults...); !ok {
			return ""
		}
		return x.agreed(cause)
	})
}

// noWay is atOrigin for connections. That whypull does not come through to a
// registry that has answered the runtime says that the runtime has another way:
// a proxy of which nothing is known here.
func noWay(cause Cause, fault Fault) func(*facts) Confidence {
	return func(x *facts) Confidence {
		e, _ := firstOf(x.origin(), fault)
		if !e.Content && e.Phase != PhaseToken && e.Proxy == "" && x.reached() {
			return ""
		}
		return atOrigin(cause, fault)(x)
	}
}

func unlessWorks(when func(*facts) Confidence) func(*facts) Confidence {
	return func(x *facts) Confidence {
		if x.works() {
			return ""
		}
		return when(x)
	}
}

func textOnly(cause Cause) func(*facts) Confidence {
	return func(x *facts) Confidence {
		if x.reading() != cause {
			return ""
		}
		return Suspected
	}
}

// agreed is Confirmed, unless the runtime's text speaks of something else: then
// what we reproduced need not be what failed. A text about a mirror that fails
// for us too is no contradiction: runtimes show one endpoint's error of several.
func (x *facts) agreed(cause Cause) Confidence {
	r := x.reading()
	if hidden, _ := x.hidden(); r == Unknown && hidden != "" && cause != MirrorFailed {
		return Likely // the runtime may have shown either
	}
	if r == Unknown || akin(r, cause) || x.ofMirror(r) {
		return Confirmed
	}
	return Likely
}

// ofMirror tells that a mirror shows the fault that the runtime's text is about.
func (x *facts) ofMirror(reading Cause) bool {
	return slices.ContainsFunc(x.mirrors(), func(e Evidence) bool { return akin(reading, pointsTo(e.Fault)) })
}

// pointsTo is the cause that an endpoint's fault stands for by itself. Most
// have the same name.
func pointsTo(f Fault) Cause {
	switch f {
	case FaultNameNotFound:
		return RegistryNameNotFound
	case FaultUnauthorized:
		return AuthenticationRequired
	case FaultInsufficientScope, FaultForbidden:
		return AccessDenied
	case FaultNotFound:
		return TagNotFound
	case FaultServerError, FaultUnexpectedAnswer:
		return RegistryError
	case FaultWebPage:
		return UnsupportedFormat
	case FaultContentMissing:
		return ContentCorrupt
	default:
		return Cause(f)
	}
}

func weaker(a, b Confidence) Confidence {
	order := []Confidence{"", Suspected, Likely, Confirmed}
	return order[min(slices.Index(order, a), slices.Index(order, b))]
}

// Weaker reports whether c is less than the other confidence.
func (c Confidence) Weaker(other Confidence) bool { return c != other && weaker(c, other) == c }

func neverAndAbsent(x *facts) Confidence {
	if x.PullPolicy != "Never" || !x.absent() {
		return ""
	}
	return Confirmed
}

// neverAndPresent: EnsureImageExists ends with ErrImageNeverPull for an image
// that is there only when MustAttemptImagePull wants the pod to prove its
// credentials first (KEP-2535), and words it as if the image were absent.
// Without the records, the image may as well have come since.
func neverAndPresent(x *facts) Confidence {
	if x.PullPolicy != "Never" || !x.present() || x.reading() != ImageNotPresent && !x.unverified() {
		return ""
	}
	if r := x.reading(); x.unverified() && (r == ImageNotPresent || r == Unknown) {
		return Confirmed
	}
	return Likely
}

// usableNow: the image is on the node, and the kubelet's records allow it to this
// pod, so that it neither pulls nor refuses when it tries again.
func usableNow(x *facts) Confidence {
	e, ok := firstOf(filter(x.of(CheckImage), sound), "")
	if !ok || e.Use != UseAllowed || x.PullPolicy == "Always" || x.reading() == RuntimeError {
		return ""
	}
	return Confirmed
}

// neverAndSilent: the kubelet says that the image is not there, and the runtime
// cannot be asked.
func neverAndSilent(x *facts) Confidence {
	if x.PullPolicy != "Never" || x.reading() != ImageNotPresent {
		return ""
	}
	return Suspected
}

// presentButUnproved: with IfNotPresent the kubelet pulls an image that is on
// the node only for a pod that has to prove its credentials (KEP-2535).
func presentButUnproved(x *facts) Confidence {
	if x.PullPolicy != "IfNotPresent" || !x.present() || x.works() || !x.has(CheckCredentials, FaultNoCredentials) {
		return ""
	}
	if x.unverified() && x.wants() != "" {
		return x.agreed(ImageNotVerifiedForPod)
	}
	return weaker(x.wants(), weaker(Likely, x.agreed(ImageNotVerifiedForPod)))
}

// runtimeDown: the runtime does not answer us, and has not answered the kubelet.
func runtimeDown(x *facts) Confidence {
	e, ok := x.noted(CheckImage, FaultRuntimeUnready)
	switch {
	case !ok || e.Outcome == NotRun || x.Reason != "ImageInspectError" && x.reading() != RuntimeError:
		return ""
	case faulty(e):
		return Confirmed
	default:
		return Likely
	}
}

// notFoundAnywhere: the manifest is not there, and the registry would not say
// whether the repository is.
func notFoundAnywhere(x *facts) Confidence {
	if x.works() {
		return ""
	}
	if _, ok := firstOf(x.origin(), FaultNotFound); !ok {
		return ""
	}
	return Likely
}

// expired: the registry refuses the login, and the login itself, the registry's
// words to us or its words to the runtime say why.
func expired(x *facts) Confidence {
	if x.works() || len(x.denied())+len(x.rejected()) == 0 {
		return ""
	}
	certain := func(e Evidence) bool { return e.SaysExpired || e.Credential.Validity == ValidityExpired }
	switch over := x.overdue(); {
	case slices.ContainsFunc(over, certain):
		return x.agreed(CredentialsExpired)
	case len(over) > 0, x.reading() == CredentialsExpired:
		return Likely
	}
	return ""
}

// scopeRefusedToLogin: the registry takes the login, gives it no right to the
// repository, and says the same of repositories that do not exist.
func scopeRefusedToLogin(x *facts) Confidence {
	if x.works() || len(x.hushed()) == 0 || len(x.hushed()) < len(x.denied()) {
		return ""
	}
	return x.agreed(DeniedOrNotFound)
}

// accessDenied: a registry that takes the login forbids the repository. A token
// server that forbids may as well mean the login.
func accessDenied(x *facts) Confidence {
	if x.works() || len(x.denied()) == 0 {
		return ""
	}
	if !slices.ContainsFunc(x.denied(), func(e Evidence) bool { return e.Phase != PhaseToken || e.Exists }) {
		return weaker(Likely, x.agreed(AccessDenied))
	}
	return x.agreed(AccessDenied)
}

func credentialsRejected(x *facts) Confidence {
	if x.works() || len(x.rejected()) == 0 {
		return ""
	}
	return x.agreed(CredentialsRejected)
}

// providerFailed: the text says why the pull went out without credentials, and
// the registry does want some.
func providerFailed(x *facts) Confidence {
	if x.works() || x.credentialed() || !x.wantsCredentials() || x.reading() != CredentialProviderFailed {
		return ""
	}
	return Likely
}

// unlessUntried makes a verdict on logins no more than likely where one that the
// kubelet would try was not tried.
func unlessUntried(when func(*facts) Confidence) func(*facts) Confidence {
	return func(x *facts) Confidence {
		if c := when(x); !x.untried() || c == "" {
			return c
		}
		return Likely
	}
}

// limitedForOthers: whypull leaves the registry alone since it limits somebody
// else on this node, and the text says the same of this pull.
func limitedForOthers(x *facts) Confidence {
	e, ok := x.noted(CheckRegistry, FaultRateLimited)
	if !ok || e.Outcome != NotRun || x.works() || x.reading() != RateLimited {
		return ""
	}
	return Likely
}

// othersLogin: the text shows that the pull brought a login, and the pod has
// none: it is the node's own or a credential provider's.
func othersLogin(x *facts) Confidence {
	if x.works() || x.credentialed() || x.unread() || !x.wantsCredentials() || !x.message().LoginSent {
		return ""
	}
	return Likely
}

// provided tells that a credential provider of the kubelet is for the image, of
// which it is not known what it gives.
func (x *facts) provided() bool {
	_, ok := x.noted(CheckCredentials, FaultProviderMatches)
	return ok
}

// providerSilent: a credential provider of the kubelet is for this image, and
// the text shows that the pull went out without credentials all the same.
func providerSilent(x *facts) Confidence {
	anonymous := []Cause{AuthenticationRequired, DeniedOrNotFound}
	if !x.provided() || x.works() || x.credentialed() || x.matched() || !x.wantsCredentials() || !slices.Contains(anonymous, x.reading()) {
		return ""
	}
	return Likely
}

// wants tells whether a pull fails for want of credentials: Confirmed when the
// registry refuses one without, Likely when it cannot be asked and the runtime's
// text says so.
func (x *facts) wants() Confidence {
	switch {
	case x.further():
		return ""
	case x.wantsCredentials():
		return Confirmed
	case len(x.anonymous()) == 0 && !x.credentialed() && !x.matched() &&
		(x.reading() == AuthenticationRequired || x.reading() == DeniedOrNotFound):
		return Likely
	}
	return ""
}

// further tells that the runtime's text speaks of a step that a pull without
// credentials does not reach at a registry that wants some. Such a pull had a
// login that we do not see: the node's own, or a credential provider's.
func (x *facts) further() bool {
	r := x.reading()
	if x.ofMirror(r) {
		return false
	}
	if e, ok := x.refusal(); ok && r == AccessDenied {
		return e.Fault == FaultUnauthorized
	}
	return x.message().AfterManifest || x.message().LoginSent || slices.Contains(loggedIn(), r)
}

// loggedIn are the causes that a runtime's text shows only after the registry
// has accepted, or at least looked at, a login.
func loggedIn() []Cause {
	return []Cause{
		TagNotFound, RepositoryNotFound, PlatformMismatch, UnsupportedFormat, ContentCorrupt, CredentialsExpired,
		RateLimited, DiskFull, ImageStoreCorrupt,
	}
}

// wantedBut applies when the registry refuses an attempt without credentials
// and the pod has none to offer for the reason given. It is no more than likely
// when the registry does not say whether there is such a repository at all, or
// when another secret, which we may not read, may be the one.
func wantedBut(cause Cause, faults ...Fault) func(*facts) Confidence {
	return unlessWorks(func(x *facts) Confidence {
		if x.credentialed() || !x.has(CheckCredentials, faults...) {
			return ""
		}
		c := weaker(x.wants(), x.agreed(cause))
		if x.evasive() || x.unread() || x.provided() {
			c = weaker(c, Likely)
		}
		return c
	})
}

// forbiddenToAnyone: the registry forbids a repository that exists without
// asking for credentials, so that none would be sent.
func forbiddenToAnyone(x *facts) Confidence {
	e, ok := x.refusal()
	if !ok || x.works() || x.credentialed() || x.unread() || x.further() || e.Fault != FaultForbidden || !e.Exists {
		return ""
	}
	return x.agreed(AccessDenied)
}

// scopeRefusedToAnyone: a token is issued to anyone, but not for this
// repository; registries do so for private and for missing ones alike.
func scopeRefusedToAnyone(x *facts) Confidence {
	if x.works() || x.credentialed() || !x.evasive() || x.unread() || x.further() {
		return ""
	}
	if x.provided() {
		return weaker(Likely, x.agreed(DeniedOrNotFound))
	}
	return x.agreed(DeniedOrNotFound)
}

// unreadable applies when the pod's secrets may not be read, so that only the
// runtime's text can tell what became of them, and the registry bears it out:
// it wants credentials, or would give the image to anyone who brings no wrong
// ones.
func unreadable(cause Cause) func(*facts) Confidence {
	return func(x *facts) Confidence {
		if x.credentialed() || !x.unread() || x.reading() != cause || !x.wantsCredentials() && !x.works() {
			return ""
		}
		return Likely
	}
}

// onlyMirrors: the node's configuration puts mirrors in the place of the
// image's own registry, and they fail.
func onlyMirrors(x *facts) Confidence {
	if x.works() || len(x.mirrors()) == 0 || !x.replaced() {
		return ""
	}
	return x.agreed(MirrorFailed)
}

// worksNow applies when the kubelet's attempt would succeed now and the text
// speaks of nothing that lies beyond our checks. A text that says nothing may
// hide such a thing, unless nothing has failed yet; and a secret that we may not
// read may spoil the attempt.
func worksNow(x *facts) Confidence {
	switch {
	case !x.works() || x.beyond():
		return ""
	case x.reading() == Unknown && !x.Offline || x.unread() && !x.credentialed():
		return Likely
	case x.message().AfterManifest && x.message().Blob == "": // it may be of a layer that was not looked at
		return Likely
	}
	return Confirmed
}

// beyond tells that the runtime's text names a step, a host or a fault that a
// question for the manifest does not touch. A blob that was refused to the
// runtime was asked for here as well.
func (x *facts) beyond() bool {
	e := x.message()
	if e.AfterManifest && (!x.whole() || !akin(AccessDenied, e.Cause)) {
		return true
	}
	return e.Cause != Unknown && !slices.Contains(manifestCauses(), e.Cause)
}

// manifestCauses are the causes that a question for the manifest would show.
// A rate limit is not among them: registries count other requests.
func manifestCauses() []Cause {
	return []Cause{
		PullSecretMissing, PullSecretMalformed, PullSecretNoMatch, AuthenticationRequired, CredentialsRejected,
		CredentialsExpired, AccessDenied, CredentialProviderFailed, DeniedOrNotFound, TagNotFound,
		RepositoryNotFound, RegistryNameNotFound, DNSFailure, ConnectionRefused, ConnectionTimeout,
		NetworkUnreachable, TLSUntrusted, TLSHostnameMismatch, TLSExpired, TLSHandshakeFailed, HTTPSMismatch,
		RegistryError, MirrorFailed, ImageNotPresent,
	}
}

// akin tells that a runtime's text speaking of a can come from b: texts are
// coarser than facts.
func akin(a, b Cause) bool {
	if a == b {
		return true
	}
	for _, f := range families() {
		if slices.Contains(f, a) && slices.Contains(f, b) {
			return true
		}
	}
	return false
}

func families() [][]Cause {
	return [][]Cause{
		{AuthenticationRequired, CredentialsRejected, CredentialsExpired, AccessDenied, DeniedOrNotFound,
			PullSecretMissing, PullSecretMalformed, PullSecretNoMatch, CredentialProviderFailed, ImageNotVerifiedForPod},
		{DeniedOrNotFound, TagNotFound, RepositoryNotFound},
		{RegistryNameNotFound, DNSFailure},
		{ConnectionRefused, ConnectionTimeout, NetworkUnreachable},
		{ConnectionTimeout, PullTimeout},
		{TLSUntrusted, TLSHostnameMismatch, TLSExpired, TLSHandshakeFailed, HTTPSMismatch},
		{ImageNotPresent, ImageNotVerifiedForPod},
		{AccessDenied, PolicyBlocked},       // both are a 403 to a runtime
		{ContentCorrupt, ImageStoreCorrupt}, // a runtime's store fails over what it was sent
		{ContentCorrupt, PullTimeout},       // a body that breaks off
		{UnsupportedFormat, ContentCorrupt}, // of a page instead of a manifest
		{ContentCorrupt, TagNotFound},       // of a manifest that names another
	}
}
