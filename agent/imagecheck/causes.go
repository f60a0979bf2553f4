package imagecheck

import (
	"slices"

	"github.com/whypull/whypull/agent/diagnosis"
)

// weight says how much a cause counts for a pod that runs.
type weight int

const (
	// never: it is not about whether the image can be pulled again, or one manifest
	// request does not show it.
	never weight = iota
	// twice: it may be over in a moment, so it counts when a second check finds one again.
	twice
	// once: the registry, or the pod's own objects, leave no doubt.
	once
	// onceWithCredentials: the same, if all credentials that the kubelet may have are known.
	onceWithCredentials
)

func weightOf(c diagnosis.Cause) weight {
	switch c {
	case diagnosis.TagNotFound, diagnosis.PolicyBlocked, diagnosis.PullSecretMalformed:
		return once
	case diagnosis.RepositoryNotFound, // registries hide private ones
		diagnosis.PullSecretMissing, diagnosis.PullSecretNoMatch, diagnosis.AuthenticationRequired, diagnosis.CredentialsRejected,
		diagnosis.CredentialsExpired, diagnosis.AccessDenied, diagnosis.DeniedOrNotFound:
		return onceWithCredentials
	case diagnosis.RegistryNameNotFound, diagnosis.DNSFailure, diagnosis.ConnectionRefused, diagnosis.ConnectionTimeout,
		diagnosis.NetworkUnreachable, diagnosis.TLSUntrusted, diagnosis.TLSHostnameMismatch, diagnosis.TLSExpired,
		diagnosis.TLSHandshakeFailed, diagnosis.HTTPSMismatch, diagnosis.ProxyFailed, diagnosis.MirrorFailed,
		diagnosis.RegistryConfigInvalid, diagnosis.RegistryError:
		return twice
	case diagnosis.InvalidImageName, diagnosis.ShortNameAmbiguous, diagnosis.ImageNotPresent, diagnosis.ImageNotVerifiedForPod,
		diagnosis.SignatureRejected, diagnosis.CredentialProviderFailed, diagnosis.PlatformMismatch, diagnosis.UnsupportedFormat,
		diagnosis.ContentCorrupt, diagnosis.SandboxImageFailed, diagnosis.RateLimited, diagnosis.PullThrottled,
		diagnosis.PullTimeout, diagnosis.PullStalled, diagnosis.DiskFull, diagnosis.ImageStoreCorrupt,
		diagnosis.ImageVolumeUnsupported, diagnosis.RuntimeError, diagnosis.NotReproducible, diagnosis.Unknown:
	}
	return never
}

// weigh returns how much a verdict on evidence counts; blind is that of Prober.Again.
func weigh(v diagnosis.Verdict, evidence []diagnosis.Evidence, blind bool) weight {
	w := weightOf(v.Cause)
	if v.Cause == diagnosis.TagNotFound && !blind && slices.ContainsFunc(evidence, missing) {
		return w
	}
	if v.Confidence != diagnosis.Confirmed || blind && w == onceWithCredentials {
		return never
	}
	return w
}

// missing reports whether a registry has no manifest, though it does not say whether it
// has the repository: only what is missing is in doubt.
func missing(e diagnosis.Evidence) bool {
	return e.Check == diagnosis.CheckRegistry && e.Outcome == diagnosis.Failed && e.Fault == diagnosis.FaultNotFound && !e.Endpoint.Unloaded
}

// Counts reports whether an image can be unavailable for a cause.
func Counts(c diagnosis.Cause) bool { return weightOf(c) != never }

// rejected reports whether a cause is that of a credential which is sent again only with
// the next regular check, or when it changes: each try counts against the account.
func rejected(c diagnosis.Cause) bool {
	return slices.Contains([]diagnosis.Cause{diagnosis.CredentialsRejected, diagnosis.CredentialsExpired, diagnosis.AccessDenied}, c)
}
