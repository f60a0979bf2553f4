package diagnosis

// Cause is one entry of the closed list of reasons for a failed pull. The
// string is the annotation's value, the Event's reason and the metric label.
type Cause string

// The causes; Catalogue says what each means.
const (
	InvalidImageName         Cause = "InvalidImageName"
	ShortNameAmbiguous       Cause = "ShortNameAmbiguous"
	ImageNotPresent          Cause = "ImageNotPresent"
	ImageNotVerifiedForPod   Cause = "ImageNotVerifiedForPod"
	SignatureRejected        Cause = "SignatureRejected"
	PolicyBlocked            Cause = "PolicyBlocked"
	PullSecretMissing        Cause = "PullSecretMissing"
	PullSecretMalformed      Cause = "PullSecretMalformed"
	PullSecretNoMatch        Cause = "PullSecretNoMatch"
	AuthenticationRequired   Cause = "AuthenticationRequired"
	CredentialsRejected      Cause = "CredentialsRejected"
	CredentialsExpired       Cause = "CredentialsExpired"
	AccessDenied             Cause = "AccessDenied"
	CredentialProviderFailed Cause = "CredentialProviderFailed" //nolint:gosec // a name, not a secret
	DeniedOrNotFound         Cause = "DeniedOrNotFound"
	TagNotFound              Cause = "TagNotFound"
	RepositoryNotFound       Cause = "RepositoryNotFound"
	PlatformMismatch         Cause = "PlatformMismatch"
	UnsupportedFormat        Cause = "UnsupportedFormat"
	ContentCorrupt           Cause = "ContentCorrupt"
	RegistryNameNotFound     Cause = "RegistryNameNotFound"
	DNSFailure               Cause = "DNSFailure"
	ConnectionRefused        Cause = "ConnectionRefused"
	ConnectionTimeout        Cause = "ConnectionTimeout"
	NetworkUnreachable       Cause = "NetworkUnreachable"
	TLSUntrusted             Cause = "TLSUntrusted"
	TLSHostnameMismatch      Cause = "TLSHostnameMismatch"
	TLSExpired               Cause = "TLSExpired"
	TLSHandshakeFailed       Cause = "TLSHandshakeFailed"
	HTTPSMismatch            Cause = "HTTPSMismatch"
	ProxyFailed              Cause = "ProxyFailed"
	MirrorFailed             Cause = "MirrorFailed"
	RegistryConfigInvalid    Cause = "RegistryConfigInvalid"
	SandboxImageFailed       Cause = "SandboxImageFailed"
	RateLimited              Cause = "RateLimited"
	RegistryError            Cause = "RegistryError"
	PullThrottled            Cause = "PullThrottled"
	PullTimeout              Cause = "PullTimeout"
	PullStalled              Cause = "PullStalled"
	DiskFull                 Cause = "DiskFull"
	ImageStoreCorrupt        Cause = "ImageStoreCorrupt"
	ImageVolumeUnsupported   Cause = "ImageVolumeUnsupported"
	RuntimeError             Cause = "RuntimeError"
	NotReproducible          Cause = "NotReproducible"
	Unknown                  Cause = "Unknown"
)

// Confidence says what a verdict rests on.
type Confidence string

// The confidences, strongest first.
const (
	Confirmed Confidence = "Confirmed" // our own check reproduced it, with a typed result
	Likely    Confidence = "Likely"    // our check and the runtime's text agree, or the check was indirect
	Suspected Confidence = "Suspected" // only the runtime's text says so
)
