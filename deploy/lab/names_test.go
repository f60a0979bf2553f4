package lab_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/node"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// namesToEachAsker queries the node's resolver, the cluster's DNS and a pod's own
// resolver for the same names.
func namesToEachAsker(ctx context.Context, t *testing.T, l *lab.Lab) {
	const plain, outside = "NOERROR " + registry.PlainAddress, "NOERROR " + registry.OutsideAddress
	for label, want := range map[string][3]string{ // on the node, in the cluster, from the pod's own resolver
		"everywhere":    {plain, plain, plain},
		"cluster-only":  {"NXDOMAIN", plain, plain},
		"node-only":     {plain, "NXDOMAIN", "NXDOMAIN"},
		"nowhere":       {"NXDOMAIN", "NXDOMAIN", "NXDOMAIN"},
		"not-a-label":   {"NXDOMAIN", "NXDOMAIN", "NXDOMAIN"},
		"split":         {outside, plain, plain},
		"servfail-node": {"SERVFAIL", plain, plain},
		"refused":       {"REFUSED", "REFUSED", "REFUSED"},
		"six":           {"NOERROR", "NOERROR", "NOERROR"},
		"alias":         {"NXDOMAIN gone." + registry.NameZone + ".", "NXDOMAIN gone." + registry.NameZone + ".", "NXDOMAIN gone." + registry.NameZone + "."},
		"truncated":     {"TC", "TC", "TC"},
		"x.wild":        {"NOERROR " + registry.SilentAddress, "NOERROR " + registry.SilentAddress, "NOERROR " + registry.SilentAddress},
	} {
		for i, server := range []string{node.DNSAddress, node.ClusterDNS, registry.PodViewAddress} {
			if got := ask(ctx, t, l, "udp", server, label); got != want[i] {
				t.Errorf("%s at %s: %s, want %s", label, server, got, want[i])
			}
		}
	}
	for _, server := range []string{node.DNSAddress, node.ClusterDNS} {
		if got := ask(ctx, t, l, "tcp", server, "truncated"); got != plain {
			t.Errorf("the long answer of %s over TCP: %s, want %s", server, got, plain)
		}
	}
}

// ask returns a resolver's answer as one line.
func ask(ctx context.Context, t *testing.T, l *lab.Lab, network, server, label string) string {
	t.Helper()
	conn, err := l.Dial(ctx, network, server+":53")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	client := &dns.Client{Net: network, Timeout: time.Minute}
	question := new(dns.Msg).SetQuestion(label+"."+registry.NameZone+".", dns.TypeA)
	m, _, err := client.ExchangeWithConnContext(ctx, question, &dns.Conn{Conn: conn})
	if err != nil {
		t.Fatal(err)
	}
	if m.Truncated {
		return "TC"
	}
	words := []string{dns.RcodeToString[m.Rcode]}
	for _, rr := range m.Answer {
		fields := strings.Fields(rr.String())
		words = append(words, fields[len(fields)-1])
	}
	return strings.Join(words, " ")
}
