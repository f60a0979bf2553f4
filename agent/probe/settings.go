package probe

import (
	"errors"
	"fmt"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/nodeconfig"
)

// refusedConfig tells of a configuration without endpoints: one with which the
// runtime refuses the pull, or one that whypull itself cannot work with.
func refusedConfig(err error) []diagnosis.Evidence {
	out := skipped("the node's registry configuration names no endpoint", diagnosis.CheckNodeDNS)
	refused, ok := errors.AsType[*nodeconfig.ConfigError](err)
	if !ok {
		return append(out, skipped("whypull could not work with the node's registry configuration", diagnosis.CheckRegistry)...)
	}
	e := diagnosis.Evidence{
		Check: diagnosis.CheckRegistry, Outcome: diagnosis.Failed, Fault: diagnosis.FaultConfigInvalid,
		ConfigFile: refused.Path,
		Detail:     fmt.Sprintf("%s %s; the runtime refuses the pull over it", refused.Path, flaw(refused.Kind)),
	}
	if refused.Kind == nodeconfig.NoticeBlocked {
		e.Fault = diagnosis.FaultPolicyBlocked
		e.Detail = fmt.Sprintf("the node's %s blocks the registry, or this part of it", refused.Path)
	}
	return append(out, e)
}

func flaw(kind nodeconfig.NoticeKind) string {
	switch kind {
	case nodeconfig.NoticeCertificatesUnusable:
		return "has a client certificate without its key, a key without its certificate, or a file that cannot be read or is none"
	case nodeconfig.NoticeLocationInvalid:
		return "has a location that makes no valid name of this image"
	case nodeconfig.NoticeMirrorInvalid:
		return "has an endpoint that is no URL, or a certificate that cannot be read, or has no key"
	default:
		return "names a certificate or key that cannot be read or is none"
	}
}

// configEvidence tells what is odd about the node's registry configuration:
// what has no effect, as a fault that may explain a failure, and what whypull
// cannot see, as a reserve.
func configEvidence(notices []nodeconfig.Notice) []diagnosis.Evidence {
	var out []diagnosis.Evidence
	for _, n := range notices {
		e := diagnosis.Evidence{Check: diagnosis.CheckRegistry, Outcome: diagnosis.Inconclusive, Fault: diagnosis.FaultConfigInvalid, ConfigFile: n.Path}
		if e.Detail = withoutEffect(n); e.Detail == "" {
			e.Fault, e.Detail = "", unseen(n)
		}
		if e.Detail != "" {
			out = append(out, e)
		}
	}
	return out
}

// withoutEffect is what somebody has configured and the runtime does not do.
func withoutEffect(n nodeconfig.Notice) string {
	switch n.Kind { //nolint:exhaustive // the others are no settings without effect
	case nodeconfig.NoticeConfigUnreadable:
		return fmt.Sprintf("%s does not parse%s; the runtime that is running has read another one", n.Path, line(n))
	case nodeconfig.NoticeHostsFileInvalid:
		if n.Reason == nodeconfig.ReasonNoHostTable {
			return n.Path + " has no [host] table, without which containerd 1.x ignores it"
		}
		return fmt.Sprintf("%s does not parse%s; containerd ignores it", n.Path, line(n))
	case nodeconfig.NoticeHostsFileMisnamed:
		return n.Path + " is not read by anybody; the name is hosts.toml"
	case nodeconfig.NoticeConfigPathIgnored:
		return n.Path + " is not read: config_path lists several folders, which containerd's transfer service takes for one"
	case nodeconfig.NoticeMirrorsWithConfigPath:
		return n.Path + " sets registry.mirrors or configs.tls beside config_path, with which containerd's CRI plugin does not load; the one that is running has read another file"
	case nodeconfig.NoticeHostsFileIgnored:
		return n.Path + " has no effect: " + misplaced(n.Reason)
	}
	return ""
}

func line(n nodeconfig.Notice) string {
	if n.Line == 0 {
		return ""
	}
	return fmt.Sprintf(" (line %d)", n.Line)
}

func misplaced(reason nodeconfig.NoticeReason) string {
	switch reason {
	case nodeconfig.ReasonUpstreamName:
		return "containerd looks for the registry's name in the image, which is docker.io"
	case nodeconfig.ReasonNameHasScheme, nodeconfig.ReasonNameHasPath:
		return "containerd looks for a folder with the registry's host alone"
	case nodeconfig.ReasonPortFolder:
		return "containerd looks for host:port or host_port_"
	case nodeconfig.ReasonNoFolder:
		return "containerd looks in a folder named for the registry's host"
	case nodeconfig.ReasonConfigPathUnset:
		return "containerd's config_path is not set"
	case nodeconfig.ReasonNoHostTable:
		return "it has no [host] table"
	case nodeconfig.ReasonNoCapableHost:
		return "none of its hosts has the capabilities that such a reference needs (pull, and resolve for a tag)"
	}
	return "it is not where containerd looks"
}

// unseen is what the runtime may see and whypull does not.
func unseen(n nodeconfig.Notice) string {
	switch n.Kind { //nolint:exhaustive // the others are seen
	case nodeconfig.NoticeFileHidden:
		return n.Path + ", which the node's configuration names, cannot be seen by whypull, since it is not below what is mounted; the runtime may see it"
	case nodeconfig.NoticeNodeLoginUnusable:
		return n.Path + " has a credential for the registry that whypull cannot use; the runtime sends it if the pod brings none"
	case nodeconfig.NoticeCredentialHelper:
		return n.Path + " names a credential helper for the registry, which whypull does not run; the runtime does if the pod brings no credential"
	}
	return ""
}
