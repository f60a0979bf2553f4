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

// Entry is what people read of a cause, whatever the failure.
type Entry struct {
	Cause Cause
	// Label is the cause's name in collections of runtime messages, "" where
	// no text supports the cause by itself.
	Label string
	// Title is a few words for a heading.
	Title string
	// Meaning is one sentence: when the cause is true.
	Meaning string
	// Transient reports whether it may pass without anybody doing anything.
	Transient bool
	// Fixer is who can fix it.
	Fixer Fixer
	// Advice is the remedy in words; the commands for one pod are made from
	// its facts.
	Advice string
}

// row is everything that is said and decided by a cause alone.
type row struct {
	Entry
	// offlineAdvice stands for Advice where there is no cluster; "" for the same.
	offlineAdvice string

	// summary makes the summary; nil, or "": the meaning, with the image.
	summary func(*facts) string
	// remedy makes the remedy; nil, or none: the advice.
	remedy func(*facts) []string

	// kin are the families of the cause: see [facts.akin].
	kin kin
	// retry says what a pull that is tried again adds.
	retry retryClass
	// ofManifest reports whether a question for the manifest shows the cause. A rate
	// limit is not among them: registries count other requests.
	ofManifest bool
	// afterCredentials reports whether a text shows the cause only after the registry has
	// accepted, or at least looked at, credentials.
	afterCredentials bool
	// answer reports whether a text shows the cause only where the registry has
	// answered; anonymous, whether it is the answer to a pull without credentials.
	answer, anonymous bool
	// onNode reports whether the cause is on the node itself, so that a replay does
	// not speak against it.
	onNode bool
	// rank is the place among the causes that credentials decide, from the attempt
	// that came least far; 0 for all others, which come after these.
	rank int
}

// kin is a set of families.
type kin uint16

// The families: texts are coarser than facts, so that a text which speaks of one
// member may come from another.
const (
	kinAccess      kin = 1 << iota // what credentials decide
	kinUndisclosed                 // a registry may not say which
	kinName
	kinConnection
	kinTimeout
	kinTLS
	kinPresence
	kinForbidden // both are a 403 to a runtime
	kinStore     // a runtime's store fails over what it was sent
	kinBrokenOff // a body that breaks off
	kinPage      // of a page instead of a manifest
	kinOtherName // of a manifest that names another
)

// retryClass says what a pull that is tried again adds to a cause.
type retryClass uint8

// The classes.
const (
	retryMayTell     retryClass = iota // it may show another cause
	retryTellsNoMore                   // nothing
	retryMeetsIt                       // only a pull meets what comes after the manifest
)

// catalogue has a row for every cause, in the order of the documentation.
var catalogue = []row{ //nolint:gochecknoglobals // never written
	{
		Entry: Entry{
			Cause: InvalidImageName, Label: "invalid_reference", Title: "Invalid image name", Fixer: FixApplication,
			Meaning: "The image reference does not parse by the kubelet's rules.",
			Advice:  "Correct the image's name.",
		},
		summary: invalidNameSummary, remedy: nameRemedy,
		retry: retryTellsNoMore,
	},
	{
		Entry: Entry{
			Cause: ShortNameAmbiguous, Label: "short_name_ambiguous", Title: "Ambiguous short name", Fixer: FixApplication,
			Meaning: "The runtime will not guess which registry a short image name means.",
			Advice:  "Write the image's name with its registry.",
		},
		summary: shortSummary, remedy: shortRemedy,
		retry: retryTellsNoMore,
	},
	{
		Entry: Entry{
			Cause: ImageNotPresent, Label: "never_pull_missing", Title: "Image not on the node", Fixer: FixApplication,
			Meaning: "The pull policy is Never and the runtime has no such image.",
			Advice:  "Let the kubelet pull (IfNotPresent), or load the image on the node first.",
		},
		summary: notPresentSummary, remedy: neverRemedy,
		kin:   kinPresence,
		retry: retryTellsNoMore, ofManifest: true,
	},
	{
		Entry: Entry{
			Cause: ImageNotVerifiedForPod, Title: "Image present, pod not entitled", Fixer: FixApplication,
			Meaning: "The image is on the node, but the kubelet will not let this pod use it before it has proved credentials for it.",
			Advice:  "Give the pod a pull secret that may pull the image.",
		},
		summary: notVerifiedSummary, remedy: notVerifiedRemedy,
		kin:   kinAccess | kinPresence,
		retry: retryTellsNoMore,
	},
	{
		Entry: Entry{
			Cause: SignatureRejected, Label: "signature_rejected", Title: "Signature rejected", Fixer: FixRegistry,
			Meaning: "The runtime's signature policy refused the image.",
			Advice:  "Sign the image, or correct the node's signature policy.",
		},
		summary: signatureSummary, remedy: signatureRemedy,
		retry: retryTellsNoMore,
	},
	{
		Entry: Entry{
			Cause: PolicyBlocked, Label: "policy_blocked", Title: "Blocked by policy", Fixer: FixRegistry,
			Meaning: "The registry or an admission layer withholds the image.",
			Advice:  "Ask the registry's owner which policy blocks the image.",
		},
		summary: detailSummary(FaultPolicyBlocked), remedy: blockedRemedy,
		kin:   kinForbidden,
		retry: retryTellsNoMore,
	},
	{
		Entry: Entry{
			Cause: PullSecretMissing, Label: "pull_secret_missing", Title: "Pull secret missing", Fixer: FixApplication,
			Meaning: "A pull secret that the pod names is not in its namespace, and the registry wants credentials.",
			Advice:  "Create the secret in the pod's namespace.",
		},
		summary: secretMissingSummary, remedy: missingRemedy,
		kin:        kinAccess,
		ofManifest: true,
	},
	{
		Entry: Entry{
			Cause: PullSecretMalformed, Label: "pull_secret_malformed", Title: "Pull secret malformed", Fixer: FixApplication,
			Meaning: "A pull secret has the wrong type, lacks its key, is empty or does not decode.",
			Advice:  "Create the secret anew with kubectl create secret docker-registry.",
		},
		summary: secretMalformedSummary, remedy: malformedRemedy,
		kin:   kinAccess,
		retry: retryTellsNoMore, ofManifest: true,
	},
	{
		Entry: Entry{
			Cause: PullSecretNoMatch, Title: "Pull secret for another registry", Fixer: FixApplication,
			Meaning: "The pull secrets are fine, but none has an entry for this image's registry and path.",
			Advice:  "Create a secret for the image's own registry.",
		},
		summary: noMatchSummary, remedy: noMatchRemedy,
		kin:        kinAccess,
		ofManifest: true,
	},
	{
		Entry: Entry{
			Cause: AuthenticationRequired, Label: "auth_required_no_credentials", Title: "Credentials required", Fixer: FixApplication,
			Meaning: "The registry wants credentials and the pod brings none.",
			Advice:  "Create a pull secret and name it in imagePullSecrets.",
		},
		summary: authenticationRequiredSummary, remedy: noCredentialsRemedy,
		kin:        kinAccess,
		ofManifest: true, answer: true, anonymous: true, rank: 1,
	},
	{
		Entry: Entry{
			Cause: CredentialsRejected, Label: "auth_credentials_rejected", Title: "Credentials rejected", Fixer: FixApplication,
			Meaning: "The registry refuses the credentials that the pod brings.",
			Advice:  "Replace the user name or password in the secret.",
		},
		summary: rejectedSummary, remedy: rejectedRemedy,
		kin:        kinAccess,
		ofManifest: true, answer: true, rank: 2,
	},
	{
		Entry: Entry{
			Cause: CredentialsExpired, Label: "auth_token_expired", Title: "Credentials expired", Fixer: FixApplication,
			Meaning: "The credentials were good once and have expired.",
			Advice:  "Renew the token in the secret.",
		},
		summary: expiredSummary, remedy: expiredRemedy,
		kin:        kinAccess,
		ofManifest: true, afterCredentials: true, rank: 5,
	},
	{
		Entry: Entry{
			Cause: AccessDenied, Label: "auth_forbidden", Title: "Access denied", Fixer: FixRegistry,
			Meaning: "The login works, but this repository or scope is refused to it.",
			Advice:  "Grant the user pull access to the repository, or use another user.",
		},
		summary: deniedSummary, remedy: deniedRemedy,
		kin:        kinAccess | kinForbidden,
		ofManifest: true, answer: true, rank: 4,
	},
	{
		Entry: Entry{
			Cause: CredentialProviderFailed, Label: "credential_provider_failed", Title: "Credential provider failed", Transient: true, Fixer: FixNode,
			Meaning: "A kubelet credential provider plugin failed, so the pull went out without credentials.",
			Advice:  "Mend the plugin; the kubelet's log has its error.",
		},
		summary: providerSummary, remedy: helperRemedy,
		kin:   kinAccess,
		retry: retryTellsNoMore, ofManifest: true,
	},
	{
		Entry: Entry{
			Cause: DeniedOrNotFound, Label: "denied_or_not_found", Title: "Denied or not found", Fixer: FixApplication,
			Meaning: "The registry will not say whether the repository exists, and no credential at hand settles it.",
			Advice:  "Check the repository's name; if it is right, add a pull secret that may pull it.",
		},
		summary: deniedOrNotFoundSummary, remedy: deniedOrNotFoundRemedy,
		kin:        kinAccess | kinUndisclosed,
		ofManifest: true, answer: true, anonymous: true, rank: 3,
	},
	{
		Entry: Entry{
			Cause: TagNotFound, Label: "not_found_tag", Title: "Tag not found", Fixer: FixApplication,
			Meaning: "The repository exists, the tag or digest does not.",
			Advice:  "Use a tag that exists, or push this one.",
		},
		summary: tagNotFoundSummary, remedy: tagRemedy,
		kin:        kinUndisclosed | kinOtherName,
		ofManifest: true, afterCredentials: true, rank: 7,
	},
	{
		Entry: Entry{
			Cause: RepositoryNotFound, Label: "not_found_repository", Title: "Repository not found", Fixer: FixApplication,
			Meaning: "The registry answers and has no such repository.",
			Advice:  "Correct the repository's name, or push the image.",
		},
		summary: repositoryNotFoundSummary, remedy: repositoryRemedy,
		kin:        kinUndisclosed,
		ofManifest: true, afterCredentials: true, rank: 6,
	},
	{
		Entry: Entry{
			Cause: PlatformMismatch, Label: "platform_mismatch", Title: "Wrong platform", Fixer: FixApplication,
			Meaning: "The image has no variant for the node's operating system and architecture.",
			Advice:  "Build the image for this platform, or schedule the pod elsewhere.",
		},
		summary: detailSummary(FaultPlatformMismatch), remedy: platformRemedy,
		retry: retryTellsNoMore, afterCredentials: true,
	},
	{
		Entry: Entry{
			Cause: UnsupportedFormat, Label: "unsupported_format", Title: "Unsupported format", Fixer: FixApplication,
			Meaning: "The runtime cannot handle the image's media type or schema.",
			Advice:  "Build and push the image again in a current format.",
		},
		summary: detailSummary(FaultUnsupportedFormat, FaultWebPage), remedy: formatRemedy,
		kin:   kinPage,
		retry: retryMeetsIt, afterCredentials: true,
	},
	{
		Entry: Entry{
			Cause: ContentCorrupt, Label: "content_corrupt", Title: "Corrupt content", Fixer: FixRegistry,
			Meaning: "What the registry sends is not what the manifest says.",
			Advice:  "Push the image again; check proxies and storage of the registry.",
		},
		summary: detailSummary(FaultContentCorrupt, FaultContentMissing),
		kin:     kinStore | kinBrokenOff | kinPage | kinOtherName,
		retry:   retryMeetsIt, afterCredentials: true,
	},
	{
		Entry: Entry{
			Cause: RegistryNameNotFound, Label: "dns_nxdomain", Title: "Registry name not found", Fixer: FixApplication,
			Meaning: "The registry's name does not exist in the node's name service, or has no address.",
			Advice:  "Correct the registry's name in the image, or give the node's resolver the name.",
		},
		summary: nameSummary(FaultNameNotFound), remedy: registryNameRemedy,
		kin:        kinName,
		ofManifest: true,
	},
	{
		Entry: Entry{
			Cause: DNSFailure, Label: "dns_timeout_or_server_failure", Title: "Name service failed", Transient: true, Fixer: FixNode,
			Meaning: "The node's resolver timed out, failed, refused or could not be reached.",
			Advice:  "Mend the node's resolver.",
		},
		summary: nameSummary(FaultDNSFailure), remedy: onNodeRemedy("getent ahosts"),
		kin:        kinName,
		ofManifest: true,
	},
	{
		Entry: Entry{
			Cause: ConnectionRefused, Label: "connection_refused", Title: "Connection refused", Transient: true, Fixer: FixRegistry,
			Meaning: "Nothing listens at the registry's address and port.",
			Advice:  "Start the registry, or correct the port in the image's name.",
		},
		summary: connectionSummary(FaultConnectionRefused), remedy: portRemedy,
		kin:        kinConnection,
		ofManifest: true,
	},
	{
		Entry: Entry{
			Cause: ConnectionTimeout, Label: "network_timeout", Title: "Connection timed out", Transient: true, Fixer: FixNode,
			Meaning: "Connecting to the registry, its TLS handshake or its answer timed out.",
			Advice:  "Check routes and firewalls between the node and the registry.",
		},
		summary: timeoutSummary, remedy: onNodeRemedy("curl -sv --max-time 20"),
		kin:        kinConnection | kinTimeout,
		ofManifest: true,
	},
	{
		Entry: Entry{
			Cause: NetworkUnreachable, Label: "network_unreachable_or_reset", Title: "Network unreachable or reset", Transient: true, Fixer: FixNode,
			Meaning: "There is no route to the registry, or the connection breaks.",
			Advice:  "Check routes, firewalls and the registry's load balancer.",
		},
		summary: connectionSummary(FaultNetworkUnreachable), remedy: onNodeRemedy("curl -sv --max-time 20"),
		kin:        kinConnection,
		ofManifest: true,
	},
	{
		Entry: Entry{
			Cause: TLSUntrusted, Label: "tls_unknown_authority", Title: "Certificate not trusted", Fixer: FixNode,
			Meaning: "The registry's certificate is signed by an authority that the node does not trust.",
			Advice:  "Give the node's runtime the registry's CA certificate.",
		},
		summary: detailSummary(FaultTLSUntrusted), remedy: untrustedRemedy,
		kin:        kinTLS,
		ofManifest: true,
	},
	{
		Entry: Entry{
			Cause: TLSHostnameMismatch, Label: "tls_hostname_mismatch", Title: "Certificate for another name", Fixer: FixRegistry,
			Meaning: "The registry's certificate is not valid for its name.",
			Advice:  "Use a name that is in the certificate, or have the certificate reissued.",
		},
		summary: detailSummary(FaultTLSHostnameMismatch), remedy: certificateRemedy(TLSHostnameMismatch),
		kin:        kinTLS,
		ofManifest: true,
	},
	{
		Entry: Entry{
			Cause: TLSExpired, Label: "tls_expired", Title: "Certificate expired or not yet valid", Fixer: FixRegistry,
			Meaning: "The registry's certificate is outside its time of validity by the node's clock.",
			Advice:  "Renew the certificate; check the node's clock.",
		},
		summary: detailSummary(FaultTLSExpired), remedy: certificateRemedy(TLSExpired),
		kin:        kinTLS,
		ofManifest: true,
	},
	{
		Entry: Entry{
			Cause: TLSHandshakeFailed, Label: "tls_handshake_failed", Title: "TLS handshake failed", Fixer: FixNode,
			Meaning: "The registry and the node do not agree on TLS: client certificate, protocol or cipher.",
			Advice:  "Configure the client certificate or protocol that the registry wants.",
		},
		summary:    detailSummary(FaultTLSHandshakeFailed),
		kin:        kinTLS,
		ofManifest: true,
	},
	{
		Entry: Entry{
			Cause: HTTPSMismatch, Label: "http_https_mismatch", Title: "HTTP and HTTPS mixed up", Fixer: FixNode,
			Meaning: "Plain HTTP is spoken where TLS is expected, or the other way round.",
			Advice:  "Tell the node's runtime which protocol the registry speaks.",
		},
		summary: detailSummary(FaultHTTPSMismatch), remedy: httpsRemedy,
		kin:        kinTLS,
		ofManifest: true,
	},
	{
		Entry: Entry{
			Cause: ProxyFailed, Label: "proxy_error", Title: "Proxy failed", Transient: true, Fixer: FixNode,
			Meaning: "The fault is the proxy's, not the registry's.",
			Advice:  "Mend the proxy or the node's proxy settings.",
		},
		summary: detailSummary(FaultProxyFailed, FaultWebPage), remedy: proxyRemedy,
	},
	{
		Entry: Entry{
			Cause: MirrorFailed, Label: "mirror_error", Title: "Mirror failed", Transient: true, Fixer: FixNode,
			Meaning: "A configured mirror's answer hides or replaces the origin's.",
			Advice:  "Mend the mirror, or take it out of the node's registry configuration.",
		},
		summary: mirrorSummary, remedy: mirrorRemedy,
		ofManifest: true,
	},
	{
		Entry: Entry{
			Cause: RegistryConfigInvalid, Title: "Registry configuration invalid", Fixer: FixNode,
			Meaning: "The node's own registry configuration is broken or not in effect, and without it the pull fails.",
			Advice:  "Correct the node's registry configuration.",
		},
		summary: configSummary, remedy: configRemedy,
		retry: retryTellsNoMore,
	},
	{
		Entry: Entry{
			Cause: SandboxImageFailed, Title: "Sandbox image failed", Fixer: FixNode,
			Meaning: "The pod's sandbox (pause) image cannot be pulled, so no container can start.",
			Advice:  "Make the sandbox image available to the node.",
		},
		summary: sandboxSummary, remedy: sandboxRemedy,
	},
	{
		Entry: Entry{
			Cause: RateLimited, Label: "rate_limited", Title: "Rate limited", Transient: true, Fixer: FixRegistry,
			Meaning: "The registry limits how often the node may pull.",
			Advice:  "Wait, pull with credentials, or use a mirror.",
		},
		summary: detailSummary(FaultRateLimited), remedy: rateLimitRemedy,
		retry: retryTellsNoMore, afterCredentials: true,
	},
	{
		Entry: Entry{
			Cause: RegistryError, Label: "registry_server_error", Title: "Registry error", Transient: true, Fixer: FixRegistry,
			Meaning: "The registry answers with a server error.",
			Advice:  "Ask the registry's owner; the kubelet goes on trying.",
		},
		offlineAdvice: "Ask the registry's owner.",
		summary:       detailSummary(FaultServerError, FaultWebPage, FaultUnexpectedAnswer),
		ofManifest:    true, answer: true,
	},
	{
		Entry: Entry{
			Cause: PullThrottled, Label: "pull_qps_exceeded", Title: "Pull throttled by the kubelet", Transient: true, Fixer: FixCluster,
			Meaning: "The kubelet's own limit on registry pulls was exceeded.",
			Advice:  "Wait, or raise registryPullQPS and registryBurst.",
		},
		retry: retryTellsNoMore,
	},
	{
		Entry: Entry{
			Cause: PullTimeout, Label: "pull_cancelled_or_progress_timeout", Title: "Pull cancelled", Transient: true, Fixer: FixNode,
			Meaning: "The pull was cancelled, ran into its deadline or made no progress.",
			Advice:  "Check the bandwidth to the registry and the runtime's time limits.",
		},
		kin:   kinTimeout | kinBrokenOff,
		retry: retryMeetsIt,
	},
	{
		Entry: Entry{
			Cause: PullStalled, Title: "Pull stalled", Transient: true, Fixer: FixRegistry,
			Meaning: "A running pull has received nothing for a while.",
			Advice:  "Check the network path to the registry.",
		},
		summary: stalledSummary, remedy: stalledRemedy,
	},
	{
		Entry: Entry{
			Cause: DiskFull, Label: "disk_full", Title: "Disk full", Fixer: FixNode,
			Meaning: "A file system that the pull needs has no space left.",
			Advice:  "Free space on the node, or enlarge the file system.",
		},
		summary: diskFullSummary, remedy: diskFullRemedy,
		retry: retryMeetsIt, afterCredentials: true, onNode: true,
	},
	{
		Entry: Entry{
			Cause: ImageStoreCorrupt, Label: "image_gc_or_store_corrupt", Title: "Image store corrupt", Fixer: FixNode,
			Meaning: "The runtime's own store misses or breaks content.",
			Advice:  "Remove the image from the node's runtime and pull it again.",
		},
		kin:   kinStore,
		retry: retryMeetsIt, afterCredentials: true, onNode: true,
	},
	{
		Entry: Entry{
			Cause: ImageVolumeUnsupported, Label: "image_volume_unsupported", Title: "Image volumes not supported", Fixer: FixNode,
			Meaning: "The node's container runtime does not support image volumes.",
			Advice:  "Upgrade the node's runtime to containerd 2.1, CRI-O 1.31 or later, or use a volume of another type.",
		},
		remedy: imageVolumeRemedy,
		retry:  retryTellsNoMore, onNode: true,
	},
	{
		Entry: Entry{
			Cause: RuntimeError, Label: "runtime_error", Title: "Runtime error", Transient: true, Fixer: FixNode,
			Meaning: "The container runtime failed on the node, whatever the registry says.",
			Advice:  "Read the runtime's log on the node.",
		},
		summary: runtimeSummary,
		retry:   retryMeetsIt, onNode: true,
	},
	{
		Entry: Entry{
			Cause: NotReproducible, Title: "Works now", Transient: true, Fixer: FixCluster,
			Meaning: "Every check passes now; the kubelet will succeed when it tries again.",
			Advice:  "Wait for the kubelet's next attempt, at most five minutes.",
		},
		summary: worksNowSummary, remedy: nothingRemedy,
	},
	{
		Entry: Entry{
			Cause: Unknown, Label: "unknown", Title: "Unknown", Fixer: FixCluster,
			Meaning: "The evidence does not settle the cause.",
			Advice:  "Read the evidence.",
		},
		summary: unknownSummary,
	},
}

// byCause finds the row of a cause.
var byCause = func() map[Cause]*row { //nolint:gochecknoglobals // never written
	out := make(map[Cause]*row, len(catalogue))
	for i := range catalogue {
		out[catalogue[i].Cause] = &catalogue[i]
	}
	return out
}()

// Catalogue returns every cause once, in the order of the documentation.
func Catalogue() []Entry {
	out := make([]Entry, len(catalogue))
	for i := range catalogue {
		out[i] = catalogue[i].Entry
	}
	return out
}

// Label returns the name that labeled collections of runtime messages use for
// c, "" for a cause that no message can show by itself.
func (c Cause) Label() string {
	if r := byCause[c]; r != nil {
		return r.Label
	}
	return ""
}
