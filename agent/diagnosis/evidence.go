package diagnosis

import (
	"slices"
	"time"
)

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

var checks = []Check{ //nolint:gochecknoglobals // never written
	CheckMessage, CheckImage, CheckCredentials, CheckNodeDNS, CheckPodDNS, CheckRegistry, CheckPull,
}

// Checks returns every check in the order in which a report lists them.
func Checks() []Check { return slices.Clone(checks) }

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

// Evidence is what one check has found about one failing container: a header,
// and the facts of that check. Its sentence is made by Detail, so that a fact
// must hold no credential and no text that a registry chose freely.
type Evidence struct {
	Check   Check
	Outcome Outcome
	Fault   Fault
	// Reason is why the check was not run, or has nothing to say.
	Reason Reason
	// Endpoint is the registry endpoint that the evidence is about; the zero value
	// where it is about none.
	Endpoint Endpoint
	// LostSince is since when the check cannot be made any more that a verdict rests on;
	// zero unless a verdict is kept in spite of it.
	LostSince time.Time
	// Body holds the facts of the check, nil where there are none. It is not part of
	// any encoding.
	Body Body `json:"-"`
}

// Lost reports whether the check could not be made now, for a reason that may pass: it
// shows nothing, not even that something has changed.
func (e *Evidence) Lost() bool {
	return e.Fault == FaultSecretUnreadable || e.Fault == FaultRuntimeUnready || slices.Contains([]Reason{
		ReasonQueueFull, ReasonOutOfTime, ReasonManyUnderWay, ReasonLimited, ReasonLimitedForOthers, ReasonRetryQueueFull, ReasonCutShort,
	}, e.Reason)
}

// Endpoint is a registry endpoint as the node's configuration has it.
type Endpoint struct {
	// URL is scheme://host[:port].
	URL string
	// Mirror reports whether the endpoint stands in for the upstream registry.
	Mirror bool
	// ConfigDir is the node's folder of hosts.toml files, where one of them
	// configures the endpoint; ConfigFile is the runtime's own file, where that
	// does.
	ConfigDir, ConfigFile string
	// CRIO reports whether it is CRI-O that asks, whose configuration is in
	// registries.conf and certs.d. Unloaded reports whether it need not have read
	// what ConfigFile says now.
	CRIO, Unloaded bool
	// Image is the full name, without tag or digest, that CRI-O asks for in place of
	// a short one; "" where the image names its registry.
	Image string
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

// Differs reports whether the two do not agree.
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

// CredentialRef names a credential without showing it.
type CredentialRef struct {
	// Source is the secret's name, the node's file that has it, or the name of the
	// kubelet's credential provider that has returned it.
	Source string
	// OfNode reports whether the credential is the node's own and not of a secret, and
	// OfProvider whether a credential provider has returned it.
	OfNode, OfProvider bool
	// Key is the registry key in it that matched, as written there.
	Key string
	// Order is its place in the kubelet's order of attempts, from 1.
	Order int
	// Validity is what the credential itself shows of its time.
	Validity Validity
}

// Is reports whether both are the same credential of one pull, by its place in the
// kubelet's order, or both none.
func (c *CredentialRef) Is(other *CredentialRef) bool {
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

var phases = []Phase{PhaseDNS, PhaseConnect, PhaseTLS, PhasePing, PhaseToken, PhaseManifest, PhaseBlob} //nolint:gochecknoglobals // never written

// Phases returns the phases in their order.
func Phases() []Phase { return slices.Clone(phases) }
