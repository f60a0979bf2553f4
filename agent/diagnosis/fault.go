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
	// configured for this image. It is not run by whypull.
	FaultProviderMatches Fault = "CredentialProviderMatches"

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

	// what a text shows that no check of whypull's own finds, under its cause's name
	FaultTextInvalidImageName         Fault = "InvalidImageName"
	FaultTextShortNameAmbiguous       Fault = "ShortNameAmbiguous"
	FaultTextImageNotPresent          Fault = "ImageNotPresent"
	FaultTextImageNotVerifiedForPod   Fault = "ImageNotVerifiedForPod"
	FaultTextSignatureRejected        Fault = "SignatureRejected"
	FaultTextPullSecretMissing        Fault = "PullSecretMissing"
	FaultTextPullSecretMalformed      Fault = "PullSecretMalformed"
	FaultTextPullSecretNoMatch        Fault = "PullSecretNoMatch"
	FaultTextAuthenticationRequired   Fault = "AuthenticationRequired"
	FaultTextCredentialsRejected      Fault = "CredentialsRejected"
	FaultTextCredentialsExpired       Fault = "CredentialsExpired"
	FaultTextAccessDenied             Fault = "AccessDenied"
	FaultTextCredentialProviderFailed Fault = "CredentialProviderFailed" //nolint:gosec // a name, not a secret
	FaultTextDeniedOrNotFound         Fault = "DeniedOrNotFound"
	FaultTextRegistryNameNotFound     Fault = "RegistryNameNotFound"
	FaultTextMirrorFailed             Fault = "MirrorFailed"
	FaultTextSandboxImageFailed       Fault = "SandboxImageFailed"
	FaultTextRegistryError            Fault = "RegistryError"
	FaultTextPullThrottled            Fault = "PullThrottled"
	FaultTextPullTimeout              Fault = "PullTimeout"
	FaultTextImageStoreCorrupt        Fault = "ImageStoreCorrupt"
	FaultTextImageVolumeUnsupported   Fault = "ImageVolumeUnsupported"
	FaultTextRuntimeError             Fault = "RuntimeError"
	FaultTextNotReproducible          Fault = "NotReproducible"
)

// faultRow is what a fault says of the cause of a failure.
type faultRow struct {
	// cause is the one that the fault stands for by itself, "" where it takes more to
	// know.
	cause Cause
	// text reports whether evidence of a text that supports the cause has this fault.
	text bool
}

// faultRows has a row for every fault.
var faultRows = map[Fault]faultRow{ //nolint:gochecknoglobals // never written
	FaultPending:                      {},
	FaultImageAbsent:                  {},
	FaultNameInvalid:                  {},
	FaultNameAmbiguous:                {},
	FaultRuntimeUnready:               {},
	FaultNotVerified:                  {},
	FaultSecretMissing:                {},
	FaultSecretUnreadable:             {},
	FaultSecretWrongType:              {},
	FaultSecretEmpty:                  {},
	FaultSecretMalformed:              {},
	FaultNoMatchingCredential:         {},
	FaultNoCredentials:                {},
	FaultCredentialExpired:            {},
	FaultProviderMatches:              {},
	FaultNameNotFound:                 {cause: RegistryNameNotFound},
	FaultDNSFailure:                   {cause: DNSFailure, text: true},
	FaultConnectionRefused:            {cause: ConnectionRefused, text: true},
	FaultConnectionTimeout:            {cause: ConnectionTimeout, text: true},
	FaultNetworkUnreachable:           {cause: NetworkUnreachable, text: true},
	FaultAddressForbidden:             {},
	FaultAddressUnspecified:           {},
	FaultProxyFailed:                  {cause: ProxyFailed, text: true},
	FaultTLSUntrusted:                 {cause: TLSUntrusted, text: true},
	FaultTLSHostnameMismatch:          {cause: TLSHostnameMismatch, text: true},
	FaultTLSExpired:                   {cause: TLSExpired, text: true},
	FaultTLSHandshakeFailed:           {cause: TLSHandshakeFailed, text: true},
	FaultHTTPSMismatch:                {cause: HTTPSMismatch, text: true},
	FaultUnauthorized:                 {cause: AuthenticationRequired},
	FaultInsufficientScope:            {cause: AccessDenied},
	FaultForbidden:                    {cause: AccessDenied},
	FaultNotFound:                     {cause: TagNotFound},
	FaultTagNotFound:                  {cause: TagNotFound, text: true},
	FaultRepositoryNotFound:           {cause: RepositoryNotFound, text: true},
	FaultRateLimited:                  {cause: RateLimited, text: true},
	FaultServerError:                  {cause: RegistryError},
	FaultUnexpectedAnswer:             {cause: RegistryError},
	FaultPolicyBlocked:                {cause: PolicyBlocked, text: true},
	FaultWebPage:                      {cause: UnsupportedFormat},
	FaultPlatformMismatch:             {cause: PlatformMismatch, text: true},
	FaultUnsupportedFormat:            {cause: UnsupportedFormat, text: true},
	FaultContentCorrupt:               {cause: ContentCorrupt, text: true},
	FaultContentMissing:               {cause: ContentCorrupt},
	FaultPullFailed:                   {},
	FaultStalled:                      {cause: PullStalled, text: true},
	FaultUnbegun:                      {},
	FaultWaitsForIt:                   {},
	FaultNoSandbox:                    {},
	FaultDiskFull:                     {cause: DiskFull, text: true},
	FaultConfigInvalid:                {cause: RegistryConfigInvalid, text: true},
	FaultTextInvalidImageName:         {cause: InvalidImageName, text: true},
	FaultTextShortNameAmbiguous:       {cause: ShortNameAmbiguous, text: true},
	FaultTextImageNotPresent:          {cause: ImageNotPresent, text: true},
	FaultTextImageNotVerifiedForPod:   {cause: ImageNotVerifiedForPod, text: true},
	FaultTextSignatureRejected:        {cause: SignatureRejected, text: true},
	FaultTextPullSecretMissing:        {cause: PullSecretMissing, text: true},
	FaultTextPullSecretMalformed:      {cause: PullSecretMalformed, text: true},
	FaultTextPullSecretNoMatch:        {cause: PullSecretNoMatch, text: true},
	FaultTextAuthenticationRequired:   {cause: AuthenticationRequired, text: true},
	FaultTextCredentialsRejected:      {cause: CredentialsRejected, text: true},
	FaultTextCredentialsExpired:       {cause: CredentialsExpired, text: true},
	FaultTextAccessDenied:             {cause: AccessDenied, text: true},
	FaultTextCredentialProviderFailed: {cause: CredentialProviderFailed, text: true},
	FaultTextDeniedOrNotFound:         {cause: DeniedOrNotFound, text: true},
	FaultTextRegistryNameNotFound:     {cause: RegistryNameNotFound, text: true},
	FaultTextMirrorFailed:             {cause: MirrorFailed, text: true},
	FaultTextSandboxImageFailed:       {cause: SandboxImageFailed, text: true},
	FaultTextRegistryError:            {cause: RegistryError, text: true},
	FaultTextPullThrottled:            {cause: PullThrottled, text: true},
	FaultTextPullTimeout:              {cause: PullTimeout, text: true},
	FaultTextImageStoreCorrupt:        {cause: ImageStoreCorrupt, text: true},
	FaultTextImageVolumeUnsupported:   {cause: ImageVolumeUnsupported, text: true},
	FaultTextRuntimeError:             {cause: RuntimeError, text: true},
	FaultTextNotReproducible:          {cause: NotReproducible, text: true},
}

// textFaults has the fault of a text for each cause that one can support.
var textFaults = func() map[Cause]Fault { //nolint:gochecknoglobals // never written
	out := map[Cause]Fault{}
	for fault, row := range faultRows {
		if row.text {
			out[row.cause] = fault
		}
	}
	return out
}()

// Points returns the cause that a fault stands for by itself, "" where it takes
// more to know.
func (f Fault) Points() Cause { return faultRows[f].cause }

// FaultOf returns the fault of evidence of a text that supports a cause, "" for
// Unknown.
func FaultOf(c Cause) Fault { return textFaults[c] }

// CauseOf returns the cause that a fault of a registry stands for by itself:
// Unknown where it stands for none, "" for no fault.
func CauseOf(f Fault) Cause {
	if f == "" {
		return ""
	}
	return cmp.Or(f.Points(), Unknown)
}
