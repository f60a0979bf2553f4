package probe

import (
	"context"
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

// lookupEvidence is a lookup on the node. It says nothing of another name than the
// registry's: what the node's search list makes of that is for the node to know.
func lookupEvidence(a dns.Answer, host string) diagnosis.Evidence {
	facts := lookupFacts(a, host)
	if !strings.EqualFold(facts.Name, strings.TrimSuffix(host, ".")) {
		facts.Name, facts.Alias = "", ""
	}
	e := diagnosis.Evidence{Check: diagnosis.CheckNodeDNS, Outcome: diagnosis.Failed, Fault: a.Fault, Body: facts}
	switch {
	case a.Unknown:
		e.Outcome = diagnosis.Inconclusive
	case a.Fault == "":
		e.Outcome = diagnosis.Passed
	}
	return e
}

// lookupFacts are those of any lookup.
func lookupFacts(a dns.Answer, host string) *diagnosis.DNSFacts {
	facts := &diagnosis.DNSFacts{
		Host: host, Server: a.Server, Upstream: addressTexts(a.Upstream), Addresses: addressTexts(a.Addresses), Name: a.Name, Why: a.Why,
	}
	if a.Dangling {
		facts.Alias = a.Canonical
	}
	return facts
}
