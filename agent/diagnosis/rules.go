package diagnosis

import (
	"slices"
)

// Diagnose decides: it reads the rules from the top, and the first that
// applies gives the cause. It always answers; Unknown where nothing applies.
func Diagnose(f Failure, evidence []Evidence) Verdict {
	x := &facts{Failure: f, all: sorted(evidence)}
	cause, confidence := x.decide()
	return Verdict{
		Failure:    f,
		Cause:      cause,
		Confidence: confidence,
		Summary:    clip(summary(cause, x), SummaryLimit),
		Remedy:     remedy(cause, x),
		Evidence:   x.all,
	}
}

func (x *facts) decide() (Cause, Confidence) {
	for _, r := range rules() {
		if c := r.when(x); c != "" {
			return r.cause, c
		}
	}
	if c := x.reading(); c != Unknown {
		return c, Suspected
	}
	return Unknown, Suspected
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
		// The pod's own words: nothing is asked of a registry.
		{InvalidImageName, confirmedBy(InvalidImageName, CheckImage, FaultNameInvalid)},
		{ImageNotPresent, neverAndAbsent},
		{ImageNotVerifiedForPod, neverAndPresent},
		{RuntimeError, runtimeDown},

		// The kubelet's and the runtime's own refusals, which no probe can see.
		{ShortNameAmbiguous, textOnly(ShortNameAmbiguous)},
		{SignatureRejected, textOnly(SignatureRejected)},
		{PolicyBlocked, textOnly(PolicyBlocked)},
		{PullThrottled, textOnly(PullThrottled)},
		// Behind a proxy the node does not resolve the registry's name itself.
		{ProxyFailed, confirmedBy(ProxyFailed, CheckRegistry, FaultProxyFailed)},
		{ProxyFailed, textOnly(ProxyFailed)},

		// One malformed entry makes the kubelet give up before any request.
		{PullSecretMalformed, confirmedBy(PullSecretMalformed, CheckCredentials, FaultSecretMalformed)},

		// A node's setting that would matter for this registry and is not in effect.
		{RegistryConfigInvalid, configRefused},
		{RegistryConfigInvalid, configWithoutEffect},

		// The way to the registry, step by step.
		{RegistryNameNotFound, unlessWorks(confirmedBy(RegistryNameNotFound, CheckNodeDNS, FaultNameNotFound))},
		{DNSFailure, unlessWorks(confirmedBy(DNSFailure, CheckNodeDNS, FaultDNSFailure))},
		{RegistryNameNotFound, atOrigin(RegistryNameNotFound, FaultNameNotFound)},
		{DNSFailure, atOrigin(DNSFailure, FaultDNSFailure)},
		{ConnectionRefused, atOrigin(ConnectionRefused, FaultConnectionRefused)},
		{ConnectionTimeout, atOrigin(ConnectionTimeout, FaultConnectionTimeout)},
		{NetworkUnreachable, atOrigin(NetworkUnreachable, FaultNetworkUnreachable)},
		{TLSUntrusted, atOrigin(TLSUntrusted, FaultTLSUntrusted)},
		{TLSHostnameMismatch, atOrigin(TLSHostnameMismatch, FaultTLSHostnameMismatch)},
		{TLSExpired, atOrigin(TLSExpired, FaultTLSExpired)},
		{TLSHandshakeFailed, atOrigin(TLSHandshakeFailed, FaultTLSHandshakeFailed)},
		{HTTPSMismatch, atOrigin(HTTPSMismatch, FaultHTTPSMismatch)},
		{RateLimited, atOrigin(RateLimited, FaultRateLimited)},
		{RegistryError, atOrigin(RegistryError, FaultServerError)},

		// The registry knows the caller well enough to say what is missing.
		{TagNotFound, atOrigin(TagNotFound, FaultTagNotFound)},
		{RepositoryNotFound, atOrigin(RepositoryNotFound, FaultRepositoryNotFound)},
		{TagNotFound, notFoundAnywhere},

		// Credentials: what the pod brings, then what it fails to bring.
		{AccessDenied, accessDenied},
		{CredentialsRejected, credentialsRejected},
		{CredentialsRejected, unreadable(CredentialsRejected)},
		{CredentialsExpired, unreadable(CredentialsExpired)},
		{AccessDenied, unreadable(AccessDenied)},
		{AuthenticationRequired, unreadable(AuthenticationRequired)},
		{DeniedOrNotFound, unreadable(DeniedOrNotFound)},
		{PullSecretMissing, wantedBut(PullSecretMissing, FaultSecretMissing)},
		{PullSecretMalformed, wantedBut(PullSecretMalformed, FaultSecretWrongType, FaultSecretEmpty)},
		{PullSecretNoMatch, wantedBut(PullSecretNoMatch, FaultNoMatchingCredential)},
		{ImageNotVerifiedForPod, presentButUnproved},
		{DeniedOrNotFound, scopeRefusedToAnyone},
		{AuthenticationRequired, wantedBut(AuthenticationRequired, FaultNoCredentials)},

		// All that we can ask passes now.
		{NotReproducible, worksNow},
	}
}

// configRefused: the runtime refuses the pull over the node's configuration.
func configRefused(x *facts) Confidence {
	e, ok := x.first(CheckRegistry, FaultConfigInvalid)
	if !ok || e.Outcome != Failed {
		return ""
	}
	return x.agreed(RegistryConfigInvalid)
}

// configWithoutEffect: a setting for this registry is not in effect, and the
// registry cannot be talked to without one.
func configWithoutEffect(x *facts) Confidence {
	e, ok := x.first(CheckRegistry, FaultConfigInvalid)
	if !ok || e.Outcome != Inconclusive || x.works() {
		return ""
	}
	if _, ok := firstOf(x.origin(), FaultTLSUntrusted, FaultTLSHandshakeFailed, FaultHTTPSMismatch, FaultConnectionRefused,
		FaultConnectionTimeout, FaultNetworkUnreachable); !ok && !x.has(CheckNodeDNS, FaultNameNotFound, FaultDNSFailure) {
		return ""
	}
	return Likely
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

// atOrigin applies when an attempt at the image's own registry ended in the
// fault and none succeeded.
func atOrigin(cause Cause, fault Fault) func(*facts) Confidence {
	return unlessWorks(func(x *facts) Confidence {
		if _, ok := firstOf(x.origin(), fault); !ok {
			return ""
		}
		return x.agreed(cause)
	})
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
// what we reproduced need not be what failed.
func (x *facts) agreed(cause Cause) Confidence {
	if r := x.reading(); r != Unknown && !akin(r, cause) {
		return Likely
	}
	return Confirmed
}

func neverAndAbsent(x *facts) Confidence {
	if x.PullPolicy != "Never" || !x.absent() {
		return ""
	}
	return Confirmed
}

// neverAndPresent: EnsureImageExists ends with ErrImageNeverPull for an image
// that is there only when MustAttemptImagePull wants the pod to prove its
// credentials first (KEP-2535), and words it as if the image were absent.
func neverAndPresent(x *facts) Confidence {
	if x.PullPolicy != "Never" || !x.present() || x.reading() != ImageNotPresent {
		return ""
	}
	return Confirmed
}

// presentButUnproved: with IfNotPresent the kubelet pulls an image that is on
// the node only for a pod that has to prove its credentials (KEP-2535).
func presentButUnproved(x *facts) Confidence {
	if x.PullPolicy != "IfNotPresent" || !x.present() || x.works() {
		return ""
	}
	if !x.wantsCredentials() || !x.has(CheckCredentials, FaultNoCredentials) {
		return ""
	}
	return x.agreed(ImageNotVerifiedForPod)
}

func runtimeDown(x *facts) Confidence {
	if !x.has(CheckImage, FaultRuntimeUnready) || x.Reason != "ImageInspectError" {
		return ""
	}
	return Confirmed
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

func accessDenied(x *facts) Confidence {
	if x.works() || len(x.denied()) == 0 {
		return ""
	}
	return x.agreed(AccessDenied)
}

func credentialsRejected(x *facts) Confidence {
	if x.works() || len(x.rejected()) == 0 {
		return ""
	}
	return x.agreed(CredentialsRejected)
}

// wantedBut applies when the registry refuses an attempt without credentials
// and the pod has none to offer for the reason given.
func wantedBut(cause Cause, faults ...Fault) func(*facts) Confidence {
	return func(x *facts) Confidence {
		if x.works() || x.credentialed() || !x.wantsCredentials() || !x.has(CheckCredentials, faults...) {
			return ""
		}
		return x.agreed(cause)
	}
}

// scopeRefusedToAnyone: a token is issued to anyone, but not for this
// repository; registries do so for private and for missing ones alike.
func scopeRefusedToAnyone(x *facts) Confidence {
	e, ok := x.anonymous()
	if !ok || x.works() || x.credentialed() || e.Fault == FaultUnauthorized || !x.wantsCredentials() {
		return ""
	}
	if x.has(CheckCredentials, FaultSecretUnreadable) {
		return ""
	}
	return x.agreed(DeniedOrNotFound)
}

// unreadable applies when the pod's secrets may not be read, so that only the
// runtime's text can tell what became of them, and the registry does want
// credentials.
func unreadable(cause Cause) func(*facts) Confidence {
	return func(x *facts) Confidence {
		if x.credentialed() || !x.has(CheckCredentials, FaultSecretUnreadable) {
			return ""
		}
		if !x.wantsCredentials() || x.reading() != cause {
			return ""
		}
		return Likely
	}
}

// worksNow applies when the kubelet's attempt would succeed now and the text
// speaks of nothing that lies beyond our checks.
func worksNow(x *facts) Confidence {
	if !x.works() || x.beyond() {
		return ""
	}
	return Confirmed
}

// beyond tells that the runtime's text names a step, a host or a fault that a
// question for the manifest does not touch.
func (x *facts) beyond() bool {
	for _, e := range x.of(CheckMessage) {
		if e.Cause == "" || e.Cause == Unknown {
			continue
		}
		if e.AfterManifest || !slices.Contains(manifestCauses(), e.Cause) {
			return true
		}
	}
	return false
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
		{TLSUntrusted, TLSHostnameMismatch, TLSExpired, TLSHandshakeFailed, HTTPSMismatch},
		{ImageNotPresent, ImageNotVerifiedForPod},
	}
}
