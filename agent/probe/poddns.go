package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/dns"
	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/cri/hostfs"
	"github.com/whypull/whypull/cri/netns"
	"github.com/whypull/whypull/cri/registry"
)

// Sandboxes returns the sandbox of a pod. Errors wrap cri.ErrNoSandbox,
// cri.ErrSandboxNotReady or neither.
type Sandboxes interface {
	Sandbox(ctx context.Context, podUID string) (cri.Sandbox, error)
}

// connectTimeout is the timeout of the connection attempt from a pod's network.
const connectTimeout = 2 * time.Second

// maxResolvConf is the number of bytes that are read of a sandbox's resolv.conf.
const maxResolvConf = 64 << 10

// podView is a pod's DNS configuration and network.
type podView struct {
	key    string
	config dns.Config
	port   uint16 // of the servers; 0: 53
	// root and netns locate the pod's network namespace; netns is empty if lookups
	// are made from the node's network.
	root, netns string
	// from is the network that lookups are made from. What fails in the node's
	// network may work in the pod.
	from diagnosis.Vantage
}

// podQuestion is a registry's address as pods with one view see it.
type podQuestion struct{ view, address string }

// podAnswer is the result of a lookup and a connection attempt as a pod.
type podAnswer struct {
	names dns.Answer
	// barred is the error of entering the pod's network.
	barred error
	// tried is the address and port of the connection attempt, err its error.
	tried string
	err   error
}

// podNames resolves the registry's name as the pod does and tries a connection from
// its network. Pulls do not use the pod's network; this distinguishes a name that
// only the cluster's DNS knows from one that does not exist.
func (c *Collector) podNames(ctx context.Context, f diagnosis.Failure, e registry.Endpoint) []diagnosis.Evidence {
	start := time.Now()
	view, barred := c.podView(ctx, f)
	if barred != nil {
		return barred
	}
	answer, err := c.pods.Get(ctx, podQuestion{view.key, e.String()}, func(ctx context.Context) (*podAnswer, error) {
		ctx = context.WithoutCancel(ctx) // other pods may need the answer
		a := view.ask(ctx, e)
		if (a.names.Fault != "" || a.err != nil) && c.moved(ctx, f, view) {
			a.barred = netns.ErrGone // the network was being removed
		}
		return &a, nil
	})
	switch {
	case err != nil:
		return skipped(diagnosis.ReasonCutShort, diagnosis.CheckPodDNS)
	case answer.barred != nil:
		return skipped(barredBy(answer.barred), diagnosis.CheckPodDNS)
	case answer.names.Unknown:
		return notInPod(diagnosis.ReasonNameUnasked, answer.names.Why)
	}
	node := c.dns.lookup(ctx, hostname(e.Host)) // the same cached answer as in the node's check
	names := podEvidence(answer.names, view, hostname(e.Host), node)
	c.Metrics.Checked(names.Check, names.Outcome, time.Since(start))
	out := []diagnosis.Evidence{names}
	if answer.tried != "" {
		out = append(out, connectionEvidence(*answer))
	}
	for i := range out {
		out[i].Endpoint.URL = e.String()
	}
	return out
}

// moved reports whether the pod no longer has the network that the lookup was made from.
func (c *Collector) moved(ctx context.Context, f diagnosis.Failure, from podView) bool {
	if from.netns == "" {
		return false
	}
	now, barred := c.podView(ctx, f)
	return barred != nil || now.netns != from.netns
}

// barredBy returns the reason why a pod's network could not be entered.
func barredBy(err error) diagnosis.Reason {
	switch {
	case errors.Is(err, netns.ErrGone):
		return diagnosis.ReasonSandboxGone
	case errors.Is(err, netns.ErrNotMounted):
		return diagnosis.ReasonNotMounted
	case errors.Is(err, netns.ErrNotNamespace):
		return diagnosis.ReasonNotShared
	case errors.Is(err, netns.ErrNotPermitted):
		return diagnosis.ReasonNoCapability
	}
	return diagnosis.ReasonNotEntered
}

// podView returns the pod's DNS configuration and network, or evidence of why there is none.
// Pods of one workload share answers: they have the same configuration and, for
// network policies, the same labels.
func (c *Collector) podView(ctx context.Context, f diagnosis.Failure) (podView, []diagnosis.Evidence) {
	sandbox, barred := c.sandbox(ctx, f)
	if barred != nil {
		return podView{}, barred
	}
	v := podView{root: c.Registries.Root, port: c.podPort}
	var ok, written bool
	if v.config, written, ok = c.podConfig(sandbox); !ok {
		return v, notInPod(diagnosis.ReasonNoSettings, "")
	}
	switch {
	case sandbox.HostNetwork:
		v.from = diagnosis.VantageShared
	case !c.PodNetwork:
		v.from = diagnosis.VantageNode
	case sandbox.NetNS == "":
		return v, notInPod(diagnosis.ReasonNoNetns, "")
	default:
		v.netns = sandbox.NetNS
	}
	if v.config.Servers, ok = c.allowed(v, f, written); !ok {
		return v, notInPod(diagnosis.ReasonOwnServers, "")
	}
	v.key = strings.Join([]string{"pod", f.Namespace, f.Owner.Kind, f.Owner.Name, fmt.Sprint(v.config), string(v.from)}, "\x00")
	return v, nil
}

// notInPod returns the evidence that the pod's DNS was not checked, with the text of an
// error, if any.
func notInPod(why diagnosis.Reason, text string) []diagnosis.Evidence {
	return []diagnosis.Evidence{{Check: diagnosis.CheckPodDNS, Outcome: diagnosis.NotRun, Reason: why, Body: &diagnosis.DNSFacts{Why: text}}}
}

// sandbox returns the pod's sandbox, or evidence of why there is none.
func (c *Collector) sandbox(ctx context.Context, f diagnosis.Failure) (s cri.Sandbox, barred []diagnosis.Evidence) {
	switch {
	case f.Kind == diagnosis.KindSandbox:
		return s, notInPod(diagnosis.ReasonNoSandbox, "")
	case c.Sandboxes == nil:
		return s, notInPod(diagnosis.ReasonNoSocket, "")
	}
	s, err := c.Sandboxes.Sandbox(ctx, f.SandboxUID)
	switch {
	case errors.Is(err, cri.ErrNoSandbox):
		return s, notInPod(diagnosis.ReasonNoSandbox, "")
	case errors.Is(err, cri.ErrSandboxNotReady):
		return s, notInPod(diagnosis.ReasonSandboxDown, "")
	case err != nil:
		return s, notInPod(diagnosis.ReasonSandboxError, err.Error())
	}
	return s, nil
}

// podConfig returns the pod's resolv.conf: as the runtime reports it, else the file that
// the runtime has created, if it can be read. written reports that it is the file, which
// the pod's containers may have changed.
func (c *Collector) podConfig(s cri.Sandbox) (config dns.Config, written, ok bool) {
	if len(s.DNS.Servers) > 0 {
		return dns.NewConfig(s.DNS.Servers, s.DNS.Searches, s.DNS.Options), false, true
	}
	if s.ResolvConf == "" {
		return dns.Config{}, false, false
	}
	text, err := hostfs.New(c.Registries.Root).ReadStart(s.ResolvConf, maxResolvConf)
	return dns.ParseConfig(text), true, err == nil
}

// allowed returns those of a pod's name servers that may be asked from the
// view's network; not ok if the first of them, which settles nearly all names,
// is none. From the node's network only those are asked that the kubelet gives to
// pods: with another the pod's owner would have the node ask what only the node
// reaches, such as a metadata service, and read the answer in the report. What the
// pod's spec chooses, or a file says that its containers may have written to, is
// asked in the pod's own network, and there not at an address that is forbidden
// to registries either.
func (c *Collector) allowed(v podView, f diagnosis.Failure, written bool) ([]netip.Addr, bool) {
	all := v.config.Servers
	if v.netns != "" && len(all) == 0 {
		return nil, true // the pod's own network is asked itself
	}
	known := dns.FromFiles(c.Registries.Root).Servers
	if c.Node != nil {
		known = append(known, c.Node.ClusterDNS()...)
	}
	var out []netip.Addr
	for _, s := range all {
		given := slices.Contains(known, s) || !written && !chosen(f, s)
		if given || v.netns != "" && !registry.Forbidden(s) {
			out = append(out, s)
		}
	}
	return out, len(out) > 0 && out[0] == all[0]
}

// chosen reports whether a pod's spec names a name server.
func chosen(f diagnosis.Failure, server netip.Addr) bool {
	return slices.ContainsFunc(f.NameServers, func(s string) bool {
		a, err := netip.ParseAddr(s)
		return err == nil && a.Unmap().WithZone("") == server.Unmap().WithZone("")
	})
}

// ask resolves the registry's name and, from the pod's own network, tries a
// connection.
func (v podView) ask(ctx context.Context, e registry.Endpoint) podAnswer {
	var a podAnswer
	view := dns.View{Config: v.config, Style: dns.C, Port: v.port}
	if v.netns != "" {
		view.Dial = v.dial
		if a.barred = v.accessError(); a.barred != nil {
			return a
		}
	}
	a.names = view.Lookup(ctx, hostname(e.Host))
	if v.netns == "" || len(a.names.Addresses) == 0 || registry.Forbidden(a.names.Addresses[0]) {
		return a
	}
	a.tried = net.JoinHostPort(a.names.Addresses[0].String(), portOf(e))
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := v.dial(ctx, "tcp", a.tried)
	if err == nil {
		_ = conn.Close()
	}
	a.err = err
	return a
}

func portOf(e registry.Endpoint) string {
	return cmp.Or((&url.URL{Host: e.Host}).Port(), map[string]string{"http": "80"}[e.Scheme], "443")
}

// accessError returns why the pod's network cannot be entered; nil if it can. It
// creates a socket there, since only that needs the capability.
func (v podView) accessError() error {
	conn, err := v.dial(context.Background(), "udp", "127.0.0.1:53")
	if err == nil {
		return conn.Close()
	}
	if network := (*net.OpError)(nil); errors.As(err, &network) && !errors.Is(err, netns.ErrNotPermitted) {
		return nil
	}
	return err
}

func (v podView) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ns, err := netns.Open(v.root, v.netns)
	if err != nil {
		return nil, err
	}
	defer ns.Close() //nolint:errcheck // connections made in it stay open
	return ns.DialContext(ctx, network, address)
}

// podEvidence returns the evidence from a pod's lookup, compared with the node's.
func podEvidence(a dns.Answer, v podView, host string, node dns.Answer) diagnosis.Evidence {
	facts := lookupFacts(a, host)
	facts.From, facts.Compared, facts.NodeAddresses = v.from, compare(node, a), addressTexts(node.Addresses)
	e := diagnosis.Evidence{Check: diagnosis.CheckPodDNS, Outcome: diagnosis.Failed, Fault: a.Fault, Body: facts}
	switch {
	case a.Fault == "":
		e.Outcome = diagnosis.Passed
	case v.from == diagnosis.VantageNode: // network policies may treat the node and the pod differently
		e.Outcome = diagnosis.Inconclusive
	}
	return e
}

// connectionEvidence returns the evidence from the connection attempt from the pod.
// It never fails the check, since pulls do not use the pod's network.
func connectionEvidence(a podAnswer) diagnosis.Evidence {
	facts := &diagnosis.DNSFacts{Connection: a.tried}
	e := diagnosis.Evidence{Check: diagnosis.CheckPodDNS, Outcome: diagnosis.Passed, Body: facts}
	if a.err != nil {
		e.Outcome, facts.Trouble = diagnosis.Inconclusive, connectionTrouble(a.err)
	}
	return e
}

func connectionTrouble(err error) diagnosis.Trouble {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return diagnosis.TroubleRefused
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return diagnosis.TroubleTimeout
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return diagnosis.TroubleNoRoute
	}
	return diagnosis.TroubleBroken
}

// compare compares the answers for a name on the node and in the pod. Different
// public addresses count as the same: large registries give each client other ones.
func compare(node, pod dns.Answer) diagnosis.Comparison {
	found := func(a dns.Answer) bool { return len(a.Addresses) > 0 }
	common := func(a netip.Addr) bool {
		return slices.ContainsFunc(pod.Addresses, func(b netip.Addr) bool { return a == b || sameNetwork(a, b) && node.Name == pod.Name })
	}
	switch {
	case node.Unknown || pod.Unknown:
		return ""
	case !found(node) && !found(pod):
		return diagnosis.ComparedNeither
	case !found(node):
		return diagnosis.ComparedOnlyPod
	case !found(pod):
		return diagnosis.ComparedOnlyNode
	case slices.ContainsFunc(node.Addresses, common):
		return diagnosis.ComparedSame
	case !slices.ContainsFunc(slices.Concat(node.Addresses, pod.Addresses), private):
		return diagnosis.ComparedSame
	}
	return diagnosis.ComparedOther
}

// sameNetwork reports whether two addresses are in the same /24 or /64, like the
// members of a pool.
func sameNetwork(a, b netip.Addr) bool {
	bits := 64
	if a.Is4() {
		bits = 24
	}
	network, err := a.Prefix(bits)
	return err == nil && network.Contains(b)
}

// private reports whether an address is not on the public internet.
func private(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || netip.MustParsePrefix("100.64.0.0/10").Contains(a)
}

func addressTexts(addrs []netip.Addr) []string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}
