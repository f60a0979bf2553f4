package nodeconfig

import (
	"fmt"
	"strings"
)

// NoticeKind says what is odd about the node's configuration. The values are
// a closed set.
type NoticeKind string

// The kinds of notices.
const (
	// NoticeConfigUnreadable: the runtime's configuration file, or an import
	// of it, cannot be read or does not parse; containerd's defaults are
	// assumed.
	NoticeConfigUnreadable NoticeKind = "ConfigUnreadable"
	// NoticeConfigPathIgnored: config_path has several directories, one of
	// them is for this host, and the runtime looks at none: its transfer
	// service takes the list for the name of one directory (containerd 2.2+,
	// where such a list is the default).
	NoticeConfigPathIgnored NoticeKind = "ConfigPathIgnored"
	// NoticeHostsFileInvalid: hosts.toml does not parse, or is one that this
	// version takes for broken (Reason). containerd only logs it and goes on as
	// if the file were not there.
	NoticeHostsFileInvalid NoticeKind = "HostsFileInvalid"
	// NoticeHostsFileMisnamed: there is a host.toml, which nobody reads, and
	// no hosts.toml.
	NoticeHostsFileMisnamed NoticeKind = "HostsFileMisnamed"
	// NoticeHostsFileUnusable: hosts.toml names a certificate or key that
	// cannot be read or is none. containerd refuses the pull. Only as the
	// Kind of a *ConfigError.
	NoticeHostsFileUnusable NoticeKind = "HostsFileUnusable"
	// NoticeHostsFileIgnored: there is a file for this host that has no effect
	// where it is; Reason says why.
	NoticeHostsFileIgnored NoticeKind = "HostsFileIgnored"
	// NoticeFileHidden: the configuration names a file that this process cannot
	// see, since it is not mounted or not readable; the runtime may see it. The
	// endpoint that it is for has Blind or BlindClient.
	NoticeFileHidden NoticeKind = "FileHidden"
	// NoticeMirrorsWithConfigPath: registry.mirrors (or configs.tls, containerd
	// 1.x) together with config_path. With such a file containerd's CRI plugin
	// does not load: the one that is running has read an older file.
	NoticeMirrorsWithConfigPath NoticeKind = "MirrorsWithConfigPath"
	// NoticeMirrorInvalid: registry.mirrors or .configs has an endpoint that is
	// no URL, or a certificate that cannot be read, or has no key. containerd
	// refuses the pull. Only as the Kind of a *ConfigError.
	NoticeMirrorInvalid NoticeKind = "MirrorInvalid"
	// NoticeNodeCredentialUnusable: the node has a credential for an endpoint that
	// whypull cannot use: an identity token without a user, or one that does
	// not decode. What the endpoint says without a credential says nothing of
	// the runtime.
	NoticeNodeCredentialUnusable NoticeKind = "NodeCredentialUnusable"
	// NoticeCredentialHelper: CRI-O asks a program for the credential of an
	// endpoint if the pull brings none. It is not run here, so that what the
	// endpoint says without a credential says nothing of the runtime.
	NoticeCredentialHelper NoticeKind = "CredentialHelper" //nolint:gosec // no credential
	// NoticeBlocked: CRI-O's registries.conf blocks the registry or a part of
	// it. Only as the Kind of a *ConfigError.
	NoticeBlocked NoticeKind = "Blocked"
	// NoticeCertificatesUnusable: a directory of certs.d has a client
	// certificate without its key (the names are x.cert and x.key), a key
	// without its certificate, or a file that cannot be read or is none. CRI-O
	// refuses the pull. Only as the Kind of a *ConfigError.
	NoticeCertificatesUnusable NoticeKind = "CertificatesUnusable"
	// NoticeLocationInvalid: a location of registries.conf makes no valid name
	// of this image. CRI-O refuses the pull. Only as the Kind of a *ConfigError.
	NoticeLocationInvalid NoticeKind = "LocationInvalid"
	// NoticeNoAuthorities: the node's CA bundle was not found, so
	// FaultTLSUntrusted says nothing.
	NoticeNoAuthorities NoticeKind = "NoAuthorities"
)

// NoticeReason says why a file has no effect. The values are a closed set.
type NoticeReason string

// The reasons of NoticeHostsFileIgnored and NoticeHostsFileInvalid.
const (
	// ReasonNoHostTable: of NoticeHostsFileInvalid; the file parses and has no
	// [host."…"], which containerd 1.x takes for an error.
	ReasonNoHostTable NoticeReason = "NoHostTable"
	// ReasonUpstreamName: the folder is named for a host that serves Docker
	// Hub; the runtime looks for docker.io.
	ReasonUpstreamName NoticeReason = "UpstreamName"
	// ReasonNameHasScheme: the folder is in one for a scheme ("https:").
	ReasonNameHasScheme NoticeReason = "NameHasScheme"
	// ReasonNameHasPath: the file is for a path of the host; the runtime looks
	// for the host alone.
	ReasonNameHasPath NoticeReason = "NameHasPath"
	// ReasonPortFolder: the folder is named host_port; the runtime looks for
	// host_port_ and host:port.
	ReasonPortFolder NoticeReason = "PortFolder"
	// ReasonNoFolder: hosts.toml is in no folder of a host.
	ReasonNoFolder NoticeReason = "NoFolder"
	// ReasonConfigPathUnset: containerd before 2.2 has no config_path unless it
	// is set.
	ReasonConfigPathUnset NoticeReason = "ConfigPathUnset"
	// ReasonNoCapableHost: no host of the file has the capabilities that the
	// reference needs: "pull", and "resolve" for a tag.
	ReasonNoCapableHost NoticeReason = "NoCapableHost"
)

// Notice is an oddity of the node's configuration. It holds no text of a file:
// hosts.toml may have passwords in its headers.
type Notice struct {
	Kind   NoticeKind
	Path   string       // on the node
	Line   int          // from 1; 0 if not known
	Reason NoticeReason // "" if the kind says all
}

// String is the notice's kind, place and reason.
func (n Notice) String() string {
	var b strings.Builder
	b.WriteString(string(n.Kind))
	if n.Path != "" {
		b.WriteString(" " + n.Path)
	}
	if n.Line > 0 {
		fmt.Fprintf(&b, ":%d", n.Line)
	}
	if n.Reason != "" {
		fmt.Fprintf(&b, " (%s)", n.Reason)
	}
	return b.String()
}

// ConfigError is a configuration with which the runtime has no endpoint at
// all. Its text holds no text of a file.
type ConfigError struct {
	Notice
	err error
}

// Error implements error.
func (e *ConfigError) Error() string { return "registry configuration: " + e.String() }

// Unwrap gives containerd's own error, whose text may quote the file.
func (e *ConfigError) Unwrap() error { return e.err }
