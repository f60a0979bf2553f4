package registry

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
	// NoticeHostsFileInvalid: hosts.toml does not parse. containerd only logs
	// it and goes on as if the file were not there.
	NoticeHostsFileInvalid NoticeKind = "HostsFileInvalid"
	// NoticeHostsFileMisnamed: there is a host.toml, which nobody reads, and
	// no hosts.toml.
	NoticeHostsFileMisnamed NoticeKind = "HostsFileMisnamed"
	// NoticeHostsFileUnusable: hosts.toml names a certificate or key that
	// cannot be read or is none. containerd refuses the pull. Only as the
	// Kind of a *ConfigError.
	NoticeHostsFileUnusable NoticeKind = "HostsFileUnusable"
	// NoticeLegacyMirrors: the configuration has registry.mirrors, .configs or
	// .auths, which are not looked at here: the endpoints may be others.
	NoticeLegacyMirrors NoticeKind = "LegacyMirrors"
	// NoticeNoAuthorities: the node's CA bundle was not found, so
	// FaultTLSUntrusted says nothing.
	NoticeNoAuthorities NoticeKind = "NoAuthorities"
)

// Notice is an oddity of the node's configuration. It holds no text of a file:
// hosts.toml may have passwords in its headers.
type Notice struct {
	Kind NoticeKind
	Path string // on the node
	Line int    // from 1; 0 if not known
}

// String is the notice's kind and place.
func (n Notice) String() string {
	var b strings.Builder
	b.WriteString(string(n.Kind))
	if n.Path != "" {
		b.WriteString(" " + n.Path)
	}
	if n.Line > 0 {
		fmt.Fprintf(&b, ":%d", n.Line)
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
