package probe

import (
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/nodeconfig"
)

// What has no effect may explain a failure; what whypull cannot see only limits
// what it can say.
func TestConfigEvidence(t *testing.T) {
	t.Parallel()
	for kind, want := range map[nodeconfig.NoticeKind]string{
		nodeconfig.NoticeHostsUnreadable:      "RegistryConfigInvalid: /x does not parse (line 7); containerd ignores it",
		nodeconfig.NoticeHostsMisnamed:        "RegistryConfigInvalid: /x is ignored: the file must be named hosts.toml",
		nodeconfig.NoticePathList:             "RegistryConfigInvalid: /x is ignored: config_path lists several directories, which the transfer service of containerd takes for one",
		nodeconfig.NoticeUnreadable:           "RegistryConfigInvalid: /x does not parse (line 7); the running runtime has read an earlier version",
		nodeconfig.NoticeMirrorsBesidePath:    "RegistryConfigInvalid: /x has registry.mirrors or configs.tls beside config_path, set or by default, so containerd's CRI plugin would not load; the running one has read an earlier version",
		nodeconfig.NoticeDockerMirror:         "RegistryConfigInvalid: /x has a registry mirror that Docker does not accept (it needs https:// or http://, and no query or credentials), so Docker would not start; the running one has read an earlier version",
		nodeconfig.NoticeTLSIgnored:           "RegistryConfigInvalid: /x has TLS settings in registry.configs for this registry, which containerd ignores since 2.0",
		nodeconfig.NoticeNotGenerated:         "RegistryConfigInvalid: /x has settings for this registry that are not in effect: k3s or RKE2 was not restarted since they were changed",
		nodeconfig.NoticeHidden:               ": /x, which the node's configuration names, is not mounted into whypull; the runtime may read it",
		nodeconfig.NoticeCredentialUnusable:   ": /x has credentials for the registry that whypull cannot use; the runtime sends them if the pod has none",
		nodeconfig.NoticeCredentialHelper:     ": /x names a credential helper for the registry, which whypull does not run; the runtime does if the pod has no credentials",
		nodeconfig.NoticeWebSite:              "RegistryConfigInvalid: /x (line 7) names Docker's web site as a registry; Docker Hub's registry is https://registry-1.docker.io",
		nodeconfig.NoticePathDoubled:          "RegistryConfigInvalid: /x (line 7) has a host with a path that begins with /v2/, to which containerd appends another /v2, because override_path = true is missing",
		nodeconfig.NoticePathWithoutVersion:   "RegistryConfigInvalid: /x (line 7) has an endpoint whose path lacks /v2, which the runtime does not append to it",
		nodeconfig.NoticeNoAuthorities:        "", // said where it matters
		nodeconfig.NoticeKind("SomethingNew"): "",
	} {
		got := ""
		for _, e := range configEvidence([]nodeconfig.Notice{{Kind: kind, Path: "/x", Line: 7}}) {
			if e.Check != diagnosis.CheckRegistry || e.Outcome != diagnosis.Inconclusive {
				t.Errorf("%s: evidence %+v", kind, e)
			}
			got += string(e.Fault) + ": " + detail(failure(image), e)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
	}
}

func TestIgnoredFilesHaveAReason(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, kind := range []nodeconfig.NoticeKind{
		nodeconfig.NoticeUpstreamName, nodeconfig.NoticeFolderNotHost, nodeconfig.NoticePortFolder, nodeconfig.NoticeNoFolder, nodeconfig.NoticeDefaultFolder,
		nodeconfig.NoticePathUnset, nodeconfig.NoticePathElsewhere, nodeconfig.NoticeNoCapableHost,
	} {
		got := detail(failure(image), configEvidence([]nodeconfig.Notice{{Kind: kind, Path: "/x"}})[0])
		if !strings.HasPrefix(got, "/x has no effect: ") || seen[got] {
			t.Errorf("%s: %q", kind, got)
		}
		seen[got] = true
	}
}

// A configuration with which the runtime refuses the pull is a fault, and a
// blocked registry is a policy's.
func TestRefusedConfig(t *testing.T) {
	t.Parallel()
	for kind, want := range map[nodeconfig.NoticeKind]string{
		nodeconfig.NoticeCertificateUnusable:  "Failed RegistryConfigInvalid: /x names a certificate or key that cannot be read or is not valid, so the runtime refuses the pull",
		nodeconfig.NoticeNotDirectory:         "Failed RegistryConfigInvalid: /x is a file, and containerd expects a directory of this name, so it refuses the pull",
		nodeconfig.NoticeCertificatesUnusable: "Failed RegistryConfigInvalid: /x has a client certificate without its key, a key without its certificate, or a file that cannot be read or is not valid, so the runtime refuses the pull",
		nodeconfig.NoticeLocationInvalid:      "Failed RegistryConfigInvalid: /x has a location that makes the name of this image invalid, so the runtime refuses the pull",
		nodeconfig.NoticeEndpointInvalid:      "Failed RegistryConfigInvalid: /x has an endpoint that is not a URL, or a certificate that cannot be read or has no key, so the runtime refuses the pull",
		nodeconfig.NoticeBlocked:              "Failed PolicyBlocked: /x on the node blocks the registry, or this part of it",
	} {
		all := refusedConfig(&nodeconfig.ConfigError{Notice: nodeconfig.Notice{Kind: kind, Path: "/x"}})
		last := all[len(all)-1]
		if got := string(last.Outcome) + " " + string(last.Fault) + ": " + detail(failure(image), last); got != want {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
	}
}
