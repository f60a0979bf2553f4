package nodeconfig

// NoticeKind is the kind of a problem in the node's configuration. The values are
// a closed set.
type NoticeKind string

// The kinds of notices.
const (
	// NoticeConfigUnreadable: the runtime's configuration file, or an import
	// of it, cannot be read or does not parse; containerd's defaults are
	// assumed.
	NoticeConfigUnreadable NoticeKind = "ConfigUnreadable"
	// NoticeConfigPathIgnored: config_path has several directories, one of them has one for
	// this host, and the runtime reads none: its transfer service takes the list for
	// one directory name (containerd 2.2+, where such a list is the default).
	NoticeConfigPathIgnored NoticeKind = "ConfigPathIgnored"
	// NoticeHostsFileInvalid: hosts.toml does not parse or is invalid in this version
	// (Reason). containerd only logs it and continues as if the file did not exist.
	NoticeHostsFileInvalid NoticeKind = "HostsFileInvalid"
	// NoticeHostsFileMisnamed: there is a host.toml, which is never read, and no
	// hosts.toml.
	NoticeHostsFileMisnamed NoticeKind = "HostsFileMisnamed"
	// NoticeHostsFileUnusable: hosts.toml names a certificate or key that cannot be read
	// or is invalid. containerd refuses the pull. Only as Kind of a *ConfigError.
	NoticeHostsFileUnusable NoticeKind = "HostsFileUnusable"
	// NoticeHostsFileIgnored: there is a file for this host that has no effect
	// where it is; Reason says why.
	NoticeHostsFileIgnored NoticeKind = "HostsFileIgnored"
	// NoticeFileHidden: the configuration names a file that this process cannot read,
	// because it is not mounted or not readable; the runtime may read it. Its endpoint
	// has Blind or BlindClient set.
	NoticeFileHidden NoticeKind = "FileHidden"
	// NoticeMirrorsWithConfigPath: registry.mirrors (or configs.tls, containerd 1.x)
	// together with config_path, which has a default that stays in 2.2.0 and 2.2.1.
	// containerd's CRI plugin does not load with such a file: the running one has read an
	// older file.
	NoticeMirrorsWithConfigPath NoticeKind = "MirrorsWithConfigPath"
	// NoticeDockerMirrorInvalid: daemon.json has a mirror that Docker does not accept: without
	// https:// or http://, or with a query or credentials. It does not start with such a
	// file, and does not reload it: the running one has read an older file.
	NoticeDockerMirrorInvalid NoticeKind = "DockerMirrorInvalid"
	// NoticeTLSIgnored: registry.configs has TLS settings for an endpoint, which containerd
	// ignores since 2.0.
	NoticeTLSIgnored NoticeKind = "TLSIgnored"
	// NoticeMirrorInvalid: registry.mirrors or .configs has an endpoint that is not a
	// URL, or a certificate that cannot be read or has no key. containerd refuses the
	// pull. Only as Kind of a *ConfigError.
	NoticeMirrorInvalid NoticeKind = "MirrorInvalid"
	// NoticeNodeCredentialUnusable: the node has a credential for an endpoint that
	// whypull cannot use: an identity token without a user, or one that does not decode.
	// The endpoint's anonymous response then says nothing about the runtime.
	NoticeNodeCredentialUnusable NoticeKind = "NodeCredentialUnusable" //nolint:gosec // a name, not a secret
	// NoticeCredentialHelper: CRI-O runs a credential helper for an endpoint if the pull
	// has no credential. whypull does not run it, so the endpoint's anonymous response
	// says nothing about the runtime.
	NoticeCredentialHelper NoticeKind = "CredentialHelper" //nolint:gosec // no credential
	// NoticeBlocked: CRI-O's registries.conf blocks the registry or a part of it. Only as
	// Kind of a *ConfigError.
	NoticeBlocked NoticeKind = "Blocked"
	// NoticeCertificatesUnusable: a directory in certs.d has a client certificate without
	// its key (x.cert and x.key), a key without its certificate, or a file that cannot be
	// read or is invalid. CRI-O refuses the pull. Only as Kind of a *ConfigError.
	NoticeCertificatesUnusable NoticeKind = "CertificatesUnusable"
	// NoticeLocationInvalid: with a location in registries.conf the image's name becomes
	// invalid. CRI-O refuses the pull. Only as Kind of a *ConfigError.
	NoticeLocationInvalid NoticeKind = "LocationInvalid"
	// NoticeWebSite: an endpoint for docker.io is Docker's web site, which is no
	// registry.
	NoticeWebSite NoticeKind = "WebSite"
	// NoticePathDoubled: the path of an endpoint begins with /v2/, and containerd
	// appends /v2 to it, since override_path is not set.
	NoticePathDoubled NoticeKind = "PathDoubled"
	// NoticePathWithoutVersion: the path of an endpoint is without /v2, and the
	// runtime takes it as it is.
	NoticePathWithoutVersion NoticeKind = "PathWithoutVersion"
	// NoticeNotLoaded: a file or folder of CRI-O's registries was changed after CRI-O
	// had started. It reads them again only when it is told to (SIGHUP), which cannot
	// be seen.
	NoticeNotLoaded NoticeKind = "NotLoaded"
	// NoticeNotGenerated: registries.yaml of k3s or RKE2 has other settings for the host
	// than the files that they have generated from it, which they do when they start.
	NoticeNotGenerated NoticeKind = "NotGenerated"
	// NoticePolicyUnusable: the signature policy does not parse. CRI-O refuses every
	// pull. Only as the Kind of a *ConfigError.
	NoticePolicyUnusable NoticeKind = "PolicyUnusable"
	// NoticeSignatureStoreUnusable: a file of registries.d does not parse, or has an entry
	// of another one. CRI-O refuses every pull. Only as the Kind of a *ConfigError.
	NoticeSignatureStoreUnusable NoticeKind = "SignatureStoreUnusable"
	// NoticePolicyRejects: the signature policy rejects the image, whatever signatures
	// it has.
	NoticePolicyRejects NoticeKind = "PolicyRejects"
	// NoticePolicyWantsSignature: the signature policy wants the image to be signed,
	// which is not looked at here.
	NoticePolicyWantsSignature NoticeKind = "PolicyWantsSignature"
	// NoticeProxyIgnored: a file sets a proxy for the runtime's service, and the runtime
	// does not have it; Reason says why.
	NoticeProxyIgnored NoticeKind = "ProxyIgnored"
	// NoticeSectionIgnored: containerd's own file has settings of registries in the
	// section of a plugin that is called otherwise in a file of its version, or, with a
	// Reason, a file beside it has some that it does not import.
	NoticeSectionIgnored NoticeKind = "SectionIgnored"
	// NoticeUnread: a file or directory is meant for the registry, or for images of it, and
	// the runtime does not read it; Reason says why.
	NoticeUnread NoticeKind = "Unread"
	// NoticeNotDirectory: there is a file in place of a host's directory. containerd refuses
	// the pull. Only as Kind of a *ConfigError.
	NoticeNotDirectory NoticeKind = "NotDirectory"
	// NoticeNoAuthorities: the node's CA bundle was not found, so FaultTLSUntrusted
	// proves nothing.
	NoticeNoAuthorities NoticeKind = "NoAuthorities"
)

// NoticeReason is why a file has no effect. The values are a closed set.
type NoticeReason string

// The reasons of NoticeHostsFileIgnored and NoticeHostsFileInvalid.
const (
	// ReasonNoHostTable: of NoticeHostsFileInvalid; the file parses but has no
	// [host."…"], which is an error in containerd 1.x.
	ReasonNoHostTable NoticeReason = "NoHostTable"
	// ReasonBadValue: of NoticeHostsFileInvalid; the file parses and has a value that
	// this version does not know.
	ReasonBadValue NoticeReason = "BadValue"
	// ReasonUpstreamName: the directory is named after a host that serves Docker Hub; the
	// runtime looks for docker.io.
	ReasonUpstreamName NoticeReason = "UpstreamName"
	// ReasonNameHasScheme: the directory is in one for a scheme ("https:").
	ReasonNameHasScheme NoticeReason = "NameHasScheme"
	// ReasonNameHasPath: the file is for a path of the host; the runtime looks
	// for the host alone.
	ReasonNameHasPath NoticeReason = "NameHasPath"
	// ReasonPortFolder: the directory is named host_port, or host and has a hosts.toml for
	// host:port; the runtime looks for host_port_ and host:port.
	ReasonPortFolder NoticeReason = "PortFolder"
	// ReasonDefaultFolder: the directory for all hosts, _default, is one since 1.6.17.
	ReasonDefaultFolder NoticeReason = "DefaultFolder"
	// ReasonNoFolder: hosts.toml is not in a host's directory.
	ReasonNoFolder NoticeReason = "NoFolder"
	// ReasonConfigPathUnset: containerd before 2.2 has no config_path unless it
	// is set.
	ReasonConfigPathUnset NoticeReason = "ConfigPathUnset"
	// ReasonSectionIgnored: the runtime's own file has its settings of registries in a
	// section without effect (NoticeSectionIgnored), config_path probably among them.
	ReasonSectionIgnored NoticeReason = "SectionIgnored"
	// ReasonNoCapableHost: no host of the file has the capabilities that the
	// reference needs: "pull", and "resolve" for a tag.
	ReasonNoCapableHost NoticeReason = "NoCapableHost"
)

// The reasons of NoticeProxyIgnored.
const (
	ReasonNoConf       NoticeReason = "NoConf"       // the drop-in's name does not end with .conf
	ReasonNoSection    NoticeReason = "NoSection"    // it has no [Service]
	ReasonQuotes       NoticeReason = "Quotes"       // it has typographic quotes
	ReasonOneWord      NoticeReason = "OneWord"      // several variables are in one pair of quotes
	ReasonVariable     NoticeReason = "Variable"     // its value is a variable, which systemd does not expand
	ReasonExport       NoticeReason = "Export"       // a file of environment is written for a shell
	ReasonHTTPOnly     NoticeReason = "HTTPOnly"     // there is a proxy for http alone
	ReasonOfLogins     NoticeReason = "OfLogins"     // the file is for logins and not for services
	ReasonNotRestarted NoticeReason = "NotRestarted" // the process that runs does not have it
)

// The reasons of NoticeUnread.
const (
	ReasonOfDocker       NoticeReason = "OfDocker"       // the file is Docker's, and the runtime another one
	ReasonNotCrt         NoticeReason = "NotCrt"         // the name of a certificate authority's file does not end with .crt
	ReasonNotNamed       NoticeReason = "NotNamed"       // hosts.toml beside it does not name it
	ReasonOtherDirectory NoticeReason = "OtherDirectory" // the certificates are in a directory that is not read for the host
	ReasonDropInName     NoticeReason = "DropInName"     // the name of a drop-in of registries.conf does not end with .conf
	ReasonRegistriesName NoticeReason = "RegistriesName" // the file must be called registries.yaml
	ReasonOtherReference NoticeReason = "OtherReference" // all mirrors are for digests only, or for tags only
)

// ReasonNotImported is of NoticeSectionIgnored: containerd's own file does not import this
// one, which is in the folder conf.d beside it.
const ReasonNotImported NoticeReason = "NotImported"

// Notice is a problem in the node's configuration. It has no text from a file:
// hosts.toml may contain passwords in its headers.
type Notice struct {
	Kind   NoticeKind
	Path   string       // on the node
	Line   int          // from 1; 0 if unknown
	Reason NoticeReason // "" if the kind says everything
	// Endpoint is the one that it is about, as scheme://host[:port]; "" if it is
	// about none.
	Endpoint string
}

// ConfigError is the error of a configuration with which the runtime has no endpoint. Its
// text has no text from a file.
type ConfigError struct {
	Notice
	err error
}

// Error implements error.
func (e *ConfigError) Error() string {
	return "registry configuration: " + string(e.Kind) + " " + e.Path
}

// Unwrap returns containerd's error, whose text may quote the file.
func (e *ConfigError) Unwrap() error { return e.err }
