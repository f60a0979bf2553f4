package probe

import (
	"cmp"
	"errors"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/nodeconfig"
)

// refusedConfig is about a configuration without endpoints: one with which the
// runtime refuses the pull, or one that whypull itself cannot work with.
func refusedConfig(err error) []diagnosis.Evidence {
	out := skipped(diagnosis.ReasonNoEndpointNamed, diagnosis.CheckNodeDNS)
	refused, ok := errors.AsType[*nodeconfig.ConfigError](err)
	if !ok {
		return append(out, skipped(diagnosis.ReasonConfigUnusable, diagnosis.CheckRegistry)...)
	}
	facts := &diagnosis.ConfigFacts{File: refused.Path, Problem: cmp.Or(flaws[refused.Kind], diagnosis.ConfigCertificateUnusable)}
	e := diagnosis.Evidence{
		Check: diagnosis.CheckRegistry, Outcome: diagnosis.Failed, Fault: diagnosis.FaultConfigInvalid,
		Body: &diagnosis.RegistryFacts{Config: facts},
	}
	if refused.Kind == nodeconfig.NoticeBlocked {
		e.Fault = diagnosis.FaultPolicyBlocked
	}
	return append(out, e)
}

// What is wrong with a configuration, in the words of a report.
//
//nolint:gochecknoglobals // never written
var (
	// flaws are those over which the runtime refuses the pull.
	flaws = map[nodeconfig.NoticeKind]diagnosis.ConfigProblem{
		nodeconfig.NoticeCertificatesUnusable: diagnosis.ConfigCertificatesUnusable,
		nodeconfig.NoticeLocationInvalid:      diagnosis.ConfigLocationInvalid,
		nodeconfig.NoticeMirrorInvalid:        diagnosis.ConfigEndpointInvalid,
		nodeconfig.NoticeBlocked:              diagnosis.ConfigBlocked,
	}
	// withoutEffect are those of what somebody has configured and the runtime does
	// not do; those of a hosts.toml without effect depend on the reason.
	withoutEffect = map[nodeconfig.NoticeKind]diagnosis.ConfigProblem{
		nodeconfig.NoticeConfigUnreadable:      diagnosis.ConfigUnreadable,
		nodeconfig.NoticeHostsFileInvalid:      diagnosis.ConfigHostsUnreadable,
		nodeconfig.NoticeHostsFileMisnamed:     diagnosis.ConfigHostsMisnamed,
		nodeconfig.NoticeConfigPathIgnored:     diagnosis.ConfigPathList,
		nodeconfig.NoticeMirrorsWithConfigPath: diagnosis.ConfigMirrorsBesidePath,
		nodeconfig.NoticeHostsFileIgnored:      diagnosis.ConfigMisplaced,
	}
	misplaced = map[nodeconfig.NoticeReason]diagnosis.ConfigProblem{
		nodeconfig.ReasonUpstreamName:    diagnosis.ConfigUpstreamName,
		nodeconfig.ReasonNameHasScheme:   diagnosis.ConfigFolderNotHost,
		nodeconfig.ReasonNameHasPath:     diagnosis.ConfigFolderNotHost,
		nodeconfig.ReasonPortFolder:      diagnosis.ConfigPortFolder,
		nodeconfig.ReasonNoFolder:        diagnosis.ConfigNoFolder,
		nodeconfig.ReasonConfigPathUnset: diagnosis.ConfigPathUnset,
		nodeconfig.ReasonNoHostTable:     diagnosis.ConfigIgnoredWithoutTable,
		nodeconfig.ReasonNoCapableHost:   diagnosis.ConfigNoCapableHost,
	}
	// hidden are those of what the runtime may see and whypull does not.
	hidden = map[nodeconfig.NoticeKind]diagnosis.ConfigProblem{
		nodeconfig.NoticeFileHidden:             diagnosis.ConfigHidden,
		nodeconfig.NoticeNodeCredentialUnusable: diagnosis.ConfigCredentialUnusable,
		nodeconfig.NoticeCredentialHelper:       diagnosis.ConfigCredentialHelper,
	}
)

// configEvidence is what is odd about the node's registry configuration: what has
// no effect, as a fault that may explain a failure, and what whypull cannot see,
// as a reserve.
func configEvidence(notices []nodeconfig.Notice) []diagnosis.Evidence {
	var out []diagnosis.Evidence
	for _, n := range notices {
		e := diagnosis.Evidence{Check: diagnosis.CheckRegistry, Outcome: diagnosis.Inconclusive, Fault: diagnosis.FaultConfigInvalid}
		facts := &diagnosis.ConfigFacts{File: n.Path, Line: n.Line, Problem: ineffective(n)}
		if facts.Problem == "" {
			e.Fault, facts.Problem = "", hidden[n.Kind]
		}
		if e.Body = (&diagnosis.RegistryFacts{Config: facts}); facts.Problem != "" {
			out = append(out, e)
		}
	}
	return out
}

// ineffective returns what has no effect, "" for any other notice.
func ineffective(n nodeconfig.Notice) diagnosis.ConfigProblem {
	switch {
	case n.Kind == nodeconfig.NoticeHostsFileInvalid && n.Reason == nodeconfig.ReasonNoHostTable:
		return diagnosis.ConfigHostsWithoutTable
	case n.Kind == nodeconfig.NoticeHostsFileIgnored && misplaced[n.Reason] != "":
		return misplaced[n.Reason]
	}
	return withoutEffect[n.Kind]
}
