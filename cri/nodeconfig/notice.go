package nodeconfig

// NoticeKind is the kind of a problem in the node's configuration. The values are
// a closed set.
type NoticeKind string

// The kinds of notices, as a report has them, except NoticeNoAuthorities.
const (
	// NoticeUnreadable: the runtime's configuration file, or an import
	// of it, cannot be read or does not parse; containerd's defaults are
	// assumed.
	NoticeUnreadable NoticeKind = "Unreadable"
	// NoticePathList: config_path has several directories, one of them has one for
	// this host, and the runtime reads none: its transfer service takes the list for
	// one directory name (containerd 2.2+, where such a list is the default).
	NoticePathList NoticeKind = "PathList"
	// NoticeHostsUnreadable: hosts.toml does not parse. containerd only logs it and continues
	// as if the file did not exist; so it does in the next two cases.
	NoticeHostsUnreadable NoticeKind = "HostsUnreadable"
	// NoticeHostsWithoutTable: hosts.toml parses but has no [host."…"], which is an error in
	// containerd 1.x.
	NoticeHostsWithoutTable NoticeKind = "HostsWithoutTable"
	// NoticeHostsBadValue: hosts.toml parses and has a value that this version does not know.
	NoticeHostsBadValue NoticeKind = "HostsBadValue"
	// NoticeHostsMisnamed: there is a host.toml, which is never read, and no
	// hosts.toml.
	NoticeHostsMisnamed NoticeKind = "HostsMisnamed"
	// NoticeCertificateUnusable: hosts.toml names a certificate or key that cannot be read
	// or is invalid. containerd refuses the pull. Only as Kind of a *ConfigError.
	NoticeCertificateUnusable NoticeKind = "CertificateUnusable"
	// NoticeHidden: the configuration names a file that this process cannot read,
	// because it is not mounted or not readable; the runtime may read it. Its endpoint
	// has Blind or BlindClient set.
	NoticeHidden NoticeKind = "Hidden"
	// NoticeMirrorsBesidePath: registry.mirrors (or configs.tls, containerd 1.x)
	// together with config_path, which has a default that stays in 2.2.0 and 2.2.1.
	// containerd's CRI plugin does not load with such a file: the running one has read an
	// older file.
	NoticeMirrorsBesidePath NoticeKind = "MirrorsBesidePath"
	// NoticeDockerMirror: daemon.json has a mirror that Docker does not accept: without
	// https:// or http://, or with a query or credentials. It does not start with such a
	// file, and does not reload it: the running one has read an older file.
	NoticeDockerMirror NoticeKind = "DockerMirror"
	// NoticeTLSIgnored: registry.configs has TLS settings for an endpoint, which containerd
	// ignores since 2.0.
	NoticeTLSIgnored NoticeKind = "TLSIgnored"
	// NoticeEndpointInvalid: registry.mirrors or .configs has an endpoint that is not a
	// URL, or a certificate that cannot be read or has no key. containerd refuses the
	// pull. Only as Kind of a *ConfigError.
	NoticeEndpointInvalid NoticeKind = "EndpointInvalid"
	// NoticeCredentialUnusable: the node has a credential for an endpoint that
	// whypull cannot use: an identity token without a user, or one that does not decode.
	// The endpoint's anonymous response then says nothing about the runtime.
	NoticeCredentialUnusable NoticeKind = "CredentialUnusable" //nolint:gosec // a name, not a secret
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
	// NoticeSignatureStoreBroken: a file of registries.d does not parse, or has an entry
	// of another one. CRI-O refuses every pull. Only as the Kind of a *ConfigError.
	NoticeSignatureStoreBroken NoticeKind = "SignatureStoreBroken"
	// NoticePolicyRejects: the signature policy rejects the image, whatever signatures
	// it has.
	NoticePolicyRejects NoticeKind = "PolicyRejects"
	// NoticePolicySigned: the signature policy wants the image to be signed,
	// which is not looked at here.
	NoticePolicySigned NoticeKind = "PolicySigned"
	// NoticeSectionIgnored: containerd's own file has settings of registries in the
	// section of a plugin that is called otherwise in a file of its version.
	NoticeSectionIgnored NoticeKind = "SectionIgnored"
	// NoticeNotImported: a file in the folder conf.d beside containerd's own file has settings
	// of registries, and that does not import it.
	NoticeNotImported NoticeKind = "NotImported"
	// NoticeNotDirectory: there is a file in place of a host's directory. containerd refuses
	// the pull. Only as Kind of a *ConfigError.
	NoticeNotDirectory NoticeKind = "NotDirectory"
	// NoticeNoAuthorities: the node's CA bundle was not found, so FaultTLSUntrusted
	// proves nothing.
	NoticeNoAuthorities NoticeKind = "NoAuthorities"
)

// The kinds of files for a host that have no effect where they are.
const (
	// NoticeUpstreamName: the directory is named after a host that serves Docker Hub; the
	// runtime looks for docker.io.
	NoticeUpstreamName NoticeKind = "UpstreamName"
	// NoticeFolderNotHost: the directory is in one for a scheme ("https:"), or the file is for a
	// path of the host; the runtime looks for the host alone.
	NoticeFolderNotHost NoticeKind = "FolderNotHost"
	// NoticePortFolder: the directory is named host_port, or host and has a hosts.toml for
	// host:port; the runtime looks for host_port_ and host:port.
	NoticePortFolder NoticeKind = "PortFolder"
	// NoticeDefaultFolder: the directory for all hosts, _default, is one since 1.6.17.
	NoticeDefaultFolder NoticeKind = "DefaultFolder"
	// NoticeNoFolder: hosts.toml is not in a host's directory.
	NoticeNoFolder NoticeKind = "NoFolder"
	// NoticePathUnset: containerd before 2.2 has no config_path unless it
	// is set.
	NoticePathUnset NoticeKind = "PathUnset"
	// NoticePathElsewhere: the runtime's own file has its settings of registries in a
	// section without effect (NoticeSectionIgnored), config_path probably among them.
	NoticePathElsewhere NoticeKind = "PathElsewhere"
	// NoticeNoCapableHost: no host of the file has the capabilities that the
	// reference needs: "pull", and "resolve" for a tag.
	NoticeNoCapableHost NoticeKind = "NoCapableHost"
)

// The kinds of files that set a proxy for the runtime's service, which does not have it.
const (
	NoticeProxyNoConf       NoticeKind = "ProxyNoConf"       // the drop-in's name does not end with .conf
	NoticeProxyNoSection    NoticeKind = "ProxyNoSection"    // it has no [Service]
	NoticeProxyQuotes       NoticeKind = "ProxyQuotes"       // it has typographic quotes
	NoticeProxyOneWord      NoticeKind = "ProxyOneWord"      // several variables are in one pair of quotes
	NoticeProxyVariable     NoticeKind = "ProxyVariable"     // its value is a variable, which systemd does not expand
	NoticeProxyPercent      NoticeKind = "ProxyPercent"      // it has a % that is not written twice
	NoticeProxyExport       NoticeKind = "ProxyExport"       // a file of environment is written for a shell
	NoticeProxyHTTPOnly     NoticeKind = "ProxyHTTPOnly"     // there is a proxy for http alone
	NoticeProxyOfDocker     NoticeKind = "ProxyOfDocker"     // the file is Docker's, and the runtime another one
	NoticeProxyOfLogins     NoticeKind = "ProxyOfLogins"     // the file is for logins and not for services
	NoticeProxyNotRestarted NoticeKind = "ProxyNotRestarted" // the process that runs does not have it
	// NoticeNoProxyEntry: NO_PROXY has the endpoint's host in a form that never matches:
	// with a scheme or a path, in a list without commas, or behind the blank at which a unit's
	// assignment ends.
	NoticeNoProxyEntry NoticeKind = "NoProxyEntry"
)

// The kinds of files and directories that are meant for the registry, or for images of it, and
// that the runtime does not read.
const (
	NoticeOfDocker       NoticeKind = "OfDocker"       // the file is Docker's, and the runtime another one
	NoticeNotCrt         NoticeKind = "NotCrt"         // the name of a certificate authority's file does not end with .crt
	NoticeNotNamed       NoticeKind = "NotNamed"       // hosts.toml beside it does not name it
	NoticeForeignKey     NoticeKind = "ForeignKey"     // hosts.toml has a TLS setting under a name that it has elsewhere
	NoticeOtherDirectory NoticeKind = "OtherDirectory" // the certificates are in a directory that is not read for the host
	NoticeDropInName     NoticeKind = "DropInName"     // the name of a drop-in of registries.conf does not end with .conf
	NoticeRegistriesName NoticeKind = "RegistriesName" // the file must be called registries.yaml
	NoticeRegistriesKey  NoticeKind = "RegistriesKey"  // registries.yaml has it under a key that is not read
	NoticeCredentialKey  NoticeKind = "CredentialKey"  //nolint:gosec // no credential; the node's is under a name that is not looked up
	NoticeTLSKey         NoticeKind = "TLSKey"         // TLS settings are under a name that is not looked up
	NoticeOtherReference NoticeKind = "OtherReference" // all mirrors are for digests only, or for tags only
)

// Notice is a problem in the node's configuration. It has no text from a file:
// hosts.toml may contain passwords in its headers.
type Notice struct {
	Kind NoticeKind
	Path string // on the node
	Line int    // from 1; 0 if unknown
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
