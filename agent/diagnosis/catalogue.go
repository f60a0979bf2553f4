package diagnosis

import (
	"cmp"
	"slices"
	"strings"
)

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

// Fixer is who can fix a failure.
type Fixer string

// The fixers.
const (
	FixApplication Fixer = "application" // whoever owns the pod: image name, pull secret, policy
	FixCluster     Fixer = "cluster"     // whoever runs the cluster: kubelet settings, admission, DNS
	FixNode        Fixer = "node"        // whoever runs the node: runtime configuration, network, disk, trust store
	FixRegistry    Fixer = "registry"    // whoever runs the registry
)

// Entry holds everything that depends on a cause alone: what is said of it, and what
// is decided by it.
type Entry struct {
	Cause Cause
	// Label is the cause's name in collections of runtime messages, "" where
	// no text supports the cause by itself.
	Label string
	// Title is a few words for a heading.
	Title string
	// Meaning is one sentence: when the cause is true.
	Meaning string
	// Transient reports whether the failure may go away without a fix.
	Transient bool
	// Fixer is who can fix it.
	Fixer Fixer
	// Advice is the remedy in words, without the names of one pod.
	Advice string

	// Group is what pods that fail for the cause most likely have in common, so that one
	// remedy fixes them all.
	Group GroupBy
	// PerNode reports whether the cause can differ between nodes for the same image, like
	// every cause that is fixed on the node.
	PerNode bool
	// Weight is how much the cause counts for a pod that runs.
	Weight Weight
	// Place is where the cause is if a registry has nothing to say about it.
	Place Place
	// Rank orders the causes that depend on credentials by how far an attempt got;
	// 0 for all others, which got further.
	Rank int

	// offlineAdvice replaces Advice if there is no cluster; "" means the same.
	offlineAdvice string

	// summary returns the summary; if nil or "", the summary is the meaning.
	summary func(*facts) string
	// remedy returns the remedy; if nil or empty, the remedy is the advice.
	remedy func(*facts) []string

	// kin are the families of the cause, see [facts.akin].
	kin kin
	// retry is what a retried pull can show.
	retry retryClass
	// ofManifest reports whether a request for the manifest shows the cause. It does
	// not show a rate limit, because registries count other requests.
	ofManifest bool
	// afterCredentials reports whether a text shows the cause only after the registry has
	// at least looked at credentials.
	afterCredentials bool
	// answer reports whether a text shows the cause only if the registry has
	// answered; anonymous, whether it is the answer to a pull without credentials.
	answer, anonymous bool
	// regardless reports whether the cause holds whatever a registry would answer in time.
	regardless bool
	// beyondReplay reports whether a replay that passes does not speak against the cause. It
	// stores nothing, has the runtime do nothing, and fetches no more than the ends of large
	// layers: what is wrong on the node itself, a transfer that takes too long, content, a
	// policy and what nobody knows are beyond it.
	beyondReplay bool
}

// GroupBy is what pods have in common that fail for the same cause.
type GroupBy string

// The groupings. The zero value is the image.
const (
	ByImage      GroupBy = ""
	ByRegistry   GroupBy = "registry"
	ByRepository GroupBy = "repository"
	BySecret     GroupBy = "secret"
	ByNode       GroupBy = "node"
)

// Weight is how much a cause counts for a pod that runs, whose image may be unavailable
// from now on.
type Weight uint8

// The weights.
const (
	// CountsNever: it is not about whether the image can be pulled again, or one manifest
	// request does not show it.
	CountsNever Weight = iota
	// CountsTwice: it may be over in a moment, so it counts when a second check finds one again.
	CountsTwice
	// CountsOnce: the registry, or the pod's own objects, leave no doubt.
	CountsOnce
	// CountsOnceWithCredentials: the same, if all credentials that the kubelet may have are known.
	CountsOnceWithCredentials
)

// Place is where a cause is on which a registry has nothing to say.
type Place uint8

// The places. The zero value: a registry's words can be about the cause.
const (
	OnNode   Place = iota + 1 // on the node, or in its cluster
	OnTheWay                  // on the way from the node to a registry
)

// kin is a set of families.
type kin uint16

// The families. Texts are coarser than facts: a text that shows one member may come
// from another.
const (
	kinAccess      kin = 1 << iota // what credentials decide
	kinUndisclosed                 // the registry does not say which
	kinName
	kinConnection
	kinTimeout
	kinTLS
	kinPresence
	kinForbidden // both are a 403 to a runtime
	kinStore     // the runtime's store fails on what it received
	kinBrokenOff // a truncated body
	kinPage      // a web page instead of a manifest
	kinOtherName // a manifest under another name
)

// retryClass is what a retried pull can show of a cause.
type retryClass uint8

// The classes.
const (
	retryMayShowMore retryClass = iota // it may show another cause
	retryShowsNoMore                   // nothing
	retryShowsIt                       // only a pull gets past the manifest
)

// catalogue has a row for every cause, in the order of the documentation.
var catalogue = []Entry{{ //nolint:gochecknoglobals // never written
	Cause: InvalidImageName, Label: "invalid_reference", Title: "Invalid image name", Fixer: FixApplication,
	Meaning: "The image reference is not valid.",
	Advice:  "Correct the image name.",
	summary: invalidNameSummary, remedy: nameRemedy, retry: retryShowsNoMore, regardless: true,
}, {
	Cause: ShortNameAmbiguous, Label: "short_name_ambiguous", Title: "Ambiguous short name", Fixer: FixApplication,
	Meaning: "The image has a short name without a registry, and the runtime does not choose one.",
	Advice:  "Write the image name with its registry.",
	Place:   OnNode, summary: detailSummary(FaultNameAmbiguous), remedy: shortRemedy, retry: retryShowsNoMore, regardless: true,
}, {
	Cause: ImageNotPresent, Label: "never_pull_missing", Title: "Image not on the node", Fixer: FixApplication,
	Meaning: "The pull policy is Never, and the image is not on the node.",
	Advice:  "Use the pull policy IfNotPresent, or load the image onto the node first.",
	Place:   OnNode, summary: notPresentSummary, remedy: neverRemedy, kin: kinPresence, retry: retryShowsNoMore, ofManifest: true, regardless: true,
}, {
	Cause: ImageNotVerifiedForPod, Title: "Image present, not allowed for the pod", Fixer: FixApplication,
	Meaning: "The image is on the node, but the kubelet requires credentials for it that this pod does not have.",
	Advice:  "Give the pod a pull secret that can pull the image.",
	summary: notVerifiedSummary, remedy: notVerifiedRemedy, kin: kinAccess | kinPresence, retry: retryShowsNoMore, regardless: true,
}, {
	Cause: SignatureRejected, Label: "signature_rejected", Title: "Signature rejected", Fixer: FixRegistry,
	Meaning: "The signature policy of the container runtime rejects the image.",
	Advice:  "Sign the image, or correct the signature policy of the node.",
	summary: signatureSummary, remedy: signatureRemedy, retry: retryShowsNoMore, beyondReplay: true,
}, {
	Cause: PolicyBlocked, Label: "policy_blocked", Title: "Blocked by policy", Fixer: FixRegistry,
	Meaning: "The registry, or a policy in front of it, blocks the image.",
	Advice:  "Ask the owner of the registry which policy blocks the image.",
	Weight:  CountsOnce, summary: blockedSummary, remedy: blockedRemedy, kin: kinForbidden, retry: retryShowsNoMore, beyondReplay: true,
}, {
	Cause: PullSecretMissing, Label: "pull_secret_missing", Title: "Pull secret missing", Fixer: FixApplication,
	Meaning: "A pull secret of the pod does not exist in its namespace, and the registry requires credentials.",
	Advice:  "Create the secret in the namespace of the pod.",
	Group:   BySecret, Weight: CountsOnceWithCredentials, Place: OnNode, summary: secretMissingSummary, remedy: missingRemedy, kin: kinAccess, ofManifest: true,
}, {
	Cause: PullSecretMalformed, Label: "pull_secret_malformed", Title: "Pull secret malformed", Fixer: FixApplication,
	Meaning: "A pull secret has the wrong type, lacks its data key, is empty or cannot be decoded.",
	Advice:  "Create the secret again with kubectl create secret docker-registry.",
	Group:   BySecret, Weight: CountsOnce, Place: OnNode, summary: secretMalformedSummary, remedy: malformedRemedy, kin: kinAccess, retry: retryShowsNoMore, ofManifest: true, regardless: true,
}, {
	Cause: PullSecretNoMatch, Title: "Pull secret for another registry", Fixer: FixApplication,
	Meaning: "The pull secrets are valid, but none has credentials for the registry and path of the image.",
	Advice:  "Create a pull secret for the registry of the image.",
	Group:   BySecret, Weight: CountsOnceWithCredentials, summary: noMatchSummary, remedy: noMatchRemedy, kin: kinAccess, ofManifest: true,
}, {
	Cause: AuthenticationRequired, Label: "auth_required_no_credentials", Title: "Credentials required", Fixer: FixApplication,
	Meaning: "The registry requires credentials, and the pod has none.",
	Advice:  "Create a pull secret and add it to imagePullSecrets.",
	Group:   ByRegistry, Weight: CountsOnceWithCredentials, Rank: 1, summary: authenticationRequiredSummary, remedy: noCredentialsRemedy, kin: kinAccess, ofManifest: true, answer: true, anonymous: true,
}, {
	Cause: CredentialsRejected, Label: "auth_credentials_rejected", Title: "Credentials rejected", Fixer: FixApplication,
	Meaning: "The registry rejects the credentials of the pod.",
	Advice:  "Replace the credentials in the pull secret.",
	Group:   BySecret, Weight: CountsOnceWithCredentials, Rank: 2, summary: rejectedSummary, remedy: rejectedRemedy, kin: kinAccess, ofManifest: true, answer: true,
}, {
	Cause: CredentialsExpired, Label: "auth_token_expired", Title: "Credentials expired", Fixer: FixApplication,
	Meaning: "The credentials have expired.",
	Advice:  "Renew the token in the pull secret.",
	Group:   BySecret, Weight: CountsOnceWithCredentials, Rank: 5, summary: expiredSummary, remedy: expiredRemedy, kin: kinAccess, ofManifest: true, afterCredentials: true,
}, {
	Cause: AccessDenied, Label: "auth_forbidden", Title: "Access denied", Fixer: FixRegistry,
	Meaning: "The registry accepts the credentials, but denies them access to the repository.",
	Advice:  "Grant the user pull access to the repository, or use another user.",
	Group:   ByRepository, Weight: CountsOnceWithCredentials, Rank: 4, summary: deniedSummary, remedy: deniedRemedy, kin: kinAccess | kinForbidden, ofManifest: true, answer: true,
}, {
	Cause: CredentialProviderFailed, Label: "credential_provider_failed", Title: "Credential provider failed", Transient: true, Fixer: FixNode,
	Meaning: "A credential provider plugin of the kubelet failed, so the pull was made without credentials.",
	Advice:  "Fix the credential provider plugin, whose error is in the kubelet log.",
	Group:   ByRegistry, Place: OnNode, summary: providerSummary, remedy: helperRemedy, kin: kinAccess, retry: retryShowsNoMore, ofManifest: true,
}, {
	Cause: DeniedOrNotFound, Label: "denied_or_not_found", Title: "Denied or not found", Fixer: FixApplication,
	Meaning: "The repository does not exist or requires other credentials, and the registry does not say which.",
	Advice:  "Check the repository name, and if it is correct, add a pull secret that can pull the image.",
	Group:   ByRepository, Weight: CountsOnceWithCredentials, Rank: 3, summary: deniedOrNotFoundSummary, remedy: deniedOrNotFoundRemedy, kin: kinAccess | kinUndisclosed, ofManifest: true, answer: true, anonymous: true,
}, {
	Cause: TagNotFound, Label: "not_found_tag", Title: "Tag not found", Fixer: FixApplication,
	Meaning: "The repository exists, but the tag or digest does not.",
	Advice:  "Use a tag that exists, or push the missing one.",
	Weight:  CountsOnce, Rank: 7, summary: tagNotFoundSummary, remedy: tagRemedy, kin: kinUndisclosed | kinOtherName, ofManifest: true, afterCredentials: true,
}, {
	Cause: RepositoryNotFound, Label: "not_found_repository", Title: "Repository not found", Fixer: FixApplication,
	Meaning: "The repository does not exist on the registry.",
	Advice:  "Correct the repository name, or push the image.",
	Group:   ByRepository, Weight: CountsOnceWithCredentials, Rank: 6, summary: repositoryNotFoundSummary, remedy: repositoryRemedy, kin: kinUndisclosed, ofManifest: true, afterCredentials: true,
}, {
	Cause: PlatformMismatch, Label: "platform_mismatch", Title: "Wrong platform", Fixer: FixApplication,
	Meaning: "The image has no variant for the operating system and architecture of the node.",
	Advice:  "Build the image for this platform, or run the pod on another node.",
	PerNode: true, Place: OnNode, summary: detailSummary(FaultPlatformMismatch), remedy: platformRemedy, retry: retryShowsNoMore, afterCredentials: true,
}, {
	Cause: UnsupportedFormat, Label: "unsupported_format", Title: "Unsupported format", Fixer: FixApplication,
	Meaning: "The container runtime does not support the media type or schema of the image.",
	Advice:  "Build and push the image again in a current format.",
	summary: formatSummary, remedy: formatRemedy, kin: kinPage, retry: retryShowsIt, afterCredentials: true, beyondReplay: true,
}, {
	Cause: ContentCorrupt, Label: "content_corrupt", Title: "Corrupt content", Fixer: FixRegistry,
	Meaning: "The registry serves content that does not match the manifest.",
	Advice:  "Push the image again, and check the storage of the registry and the proxies in front of it.",
	summary: detailSummary(FaultContentCorrupt, FaultContentMissing), remedy: contentRemedy, kin: kinStore | kinBrokenOff | kinPage | kinOtherName, retry: retryShowsIt, afterCredentials: true, beyondReplay: true,
}, {
	Cause: RegistryNameNotFound, Label: "dns_nxdomain", Title: "Registry name not found", Fixer: FixApplication,
	Meaning: "The node cannot resolve the host name of the registry, because it does not exist or has no address.",
	Advice:  "Correct the registry in the image name, or add the name to the DNS that the node uses.",
	Group:   ByRegistry, PerNode: true, Weight: CountsTwice, Place: OnTheWay, summary: nameSummary(FaultNameNotFound), remedy: registryNameRemedy, kin: kinName, ofManifest: true,
}, {
	Cause: DNSFailure, Label: "dns_timeout_or_server_failure", Title: "DNS lookup failed", Transient: true, Fixer: FixNode,
	Meaning: "The resolver of the node timed out, failed, refused the query or is unreachable.",
	Advice:  "Fix the resolver of the node.",
	Group:   ByRegistry, Weight: CountsTwice, Place: OnTheWay, summary: nameSummary(FaultDNSFailure), remedy: resolveRemedy, kin: kinName, ofManifest: true,
}, {
	Cause: ConnectionRefused, Label: "connection_refused", Title: "Connection refused", Transient: true, Fixer: FixRegistry,
	Meaning: "Nothing is listening on the address and port of the registry.",
	Advice:  "Start the registry, or correct the port in the image name.",
	Group:   ByRegistry, PerNode: true, Weight: CountsTwice, Place: OnTheWay, summary: connectionSummary(FaultConnectionRefused), remedy: portRemedy, kin: kinConnection, ofManifest: true,
}, {
	Cause: ConnectionTimeout, Label: "network_timeout", Title: "Connection timed out", Transient: true, Fixer: FixNode,
	Meaning: "The connection to the registry, the TLS handshake or a response timed out.",
	Advice:  "Check routes and firewalls between the node and the registry.",
	Group:   ByRegistry, Weight: CountsTwice, Place: OnTheWay, summary: timeoutSummary, remedy: connectRemedy, kin: kinConnection | kinTimeout, ofManifest: true, beyondReplay: true,
}, {
	Cause: NetworkUnreachable, Label: "network_unreachable_or_reset", Title: "Network unreachable or reset", Transient: true, Fixer: FixNode,
	Meaning: "There is no route to the registry, or the connection is reset.",
	Advice:  "Check routes, firewalls and the load balancer of the registry.",
	Group:   ByRegistry, Weight: CountsTwice, Place: OnTheWay, summary: connectionSummary(FaultNetworkUnreachable), remedy: connectRemedy, kin: kinConnection, ofManifest: true,
}, {
	Cause: TLSUntrusted, Label: "tls_unknown_authority", Title: "Certificate not trusted", Fixer: FixNode,
	Meaning: "The certificate of the registry is signed by an authority that the node does not trust.",
	Advice:  "Add the CA certificate of the registry to the container runtime on the node.",
	Group:   ByRegistry, Weight: CountsTwice, Place: OnTheWay, summary: trustSummary(FaultTLSUntrusted), remedy: untrustedRemedy, kin: kinTLS, ofManifest: true,
}, {
	Cause: TLSHostnameMismatch, Label: "tls_hostname_mismatch", Title: "Certificate for another name", Fixer: FixRegistry,
	Meaning: "The certificate of the registry is not valid for its host name.",
	Advice:  "Use a host name that is in the certificate, or reissue the certificate.",
	Group:   ByRegistry, Weight: CountsTwice, Place: OnTheWay, summary: unusedSummary(ConfigOfTLS, FaultTLSHostnameMismatch), remedy: certificateRemedy(TLSHostnameMismatch), kin: kinTLS, ofManifest: true,
}, {
	Cause: TLSExpired, Label: "tls_expired", Title: "Certificate expired or not yet valid", Fixer: FixRegistry,
	Meaning: "The certificate of the registry has expired or is not yet valid, according to the clock of the node.",
	Advice:  "Renew the certificate, and check the clock of the node.",
	Group:   ByRegistry, PerNode: true, Weight: CountsTwice, Place: OnTheWay, summary: unusedSummary(ConfigOfTLS, FaultTLSExpired), remedy: certificateRemedy(TLSExpired), kin: kinTLS, ofManifest: true,
}, {
	Cause: TLSHandshakeFailed, Label: "tls_handshake_failed", Title: "TLS handshake failed", Fixer: FixNode,
	Meaning: "The registry and the node do not agree on the client certificate, TLS version or cipher suite.",
	Advice:  "Configure the client certificate or TLS version that the registry requires.",
	Group:   ByRegistry, Weight: CountsTwice, Place: OnTheWay, summary: unusedSummary(ConfigOfTLS, FaultTLSHandshakeFailed), remedy: handshakeRemedy, kin: kinTLS, ofManifest: true,
}, {
	Cause: HTTPSMismatch, Label: "http_https_mismatch", Title: "HTTP and HTTPS mixed up", Fixer: FixNode,
	Meaning: "The node uses HTTPS where the registry speaks plain HTTP, or the other way around.",
	Advice:  "Configure the scheme of the registry in the container runtime on the node.",
	Group:   ByRegistry, Weight: CountsTwice, Place: OnTheWay, summary: trustSummary(FaultHTTPSMismatch), remedy: httpsRemedy, kin: kinTLS, ofManifest: true,
}, {
	Cause: ProxyFailed, Label: "proxy_error", Title: "Proxy failed", Transient: true, Fixer: FixNode,
	Meaning: "The proxy between the node and the registry fails.",
	Advice:  "Fix the proxy, or the proxy settings of the node.",
	Group:   ByRegistry, Weight: CountsTwice, Place: OnTheWay, summary: unusedSummary(ConfigOfProxy, FaultProxyFailed, FaultWebPage), remedy: proxyRemedy,
}, {
	Cause: MirrorFailed, Label: "mirror_error", Title: "Mirror failed", Transient: true, Fixer: FixNode,
	Meaning: "The error of a registry mirror hides the one of the upstream registry, or the mirror is the only source.",
	Advice:  "Fix the mirror, or remove it from the registry configuration of the node.",
	Group:   ByRegistry, Weight: CountsTwice, summary: mirrorSummary, remedy: mirrorRemedy, ofManifest: true,
}, {
	Cause: RegistryConfigInvalid, Title: "Registry configuration invalid", Fixer: FixNode,
	Meaning: "The registry configuration of the node is invalid or has no effect, and the pull needs it.",
	Advice:  "Correct the registry configuration of the node.",
	Group:   ByRegistry, Weight: CountsTwice, Place: OnNode, summary: configSummary, remedy: configRemedy, retry: retryShowsNoMore, beyondReplay: true,
}, {
	Cause: SandboxImageFailed, Title: "Sandbox image failed", Fixer: FixNode,
	Meaning: "The pod's sandbox (pause) image cannot be pulled, so no container can start.",
	Advice:  "Make the sandbox image available on the node.",
	Group:   ByNode, summary: sandboxSummary, remedy: sandboxRemedy,
}, {
	Cause: RateLimited, Label: "rate_limited", Title: "Rate limited", Transient: true, Fixer: FixRegistry,
	Meaning: "The rate limit of the registry is exceeded.",
	Advice:  "Wait, pull with credentials, or use a mirror.",
	Group:   ByRegistry, summary: detailSummary(FaultRateLimited), remedy: rateLimitRemedy, retry: retryShowsNoMore, afterCredentials: true,
}, {
	Cause: RegistryError, Label: "registry_server_error", Title: "Registry error", Transient: true, Fixer: FixRegistry,
	Meaning:       "The registry returns a server error or unexpected answer.",
	Advice:        "Ask the owner of the registry while the kubelet keeps retrying.",
	offlineAdvice: "Ask the owner of the registry.",
	Group:         ByRegistry, Weight: CountsTwice, summary: detailSummary(FaultServerError, FaultWebPage, FaultUnexpectedAnswer), remedy: registryErrorRemedy, ofManifest: true, answer: true,
}, {
	Cause: PullThrottled, Label: "pull_qps_exceeded", Title: "Pull throttled by the kubelet", Transient: true, Fixer: FixCluster,
	Meaning: "The pull rate limit of the kubelet itself is exceeded.",
	Advice:  "Wait, or raise registryPullQPS and registryBurst in the kubelet configuration.",
	Group:   ByNode, Place: OnNode, retry: retryShowsNoMore,
}, {
	Cause: PullTimeout, Label: "pull_cancelled_or_progress_timeout", Title: "Pull canceled", Transient: true, Fixer: FixNode,
	Meaning: "The pull was canceled, exceeded its deadline or made no progress.",
	Advice:  "Check the bandwidth to the registry and the timeouts of the container runtime.",
	Group:   ByRegistry, Place: OnNode, kin: kinTimeout | kinBrokenOff, retry: retryShowsIt, beyondReplay: true,
}, {
	Cause: PullStalled, Title: "Pull stalled", Transient: true, Fixer: FixRegistry,
	Meaning: "A pull in progress has received almost nothing for a while.",
	Advice:  "Check the network path to the registry.",
	Group:   ByRegistry, summary: stalledSummary, remedy: stalledRemedy, regardless: true,
}, {
	Cause: DiskFull, Label: "disk_full", Title: "Disk full", Fixer: FixNode,
	Meaning: "A file system that the pull writes to has no space left.",
	Advice:  "Free space on the node, or enlarge the file system.",
	Group:   ByNode, Place: OnNode, summary: diskFullSummary, remedy: diskFullRemedy, retry: retryShowsIt, afterCredentials: true, regardless: true, beyondReplay: true,
}, {
	Cause: ImageStoreCorrupt, Label: "image_gc_or_store_corrupt", Title: "Image store corrupt", Fixer: FixNode,
	Meaning: "The image store of the container runtime lacks content or is corrupt.",
	Advice:  "Remove the image from the node and pull it again.",
	Group:   ByNode, Place: OnNode, remedy: storeRemedy, kin: kinStore, retry: retryShowsIt, afterCredentials: true, regardless: true, beyondReplay: true,
}, {
	Cause: ImageVolumeUnsupported, Label: "image_volume_unsupported", Title: "Image volumes not supported", Fixer: FixNode,
	Meaning: "The container runtime of the node does not support image volumes.",
	Advice:  "Upgrade the node to containerd 2.1, CRI-O 1.31 or later, or use a volume of another type.",
	Group:   ByNode, summary: imageVolumeSummary, remedy: imageVolumeRemedy, retry: retryShowsNoMore, regardless: true, beyondReplay: true,
}, {
	Cause: RuntimeError, Label: "runtime_error", Title: "Runtime error", Transient: true, Fixer: FixNode,
	Meaning: "The container runtime on the node failed.",
	Advice:  "Read the log of the container runtime on the node.",
	Group:   ByNode, Place: OnNode, summary: runtimeSummary, remedy: runtimeRemedy, retry: retryShowsIt, regardless: true, beyondReplay: true,
}, {
	Cause: NotReproducible, Title: "Works now", Transient: true, Fixer: FixCluster,
	Meaning: "All checks pass now, so the next attempt of the kubelet should succeed.",
	Advice:  "Wait for the next attempt of the kubelet, five minutes at most.",
	Group:   ByRegistry, summary: worksNowSummary, remedy: watchRemedy, regardless: true,
}, {
	Cause: Unknown, Label: "unknown", Title: "Unknown", Fixer: FixCluster,
	Meaning: "No check shows the cause.",
	Advice:  "Read the evidence in the report.",
	summary: unknownSummary, beyondReplay: true,
}}

// byCause has the rows by cause.
var byCause = func() map[Cause]*Entry { //nolint:gochecknoglobals // never written
	out := make(map[Cause]*Entry, len(catalogue))
	for i := range catalogue {
		out[catalogue[i].Cause] = &catalogue[i]
	}
	return out
}()

// clause returns the meaning as a part of a sentence.
func (e Entry) clause() string {
	s := strings.TrimSuffix(e.Meaning, ".")
	return strings.ToLower(s[:1]) + s[1:]
}

// Catalogue returns every cause once, in the order of the documentation.
func Catalogue() []Entry { return slices.Clone(catalogue) }

// Entry returns what depends on c alone; for a cause that is not in the catalogue (of a
// later version), what depends on Unknown.
func (c Cause) Entry() Entry { return *cmp.Or(byCause[c], byCause[Unknown]) }

// Unreachable reports whether the cause is that there is no way to a registry.
func (e Entry) Unreachable() bool { return e.kin&(kinName|kinConnection) != 0 }
