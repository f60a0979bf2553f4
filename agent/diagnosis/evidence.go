package diagnosis

import "time"

// Check names one kind of examination. The values are part of the report's
// contract.
type Check string

// The checks, in the order in which a report lists them.
const (
	CheckMessage     Check = "message"     // what the kubelet and the runtime wrote
	CheckImage       Check = "image"       // is the image on the node, as the runtime sees it
	CheckCredentials Check = "credentials" // which credentials the kubelet would use
	CheckNodeDNS     Check = "nodeDNS"     // the registry's name, resolved as the node does
	CheckPodDNS      Check = "podDNS"      // the same from the pod's own network
	CheckRegistry    Check = "registry"    // the registry's endpoints, asked as the runtime would
	CheckPull        Check = "pull"        // the pull, tried again
)

// Checks returns every check in the order in which a report lists them.
func Checks() []Check {
	return []Check{
		CheckMessage, CheckImage, CheckCredentials, CheckNodeDNS, CheckPodDNS, CheckRegistry, CheckPull,
	}
}

// Outcome is the answer of a check. The zero value is not an outcome, so that
// a forgotten field is never good news.
type Outcome string

// The outcomes. Inconclusive: the check ran and could not tell. NotRun: it
// could not be tried, or there was no point in trying it.
const (
	Passed       Outcome = "Passed"
	Failed       Outcome = "Failed"
	Inconclusive Outcome = "Inconclusive"
	NotRun       Outcome = "NotRun"
)

// Fault says what a check found wrong. It is empty when nothing was.
type Fault string

// Faults of the checks. Those that a registry endpoint shows have the name of
// the cause that they point to.
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

	// name service and network
	FaultNameNotFound       Fault = "NameNotFound"
	FaultDNSFailure         Fault = "DNSFailure"
	FaultConnectionRefused  Fault = "ConnectionRefused"
	FaultConnectionTimeout  Fault = "ConnectionTimeout"
	FaultNetworkUnreachable Fault = "NetworkUnreachable"
	FaultAddressForbidden   Fault = "AddressForbidden" // link-local or metadata address: we do not talk to it
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

// Evidence is one fact about one failing container: a check, its outcome and
// what it was about. The exported text of a report is made of Check, Outcome,
// Fault and Detail; the other fields are what the rules decide on.
type Evidence struct {
	Check   Check
	Outcome Outcome
	Fault   Fault
	// Detail is one sentence for people. It must hold no credential and no
	// text that a registry chose freely.
	Detail string

	// Endpoint is the registry endpoint talked to, as scheme://host[:port];
	// set for CheckRegistry, CheckNodeDNS and CheckPodDNS.
	Endpoint string
	// Mirror tells that the endpoint stands in for the image's own registry.
	Mirror bool
	// Credential says with which credential: nil for none (anonymous).
	Credential *Credential
	// Phase is where a registry conversation ended: dns, connect, tls, ping,
	// token or manifest.
	Phase Phase
	// Status is the HTTP status that decided, 0 if there was none.
	Status int
	// Secret is the pull secret that the evidence is about, for
	// CheckCredentials.
	Secret string
	// Expires is when the last of the credentials that the evidence is about is
	// over, for one that is good for less than an hour; for CheckCredentials.
	Expires time.Time
	// Hosts are the registry keys that the secret holds, sorted, for
	// CheckCredentials.
	Hosts []string
	// Candidates are what may have been meant, nearest first: tags that exist
	// for FaultTagNotFound, image names that parse for FaultNameInvalid, the
	// name under which the image was pulled for FaultNotVerified.
	Candidates []string
	// ConfigDir is the node's folder of hosts.toml files, and ConfigFile the
	// file that configures the endpoint or that the evidence is about, for
	// CheckRegistry.
	ConfigDir, ConfigFile string
	// LoginSent tells that the pull brought a login, by the text; for
	// CheckMessage.
	LoginSent bool
	// Use is whether the kubelet lets this pod use the image that is on the node,
	// for CheckImage.
	Use Use
	// Retried tells that the pull was tried again, for CheckPull.
	Retried bool
	// Cause is what the runtime's text supports by itself, for CheckMessage; and,
	// for CheckPull, what the pull tried again shows.
	Cause Cause
	// Host is the host[:port] that the runtime's text blames, for
	// CheckMessage.
	Host string
	// AfterManifest tells that the text speaks of a step that comes after the
	// manifest (blobs, unpacking), for CheckMessage.
	AfterManifest bool
	// Server is the resolver that answered, for CheckNodeDNS and CheckPodDNS.
	Server string
	// Addresses are what a name resolved to.
	Addresses []string
	// Name is the name that Addresses are of, where the search list has completed
	// the registry's; for CheckPodDNS.
	Name string
	// Compared is how the name fares in the pod beside on the node, for
	// CheckPodDNS.
	Compared Comparison
	// Platforms are those that the image is for, as os/arch[/variant], and
	// Platform the node's own, for FaultPlatformMismatch.
	Platforms []string
	Platform  string
	// Proxy is the proxy that the endpoint was asked through, as host[:port].
	Proxy string
	// Blob is the digest of what failed, for Content; of the text, for
	// CheckMessage.
	Blob string
	// Via is the endpoint that redirected to Endpoint, for PhaseBlob.
	Via string
	// Content tells that the answer is about what the manifest holds, and not
	// about whether it may be had: it qualifies an attempt that passed.
	Content bool
	// Exists tells that the registry, refusing the repository, answers otherwise
	// for one that it does not have.
	Exists bool
	// BehindProxy tells that the text shows a proxy's answer, for CheckMessage.
	BehindProxy bool
	// SaysExpired: the registry or its token server says that the credential
	// has expired.
	SaysExpired bool
	// Provider is the credential provider plugin, for FaultProviderMatches.
	Provider string
	// Unrecorded tells that no pull of the image was recorded under its name, so
	// that no credential proves anything before there is one; for
	// FaultNotVerified.
	Unrecorded bool
	// Timings are how long each phase took. They decide nothing, and are not in
	// the report, which must not change with them.
	Timings map[Phase]time.Duration
	// RetryAfter is when the registry may be asked again, in seconds; 0 if it
	// did not say.
	RetryAfter int
	// Size is how large the image for the node's platform is as the registry has
	// it, config and layers, and Missing how much of that is not on the node; in
	// bytes. Size is 0 where that is not known.
	Size, Missing int64
	// Directories are on the file systems that the evidence is about, one on each:
	// where the pull writes to them; for CheckPull.
	Directories []string
	// Presumed tells that one of Directories could not be looked at itself, so that
	// another file system may be mounted there than the one that was.
	Presumed bool
	// Estimated tells that what an image needs was guessed by its compressed size,
	// and would fit otherwise; for FaultDiskFull.
	Estimated bool
	// Done and Total are how much of the image has come and how large it is, in
	// bytes, for FaultStalled.
	Done, Total int64
}

// Comparison is how a name fares on the node and in the pod.
type Comparison string

// The comparisons. The zero value: they could not be compared.
const (
	ComparedSame     Comparison = "same"     // the same addresses, or some of the same public service
	ComparedOther    Comparison = "other"    // addresses of different networks
	ComparedOnlyPod  Comparison = "onlyPod"  // it resolves in the pod, and not on the node
	ComparedOnlyNode Comparison = "onlyNode" // it resolves on the node, and not in the pod
	ComparedNeither  Comparison = "neither"
)

// Differs tells that the two do not agree.
func (c Comparison) Differs() bool {
	return c == ComparedOther || c == ComparedOnlyPod || c == ComparedOnlyNode
}

// Use says whether the kubelet lets a pod use an image that is on its node
// (KEP-2535).
type Use string

// The uses.
const (
	UseUnknown Use = ""        // there are no records, they cannot be seen, or they do not settle it
	UseAllowed Use = "allowed" // they allow it to this pod, or to every pod
	UseDefault Use = "default" // there is no record of the image; the default policy then allows it
	UseRefused Use = "refused" // this pod has to prove credentials first
)

// Credential names a credential without showing it.
type Credential struct {
	// Source is the secret's name, or the node's file that has it.
	Source string
	// OfNode tells that the credential is the node's own and not of a secret.
	OfNode bool
	// Key is the registry key in it that matched, as written there.
	Key string
	// Order is its place in the kubelet's order of attempts, from 1.
	Order int
	// Validity is what the credential itself shows of its time.
	Validity Validity
}

// Is tells that both are the same credential of one pull, by its place in the
// kubelet's order, or both none.
func (c *Credential) Is(other *Credential) bool {
	if c == nil || other == nil {
		return c == other
	}
	return c.Order == other.Order && c.OfNode == other.OfNode
}

// Validity is what a credential shows of its time, without asking anybody.
type Validity string

// The validities. Passwords show nothing.
const (
	ValidityUnknown  Validity = ""
	ValidityGood     Validity = "good"     // it names its end, which is to come
	ValidityExpired  Validity = "expired"  // it names its end, which has passed
	ValidityOutlived Validity = "outlived" // the secret is older than such a token lives
)

// Phase is a step of a conversation with a registry; the values are metric
// labels.
type Phase string

// The phases in their order.
const (
	PhaseDNS      Phase = "dns"
	PhaseConnect  Phase = "connect"
	PhaseTLS      Phase = "tls"
	PhasePing     Phase = "ping"
	PhaseToken    Phase = "token"
	PhaseManifest Phase = "manifest"
	PhaseBlob     Phase = "blob"
)

// Phases returns the phases in their order.
func Phases() []Phase {
	return []Phase{PhaseDNS, PhaseConnect, PhaseTLS, PhasePing, PhaseToken, PhaseManifest, PhaseBlob}
}
