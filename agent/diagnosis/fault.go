package diagnosis

import "cmp"

// Fault says what a check found wrong. It is empty when nothing was.
type Fault string

// Faults of the checks, by where they are found.
const (
	// FaultPending marks a check that is still running when a first verdict
	// is made.
	FaultPending Fault = "Pending"

	// image
	FaultImageAbsent    Fault = "ImageAbsent"    // not an error by itself
	FaultNameInvalid    Fault = "InvalidName"    // does not parse
	FaultNameAmbiguous  Fault = "AmbiguousName"  // a short name that the runtime will not resolve
	FaultRuntimeUnready Fault = "RuntimeUnready" // the runtime does not answer
	// FaultNotVerified: the image is there, and the kubelet's own records say
	// that this pod has to prove credentials before it may use it (KEP-2535).
	FaultNotVerified Fault = "NotVerifiedForPod"

	// credentials
	FaultSecretMissing        Fault = "SecretNotFound"
	FaultSecretUnreadable     Fault = "SecretUnreadable" // no right to read it
	FaultSecretWrongType      Fault = "SecretWrongType"
	FaultSecretEmpty          Fault = "SecretWithoutCredentials"
	FaultSecretMalformed      Fault = "SecretMalformed"
	FaultNoMatchingCredential Fault = "NoMatchingCredential"
	FaultNoCredentials        Fault = "NoCredentials" // the pod names no secret
	// FaultCredentialExpired: the entry matches, and is over its time by its own
	// account or by its age.
	FaultCredentialExpired Fault = "CredentialExpired" //nolint:gosec // a name, not a secret
	// FaultProviderMatches: a credential provider plugin of the kubelet is
	// configured for this image, of which is not known what it gives.
	FaultProviderMatches Fault = "CredentialProviderMatches"
	// FaultProviderFailed: such a plugin was run and gave the pull no credentials.
	FaultProviderFailed Fault = "CredentialProviderFailed"

	// DNS and network
	FaultNameNotFound       Fault = "NameNotFound"
	FaultDNSFailure         Fault = "DNSFailure"
	FaultConnectionRefused  Fault = "ConnectionRefused"
	FaultConnectionTimeout  Fault = "ConnectionTimeout"
	FaultNetworkUnreachable Fault = "NetworkUnreachable"
	FaultAddressForbidden   Fault = "AddressForbidden"   // link-local or metadata address: we do not talk to it
	FaultAddressUnspecified Fault = "AddressUnspecified" // 0.0.0.0 or ::, with which DNS servers block a name
	FaultProxyFailed        Fault = "ProxyFailed"

	// TLS
	FaultTLSUntrusted        Fault = "TLSUntrusted"
	FaultTLSHostnameMismatch Fault = "TLSHostnameMismatch"
	FaultTLSExpired          Fault = "TLSExpired"
	FaultTLSHandshakeFailed  Fault = "TLSHandshakeFailed"
	FaultHTTPSMismatch       Fault = "HTTPSMismatch"

	// HTTP
	FaultUnauthorized       Fault = "Unauthorized"      // 401, or the token server refused the credential
	FaultInsufficientScope  Fault = "InsufficientScope" // a token was issued, this repository was not in it
	FaultForbidden          Fault = "Forbidden"         // 403, denied
	FaultNotFound           Fault = "NotFound"          // 404 that says neither tag nor repository
	FaultTagNotFound        Fault = "TagNotFound"
	FaultRepositoryNotFound Fault = "RepositoryNotFound"
	FaultRateLimited        Fault = "RateLimited"
	FaultServerError        Fault = "ServerError" // 5xx
	FaultUnexpectedAnswer   Fault = "UnexpectedAnswer"
	FaultPolicyBlocked      Fault = "PolicyBlocked" // withheld: 451, or an error code that says so
	FaultWebPage            Fault = "WebPage"       // HTML where a registry's answer should be: a login page, a web server

	// content, after the manifest's name was found
	FaultPlatformMismatch  Fault = "PlatformMismatch"
	FaultUnsupportedFormat Fault = "UnsupportedFormat"
	FaultContentCorrupt    Fault = "ContentCorrupt" // wrong digest, wrong size, broken off
	FaultContentMissing    Fault = "ContentMissing" // the manifest names what the registry does not have

	// FaultPullFailed: the pull tried again fails, in words that nobody knows.
	FaultPullFailed Fault = "PullFailed"

	// the pull under way
	FaultStalled    Fault = "PullStalled"    // bytes have come, and then no more
	FaultUnbegun    Fault = "PullUnbegun"    // no byte has come
	FaultWaitsForIt Fault = "PullWaits"      // another one has stalled
	FaultNoSandbox  Fault = "SandboxMissing" // the pod has no sandbox, whose image the node does not have

	// the file systems that a pull writes to
	FaultDiskFull Fault = "DiskFull" // one is full, or has less room than the image needs

	// configuration of the node
	FaultConfigInvalid Fault = "RegistryConfigInvalid"
)

// Points returns the cause that a fault stands for by itself: of a check those below, ""
// where it takes more to know; any other has the name of its cause, like that of a text,
// see [FaultOf].
func (f Fault) Points() Cause {
	switch f { //nolint:exhaustive // the others have the names of their causes
	case FaultPending, FaultImageAbsent, FaultNameInvalid, FaultNameAmbiguous, FaultRuntimeUnready, FaultNotVerified,
		FaultSecretMissing, FaultSecretUnreadable, FaultSecretWrongType, FaultSecretEmpty, FaultSecretMalformed,
		FaultNoMatchingCredential, FaultNoCredentials, FaultCredentialExpired, FaultProviderMatches,
		FaultAddressForbidden, FaultAddressUnspecified, FaultPullFailed, FaultUnbegun, FaultWaitsForIt, FaultNoSandbox:
		return ""
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
	}
	return Cause(f)
}

// Refuses reports whether with a fault a registry refuses access.
func (f Fault) Refuses() bool {
	return f == FaultUnauthorized || f == FaultForbidden || f == FaultInsufficientScope
}

// FaultOf returns the fault of evidence of a text that supports a cause, which has the
// name of the cause; "" for Unknown.
func FaultOf(c Cause) Fault {
	if c == Unknown {
		return ""
	}
	return Fault(c)
}

// CauseOf returns the cause that a fault of a registry stands for by itself:
// Unknown where it stands for none, "" for no fault.
func CauseOf(f Fault) Cause {
	if f == "" {
		return ""
	}
	return cmp.Or(f.Points(), Unknown)
}
