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

// weights has all causes. A test compares it with the catalogue.
var weights = map[diagnosis.Cause]weight{ //nolint:gochecknoglobals // never written
	diagnosis.TagNotFound:         once,
	diagnosis.PolicyBlocked:       once,
	diagnosis.PullSecretMalformed: once,

	diagnosis.RepositoryNotFound:     onceWithCredentials, // registries hide private ones
	diagnosis.PullSecretMissing:      onceWithCredentials,
	diagnosis.PullSecretNoMatch:      onceWithCredentials,
	diagnosis.AuthenticationRequired: onceWithCredentials,
	diagnosis.CredentialsRejected:    onceWithCredentials,
	diagnosis.CredentialsExpired:     onceWithCredentials,
	diagnosis.AccessDenied:           onceWithCredentials,
	diagnosis.DeniedOrNotFound:       onceWithCredentials,

	diagnosis.RegistryNameNotFound:  twice,
	diagnosis.DNSFailure:            twice,
	diagnosis.ConnectionRefused:     twice,
	diagnosis.ConnectionTimeout:     twice,
	diagnosis.NetworkUnreachable:    twice,
	diagnosis.TLSUntrusted:          twice,
	diagnosis.TLSHostnameMismatch:   twice,
	diagnosis.TLSExpired:            twice,
	diagnosis.TLSHandshakeFailed:    twice,
	diagnosis.HTTPSMismatch:         twice,
	diagnosis.ProxyFailed:           twice,
	diagnosis.MirrorFailed:          twice,
	diagnosis.RegistryConfigInvalid: twice,
	diagnosis.RegistryError:         twice,

	diagnosis.InvalidImageName:         never,
	diagnosis.ShortNameAmbiguous:       never,
	diagnosis.ImageNotPresent:          never,
	diagnosis.ImageNotVerifiedForPod:   never,
	diagnosis.SignatureRejected:        never,
	diagnosis.CredentialProviderFailed: never,
	diagnosis.PlatformMismatch:         never,
	diagnosis.UnsupportedFormat:        never,
	diagnosis.ContentCorrupt:           never,
	diagnosis.SandboxImageFailed:       never,
	diagnosis.RateLimited:              never,
	diagnosis.PullThrottled:            never,
	diagnosis.PullTimeout:              never,
	diagnosis.PullStalled:              never,
	diagnosis.DiskFull:                 never,
	diagnosis.ImageStoreCorrupt:        never,
	diagnosis.ImageVolumeUnsupported:   never,
	diagnosis.RuntimeError:             never,
	diagnosis.NotReproducible:          never,
	diagnosis.Unknown:                  never,
}

// weigh returns how much a verdict on evidence counts; blind is that of Prober.Again.
func weigh(v diagnosis.Verdict, evidence []diagnosis.Evidence, blind bool) weight {
	w := weights[v.Cause]
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
func Counts(c diagnosis.Cause) bool { return weights[c] != never }

// rejected reports whether a cause is that of a credential which is sent again only with
// the next regular check, or when it changes: each try counts against the account.
func rejected(c diagnosis.Cause) bool {
	return slices.Contains([]diagnosis.Cause{diagnosis.CredentialsRejected, diagnosis.CredentialsExpired, diagnosis.AccessDenied}, c)
}
