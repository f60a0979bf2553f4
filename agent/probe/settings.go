package probe

import (
	"cmp"
	"errors"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/nodeconfig"
)

// refusedConfig returns the evidence about a configuration without endpoints: one
// with which the runtime refuses the pull, or that whypull cannot use.
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

// Problems of the node's configuration, as in a report.
//
//nolint:gochecknoglobals // never written
var (
	// flaws are problems with which the runtime refuses the pull.
	flaws = map[nodeconfig.NoticeKind]diagnosis.ConfigProblem{
		nodeconfig.NoticeCertificatesUnusable: diagnosis.ConfigCertificatesUnusable,
		nodeconfig.NoticeLocationInvalid:      diagnosis.ConfigLocationInvalid,
		nodeconfig.NoticeMirrorInvalid:        diagnosis.ConfigEndpointInvalid,
		nodeconfig.NoticeBlocked:              diagnosis.ConfigBlocked,
	}
	// withoutEffect are settings that the runtime ignores; for an ignored hosts.toml
	// see also misplaced.
	withoutEffect = map[nodeconfig.NoticeKind]diagnosis.ConfigProblem{
		nodeconfig.NoticeConfigUnreadable:      diagnosis.ConfigUnreadable,
		nodeconfig.NoticeHostsFileInvalid:      diagnosis.ConfigHostsUnreadable,
		nodeconfig.NoticeHostsFileMisnamed:     diagnosis.ConfigHostsMisnamed,
		nodeconfig.NoticeConfigPathIgnored:     diagnosis.ConfigPathList,
		nodeconfig.NoticeMirrorsWithConfigPath: diagnosis.ConfigMirrorsBesidePath,
		nodeconfig.NoticeHostsFileIgnored:      diagnosis.ConfigMisplaced,
		nodeconfig.NoticeWebSite:               diagnosis.ConfigWebSite,
		nodeconfig.NoticePathDoubled:           diagnosis.ConfigPathDoubled,
		nodeconfig.NoticePathWithoutVersion:    diagnosis.ConfigPathWithoutVersion,
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
	// hidden are settings that the runtime may see and whypull cannot.
	hidden = map[nodeconfig.NoticeKind]diagnosis.ConfigProblem{
		nodeconfig.NoticeFileHidden:             diagnosis.ConfigHidden,
		nodeconfig.NoticeNodeCredentialUnusable: diagnosis.ConfigCredentialUnusable,
		nodeconfig.NoticeCredentialHelper:       diagnosis.ConfigCredentialHelper,
	}
)

// configEvidence returns the evidence about the node's registry configuration:
// settings without effect, as a fault that may explain a failure, and settings that
// whypull cannot see.
func configEvidence(notices []nodeconfig.Notice) []diagnosis.Evidence {
	var out []diagnosis.Evidence
	for _, n := range notices {
		e := diagnosis.Evidence{Check: diagnosis.CheckRegistry, Outcome: diagnosis.Inconclusive, Fault: diagnosis.FaultConfigInvalid}
		facts := &diagnosis.ConfigFacts{File: n.Path, Line: n.Line, Problem: ineffective(n), Endpoint: n.Endpoint}
		if facts.Problem == "" {
			e.Fault, facts.Problem = "", hidden[n.Kind]
		}
		if e.Body = (&diagnosis.RegistryFacts{Config: facts}); facts.Problem != "" {
			out = append(out, e)
		}
	}
	return out
}

// ineffective returns the problem of a setting without effect; "" for other notices.
func ineffective(n nodeconfig.Notice) diagnosis.ConfigProblem {
	switch {
	case n.Kind == nodeconfig.NoticeHostsFileInvalid && n.Reason == nodeconfig.ReasonNoHostTable:
		return diagnosis.ConfigHostsWithoutTable
	case n.Kind == nodeconfig.NoticeHostsFileIgnored && misplaced[n.Reason] != "":
		return misplaced[n.Reason]
	}
	return withoutEffect[n.Kind]
}
