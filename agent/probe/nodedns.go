package probe

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/dns"
)

// NodeResolver resolves names as the container runtime does: runtimes are
// static Go programs, so Go's own resolver with the node's files, /etc/hosts
// first, then the servers of /etc/resolv.conf with its search list, and no
// other source of names.
type NodeResolver struct {
	// Root is where the node's file system is mounted; "/" or empty on the
	// node itself.
	Root string

	port     uint16        // of the servers; 0: 53
	patience time.Duration // with a server, and twice that in all; 0: the defaults
}

// Lookup resolves a host name. It always answers within five seconds.
func (r NodeResolver) Lookup(ctx context.Context, host string) dns.Answer {
	view := dns.FromFiles(r.Root)
	view.Port, view.ServerTimeout, view.LookupTimeout = r.port, r.patience, 2*r.patience
	a := view.Lookup(ctx, host)
	if a.Code == dns.Unconfigured {
		a.Why = "whypull cannot read the node's resolv.conf"
	}
	return a
}

// lookupEvidence puts a lookup into the words of a report.
func lookupEvidence(a dns.Answer, host, node string) diagnosis.Evidence {
	e := diagnosis.Evidence{Check: diagnosis.CheckNodeDNS, Outcome: diagnosis.Passed, Server: a.Server, Fault: a.Fault}
	by := "the node's hosts file"
	if a.Server != "" {
		by = "resolver " + a.Server
	}
	if len(a.Upstream) > 0 {
		by += ", which asks " + strings.Join(addressTexts(a.Upstream), ", ")
	}
	for _, addr := range a.Addresses {
		e.Addresses = append(e.Addresses, addr.String())
	}
	switch {
	case a.Unknown:
		e.Outcome = diagnosis.Inconclusive
		e.Detail = fmt.Sprintf("the registry's name %s could not be looked up on node %s: %s", host, node, a.Why)
	case a.Fault == "":
		e.Detail = fmt.Sprintf("%s resolves to %s (%s)", host, strings.Join(e.Addresses, ", "), by+searched(a, host))
	case a.Fault == diagnosis.FaultNameNotFound && a.Server == "":
		e.Outcome = diagnosis.Failed
		e.Detail = fmt.Sprintf("the registry's name %s does not resolve on node %s: %s", host, node, why(a))
	case a.Fault == diagnosis.FaultNameNotFound:
		e.Outcome = diagnosis.Failed
		e.Detail = fmt.Sprintf("the registry's name %s does not resolve on node %s: %s, says %s", host, node, why(a), by)
	default:
		e.Outcome = diagnosis.Failed
		e.Detail = fmt.Sprintf("the registry's name %s cannot be resolved on node %s: resolver %s: %s", host, node, a.Server, a.Why)
	}
	return e
}
