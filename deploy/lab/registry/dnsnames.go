package registry

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/whypull/whypull/deploy/lab/nameserver"
)

// NameServer is the name of the component that answers for NameZone.
const NameServer = "name-server"

// NameZone is the domain of the names of which each is told something else.
// They have no registry of their own: where they lead to one, it is PlainHost.
const NameZone = "dns.lab.example"

// Who asks the name server. The node's resolver and the cluster's pass
// questions on to it, each at an address of its own; a pod may have one of the
// addresses as its own resolver.
const (
	NodeView    = "node"
	ClusterView = "cluster"
	PodView     = "pod"
)

// Where the name server answers.
const (
	NodeViewAddress    = "10.201.0.54"
	ClusterViewAddress = "10.201.0.55"
	PodViewAddress     = "10.201.0.56"
	// ClosedAddress is an address of the lab where no port is open.
	ClosedAddress = closedAddress
	// PlainAddress is that of the registry without TLS.
	PlainAddress = plainAddress
	// OutsideAddress is in a network to which the lab has no way (RFC 5737), and
	// OutsideAddress6 is such an address of IPv6 (RFC 3849).
	OutsideAddress  = "203.0.113.7"
	OutsideAddress6 = "2001:db8::7"
)

// WildDomain is a domain in which every name is that of SilentAddress: what a
// search list must not have.
const WildDomain = "wild." + NameZone

// Views maps the addresses of the name server, with ports, to who asks there.
func Views() map[string]string {
	return map[string]string{
		NodeViewAddress + ":53": NodeView, ClusterViewAddress + ":53": ClusterView, PodViewAddress + ":53": PodView,
	}
}

// NameHost is the registry of a label in NameZone, as it stands in image
// references.
func NameHost(label string) string { return label + "." + NameZone + ":5000" }

// Names are the labels of NameZone that have something to tell. The node is
// told to speak plain HTTP with each.
func Names() []string {
	return slices.Sorted(maps.Keys(names()))
}

// told is what the node is told of a name, and what pods are, whomever they ask.
type told struct{ node, pods *nameserver.Answer }

// names is the table of NameZone, by label. Views that are not told anything
// are told that the name does not exist.
func names() map[string]told {
	plain, servfail, silent := at(plainAddress), &nameserver.Answer{Rcode: "SERVFAIL"}, &nameserver.Answer{Silent: true}
	both := func(a *nameserver.Answer) told { return told{node: a, pods: a} }
	slow, cut := at(plainAddress), at(plainAddress)
	slow.Delay, cut.Truncated = time.Second, true
	return map[string]told{
		"everywhere":    both(plain),
		"cluster-only":  {pods: plain},
		"node-only":     {node: plain},
		"nowhere":       {},
		"many":          {pods: plain},
		"late":          {pods: plain},
		"split":         {node: at(OutsideAddress), pods: plain},
		"servfail":      both(servfail),
		"servfail-node": {node: servfail, pods: plain},
		"servfail-pod":  {node: plain, pods: servfail},
		"refused":       both(&nameserver.Answer{Rcode: "REFUSED"}),
		"silent":        both(silent),
		"silent-node":   {node: silent, pods: plain},
		"silent-pod":    {node: plain, pods: silent},
		"six":           both(at(OutsideAddress6)),
		"alias":         both(&nameserver.Answer{Alias: "gone." + NameZone}),
		"truncated":     both(cut),
		"slow":          {node: plain, pods: slow},
	}
}

// NameTable is what the name server starts with.
func NameTable() nameserver.Table {
	table := nameserver.Table{{Name: "*." + WildDomain, Answer: *at(SilentAddress)}}
	all := names()
	for _, label := range Names() {
		for _, v := range []struct {
			view   string
			answer *nameserver.Answer
		}{{NodeView, all[label].node}, {ClusterView, all[label].pods}, {PodView, all[label].pods}} {
			if v.answer != nil {
				table = append(table, nameserver.Record{Name: label + "." + NameZone, View: v.view, Answer: *v.answer})
			}
		}
	}
	return table
}

func at(address string) *nameserver.Answer {
	return &nameserver.Answer{Addresses: []netip.Addr{netip.MustParseAddr(address)}}
}
