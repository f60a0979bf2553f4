package probe

import (
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/registry"
)

// What has no effect may explain a failure; what whypull cannot see only limits
// what it can say.
func TestConfigEvidence(t *testing.T) {
	t.Parallel()
	for kind, want := range map[registry.NoticeKind]string{
		registry.NoticeHostsFileInvalid:      "RegistryConfigInvalid: /x does not parse (line 7); containerd ignores it",
		registry.NoticeHostsFileMisnamed:     "RegistryConfigInvalid: /x is not read by anybody; the name is hosts.toml",
		registry.NoticeConfigPathIgnored:     "RegistryConfigInvalid: /x is not read: config_path lists several folders, which containerd's transfer service takes for one",
		registry.NoticeConfigUnreadable:      "RegistryConfigInvalid: /x does not parse (line 7); the runtime that is running has read another one",
		registry.NoticeMirrorsWithConfigPath: "RegistryConfigInvalid: /x sets registry.mirrors or configs.tls beside config_path, with which containerd's CRI plugin does not load; the one that is running has read another file",
		registry.NoticeFileHidden:            ": /x, which the node's configuration names, cannot be seen by whypull, since it is not below what is mounted; the runtime may see it",
		registry.NoticeNodeLoginUnusable:     ": /x has a credential for the registry that whypull cannot use; the runtime sends it if the pod brings none",
		registry.NoticeCredentialHelper:      ": /x names a credential helper for the registry, which whypull does not run; the runtime does if the pod brings no credential",
		registry.NoticeNoAuthorities:         "", // said where it matters
		registry.NoticeKind("SomethingNew"):  "",
	} {
		got := ""
		for _, e := range configEvidence([]registry.Notice{{Kind: kind, Path: "/x", Line: 7}}) {
			if e.Check != diagnosis.CheckRegistry || e.Outcome != diagnosis.Inconclusive {
				t.Errorf("%s: evidence %+v", kind, e)
			}
			got += string(e.Fault) + ": " + e.Detail
		}
		if got != want {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
	}
}

func TestIgnoredFilesHaveAReason(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, reason := range []registry.NoticeReason{
		registry.ReasonUpstreamName, registry.ReasonNameHasScheme, registry.ReasonPortFolder, registry.ReasonNoFolder,
		registry.ReasonConfigPathUnset, registry.ReasonNoCapableHost, "SomethingNew",
	} {
		got := withoutEffect(registry.Notice{Kind: registry.NoticeHostsFileIgnored, Path: "/x", Reason: reason})
		if !strings.HasPrefix(got, "/x has no effect: ") || seen[got] {
			t.Errorf("%s: %q", reason, got)
		}
		seen[got] = true
	}
}

// A configuration with which the runtime refuses the pull is a fault, and a
// blocked registry is a policy's.
func TestRefusedConfig(t *testing.T) {
	t.Parallel()
	for kind, want := range map[registry.NoticeKind]string{
		registry.NoticeHostsFileUnusable:    "Failed RegistryConfigInvalid: /x names a certificate or key that cannot be read or is none; the runtime refuses the pull over it",
		registry.NoticeCertificatesUnusable: "Failed RegistryConfigInvalid: /x has a client certificate without its key, a key without its certificate, or a file that cannot be read or is none; the runtime refuses the pull over it",
		registry.NoticeLocationInvalid:      "Failed RegistryConfigInvalid: /x has a location that makes no valid name of this image; the runtime refuses the pull over it",
		registry.NoticeMirrorInvalid:        "Failed RegistryConfigInvalid: /x has an endpoint that is no URL, or a certificate that cannot be read, or has no key; the runtime refuses the pull over it",
		registry.NoticeBlocked:              "Failed PolicyBlocked: the node's /x blocks the registry, or this part of it",
	} {
		all := refusedConfig(&registry.ConfigError{Notice: registry.Notice{Kind: kind, Path: "/x"}})
		last := all[len(all)-1]
		if got := string(last.Outcome) + " " + string(last.Fault) + ": " + last.Detail; got != want {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
	}
}
