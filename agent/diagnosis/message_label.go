package diagnosis

// Label returns the name that labelled collections of runtime messages use for
// c, "" for a cause that no message can show by itself.
func (c Cause) Label() string {
	for _, l := range labels() {
		if l.cause == c {
			return l.label
		}
	}
	return ""
}

// CauseOfLabel is the inverse of [Cause.Label]; it returns Unknown for a label
// that it does not know.
func CauseOfLabel(label string) Cause {
	for _, l := range labels() {
		if l.label == label {
			return l.cause
		}
	}
	return Unknown
}

// labelled pairs a cause with its label.
type labelled struct {
	cause Cause
	label string
}

// labels returns the pairs in the order of the causes. Causes that are missing
// here are found by our own checks only.
func labels() []labelled {
	return []labelled{
		{InvalidImageName, "invalid_reference"},
		{ShortNameAmbiguous, "short_name_ambiguous"},
		{ImageNotPresent, "never_pull_missing"},
		{SignatureRejected, "signature_rejected"},
		{PolicyBlocked, "policy_blocked"},
		{PullSecretMissing, "pull_secret_missing"},
		{PullSecretMalformed, "pull_secret_malformed"},
		{AuthenticationRequired, "auth_required_no_credentials"},
		{CredentialsRejected, "auth_credentials_rejected"},
		{CredentialsExpired, "auth_token_expired"},
		{AccessDenied, "auth_forbidden"},
		{CredentialProviderFailed, "credential_provider_failed"},
		{DeniedOrNotFound, "denied_or_not_found"},
		{TagNotFound, "not_found_tag"},
		{RepositoryNotFound, "not_found_repository"},
		{PlatformMismatch, "platform_mismatch"},
		{UnsupportedFormat, "unsupported_format"},
		{ContentCorrupt, "content_corrupt"},
		{RegistryNameNotFound, "dns_nxdomain"},
		{DNSFailure, "dns_timeout_or_server_failure"},
		{ConnectionRefused, "connection_refused"},
		{ConnectionTimeout, "network_timeout"},
		{NetworkUnreachable, "network_unreachable_or_reset"},
		{TLSUntrusted, "tls_unknown_authority"},
		{TLSHostnameMismatch, "tls_hostname_mismatch"},
		{TLSExpired, "tls_expired"},
		{TLSHandshakeFailed, "tls_handshake_failed"},
		{HTTPSMismatch, "http_https_mismatch"},
		{ProxyFailed, "proxy_error"},
		{MirrorFailed, "mirror_error"},
		{RateLimited, "rate_limited"},
		{RegistryError, "registry_server_error"},
		{PullThrottled, "pull_qps_exceeded"},
		{PullTimeout, "pull_cancelled_or_progress_timeout"},
		{DiskFull, "disk_full"},
		{ImageStoreCorrupt, "image_gc_or_store_corrupt"},
		{RuntimeError, "runtime_error"},
		{Unknown, "unknown"},
	}
}
