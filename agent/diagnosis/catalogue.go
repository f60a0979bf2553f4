package diagnosis

// Fixer says whose work ends a failure.
type Fixer string

// The fixers.
const (
	FixApplication Fixer = "application" // whoever owns the pod: image name, pull secret, policy
	FixCluster     Fixer = "cluster"     // whoever runs the cluster: kubelet settings, admission, DNS
	FixNode        Fixer = "node"        // whoever runs the node: runtime configuration, network, disk, trust store
	FixRegistry    Fixer = "registry"    // whoever runs the registry
)

// Entry is what the catalogue says of a cause.
type Entry struct {
	Cause Cause
	// Label is the cause's name in collections of runtime messages, "" where
	// no text supports the cause by itself.
	Label string
	// Title is a few words for a heading.
	Title string
	// Meaning is one sentence: when the cause is true.
	Meaning string
	// Transient tells that it may pass without anybody doing anything.
	Transient bool
	// Fixer is who can mend it.
	Fixer Fixer
	// Advice is the remedy in words; the commands for one pod are made from
	// its facts.
	Advice string
}

// Catalogue returns every cause once, in the order of the documentation.
func Catalogue() []Entry {
	return []Entry{
		{InvalidImageName, "invalid_reference", "Invalid image name", "The image reference does not parse by the kubelet's rules.", false, FixApplication, "Correct the image's name."},
		{ShortNameAmbiguous, "short_name_ambiguous", "Ambiguous short name", "The runtime will not guess which registry a short image name means.", false, FixApplication, "Write the image's name with its registry."},
		{ImageNotPresent, "never_pull_missing", "Image not on the node", "The pull policy is Never and the runtime has no such image.", false, FixApplication, "Let the kubelet pull (IfNotPresent), or load the image on the node first."},
		{ImageNotVerifiedForPod, "", "Image present, pod not entitled", "The image is on the node, but the kubelet will not let this pod use it before it has proved credentials for it.", false, FixApplication, "Give the pod a pull secret that may pull the image."},
		{SignatureRejected, "signature_rejected", "Signature rejected", "The runtime's signature policy refused the image.", false, FixRegistry, "Sign the image, or correct the node's signature policy."},
		{PolicyBlocked, "policy_blocked", "Blocked by policy", "The registry or an admission layer withholds the image.", false, FixRegistry, "Ask the registry's owner which policy blocks the image."},
		{PullSecretMissing, "pull_secret_missing", "Pull secret missing", "A pull secret that the pod names is not in its namespace, and the registry wants credentials.", false, FixApplication, "Create the secret in the pod's namespace."},
		{PullSecretMalformed, "pull_secret_malformed", "Pull secret malformed", "A pull secret has the wrong type, lacks its key, is empty or does not decode.", false, FixApplication, "Create the secret anew with kubectl create secret docker-registry."},
		{PullSecretNoMatch, "", "Pull secret for another registry", "The pull secrets are fine, but none has an entry for this image's registry and path.", false, FixApplication, "Create a secret for the image's own registry."},
		{AuthenticationRequired, "auth_required_no_credentials", "Credentials required", "The registry wants credentials and the pod brings none.", false, FixApplication, "Create a pull secret and name it in imagePullSecrets."},
		{CredentialsRejected, "auth_credentials_rejected", "Credentials rejected", "The registry refuses the credentials that the pod brings.", false, FixApplication, "Replace the user name or password in the secret."},
		{CredentialsExpired, "auth_token_expired", "Credentials expired", "The credentials were good once and have expired.", false, FixApplication, "Renew the token in the secret."},
		{AccessDenied, "auth_forbidden", "Access denied", "The login works, but this repository or scope is refused to it.", false, FixRegistry, "Grant the user pull access to the repository, or use another user."},
		{CredentialProviderFailed, "credential_provider_failed", "Credential provider failed", "A kubelet credential provider plugin failed, so the pull went out without credentials.", true, FixNode, "Mend the plugin; the kubelet's log has its error."},
		{DeniedOrNotFound, "denied_or_not_found", "Denied or not found", "The registry will not say whether the repository exists, and no credential at hand settles it.", false, FixApplication, "Check the repository's name; if it is right, add a pull secret that may pull it."},
		{TagNotFound, "not_found_tag", "Tag not found", "The repository exists, the tag or digest does not.", false, FixApplication, "Use a tag that exists, or push this one."},
		{RepositoryNotFound, "not_found_repository", "Repository not found", "The registry answers and has no such repository.", false, FixApplication, "Correct the repository's name, or push the image."},
		{PlatformMismatch, "platform_mismatch", "Wrong platform", "The image has no variant for the node's operating system and architecture.", false, FixApplication, "Build the image for this platform, or schedule the pod elsewhere."},
		{UnsupportedFormat, "unsupported_format", "Unsupported format", "The runtime cannot handle the image's media type or schema.", false, FixApplication, "Build and push the image again in a current format."},
		{ContentCorrupt, "content_corrupt", "Corrupt content", "What the registry sends is not what the manifest says.", false, FixRegistry, "Push the image again; check proxies and storage of the registry."},
		{RegistryNameNotFound, "dns_nxdomain", "Registry name not found", "The registry's name does not exist in the node's name service, or has no address.", false, FixApplication, "Correct the registry's name in the image, or give the node's resolver the name."},
		{DNSFailure, "dns_timeout_or_server_failure", "Name service failed", "The node's resolver timed out, failed, refused or could not be reached.", true, FixNode, "Mend the node's resolver."},
		{ConnectionRefused, "connection_refused", "Connection refused", "Nothing listens at the registry's address and port.", true, FixRegistry, "Start the registry, or correct the port in the image's name."},
		{ConnectionTimeout, "network_timeout", "Connection timed out", "Connecting to the registry, its TLS handshake or its answer timed out.", true, FixNode, "Check routes and firewalls between the node and the registry."},
		{NetworkUnreachable, "network_unreachable_or_reset", "Network unreachable or reset", "There is no route to the registry, or the connection breaks.", true, FixNode, "Check routes, firewalls and the registry's load balancer."},
		{TLSUntrusted, "tls_unknown_authority", "Certificate not trusted", "The registry's certificate is signed by an authority that the node does not trust.", false, FixNode, "Give the node's runtime the registry's CA certificate."},
		{TLSHostnameMismatch, "tls_hostname_mismatch", "Certificate for another name", "The registry's certificate is not valid for its name.", false, FixRegistry, "Use a name that is in the certificate, or have the certificate reissued."},
		{TLSExpired, "tls_expired", "Certificate expired or not yet valid", "The registry's certificate is outside its time of validity by the node's clock.", false, FixRegistry, "Renew the certificate; check the node's clock."},
		{TLSHandshakeFailed, "tls_handshake_failed", "TLS handshake failed", "The registry and the node do not agree on TLS: client certificate, protocol or cipher.", false, FixNode, "Configure the client certificate or protocol that the registry wants."},
		{HTTPSMismatch, "http_https_mismatch", "HTTP and HTTPS mixed up", "Plain HTTP is spoken where TLS is expected, or the other way round.", false, FixNode, "Tell the node's runtime which protocol the registry speaks."},
		{ProxyFailed, "proxy_error", "Proxy failed", "The fault is the proxy's, not the registry's.", true, FixNode, "Mend the proxy or the node's proxy settings."},
		{MirrorFailed, "mirror_error", "Mirror failed", "A configured mirror's answer hides or replaces the origin's.", true, FixNode, "Mend the mirror, or take it out of the node's registry configuration."},
		{RegistryConfigInvalid, "", "Registry configuration invalid", "The node's own registry configuration is broken or not in effect, and without it the pull fails.", false, FixNode, "Correct the node's registry configuration."},
		{SandboxImageFailed, "", "Sandbox image failed", "The pod's sandbox (pause) image cannot be pulled, so no container can start.", false, FixNode, "Make the sandbox image available to the node."},
		{RateLimited, "rate_limited", "Rate limited", "The registry limits how often the node may pull.", true, FixRegistry, "Wait, pull with credentials, or use a mirror."},
		{RegistryError, "registry_server_error", "Registry error", "The registry answers with a server error.", true, FixRegistry, "Ask the registry's owner; the kubelet goes on trying."},
		{PullThrottled, "pull_qps_exceeded", "Pull throttled by the kubelet", "The kubelet's own limit on registry pulls was exceeded.", true, FixCluster, "Wait, or raise registryPullQPS and registryBurst."},
		{PullTimeout, "pull_cancelled_or_progress_timeout", "Pull cancelled", "The pull was cancelled, ran into its deadline or made no progress.", true, FixNode, "Check the bandwidth to the registry and the runtime's time limits."},
		{PullStalled, "", "Pull stalled", "A running pull has received nothing for a while.", true, FixRegistry, "Check the network path to the registry."},
		{DiskFull, "disk_full", "Disk full", "A file system that the pull needs has no space left.", false, FixNode, "Free space on the node, or enlarge the file system."},
		{ImageStoreCorrupt, "image_gc_or_store_corrupt", "Image store corrupt", "The runtime's own store misses or breaks content.", false, FixNode, "Remove the image from the node's runtime and pull it again."},
		{RuntimeError, "runtime_error", "Runtime error", "The container runtime failed on the node, whatever the registry says.", true, FixNode, "Read the runtime's log on the node."},
		{NotReproducible, "", "Works now", "Every check passes now; the kubelet will succeed when it tries again.", true, FixCluster, "Wait for the kubelet's next attempt, at most five minutes."},
		{Unknown, "unknown", "Unknown", "The evidence does not settle the cause.", false, FixCluster, "Read the evidence."},
	}
}
