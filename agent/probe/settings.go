package probe

import (
	"cmp"
	"errors"
	"slices"

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
		nodeconfig.NoticeNotDirectory:         diagnosis.ConfigNotDirectory,

		nodeconfig.NoticePolicyUnusable:         diagnosis.ConfigPolicyUnusable,
		nodeconfig.NoticeSignatureStoreUnusable: diagnosis.ConfigSignatureStoreBroken,
	}
	// withoutEffect are settings that the runtime ignores; for an ignored hosts.toml
	// see also misplaced.
	withoutEffect = map[nodeconfig.NoticeKind]diagnosis.ConfigProblem{
		nodeconfig.NoticeConfigUnreadable:      diagnosis.ConfigUnreadable,
		nodeconfig.NoticeHostsFileInvalid:      diagnosis.ConfigHostsUnreadable,
		nodeconfig.NoticeHostsFileMisnamed:     diagnosis.ConfigHostsMisnamed,
		nodeconfig.NoticeConfigPathIgnored:     diagnosis.ConfigPathList,
		nodeconfig.NoticeMirrorsWithConfigPath: diagnosis.ConfigMirrorsBesidePath,
		nodeconfig.NoticeDockerMirrorInvalid:   diagnosis.ConfigDockerMirror,
		nodeconfig.NoticeTLSIgnored:            diagnosis.ConfigTLSIgnored,
		nodeconfig.NoticeHostsFileIgnored:      diagnosis.ConfigMisplaced,
		nodeconfig.NoticeWebSite:               diagnosis.ConfigWebSite,
		nodeconfig.NoticePathDoubled:           diagnosis.ConfigPathDoubled,
		nodeconfig.NoticePathWithoutVersion:    diagnosis.ConfigPathWithoutVersion,
		nodeconfig.NoticeNotLoaded:             diagnosis.ConfigNotLoaded,
		nodeconfig.NoticeNotGenerated:          diagnosis.ConfigNotGenerated,
	}
	misplaced = map[nodeconfig.NoticeReason]diagnosis.ConfigProblem{
		nodeconfig.ReasonUpstreamName:    diagnosis.ConfigUpstreamName,
		nodeconfig.ReasonNameHasScheme:   diagnosis.ConfigFolderNotHost,
		nodeconfig.ReasonNameHasPath:     diagnosis.ConfigFolderNotHost,
		nodeconfig.ReasonPortFolder:      diagnosis.ConfigPortFolder,
		nodeconfig.ReasonNoFolder:        diagnosis.ConfigNoFolder,
		nodeconfig.ReasonDefaultFolder:   diagnosis.ConfigDefaultFolder,
		nodeconfig.ReasonConfigPathUnset: diagnosis.ConfigPathUnset,
		nodeconfig.ReasonSectionIgnored:  diagnosis.ConfigPathElsewhere,
		nodeconfig.ReasonNoHostTable:     diagnosis.ConfigIgnoredWithoutTable,
		nodeconfig.ReasonNoCapableHost:   diagnosis.ConfigNoCapableHost,
	}
	// hidden are settings that the runtime may see and whypull cannot.
	hidden = map[nodeconfig.NoticeKind]diagnosis.ConfigProblem{
		nodeconfig.NoticeFileHidden:             diagnosis.ConfigHidden,
		nodeconfig.NoticeNodeCredentialUnusable: diagnosis.ConfigCredentialUnusable,
		nodeconfig.NoticeCredentialHelper:       diagnosis.ConfigCredentialHelper,

		nodeconfig.NoticePolicyWantsSignature: diagnosis.ConfigPolicySigned,
		nodeconfig.NoticeBlocked:              diagnosis.ConfigBlocked, // one of several places
	}
)

// unreachedFor are the problems of files without effect that could have made a registry
// reachable.
//
//nolint:gochecknoglobals // never written
var unreachedFor = map[nodeconfig.NoticeReason]diagnosis.ConfigProblem{
	nodeconfig.ReasonNoConf:       diagnosis.ConfigProxyNoConf,
	nodeconfig.ReasonNoSection:    diagnosis.ConfigProxyNoSection,
	nodeconfig.ReasonQuotes:       diagnosis.ConfigProxyQuotes,
	nodeconfig.ReasonOneWord:      diagnosis.ConfigProxyOneWord,
	nodeconfig.ReasonVariable:     diagnosis.ConfigProxyVariable,
	nodeconfig.ReasonExport:       diagnosis.ConfigProxyExport,
	nodeconfig.ReasonHTTPOnly:     diagnosis.ConfigProxyHTTPOnly,
	nodeconfig.ReasonOfLogins:     diagnosis.ConfigProxyOfLogins,
	nodeconfig.ReasonNotRestarted: diagnosis.ConfigProxyNotRestarted,
	nodeconfig.ReasonNotImported:  diagnosis.ConfigNotImported,

	nodeconfig.ReasonOfDocker:       diagnosis.ConfigOfDocker,
	nodeconfig.ReasonNotCrt:         diagnosis.ConfigNotCrt,
	nodeconfig.ReasonNotNamed:       diagnosis.ConfigNotNamed,
	nodeconfig.ReasonOtherDirectory: diagnosis.ConfigOtherDirectory,
	nodeconfig.ReasonDropInName:     diagnosis.ConfigDropInName,
	nodeconfig.ReasonRegistriesName: diagnosis.ConfigRegistriesName,
	nodeconfig.ReasonOtherReference: diagnosis.ConfigOtherReference,
}

// ofCertificates are the reasons that matter for certificates alone.
//
//nolint:gochecknoglobals // never written
var ofCertificates = []nodeconfig.NoticeReason{nodeconfig.ReasonNotCrt, nodeconfig.ReasonNotNamed, nodeconfig.ReasonOtherDirectory}

// unreachedEvidence returns the settings without effect that could have made an
// unreachable registry reachable. It returns none if every registry is reachable.
func unreachedEvidence(notices []nodeconfig.Notice, found []diagnosis.Evidence) []diagnosis.Evidence {
	ways := []diagnosis.Fault{
		diagnosis.FaultNameNotFound, diagnosis.FaultDNSFailure, diagnosis.FaultConnectionRefused,
		diagnosis.FaultConnectionTimeout, diagnosis.FaultNetworkUnreachable, diagnosis.FaultTLSUntrusted, diagnosis.FaultHTTPSMismatch,
	}
	failed := func(ways ...diagnosis.Fault) bool {
		return slices.ContainsFunc(found, func(e diagnosis.Evidence) bool {
			return e.Outcome == diagnosis.Failed && slices.Contains(ways, e.Fault)
		})
	}
	if !failed(ways...) {
		return nil
	}
	untrusted := failed(diagnosis.FaultTLSUntrusted)
	var out []diagnosis.Evidence
	for _, n := range notices {
		if slices.Contains(ofCertificates, n.Reason) && !untrusted {
			continue
		}
		problem := unreachedFor[n.Reason]
		if n.Kind == nodeconfig.NoticeSectionIgnored && problem == "" {
			problem = diagnosis.ConfigSectionIgnored
		}
		if problem != "" {
			out = append(out, diagnosis.Evidence{
				Check: diagnosis.CheckRegistry, Outcome: diagnosis.Inconclusive,
				Body: &diagnosis.RegistryFacts{Config: &diagnosis.ConfigFacts{File: n.Path, Problem: problem}},
			})
		}
	}
	return out
}

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
		if n.Kind == nodeconfig.NoticePolicyRejects {
			e.Outcome, e.Fault, facts.Problem = diagnosis.Failed, diagnosis.FaultOf(diagnosis.SignatureRejected), diagnosis.ConfigPolicyRejects
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
	case n.Kind == nodeconfig.NoticeHostsFileInvalid && n.Reason == nodeconfig.ReasonBadValue:
		return diagnosis.ConfigHostsBadValue
	case n.Kind == nodeconfig.NoticeHostsFileIgnored && misplaced[n.Reason] != "":
		return misplaced[n.Reason]
	}
	return withoutEffect[n.Kind]
}
