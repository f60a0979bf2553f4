package faulttest

// Truth is what is really wrong in a case. The values are those of the causes
// that a diagnosis of the case has to find.
type Truth string

// Works is the truth of a case in which the pull succeeds.
const Works Truth = ""

// The truths of cases in which it fails: what a registry, its network or the
// node's settings for it can have.
const (
	PolicyBlocked          Truth = "PolicyBlocked"
	AuthenticationRequired Truth = "AuthenticationRequired"
	CredentialsRejected    Truth = "CredentialsRejected"
	CredentialsExpired     Truth = "CredentialsExpired"
	AccessDenied           Truth = "AccessDenied"
	DeniedOrNotFound       Truth = "DeniedOrNotFound"
	TagNotFound            Truth = "TagNotFound"
	RepositoryNotFound     Truth = "RepositoryNotFound"
	PlatformMismatch       Truth = "PlatformMismatch"
	UnsupportedFormat      Truth = "UnsupportedFormat"
	ContentCorrupt         Truth = "ContentCorrupt"
	RegistryNameNotFound   Truth = "RegistryNameNotFound"
	DNSFailure             Truth = "DNSFailure"
	ConnectionRefused      Truth = "ConnectionRefused"
	ConnectionTimeout      Truth = "ConnectionTimeout"
	NetworkUnreachable     Truth = "NetworkUnreachable"
	TLSUntrusted           Truth = "TLSUntrusted"
	TLSHostnameMismatch    Truth = "TLSHostnameMismatch"
	TLSExpired             Truth = "TLSExpired"
	TLSHandshakeFailed     Truth = "TLSHandshakeFailed"
	HTTPSMismatch          Truth = "HTTPSMismatch"
	ProxyFailed            Truth = "ProxyFailed"
	MirrorFailed           Truth = "MirrorFailed"
	RegistryConfigInvalid  Truth = "RegistryConfigInvalid"
	RateLimited            Truth = "RateLimited"
	RegistryError          Truth = "RegistryError"
)

// Truths returns all truths but Works. The caller owns the result.
func Truths() []Truth {
	return []Truth{
		PolicyBlocked, AuthenticationRequired, CredentialsRejected, CredentialsExpired, AccessDenied,
		DeniedOrNotFound, TagNotFound, RepositoryNotFound, PlatformMismatch, UnsupportedFormat,
		ContentCorrupt, RegistryNameNotFound, DNSFailure, ConnectionRefused, ConnectionTimeout,
		NetworkUnreachable, TLSUntrusted, TLSHostnameMismatch, TLSExpired, TLSHandshakeFailed,
		HTTPSMismatch, ProxyFailed, MirrorFailed, RegistryConfigInvalid, RateLimited,
		RegistryError,
	}
}
