package diagnosis

import (
	"cmp"
	"slices"
	"time"
)

// Body is the part of Evidence that depends on its check: a pointer to one of
// the Facts types. Evidence is shared between verdicts, so nobody changes a body
// that has been handed over.
type Body interface{ body() }

// ImageFacts is what the runtime and the kubelet know of an image on the node.
type ImageFacts struct {
	// Invalid is what is wrong with a name that does not parse, or that the runtime
	// refuses.
	Invalid string
	// Error is why the runtime, or this machine, has no answer.
	Error string
	// Others are names of the same repository that the node has, where it does not
	// have the image.
	Others []string
	// Record is what the kubelet's records say of the image and this pod.
	Record Record
	// OwnNamespace reports whether the kubelet's records name the pod's own
	// namespace: its pods have used the image on this node.
	OwnNamespace bool
	// Recorded is the name under which the kubelet has recorded the pull, and
	// Written the part of the pod's spelling that it stands for.
	Recorded, Written string
	// Candidates are image names that parse and may have been meant, nearest
	// first; or the name under which the kubelet has recorded the pull.
	Candidates []string
}

// Use returns whether the kubelet lets this pod use the image, by its records.
func (f *ImageFacts) Use() Use { return records[f.Record].use }

// Record is what the kubelet's records say of an image that is on the node, and
// of a pod (KEP-2535).
type Record string

// The records. The zero value: there are none, they cannot be seen, or the
// kubelet does not ask them.
const (
	RecordNodeWide         Record = "nodeWide"         // every pod may use it
	RecordThisPod          Record = "thisPod"          // this pod has the credentials of an earlier pull
	RecordNotPulled        Record = "notPulled"        // the kubelet has not pulled it; the default policy then allows it
	RecordOtherCredentials Record = "otherCredentials" // pulled with credentials that this pod does not have
	RecordOtherSpelling    Record = "otherSpelling"    // recorded under another spelling of its name
	RecordNoCredentials    Record = "noCredentials"    // no pull is recorded under its name
	RecordPulling          Record = "pulling"          // a pull has begun
	RecordUndecided        Record = "undecided"        // it depends on credentials that are not all known
)

// records say of each record whether the pod may use the image, and how it continues "the
// image is on node X"; where the pod may not, refusedUse goes on.
//
//nolint:gochecknoglobals // never written
var records = map[Record]struct {
	use  Use
	says string
}{
	RecordNodeWide:         {UseAllowed, ", and the kubelet lets every pod on the node use it"},
	RecordThisPod:          {UseAllowed, ", and the kubelet lets this pod use it, because it has the credentials of an earlier pull"},
	RecordNotPulled:        {UseDefault, "; the kubelet has no record of pulling it and lets every pod use it, unless imagePullCredentialsVerificationPolicy is AlwaysVerify"},
	RecordOtherCredentials: {UseRefused, ", but the kubelet does not let this pod use it: "},
	RecordOtherSpelling:    {UseRefused, ", but the kubelet does not let this pod use it: "},
	RecordNoCredentials:    {UseRefused, ", but the kubelet does not let this pod use it: "},
	RecordPulling:          {UseUnknown, "; the kubelet is pulling it and lets no pod use it until that has finished"},
	RecordUndecided:        {UseUnknown, "; whether the kubelet lets this pod use it depends on credentials that whypull does not know"},
}

// CredentialFacts is one source of credentials.
type CredentialFacts struct {
	// Secret is the pull secret, File the node's file; both are "" for any other
	// source.
	Secret, File string
	// Hosts are the registry keys that the source holds, sorted.
	Hosts []string
	// Legacy reports whether the secret has the type kubernetes.io/dockercfg.
	Legacy bool
	// Key is the registry key that matches the image.
	Key string
	// Problem is what is wrong with the source, or with the entry that matches, in
	// the keyring's words.
	Problem string
	// Note is what is odd about the entry that matches, in the keyring's words.
	Note string
	// IfRejected is what may be wrong with the credential of the entry that matches, in
	// the keyring's words, should the registry refuse it.
	IfRejected string
	// Padding is which end of the user or password of the entry that matches is a space
	// or line break, such as "password ends with a line break"; "" if none is.
	Padding string
	// Near is why the entry that looks most like the image's does not match, in the
	// keyring's words. For NearOtherPath it is a hint in parentheses, or "".
	Near   string
	NearIs Nearness
	// Unread is why the source was not read, in words of who was to read it.
	Unread string
	// Manager is what the secret comes from.
	Manager Manager
	// More is how many pull secrets the pod names beyond those that are read; the
	// evidence is then of all of these.
	More int
	// Elsewhere says whether another namespace has a secret of this name.
	Elsewhere Elsewhere
	// Credential is the one that has expired: at ExpiredAt by its own account; else
	// it was Changed longer ago than its Lifetime.
	Credential         *CredentialRef
	ExpiredAt, Changed time.Time
	Lifetime           time.Duration
	// Expires is when the last of the source's credentials expires, if that is in
	// less than an hour.
	Expires time.Time
	// Provider is the kubelet's credential provider plugin, Pattern what matches the
	// image in its configuration. TokenMode reports whether it gets a token of the
	// pod's service account.
	Provider, Pattern string
	TokenMode         bool
	// Run is what running the plugin came to, and ExitStatus the status with which it
	// exited, for ProviderExited. Annotation is the key that the service account lacks,
	// for ProviderNoAnnotation.
	Run        ProviderRun
	ExitStatus int
	Annotation string
}

// ProviderRun is what running a credential provider plugin came to.
type ProviderRun string

// The results. The zero value: whypull does not run it.
const (
	ProviderGave         ProviderRun = "gave"         // credentials for the image
	ProviderGaveNone     ProviderRun = "gaveNone"     // no credentials at all
	ProviderGaveOthers   ProviderRun = "gaveOthers"   // credentials, none of which is for the image
	ProviderExited       ProviderRun = "exited"       // with a status other than 0
	ProviderKilled       ProviderRun = "killed"       // by a signal that is not whypull's
	ProviderTimedOut     ProviderRun = "timedOut"     // no answer in the kubelet's time
	ProviderInvalid      ProviderRun = "invalid"      // an answer that the kubelet does not accept
	ProviderTooLarge     ProviderRun = "tooLarge"     // an answer that whypull does not read
	ProviderMissing      ProviderRun = "missing"      // no program of its name
	ProviderUnexecutable ProviderRun = "unexecutable" // not a program that can be run
	ProviderNoAccount    ProviderRun = "noAccount"    // the kubelet runs it only for pods with a service account

	// The kubelet does not run it, for the pod's service account.
	ProviderNoAnnotation   ProviderRun = "noAnnotation"   // it lacks an annotation that the plugin requires
	ProviderAccountMissing ProviderRun = "accountMissing" // it does not exist
	ProviderAudience       ProviderRun = "audience"       // nodes may not request its token for the plugin's audience

	// whypull has not, or not yet, run it.
	ProviderRunning      ProviderRun = "running"
	ProviderBusy         ProviderRun = "busy"         // too many wait to be run
	ProviderHidden       ProviderRun = "hidden"       // its directory is not mounted
	ProviderDependent    ProviderRun = "dependent"    // it needs a loader or interpreter that is not mounted
	ProviderNoCapability ProviderRun = "noCapability" // whypull may not change the root directory
	ProviderWantsToken   ProviderRun = "wantsToken"   // it needs a token of the pod's service account, which whypull may not request
	ProviderNoToken      ProviderRun = "noToken"      // the API server has made no such token
	ProviderUnstarted    ProviderRun = "unstarted"    // it could not be started, for another reason
)

// Nearness is how the entry that looks most like the image's differs from it. The
// zero value: in another way than these.
type Nearness string

// The ways.
const (
	NearOtherPort Nearness = "port" // the words say where the image is
	NearOtherPath Nearness = "path"
)

// Elsewhere says whether a namespace other than the pod's has a secret of a name;
// never which: the pod's author chooses the name, and may not see that namespace.
type Elsewhere string

// The answers. The zero value: nobody has looked, or none has one.
const (
	ElsewhereExists  Elsewhere = "exists"
	ElsewhereUnknown Elsewhere = "unknown" // whypull may not look
)

// DNSFacts is one lookup of an endpoint's name on the node or in the pod, or a
// connection that was tried from the pod.
type DNSFacts struct {
	// Host is the name that was to be looked up.
	Host string
	// Server is the resolver that answered, "" for the hosts file; Upstream are
	// those that it asks.
	Server   string
	Upstream []string
	// System reports whether it is not known who answered, because the system's own
	// resolver was asked: on a machine that is no node.
	System bool
	// Addresses are what the name resolves to.
	Addresses []string
	// Name is the name that Addresses are of, where the search list has completed
	// the registry's.
	Name string
	// Alias is a name that does not exist, and of which the registry's is an alias.
	Alias string
	// Why is what a lookup without addresses came to, in a few words.
	Why string
	// Proxy is the proxy that resolves the name in the node's place, as host[:port]
	// with the scheme in front unless that is http, and ProxySource where that is configured.
	Proxy, ProxySource string
	// From is the network that was asked from.
	From Vantage
	// Compared compares the lookups in the pod and on the node, where the name
	// resolves to NodeAddresses.
	Compared      Comparison
	NodeAddresses []string
	// Connection is the address and port to which a connection was tried from the
	// pod; "" for a lookup. Trouble says how that failed, "" if it did not.
	Connection string
	Trouble    Trouble
	// Sinkhole reports whether the name resolves to 0.0.0.0 or :: alone, which DNS
	// servers answer for names that they block; Addresses are empty then.
	Sinkhole bool
}

// Vantage is the network from which the names of a pod are asked for.
type Vantage string

// The vantages. The zero value is the pod's own network, or the node's for its
// own names.
const (
	VantageShared Vantage = "shared" // the pod has the node's network
	VantageNode   Vantage = "node"   // the node's network, in place of the pod's
)

// Trouble is how a connection fails.
type Trouble string

// The troubles.
const (
	TroubleRefused Trouble = "refused"
	TroubleTimeout Trouble = "no answer"
	TroubleNoRoute Trouble = "no route"
	TroubleBroken  Trouble = "broken off"
)

// Form is why a runtime cannot use an image, in words of package registry that follow its
// name.
type Form string

// The forms that matter to a sentence or to a remedy.
const (
	FormSchema1   Form = "only in manifest schema 1, which the runtime does not support"
	FormMediaType Form = "without the media type of a manifest, so the runtime does not read it"
	FormBlob      Form = "as a blob that is no manifest: its digest may be that of an image's config (the image ID)"
	FormZstd      Form = "with layers compressed with zstd, which this version of the runtime cannot decompress"
)

// Alert is why a TLS handshake failed, in words of package registry that follow the server's
// name.
type Alert string

// The alerts that have remedies of their own.
const (
	AlertName      Alert = "it does not serve this name (TLS alert: unrecognized name)"
	AlertMalformed Alert = "its certificate is malformed, so the runtime cannot parse it either"
)

// RegistryFacts is one conversation with a registry endpoint, or what the node's
// configuration has to say of the registry.
type RegistryFacts struct {
	// Reference is the image that was asked for.
	Reference string
	// Credential says with which credential: nil for none (anonymous).
	Credential *CredentialRef
	// Unsent reports whether the runtime does not send the credential, since the
	// registry does not ask for one where the runtime would see it.
	Unsent bool
	// NoChallenge reports whether a 401 asks for no credentials that a runtime has:
	// neither Basic nor Bearer.
	NoChallenge bool
	// Phase is where the conversation ended.
	Phase Phase
	// Status is the HTTP status that decided, 0 if there was none.
	Status int
	// OtherProtocol reports whether the server speaks neither TLS nor HTTP, for
	// FaultHTTPSMismatch.
	OtherProtocol bool
	// Waited is how long whypull has waited for what did not come, for
	// FaultConnectionTimeout.
	Waited time.Duration
	// TokenHost is the host[:port] of the token server, and TokenPlain reports whether it
	// is asked over plain HTTP.
	TokenHost  string
	TokenPlain bool
	// Proxy is the proxy that the endpoint was asked through, as host[:port]
	// with the scheme in front unless that is http; ProxyStatus is its own HTTP status, and ProxyFault what kept whypull from it.
	Proxy       string
	ProxyStatus int
	ProxyFault  Fault
	// Via is the endpoint that redirected here, Hops the way of that as
	// scheme://host[:port], and Targets the places that any request was redirected
	// to.
	Via           string
	Hops, Targets []string
	// Page reports whether the answer was a page for people.
	Page bool
	// NoAPI reports whether there is no /v2/ either, for FaultNotFound.
	NoAPI bool
	// UpstreamRefuses reports whether the registry caches another one, which does not
	// accept the credentials of the cache, for FaultUnexpectedAnswer.
	UpstreamRefuses bool
	// Remote is the address that was talked to; Addresses are those of the
	// endpoint's name.
	Remote    string
	Addresses []string
	// Exists reports whether the registry, refusing the repository, answers
	// differently for one that it does not have.
	Exists bool
	// TokenRejected reports whether the registry rejects as invalid a token that its token
	// server has just issued, for FaultUnexpectedAnswer. Skew is how far the registry's
	// clock is then ahead of the token server's; nil if that is not known.
	TokenRejected bool
	Skew          *time.Duration
	// SaysExpired reports whether the registry or its token server says that the
	// credential has expired.
	SaysExpired bool
	// RejectedAt is when the credential was rejected that was not sent again, for
	// whichever image that was, and NotBefore when whypull tries it again, unless it
	// changes before; zero where it was sent.
	RejectedAt, NotBefore time.Time
	// RetryAfter is when the registry may be asked again; 0 if it did not say.
	RetryAfter time.Duration
	// Limit is how many requests the registry counts in a Window; 0 if it did not
	// say.
	Limit  int
	Window time.Duration
	// Certificate is the endpoint's; nil where it was not refused.
	Certificate *Certificate
	// Alert is why the TLS handshake failed, if the server has said so.
	Alert Alert
	// Clock is how far the registry's clock is ahead of the node's; nil if that is
	// not known.
	Clock *time.Duration
	// Content reports whether the answer is about what the manifest holds, and not
	// about whether it may be pulled: it qualifies an attempt that passed. Looked is
	// how many blobs were looked at.
	Content bool
	Looked  int
	// Blob is the digest of the content that failed.
	Blob string
	// Form is why the runtime cannot use the image, for FaultUnsupportedFormat; empty for
	// rare reasons.
	Form Form
	// Encrypted reports whether the image has encrypted layers.
	Encrypted bool
	// Outside reports whether layers come from URLs of their own, which are not checked.
	Outside bool
	// Platforms are those that the image is for, as os/arch[/variant], and Platform
	// is the node's own, or the one that was asked for where PlatformWanted.
	Platforms      []string
	Platform       string
	PlatformWanted bool
	// OtherPlatform and Artifact report what a pull takes all the same: an image
	// for another platform, or something that is no image.
	OtherPlatform, Artifact bool
	// Size is how large the image for the node's platform is, config and layers,
	// and Missing how much of that is not on the node; in bytes. Size is 0 where
	// that is not known.
	Size, Missing int64
	// Candidates are tags that exist, nearest first; or the names that a short name
	// may stand for, by the configuration in Source.
	Candidates []string
	Source     string
	// Config is what is wrong with the node's configuration; nil for an answer.
	Config *ConfigFacts
	// Reserve is why the answer may be wrong; Shown is then the fault that it shows,
	// where the header has none.
	Reserve Reserve
	Shown   Fault
	// Timings are how long each phase took. They decide nothing, and are not in
	// the report, which must not change with them.
	Timings map[Phase]time.Duration
}

// Certificate is what a refused certificate says of itself.
type Certificate struct {
	Issuer              string
	Names               []string
	Authority           string // its own name, if it is that of an authority in the chain
	SelfSigned          bool
	Alone               bool // the server has sent no other with it
	Namesake            bool // the node trusts another authority of the issuer's name
	NotBefore, NotAfter time.Time
}

// Reserve is why whypull's answer may differ from the runtime's.
type Reserve string

// The reserves. The zero value is none.
const (
	ReserveAuthorities  Reserve = "authorities"  // the node's certificate authorities were not found
	ReserveCertificate  Reserve = "certificate"  // the certificate that the node's configuration names cannot be seen
	ReserveRedirects    Reserve = "redirects"    // it redirects without end
	ReserveProxyUnknown Reserve = "proxyUnknown" // it is not known whether the runtime goes through a proxy

	ReserveRealmInsecure      Reserve = "realmInsecure"      // credentials are asked for by a token server without TLS
	ReserveChallengeInsecure  Reserve = "challengeInsecure"  // credentials are asked for behind a redirect to plain HTTP
	ReserveChallengeElsewhere Reserve = "challengeElsewhere" // credentials are asked for by the target of a redirect
	ReserveNoMemory           Reserve = "noMemory"           // other answers took the memory that there is for them
	ReserveTooManyParts       Reserve = "tooManyParts"       // there is more in the manifest or the config than is read
)

// ConfigFacts is what is wrong with the node's registry configuration.
type ConfigFacts struct {
	// File is the file, and Line the line in it; 0 if that is not known.
	File string
	Line int
	// Problem is what is wrong.
	Problem ConfigProblem
	// Endpoint is the one that it is about, as scheme://host[:port]; "" if it is
	// about none.
	Endpoint string
}

// PullFacts is a pull: one under way, the room that it needs, or one that was
// tried again.
type PullFacts struct {
	// Since is when the last byte came; or since when there is no sandbox.
	Since time.Time
	// Sources are the hosts that the node asks for the image, in that order.
	Sources []string
	// Blob is the digest of what has not come.
	Blob string
	// Done and Total are how much of the image has come and how large it is, in
	// bytes.
	Done, Total int64
	// Ahead is the pull that this one waits for.
	Ahead Ahead
	// Behind are the pods that wait for this pull; nil where none does.
	Behind *Behind
	// Disk is the look at the file systems that a pull writes to, nil if this is
	// none.
	Disk *DiskFacts
	// Retry is the pull that was tried again, nil if this is none.
	Retry *RetryFacts
	// Room is what kept whypull from trying again; nil if that is not it.
	Room *Room
}

// Ahead is a pull that others wait for; the zero value is one of which nothing is
// known.
type Ahead struct {
	// Pod is the pod that it is for, in the namespace of the one that waits, and
	// Sources the hosts that the node asks.
	Pod     string
	Sources []string
	// Hidden reports whether the pod is in another namespace, so that it is not
	// named.
	Hidden bool
}

// Behind are pods that wait for a pull: those in its own namespace have names.
type Behind struct {
	Pods         []string
	More, Others int
}

// DiskFacts is the room on the file systems that a pull writes to.
type DiskFacts struct {
	// Filesystems are those that the evidence is about.
	Filesystems []Filesystem
	// Estimated reports whether what the image needs was guessed from its compressed
	// size, and would fit by another guess; Sole, whether there is no other file
	// system to write to where the runtime has found no room.
	Estimated, Sole bool
	// Partial reports whether a part of the image is on the node.
	Partial bool
}

// Filesystem is the room on a file system that a pull writes to, in bytes.
type Filesystem struct {
	// Path is where the pull writes to it, and Uses what for.
	Path string
	Uses []FilesystemUse
	// Presumed reports whether Path could not be looked at itself, so that another
	// file system may be mounted there than the one that was Seen.
	Presumed bool
	Seen     string
	// Free and Total are bytes; Needed is what the image needs, 0 if that is not
	// known.
	Free, Total, Needed uint64
	// FreeInodes and TotalInodes are 0 for a file system that does not count them.
	FreeInodes, TotalInodes uint64
	// Full reports whether no byte is left, and NoInodes whether no inode is.
	Full, NoInodes bool
	// Unseen is why it could not be looked at; "" if it was.
	Unseen Unseen
}

// FilesystemUse is what a pull needs a file system for, in a word of package disk.
type FilesystemUse string

// FilesystemImages is the use of the images themselves.
const FilesystemImages FilesystemUse = "image store"

// Unseen is why a file system could not be looked at.
type Unseen string

// The reasons, in the order in which a sentence has them.
const (
	UnseenNotMounted Unseen = "not mounted into the agent"
	UnseenMissing    Unseen = "no such directory on the node"
	UnseenForbidden  Unseen = "permission denied"
	UnseenTimeout    Unseen = "the file system does not respond"
	UnseenFailed     Unseen = "the file system returns an error"
)

// RetryFacts is a pull that was tried again.
type RetryFacts struct {
	// Credential says with which credential: nil for none (anonymous).
	Credential *CredentialRef
	// Cause is what the failure shows by itself, Unknown where nobody knows the
	// words.
	Cause Cause
	// Message is what the runtime says of its failure; nil for a replay, and where
	// it did not fail.
	Message *MessageFacts
	// Bytes is how large the image is, and Fetched how much of it came from the
	// registry.
	Bytes, Fetched int64
	// Replay is the answer to what a pull asks for, nil where the runtime has
	// pulled. A replay stores nothing and has the runtime do nothing. Whole reports
	// whether it came to its end, with Layers.
	Replay *RegistryFacts
	Whole  bool
	Layers int
}

// Room is the space that a pull that is tried again would take from others, in
// bytes.
type Room struct {
	Free, Floor uint64
	// Stopped reports whether the pull had begun.
	Stopped bool
}

func (*MessageFacts) body()    {}
func (*ImageFacts) body()      {}
func (*CredentialFacts) body() {}
func (*DNSFacts) body()        {}
func (*RegistryFacts) body()   {}
func (*PullFacts) body()       {}

// What evidence of another check has.
var (
	noMessage     MessageFacts    //nolint:gochecknoglobals // never written
	noImage       ImageFacts      //nolint:gochecknoglobals // never written
	noCredentials CredentialFacts //nolint:gochecknoglobals // never written
	noDNS         DNSFacts        //nolint:gochecknoglobals // never written
	noRegistry    RegistryFacts   //nolint:gochecknoglobals // never written
	noPull        PullFacts       //nolint:gochecknoglobals // never written
	noDisk        DiskFacts       //nolint:gochecknoglobals // never written
	noRetry       RetryFacts      //nolint:gochecknoglobals // never written
	noConfig      ConfigFacts     //nolint:gochecknoglobals // never written
)

// bodyOr returns the body of evidence if it is of this type, else none.
func bodyOr[T any](e *Evidence, none *T) *T {
	if b, ok := any(e.Body).(*T); ok {
		return b
	}
	return none
}

// Message returns the facts of a text, empty ones for evidence of another kind.
// Like those of the other methods they are never nil and only to be read.
func (e *Evidence) Message() *MessageFacts { return bodyOr(e, &noMessage) }

// Image returns the facts of an image on the node.
func (e *Evidence) Image() *ImageFacts { return bodyOr(e, &noImage) }

// Credentials returns the facts of a source of credentials.
func (e *Evidence) Credentials() *CredentialFacts { return bodyOr(e, &noCredentials) }

// DNS returns the facts of a lookup.
func (e *Evidence) DNS() *DNSFacts { return bodyOr(e, &noDNS) }

// Registry returns the facts of a conversation with a registry.
func (e *Evidence) Registry() *RegistryFacts { return bodyOr(e, &noRegistry) }

// Config returns what is wrong with the node's registry configuration.
func (e *Evidence) Config() *ConfigFacts { return cmp.Or(e.Registry().Config, &noConfig) }

// Pull returns the facts of a pull.
func (e *Evidence) Pull() *PullFacts { return bodyOr(e, &noPull) }

// Disk returns the facts of the file systems of a pull.
func (e *Evidence) Disk() *DiskFacts { return cmp.Or(e.Pull().Disk, &noDisk) }

// Retry returns the facts of a pull that was tried again.
func (e *Evidence) Retry() *RetryFacts { return cmp.Or(e.Pull().Retry, &noRetry) }

// Answer returns the answer of a registry: to a conversation, or to a replay.
func (e *Evidence) Answer() *RegistryFacts { return cmp.Or(e.Retry().Replay, e.Registry()) }

// Credential returns the credential that an attempt was made with, nil for none.
func (e *Evidence) Credential() *CredentialRef {
	return cmp.Or(e.Registry().Credential, e.Retry().Credential, e.Credentials().Credential)
}

// Seen returns the directories on the file systems that could be looked at.
func (f *DiskFacts) Seen() []string {
	var out []string
	for _, s := range f.Filesystems {
		if s.Unseen == "" {
			out = append(out, s.Path)
		}
	}
	return out
}

// Presumed reports whether one of the file systems need not be the one that was
// looked at.
func (f *DiskFacts) Presumed() bool {
	return slices.ContainsFunc(f.Filesystems, func(s Filesystem) bool { return s.Presumed && s.Unseen == "" })
}
