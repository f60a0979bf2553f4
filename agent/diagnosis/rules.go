package diagnosis

import (
	"slices"
	"strings"
)

// rule gives a cause when its condition holds.
type rule struct {
	cause Cause
	when  condition
}

// condition returns the confidence in a cause, "" where it does not hold.
type condition func(x *facts, cause Cause) Confidence

// rules is the whole decision, read from the top.
var rules = []rule{ //nolint:gochecknoglobals // never written
	// The image of the sandbox: the rules below say why it cannot be pulled.
	{SandboxImageFailed, sandboxImage},
	// A transfer that has stalled is not a failure yet, whatever the registry answers
	// now.
	{PullStalled, booksShow(FaultStalled, FaultWaitsForIt)},
	{PullStalled, unansweredUnderCRIO},

	// The pod's own words: nothing is asked of a registry.
	{InvalidImageName, checkFinds(CheckImage, FaultNameInvalid)},
	{ImageNotPresent, neverAndAbsent},
	// After the pull: the image is on the node, and is of no use there.
	{ImageVolumeUnsupported, mountRefused},
	{NotReproducible, usableNow},
	{ImageNotVerifiedForPod, neverAndPresent},
	{ImageNotPresent, neverAndSilent},
	{RuntimeError, runtimeSilent},

	// A look at the node's file systems, before anybody else is blamed.
	{DiskFull, diskFull},

	// The kubelet's and the runtime's own refusals, which no probe can see.
	{ShortNameAmbiguous, checkFinds(CheckRegistry, FaultNameAmbiguous)},
	{ShortNameAmbiguous, textSays},
	{SignatureRejected, policyRejects},
	{SignatureRejected, policyWants},
	{SignatureRejected, textSays},
	{MirrorFailed, blockedBehindMirror},
	{PolicyBlocked, registryFails(FaultPolicyBlocked)},
	{PolicyBlocked, textSays},
	{PullThrottled, textSays},
	// Behind a proxy the node does not resolve the registry's name itself.
	{ProxyFailed, registryFails(FaultProxyFailed)},
	{ProxyFailed, pageOfProxy},
	{ProxyFailed, proxyByText},

	// One malformed entry makes the kubelet give up before any request.
	{PullSecretMalformed, checkFinds(CheckCredentials, FaultSecretMalformed)},

	// A node's setting that would matter for this registry and is not in effect.
	{RegistryConfigInvalid, checkFinds(CheckRegistry, FaultConfigInvalid)},
	{RegistryConfigInvalid, endpointMisconfigured},
	{RegistryConfigInvalid, configByText},
	{RegistryConfigInvalid, configWithoutEffect},

	// A mirror's answer is what the runtime shows, or takes.
	{MirrorFailed, mirrorHides},
	{MirrorFailed, mirrorReplaces},
	{MirrorFailed, mirrorsUnhelped},

	// The way to the registry, step by step.
	{RegistryNameNotFound, nameUnresolved(FaultNameNotFound)},
	{DNSFailure, nameUnresolved(FaultDNSFailure)},
	{RegistryNameNotFound, registryFails(FaultNameNotFound)},
	{RegistryNameNotFound, likely(registryFails(FaultAddressUnspecified))}, // whypull does not connect to 0.0.0.0, the node itself
	{DNSFailure, registryFails(FaultDNSFailure)},
	{ConnectionRefused, noConnection(FaultConnectionRefused)},
	{ConnectionTimeout, noAnswer},
	{NetworkUnreachable, noConnection(FaultNetworkUnreachable)},
	{TLSUntrusted, registryFails(FaultTLSUntrusted)},
	{TLSHostnameMismatch, registryFails(FaultTLSHostnameMismatch)},
	{TLSExpired, registryFails(FaultTLSExpired)},
	{TLSHandshakeFailed, registryFails(FaultTLSHandshakeFailed)},
	{HTTPSMismatch, registryFails(FaultHTTPSMismatch)},
	{AccessDenied, refusedElsewhere},
	{RateLimited, unlessUntried(registryFails(FaultRateLimited))},
	{RateLimited, limitedForOthers},
	{RegistryError, registryFails(FaultServerError)},
	{RegistryError, pageOfTokenServer},
	{RegistryError, tokenRejected},
	{RegistryError, likely(registryFails(FaultUnexpectedAnswer))},

	{RepositoryNotFound, pageNotFound},

	// The manifest can be pulled, but its content is not usable.
	{PlatformMismatch, registryFails(FaultPlatformMismatch)},
	{UnsupportedFormat, registryFails(FaultUnsupportedFormat, FaultWebPage)},
	{UnsupportedFormat, layersEncrypted},
	{ContentCorrupt, registryFails(FaultContentCorrupt, FaultContentMissing)},
	{AccessDenied, contentRefused},

	// The registry knows the caller well enough to say what is missing.
	{TagNotFound, registryFails(FaultTagNotFound)},
	{RepositoryNotFound, registryFails(FaultRepositoryNotFound)},
	{TagNotFound, notFoundAnywhere},

	// Credentials: what the pod brings, then what it fails to bring.
	{AuthenticationRequired, unlessWorks(credentialsUnsent)},
	{CredentialsExpired, unlessUntried(credentialsExpired)},
	{DeniedOrNotFound, unlessUntried(scopeDeniedToCredentials)},
	{DeniedOrNotFound, unlessUntried(tokenDenied)},
	{AccessDenied, unlessUntried(accessDenied)},
	{CredentialsRejected, unlessUntried(credentialsRejected)},
	{CredentialsRejected, secretsUnreadAndTextSays},
	{CredentialsExpired, secretsUnreadAndTextSays},
	{AccessDenied, secretsUnreadAndTextSays},
	{CredentialsRejected, credentialsOfOthersRejected},
	{AccessDenied, forbiddenToAnyone},
	{CredentialProviderFailed, providerRan},
	{CredentialProviderFailed, providerFailed},
	{CredentialProviderFailed, providerSilent},
	{PullSecretMissing, credentialsWantedBut(FaultSecretMissing)},
	{PullSecretMalformed, credentialsWantedBut(FaultSecretWrongType, FaultSecretEmpty)},
	{PullSecretNoMatch, credentialsWantedBut(FaultNoMatchingCredential)},
	{ImageNotVerifiedForPod, presentButUnproved},
	{DeniedOrNotFound, scopeRefusedToAnyone},
	{AuthenticationRequired, credentialsWantedBut(FaultNoCredentials)},
	{AuthenticationRequired, unlessWorks(secretsUnreadAndTextSays)},
	{DeniedOrNotFound, unlessWorks(secretsUnreadAndTextSays)},

	// Only mirrors are asked, and none has helped.
	{MirrorFailed, mirrorsAskedAlone},

	// It passes with what the runtime need not have read yet.
	{RegistryConfigInvalid, configNotLoaded},

	// All that we can ask passes now.
	{NotReproducible, everyCheckPasses},
}

// confidenceIf returns the confidence if the condition of a rule holds, else "".
func confidenceIf(holds bool, c Confidence) Confidence {
	if !holds {
		return ""
	}
	return c
}

// agreedIf returns what agreed returns if the condition of a rule holds, else "".
func (x *facts) agreedIf(holds bool, cause Cause) Confidence {
	if !holds {
		return ""
	}
	return x.agreed(cause)
}

// sandboxImage: a pod has no sandbox, and there is a cause why the sandbox image
// cannot be pulled.
func sandboxImage(x *facts, _ Cause) Confidence {
	if x.Kind != KindSandbox {
		return ""
	}
	_, confidence := x.ofSandbox()
	return confidence
}

// booksShow: the runtime's own records show that a pull has stalled.
func booksShow(faults ...Fault) condition {
	return func(x *facts, _ Cause) Confidence { return confidenceIf(x.has(CheckPull, faults...), Confirmed) }
}

// unansweredUnderCRIO: a pull goes on under CRI-O, which waits without end, and the
// registry accepts connections and does not answer.
func unansweredUnderCRIO(x *facts, _ Cause) Confidence {
	e, ok := x.atOrigin(FaultConnectionTimeout)
	answers := []Phase{PhasePing, PhaseToken, PhaseManifest}
	return confidenceIf(ok && x.Stall == StallUnbegun && e.Endpoint.CRIO && !x.works() && slices.Contains(answers, e.Registry().Phase), Likely)
}

// diskFull: a file system that a pull writes to is full, or has less room than
// the image needs; or may have less by an estimate, and the runtime's text says
// that it does.
func diskFull(x *facts, cause Cause) Confidence {
	full := filter(x.of(CheckPull), func(e *Evidence) bool { return e.failed() && e.Fault == FaultDiskFull })
	if len(full) > 0 {
		return likelyIf(!slices.ContainsFunc(full, func(e *Evidence) bool { return !e.Disk().Estimated }), x.agreed(cause))
	}
	_, ok := x.noted(CheckPull, FaultDiskFull)
	return confidenceIf(ok && x.reading() == DiskFull, Likely)
}

// endpointMisconfigured: the node's configuration has an address at which no
// registry's API can be, and so it answers; and the upstream registry, where that is
// another, gives no answer.
func endpointMisconfigured(x *facts, cause Cause) Confidence {
	e, ok := x.misconfigured()
	return likelyIf(e.Config().Problem != ConfigWebSite, x.agreedIf(ok && !x.works(), cause))
}

// configByText: the runtime's text speaks of the node's own configuration, of which
// whypull sees nothing wrong, or nothing at all.
func configByText(x *facts, cause Cause) Confidence {
	if x.reading() != cause {
		return ""
	}
	if _, ok := x.noted(CheckRegistry, FaultConfigInvalid); ok && x.changed() == nil {
		return Likely
	}
	return Suspected
}

// configNotLoaded: the pull would work now, by a configuration that was changed
// after the runtime had started, and the text is of a pull by another one.
func configNotLoaded(x *facts, _ Cause) Confidence {
	return confidenceIf(x.changed() != nil && x.works() && !x.beyond() && x.reading() != Unknown, Likely)
}

// policyRejects: the node's signature policy takes no such image. It is asked after
// the registry, so that a pull which fails there has not come to it.
func policyRejects(x *facts, cause Cause) Confidence {
	return x.agreedIf(x.has(CheckRegistry, FaultOf(SignatureRejected)) && (x.works() || x.reading() == cause), cause)
}

// policyWants: the node's signature policy wants a signature, and the text says that
// it was not satisfied.
func policyWants(x *facts, cause Cause) Confidence {
	return confidenceIf(x.policy() != nil && x.reading() == cause, Likely)
}

// policy is what is known of the signature policy that an image is held against, nil
// where it takes every image or is not known.
func (x *facts) policy() *Evidence { return x.config(ConfigPolicyRejects, ConfigPolicySigned) }

// credentialsUnsent: the registry wants credentials, and does not say so where the
// runtime looks, so that those of the pod are not sent.
func credentialsUnsent(x *facts, cause Cause) Confidence {
	return x.agreedIf(len(x.unsent()) > 0, cause)
}

// blockedBehindMirror: the node blocks the upstream registry, so that the image can
// come from a mirror alone, and none has it.
func blockedBehindMirror(x *facts, cause Cause) Confidence {
	return x.agreedIf(!x.works() && x.blocked() && len(x.mirrors()) > 0, cause)
}

// blocked reports whether the node's own configuration blocks the registry.
func (x *facts) blocked() bool {
	return x.replaced() && x.config(ConfigBlocked) != nil
}

// mirrorsUnhelped: there is no way to the upstream registry, as on a node without
// access to the Internet, and the mirrors that are to stand in for it fail in
// another way. CRI-O shows both, containerd the one that got further.
func mirrorsUnhelped(x *facts, cause Cause) Confidence {
	if x.works() || len(x.mirrors()) == 0 {
		return ""
	}
	hidden, _ := x.hidden() // not unreachable: it is none, or that of the mirrors too
	if x.crio() {
		return x.agreedIf(x.row(hidden).Unreachable(), cause)
	}
	// containerd shows the answer of a mirror before an error of the way to the upstream
	// registry; its text, if there is one, has been asked already (mirrorHides). A mirror
	// that is reached without an answer is what can be corrected.
	reached := func(m *Evidence) bool {
		return m.failed() && (m.Registry().Status != 0 || !x.row(m.Fault.Points()).Unreachable())
	}
	untold := x.reading() == Unknown && x.message().Host == ""
	return confidenceIf(untold && x.row(hidden).Unreachable() && slices.ContainsFunc(x.mirrors(), reached), Likely)
}

// crio reports whether CRI-O asks, by its configuration or by words that are only those
// of its image library.
func (x *facts) crio() bool {
	text := x.message().Text
	return slices.ContainsFunc(x.all, func(e *Evidence) bool { return e.Endpoint.CRIO }) ||
		strings.Contains(text, "initializing source docker://") || strings.Contains(text, "(Mirrors also failed: [") ||
		strings.Contains(text, "(Fallback sources also failed: [")
}

// docker reports whether the runtime is Docker, behind cri-dockerd, by words or a file
// that are only Docker's. An error in the middle of a pull has no "from daemon".
func (x *facts) docker() bool {
	text := x.message().Text
	return strings.Contains(text, "Error response from daemon") || strings.Contains(text, "failed to register layer") ||
		strings.HasSuffix(x.configFile(), "/daemon.json")
}

// configWithoutEffect: a setting for this registry is not in effect, and the
// registry cannot be talked to without one.
func configWithoutEffect(x *facts, _ Cause) Confidence {
	e, ok := x.ineffective()
	if !ok || e.Outcome != Inconclusive || x.works() {
		return ""
	}
	trust := []Fault{FaultTLSUntrusted, FaultTLSHandshakeFailed, FaultHTTPSMismatch}
	if _, ok := x.atOrigin(trust...); ok {
		return Likely
	}
	aboutIt := []ConfigProblem{ConfigMirrorsBesidePath, ConfigNotGenerated, ConfigDockerMirror}
	if !perRegistry(e.Config().File) && !slices.Contains(aboutIt, e.Config().Problem) { // it need not have to do with this one
		return ""
	}
	if !slices.ContainsFunc(x.of(CheckRegistry), func(e *Evidence) bool { return e.Endpoint.URL != "" }) {
		return Likely // it leaves no endpoint to ask
	}
	_, cut := x.atOrigin(FaultConnectionRefused, FaultConnectionTimeout, FaultNetworkUnreachable)
	return confidenceIf(cut || x.has(CheckNodeDNS, FaultNameNotFound, FaultDNSFailure), Likely)
}

// perRegistry reports whether a file is about one registry, so that the runtime
// reads it again for each pull.
func perRegistry(file string) bool {
	return strings.HasSuffix(file, "/hosts.toml") || strings.HasSuffix(file, "/host.toml")
}

// checkFinds applies when a check found the fault.
func checkFinds(check Check, fault Fault) condition {
	return func(x *facts, cause Cause) Confidence { return x.agreedIf(x.has(check, fault), cause) }
}

// pageOfProxy: a web page where the registry's answer should be, and a proxy in
// between.
func pageOfProxy(x *facts, _ Cause) Confidence {
	e, ok := x.atOrigin(FaultWebPage)
	return confidenceIf(ok && e.Registry().Proxy != "" && !x.works(), Likely)
}

// pageOfTokenServer: a web page where a token should be.
func pageOfTokenServer(x *facts, cause Cause) Confidence {
	e, ok := x.atOrigin(FaultWebPage)
	return x.agreedIf(ok && e.Registry().Phase == PhaseToken && !x.works(), cause)
}

// tokenRejected: the registry rejects what its own token server has issued for the
// credentials. What it issues to anyone it may only mean to be of no use.
func tokenRejected(x *facts, cause Cause) Confidence {
	e, ok := x.rejectedToken()
	return likelyIf(e.Registry().Credential == nil, x.agreedIf(ok && !x.works(), cause))
}

// pageNotFound: a web server's page that says that there is nothing. Whether it
// is a registry at all is not said. Or there is no registry's API.
func pageNotFound(x *facts, cause Cause) Confidence {
	if _, ok := x.noAPI(); ok {
		return weaker(Likely, registryFails(FaultNotFound)(x, cause))
	}
	if e, ok := x.atOrigin(FaultWebPage); !ok || e.Registry().Status != 404 {
		return ""
	}
	return weaker(Likely, registryFails(FaultWebPage)(x, cause))
}

// proxyByText: the text speaks of a proxy, and whypull has not come through one
// by itself.
func proxyByText(x *facts, cause Cause) Confidence {
	through := func(e *Evidence) bool { return e.Registry().Proxy != "" }
	if x.works() && slices.ContainsFunc(x.asked(), through) {
		return ""
	}
	return textSays(x, cause)
}

// mirrorHides: both a mirror and the upstream registry fail, each in its own
// way, and the runtime shows the mirror's (containerd's resolver returns one
// host's error of several).
func mirrorHides(x *facts, _ Cause) Confidence {
	cause, confidence := x.hidden()
	return confidenceIf(!x.works() && cause != "" && x.showsMirror(), confidence)
}

// showsMirror reports whether the runtime's text is a mirror's answer, and not that
// of the upstream registry.
func (x *facts) showsMirror() bool {
	host := x.message().Host
	at := func(m *Evidence) bool { return hostOf(m.Endpoint.URL) == host }
	switch {
	case host != "":
		return slices.ContainsFunc(x.mirrors(), at)
	case x.reading() == Unknown:
		return false
	}
	return x.ofMirror(x.reading())
}

// mirrorReplaces: a mirror has the manifest, so that the runtime takes it from
// there, and its content is not usable though the upstream registry's may be.
func mirrorReplaces(x *facts, cause Cause) Confidence {
	bad := x.unusable()
	own := func(e *Evidence) bool { return e.Registry().Content && e.failed() }
	return likelyIf(slices.ContainsFunc(bad, x.tooSlow), x.agreedIf(len(bad) > 0 && !slices.ContainsFunc(x.origin(), own), cause))
}

// unusable are the mirrors' answers that the runtime takes for the image's, and
// fails over: what the manifest holds, or a page in its place.
func (x *facts) unusable() []*Evidence {
	works := x.works() // with other credentials than those that fail
	return filter(x.mirrors(), func(e *Evidence) bool {
		return e.Registry().Content && !works || (e.Fault == FaultWebPage || e.Fault == FaultUnsupportedFormat) && e.Registry().Status == 200
	})
}

// refusedElsewhere: the registry redirects to a place that refuses the request. It
// may be a firewall that does, or the registry's own storage.
func refusedElsewhere(x *facts, cause Cause) Confidence {
	_, ok := x.refusedElsewhere()
	return weaker(Likely, x.agreedIf(ok && !x.works(), cause))
}

// layersEncrypted: the image has encrypted layers, and the text is of a runtime that cannot
// decrypt them, or of what it does with layers in words that are not known. Which keys the
// node has is not known.
func layersEncrypted(x *facts, _ Cause) Confidence {
	m := x.message()
	return confidenceIf(x.encrypted() && (m.Undecrypted || m.AfterManifest && x.reading() == Unknown), Likely)
}

// contentRefused: the manifest can be pulled, a blob of it not, with any
// credentials that the kubelet would try.
func contentRefused(x *facts, cause Cause) Confidence {
	all := x.refusedContents()
	if len(all) == 0 || x.works() {
		return ""
	}
	// It need not be the credentials, or the kubelet has more of them.
	return likelyIf(all[0].redirected() || x.untriedMatch(), x.agreed(cause))
}

// nameUnresolved: the name of the upstream registry does not resolve, no mirror
// serves instead, and the runtime has not reached the registry either.
func nameUnresolved(fault Fault) condition {
	return unlessWorks(func(x *facts, cause Cause) Confidence {
		_, ok := x.unresolved(fault)
		return x.agreedIf(ok && !x.reached(), cause)
	})
}

// unresolved is the failed lookup of the upstream registry.
func (x *facts) unresolved(fault Fault) (*Evidence, bool) {
	return find(x.of(CheckNodeDNS), func(e *Evidence) bool { return !e.Endpoint.Mirror && e.failed() && e.Fault == fault })
}

// reached reports whether the runtime's text is an answer of the image's own
// registry. Behind a proxy the node need not resolve the registry's name, and
// which proxy the runtime has cannot be known.
func (x *facts) reached() bool {
	e, cause := x.message(), x.reading()
	if e.BehindProxy {
		return true
	}
	if e.Host != "" && !x.isOwn(e.Host) || x.ofMirror(cause) {
		return false
	}
	return e.AfterManifest || x.row(cause).answer || x.row(cause).afterCredentials
}

// likely is a condition whose verdict is no more than that.
func likely(when condition) condition {
	return func(x *facts, cause Cause) Confidence { return weaker(Likely, when(x, cause)) }
}

// registryFails applies when an attempt at the upstream registry ended in one of
// the faults and none succeeded.
func registryFails(faults ...Fault) condition {
	return unlessWorks(func(x *facts, cause Cause) Confidence {
		_, ok := x.atOrigin(faults...)
		return x.agreedIf(ok, cause)
	})
}

// noConnection is registryFails for connections. That whypull does not come through to a
// registry that has answered the runtime says that the runtime has another way:
// a proxy of which nothing is known here.
func noConnection(fault Fault) condition {
	return func(x *facts, cause Cause) Confidence {
		e, _ := x.atOrigin(fault)
		if !e.Registry().Content && e.Registry().Phase != PhaseToken && e.Registry().Proxy == "" && x.reached() {
			return ""
		}
		return registryFails(fault)(x, cause)
	}
}

// noAnswer is noConnection for what does not come in whypull's time. The runtime may
// wait longer: it is no more than likely then, unless the runtime's text says that
// it has waited in vain as well.
func noAnswer(x *facts, cause Cause) Confidence {
	return likelyIf(x.impatient(), noConnection(FaultConnectionTimeout)(x, cause))
}

// unlessWorks: none of the kubelet's attempts would succeed now, and a condition
// holds.
func unlessWorks(when condition) condition {
	return func(x *facts, cause Cause) Confidence {
		if x.works() {
			return ""
		}
		return when(x, cause)
	}
}

// textSays: the runtime's text supports the cause.
func textSays(x *facts, cause Cause) Confidence {
	return confidenceIf(x.reading() == cause, Suspected)
}

// ofMirror reports whether a mirror shows the fault that the runtime's text is about.
func (x *facts) ofMirror(reading Cause) bool {
	return slices.ContainsFunc(x.mirrors(), func(e *Evidence) bool { return x.akin(reading, e.Fault.Points()) })
}

// likelyIf returns a confidence that is at most Likely if the finding is not certain.
func likelyIf(uncertain bool, c Confidence) Confidence {
	if uncertain {
		return weaker(Likely, c)
	}
	return c
}

func weaker(a, b Confidence) Confidence {
	order := []Confidence{"", Suspected, Likely, Confirmed}
	return order[min(slices.Index(order, a), slices.Index(order, b))]
}

// Weaker reports whether c is less than the other confidence.
func (c Confidence) Weaker(other Confidence) bool { return c != other && weaker(c, other) == c }

func neverAndAbsent(x *facts, _ Cause) Confidence {
	return confidenceIf(x.PullPolicy == "Never" && x.absent(), Confirmed)
}

// neverAndPresent: EnsureImageExists ends with ErrImageNeverPull for an image
// that is there only when MustAttemptImagePull wants the pod to prove its
// credentials first (KEP-2535), and words it as if the image were absent.
// Without the records, the image may as well have come since.
func neverAndPresent(x *facts, _ Cause) Confidence {
	if x.PullPolicy != "Never" || !x.present() || x.reading() != ImageNotPresent && !x.unverified() {
		return ""
	}
	if r := x.reading(); x.unverified() && (r == ImageNotPresent || r == Unknown) {
		return Confirmed
	}
	return Likely
}

// mountRefused: by its text the runtime cannot mount the image, which the kubelet
// asks for once the image is on the node. That it is there bears the text out.
func mountRefused(x *facts, cause Cause) Confidence {
	switch {
	case x.reading() != cause:
		return ""
	case x.present():
		return Likely
	}
	return Suspected
}

// usableNow: the image is on the node, and the kubelet's records allow it to this
// pod, so that it neither pulls nor refuses when it tries again.
func usableNow(x *facts, _ Cause) Confidence {
	e, ok := x.found()
	return confidenceIf(ok && e.Image().Use() == UseAllowed && x.PullPolicy != "Always" && x.reading() != RuntimeError, Confirmed)
}

// neverAndSilent: the kubelet says that the image is not there, and the runtime
// cannot be asked.
func neverAndSilent(x *facts, _ Cause) Confidence {
	return confidenceIf(x.PullPolicy == "Never" && x.reading() == ImageNotPresent, Suspected)
}

// presentButUnproved: with IfNotPresent the kubelet pulls an image that is on
// the node only for a pod that has to prove its credentials (KEP-2535).
func presentButUnproved(x *facts, cause Cause) Confidence {
	if x.PullPolicy != "IfNotPresent" || !x.present() || x.works() || !x.has(CheckCredentials, FaultNoCredentials) {
		return ""
	}
	if x.unverified() && x.wants() != "" {
		return x.agreed(cause)
	}
	return weaker(x.wants(), weaker(Likely, x.agreed(cause)))
}

// runtimeSilent: the runtime does not answer us, and has not answered the kubelet.
func runtimeSilent(x *facts, _ Cause) Confidence {
	e, ok := x.noted(CheckImage, FaultRuntimeUnready)
	switch {
	case !ok || e.Outcome == NotRun || x.Reason != "ImageInspectError" && x.reading() != RuntimeError:
		return ""
	case e.failed():
		return Confirmed
	default:
		return Likely
	}
}

// notFoundAnywhere: the manifest is not there, and the registry would not say
// whether the repository is.
func notFoundAnywhere(x *facts, cause Cause) Confidence {
	_, ok := x.atOrigin(FaultNotFound)
	return confidenceIf(ok && !x.works(), Likely)
}

// credentialsExpired: the registry rejects the credentials, and the credentials
// themselves or an answer of the registry say why.
func credentialsExpired(x *facts, cause Cause) Confidence {
	if x.works() || len(x.denied())+len(x.rejected()) == 0 {
		return ""
	}
	certain := func(e *Evidence) bool {
		return e.Registry().SaysExpired || e.Registry().Credential.Validity == ValidityExpired
	}
	switch over := x.overdue(); {
	case slices.ContainsFunc(over, certain):
		return x.agreed(cause)
	case len(over) > 0, x.reading() == CredentialsExpired:
		return Likely
	}
	return ""
}

// scopeDeniedToCredentials: the registry accepts the credentials, denies them the
// repository, and does the same for repositories that do not exist.
func scopeDeniedToCredentials(x *facts, cause Cause) Confidence {
	return x.agreedIf(!x.works() && len(x.undisclosed()) > 0 && len(x.undisclosed()) == len(x.denied()), cause)
}

// tokenDenied: the token server denies the credentials in the same way as anybody: it
// may reject them, give them no pull access, or have no such repository.
func tokenDenied(x *facts, cause Cause) Confidence {
	toAll := func(e *Evidence) bool {
		return e.Registry().Phase == PhaseToken && e.Fault == FaultForbidden && !e.Registry().Exists
	}
	denied := x.denied()
	return weaker(Likely, x.agreedIf(!x.works() && len(denied) > 0 && len(filter(denied, toAll)) == len(denied), cause))
}

// accessDenied: a registry that accepts the credentials denies the repository. A
// token server that does so may mean the credentials.
func accessDenied(x *facts, cause Cause) Confidence {
	known := slices.ContainsFunc(x.denied(), func(e *Evidence) bool { return e.Registry().Phase != PhaseToken || e.Registry().Exists })
	return likelyIf(!known, x.agreedIf(!x.works() && len(x.denied()) > 0, cause))
}

func credentialsRejected(x *facts, cause Cause) Confidence {
	return x.agreedIf(!x.works() && len(x.rejected()) > 0, cause)
}

// providerFailed: the text says why the pull went out without credentials, and
// the registry does want some.
func providerFailed(x *facts, _ Cause) Confidence {
	return confidenceIf(!x.works() && !x.credentialed() && x.wantsCredentials() && x.reading() == CredentialProviderFailed, Likely)
}

// providerRan: a credential provider of the kubelet gives the pull no credentials, the
// pod has none either, and the registry wants some. That whypull's run of the plugin
// fails need not mean that the kubelet's does, so the runtime's text has to show a pull
// without credentials.
func providerRan(x *facts, _ Cause) Confidence {
	if x.works() || x.credentialed() || x.matched() || !x.has(CheckCredentials, FaultProviderFailed) {
		return ""
	}
	return likelyIf(x.evasive() || x.unread() || x.provided() || !x.row(x.reading()).anonymous, x.wants())
}

// unlessUntried makes a verdict on credentials Likely at most if the kubelet would
// try credentials that whypull has not tried.
func unlessUntried(when condition) condition {
	return func(x *facts, cause Cause) Confidence { return likelyIf(x.untried(), when(x, cause)) }
}

// limitedForOthers: whypull leaves the registry alone since it limits somebody
// else on this node, and the text says the same of this pull.
func limitedForOthers(x *facts, _ Cause) Confidence {
	e, ok := x.noted(CheckRegistry, FaultRateLimited)
	return confidenceIf(ok && e.Outcome == NotRun && !x.works() && x.reading() == RateLimited, Likely)
}

// credentialsOfOthersRejected: the text shows that the pull had credentials, and the
// pod has none: they are the node's own or a credential provider's.
func credentialsOfOthersRejected(x *facts, _ Cause) Confidence {
	return confidenceIf(!x.works() && !x.credentialed() && !x.unread() && x.wantsCredentials() && x.message().CredentialsSent, Likely)
}

// provided reports whether a credential provider of the kubelet is for the image, of
// which it is not known what it gives.
func (x *facts) provided() bool {
	_, ok := x.noted(CheckCredentials, FaultProviderMatches)
	return ok
}

// providerSilent: a credential provider of the kubelet is for this image, and
// the text shows that the pull went out without credentials all the same.
func providerSilent(x *facts, _ Cause) Confidence {
	return confidenceIf(x.provided() && !x.works() && !x.credentialed() && !x.matched() && x.wantsCredentials() && x.row(x.reading()).anonymous, Likely)
}

// wants reports whether a pull fails for want of credentials: Confirmed when the
// registry refuses one without, Likely when it cannot be asked and the runtime's
// text says so.
func (x *facts) wants() Confidence {
	switch {
	case x.further(), len(x.mirrors()) > 0 && x.replaced(): // it is the mirrors that want some
		return ""
	case x.wantsCredentials():
		return Confirmed
	case !slices.ContainsFunc(x.anonymous(), answered) && !x.credentialed() && !x.matched() &&
		x.row(x.reading()).anonymous:
		return Likely
	}
	return ""
}

// answered reports whether a registry has answered an attempt.
func answered(e *Evidence) bool { return e.passed() || e.Registry().Status != 0 }

// further reports whether the runtime's text speaks of a step that a pull without
// credentials does not reach at a registry that wants some. Such a pull had a
// credentials that whypull does not see: the node's own, or a credential provider's.
func (x *facts) further() bool {
	r := x.reading()
	if x.ofMirror(r) {
		return false
	}
	if e, ok := x.refusal(); ok && r == AccessDenied && !x.message().CredentialsSent {
		// A token server that forbids does so to anyone; CRI-O's text is the same.
		return e.Fault == FaultUnauthorized && e.Registry().Phase != PhaseToken
	}
	return x.message().AfterManifest || x.message().CredentialsSent || x.row(r).afterCredentials
}

// credentialsWantedBut applies when the registry refuses an attempt without credentials
// and the pod has none to offer for the reason given. It is no more than likely
// when the registry does not say whether there is such a repository at all, or
// when another secret, which we may not read, may be the one.
func credentialsWantedBut(faults ...Fault) condition {
	return unlessWorks(func(x *facts, cause Cause) Confidence {
		if x.credentialed() || !x.has(CheckCredentials, faults...) {
			return ""
		}
		return likelyIf(x.evasive() || x.unread() || x.provided(), weaker(x.wants(), x.agreed(cause)))
	})
}

// forbiddenToAnyone: the registry forbids a repository that exists without
// asking for credentials, so that none would be sent.
func forbiddenToAnyone(x *facts, cause Cause) Confidence {
	e, ok := x.refusal()
	denied := ok && e.Fault == FaultForbidden && e.Registry().Exists
	return x.agreedIf(denied && !x.works() && !x.credentialed() && !x.unread() && !x.further(), cause)
}

// scopeRefusedToAnyone: a token is issued to anyone, but not for this
// repository; registries do so for private and for missing ones alike.
func scopeRefusedToAnyone(x *facts, cause Cause) Confidence {
	return likelyIf(x.provided(), x.agreedIf(!x.works() && !x.credentialed() && x.evasive() && !x.unread() && !x.further(), cause))
}

// secretsUnreadAndTextSays: whypull cannot read the pod's secrets, so that only the
// runtime's text shows what is wrong with them, and the registry agrees: it requires
// credentials, or serves the image to anyone without wrong ones.
func secretsUnreadAndTextSays(x *facts, cause Cause) Confidence {
	return confidenceIf(!x.credentialed() && x.unread() && x.reading() == cause && (x.wantsCredentials() || x.works()), Likely)
}

// mirrorsAskedAlone: the node uses mirrors instead of the upstream registry, and they
// fail.
func mirrorsAskedAlone(x *facts, cause Cause) Confidence {
	return likelyIf(slices.ContainsFunc(x.mirrors(), x.tooSlow), x.agreedIf(!x.works() && len(x.mirrors()) > 0 && x.replaced(), cause))
}

// everyCheckPasses applies when the kubelet's attempt would succeed now and the text
// speaks of nothing that lies beyond our checks. A text that says nothing may
// hide such a thing, unless nothing has failed yet; and a secret that we may not
// read may spoil the attempt.
func everyCheckPasses(x *facts, _ Cause) Confidence {
	switch {
	case !x.works() || x.beyond():
		return ""
	case x.reading() == Unknown && !x.Offline || x.unread() && !x.credentialed():
		return Likely
	case x.unfinished(), x.unloaded(), x.policy() != nil, x.encrypted(), len(x.waits()) > 0:
		return Likely
	case x.message().AfterManifest && x.message().Blob == "": // it may be of a layer that was not looked at
		return Likely
	}
	return Confirmed
}

// waits are the mirrors that accept a request and do not answer it. The runtime, which
// has no limit for that, need not come to the next host.
func (x *facts) waits() []*Evidence {
	answers := []Phase{PhasePing, PhaseToken, PhaseManifest}
	return filter(x.mirrors(), func(e *Evidence) bool {
		return e.Fault == FaultConnectionTimeout && slices.Contains(answers, e.Registry().Phase)
	})
}

// beyond reports whether the runtime's text names a step, a host or a fault that a
// question for the manifest does not touch. A blob that was refused to the
// runtime was asked for here as well.
func (x *facts) beyond() bool {
	cause := x.reading()
	if x.message().AfterManifest && (!x.whole() || !x.akin(AccessDenied, cause)) {
		return true
	}
	return x.outside() || cause != Unknown && !x.row(cause).ofManifest
}
