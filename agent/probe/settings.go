package probe

import (
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
	facts := &diagnosis.ConfigFacts{File: refused.Path, Problem: diagnosis.ConfigProblem(refused.Kind)}
	e := diagnosis.Evidence{
		Check: diagnosis.CheckRegistry, Outcome: diagnosis.Failed, Fault: diagnosis.FaultConfigInvalid,
		Body: &diagnosis.RegistryFacts{Config: facts},
	}
	if refused.Kind == nodeconfig.NoticeBlocked {
		e.Fault = diagnosis.FaultPolicyBlocked
	}
	return append(out, e)
}

// unreachedEvidence returns the settings without effect that could have made a registry
// reachable or trusted that is not. It returns none if every registry is.
func unreachedEvidence(notices []nodeconfig.Notice, found []diagnosis.Evidence) []diagnosis.Evidence {
	var out []diagnosis.Evidence
	for _, n := range notices {
		problem := diagnosis.ConfigProblem(n.Kind)
		if slices.ContainsFunc(found, func(e diagnosis.Evidence) bool { return matters(problem.Effect(), n.Endpoint, e) }) {
			out = append(out, diagnosis.Evidence{
				Check: diagnosis.CheckRegistry, Outcome: diagnosis.Inconclusive,
				Body: &diagnosis.RegistryFacts{Config: &diagnosis.ConfigFacts{File: n.Path, Line: n.Line, Problem: problem}},
			})
		}
	}
	return out
}

// matters reports whether a setting for an endpoint, "" for all, would matter to what
// evidence shows.
func matters(effect diagnosis.ConfigEffect, endpoint string, e diagnosis.Evidence) bool {
	if e.Outcome != diagnosis.Failed || endpoint != "" && e.Endpoint.URL != endpoint {
		return false
	}
	switch effect { //nolint:exhaustive // the others have evidence of their own
	case diagnosis.ConfigOfWay, diagnosis.ConfigOfBoth:
		return slices.Contains([]diagnosis.Fault{
			diagnosis.FaultNameNotFound, diagnosis.FaultDNSFailure, diagnosis.FaultConnectionRefused,
			diagnosis.FaultConnectionTimeout, diagnosis.FaultNetworkUnreachable, diagnosis.FaultTLSUntrusted, diagnosis.FaultHTTPSMismatch,
		}, e.Fault)
	case diagnosis.ConfigOfTrust:
		return e.Fault == diagnosis.FaultTLSUntrusted
	case diagnosis.ConfigOfTLS:
		return slices.Contains([]diagnosis.Fault{
			diagnosis.FaultTLSUntrusted, diagnosis.FaultTLSHostnameMismatch, diagnosis.FaultTLSExpired, diagnosis.FaultTLSHandshakeFailed,
		}, e.Fault)
	case diagnosis.ConfigOfProxy:
		return e.Registry().Proxy != ""
	case diagnosis.ConfigOfAccess:
		return e.Registry().Credential == nil && e.Fault.Refuses()
	}
	return false
}

// configEvidence returns the evidence about the node's registry configuration:
// settings without effect, as a fault that may explain a failure, and settings that
// whypull cannot see.
func configEvidence(notices []nodeconfig.Notice) []diagnosis.Evidence {
	var out []diagnosis.Evidence
	for _, n := range notices {
		problem := diagnosis.ConfigProblem(n.Kind)
		facts := &diagnosis.ConfigFacts{File: n.Path, Line: n.Line, Problem: problem, Endpoint: n.Endpoint}
		e := diagnosis.Evidence{Check: diagnosis.CheckRegistry, Outcome: diagnosis.Inconclusive, Body: &diagnosis.RegistryFacts{Config: facts}}
		switch {
		case problem == diagnosis.ConfigPolicyRejects:
			e.Outcome, e.Fault = diagnosis.Failed, diagnosis.FaultOf(diagnosis.SignatureRejected)
		case problem.Effect() == diagnosis.ConfigIneffective:
			e.Fault = diagnosis.FaultConfigInvalid
		case problem.Effect() != diagnosis.ConfigUnseen:
			continue
		}
		out = append(out, e)
	}
	return out
}
