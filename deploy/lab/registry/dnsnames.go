package registry

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/whypull/whypull/deploy/lab/nameserver"
)

// NameServer is the name of the component that serves NameZone.
const NameServer = "name-server"

// NameZone is the domain of the names whose answers depend on the client. They have no
// registry of their own: those that resolve to one lead to PlainHost.
const NameZone = "dns.lab.example"

// Views of the DNS server. The node's resolver and the cluster's DNS forward queries to
// it, each to a different address; a pod may use one of the addresses as its own
// resolver.
const (
	NodeView    = "node"
	ClusterView = "cluster"
	PodView     = "pod"
)

// Addresses of the DNS server, and addresses in its answers.
const (
	NodeViewAddress    = "10.201.0.54"
	ClusterViewAddress = "10.201.0.55"
	PodViewAddress     = "10.201.0.56"
	// ClosedAddress is an address of the lab without an open port.
	ClosedAddress = closedAddress
	// PlainAddress is the address of the registry without TLS.
	PlainAddress = plainAddress
	// OutsideAddress is in a network to which the lab has no route (RFC 5737).
	// OutsideAddress6 is its IPv6 counterpart (RFC 3849).
	OutsideAddress  = "203.0.113.7"
	OutsideAddress6 = "2001:db8::7"
)

// WildDomain is a domain in which every name resolves to SilentAddress, which a search
// domain must not do.
const WildDomain = "wild." + NameZone

// Views maps the addresses of the DNS server, with ports, to their views.
func Views() map[string]string {
	return map[string]string{
		NodeViewAddress + ":53": NodeView, ClusterViewAddress + ":53": ClusterView, PodViewAddress + ":53": PodView,
	}
}

// NameHost returns the registry host of a label in NameZone, as in image references.
func NameHost(label string) string { return label + "." + NameZone + ":5000" }

// Names returns the labels of NameZone that have an answer. The node is configured to
// use plain HTTP with each.
func Names() []string {
	return slices.Sorted(maps.Keys(names()))
}

// answers holds the answers for one name: the node's, and that of pods from any
// resolver.
type answers struct{ node, pods *nameserver.Answer }

// names returns the answers of NameZone, by label. A view without an answer gets
// NXDOMAIN.
func names() map[string]answers {
	plain, servfail, silent := at(plainAddress), &nameserver.Answer{Rcode: "SERVFAIL"}, &nameserver.Answer{Silent: true}
	both := func(a *nameserver.Answer) answers { return answers{node: a, pods: a} }
	slow, cut := at(plainAddress), at(plainAddress)
	slow.Delay, cut.Truncated = time.Second, true
	return map[string]answers{
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

// NameTable returns the initial table of the DNS server.
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
