package probe

import (
	"strings"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/dns"
)

// NodeResolver resolves names as the container runtime does. Runtimes are static Go
// programs and use Go's resolver: /etc/hosts, then the servers of /etc/resolv.conf
// with its search list, nothing else.
type NodeResolver struct {
	// Root is where the node's file system is mounted; "/" or empty on the
	// node itself.
	Root string

	port     uint16        // of the servers; 0: 53
	patience time.Duration // timeout per server, twice that per lookup; 0: the defaults
}

// lookupEvidence returns the evidence from a lookup on the node. It does not show names
// other than the registry's, which would reveal the node's search list.
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

func lookupFacts(a dns.Answer, host string) *diagnosis.DNSFacts {
	facts := &diagnosis.DNSFacts{
		Host: host, Server: a.Server, System: a.System, Upstream: addressTexts(a.Upstream), Addresses: addressTexts(a.Addresses), Name: a.Name, Why: a.Why,
	}
	if a.Dangling {
		facts.Alias = a.Canonical
	}
	return facts
}
