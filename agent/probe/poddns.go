package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
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

// Sandboxes finds the sandbox of a pod. The errors are cri.ErrNoSandbox,
// cri.ErrSandboxNotReady or any other.
type Sandboxes interface {
	Sandbox(ctx context.Context, podUID string) (cri.Sandbox, error)
}

// connectTimeout bounds the connection that is tried from a pod's network.
const connectTimeout = 2 * time.Second

// maxResolvConf is how much of a sandbox's resolv.conf is read, in bytes.
const maxResolvConf = 64 << 10

// podView is where the names of a pod are asked from.
type podView struct {
	key    string
	config dns.Config
	port   uint16 // of the servers; 0: 53
	// root and netns are the way into the pod's network; netns is empty where it
	// is asked from the node's.
	root, netns string
	// from is the network that is entered. What fails in the node's need not fail
	// in the pod.
	from diagnosis.Vantage
}

// podAnswer is what a pod's view showed of a registry.
type podAnswer struct {
	names dns.Answer
	// barred is why the pod's network could not be entered.
	barred error
	// tried is the address and port to which a connection was tried, and err how
	// that ended.
	tried string
	err   error
}

// podNames resolves the registry's name as the pod would, and tries a
// connection from there. Pulls never go that way; it tells a name that only the
// cluster knows from one that nobody knows.
func (c *Collector) podNames(ctx context.Context, f diagnosis.Failure, e registry.Endpoint) []diagnosis.Evidence {
	start := time.Now()
	view, barred := c.podView(ctx, f)
	if barred.reason != "" {
		return barred.evidence()
	}
	answer, err := c.pods.Get(ctx, shareKey{view.key, e.String()}, func(ctx context.Context) (*podAnswer, error) {
		ctx = context.WithoutCancel(ctx) // it goes on to its end, for those who come next
		a := view.ask(ctx, e)
		if (a.names.Fault != "" || a.err != nil) && c.moved(ctx, f, view) {
			a.barred = netns.ErrGone // a network that is taken down answers nobody
		}
		return &a, nil
	})
	switch {
	case err != nil:
		return skipped(diagnosis.ReasonCutShort, diagnosis.CheckPodDNS)
	case answer.barred != nil:
		return skipped(barredBy(answer.barred), diagnosis.CheckPodDNS)
	case answer.names.Unknown:
		return unasked{diagnosis.ReasonNameUnasked, answer.names.Why}.evidence()
	}
	node := c.dns.lookup(ctx, c.dns.node, hostname(e.Host)) // the very answer that the node's check has
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

// moved reports whether a pod has no longer the network that was asked from.
func (c *Collector) moved(ctx context.Context, f diagnosis.Failure, from podView) bool {
	if from.netns == "" {
		return false
	}
	now, barred := c.podView(ctx, f)
	return barred.reason != "" || now.netns != from.netns
}

// barredBy says why a pod's network could not be entered.
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

// podView finds the pod's resolver settings and the way into its network; or
// says why there is none. Pods of one workload share their answers: they have
// the same settings and, to a network policy, the same labels.
func (c *Collector) podView(ctx context.Context, f diagnosis.Failure) (podView, unasked) {
	sandbox, barred := c.sandbox(ctx, f)
	if barred.reason != "" {
		return podView{}, barred
	}
	v := podView{root: c.options.Root, port: c.podPort}
	var ok, written bool
	if v.config, written, ok = c.podConfig(sandbox); !ok {
		return v, unasked{reason: diagnosis.ReasonNoSettings}
	}
	switch {
	case sandbox.HostNetwork:
		v.from = diagnosis.VantageShared
	case !c.PodNetwork:
		v.from = diagnosis.VantageNode
	case sandbox.NetNS == "":
		return v, unasked{reason: diagnosis.ReasonNoNetns}
	default:
		v.netns = sandbox.NetNS
	}
	if v.config.Servers, ok = c.allowed(v, f, written); !ok {
		return v, unasked{reason: diagnosis.ReasonOwnServers}
	}
	v.key = strings.Join([]string{"pod", f.Namespace, f.Owner.Kind, f.Owner.Name, fmt.Sprint(v.config), string(v.from)}, "\x00")
	return v, unasked{}
}

// unasked is why a pod's names were not asked for, with an error's text where that
// says it; the zero value if they can be.
type unasked struct {
	reason diagnosis.Reason
	text   string
}

func (u unasked) evidence() []diagnosis.Evidence {
	e := diagnosis.Evidence{Check: diagnosis.CheckPodDNS, Outcome: diagnosis.NotRun, Reason: u.reason}
	if u.text != "" {
		e.Body = &diagnosis.DNSFacts{Why: u.text}
	}
	return []diagnosis.Evidence{e}
}

// sandbox asks for the pod's sandbox, or says why there is none to ask from.
func (c *Collector) sandbox(ctx context.Context, f diagnosis.Failure) (cri.Sandbox, unasked) {
	none := unasked{reason: diagnosis.ReasonNoSandbox}
	switch {
	case f.Kind == diagnosis.KindSandbox:
		return cri.Sandbox{}, none
	case c.Sandboxes == nil:
		return cri.Sandbox{}, unasked{reason: diagnosis.ReasonNoSocket}
	}
	s, err := c.Sandboxes.Sandbox(ctx, f.SandboxUID)
	switch {
	case errors.Is(err, cri.ErrNoSandbox):
		return s, none
	case errors.Is(err, cri.ErrSandboxNotReady):
		return s, unasked{reason: diagnosis.ReasonSandboxDown}
	case err != nil:
		return s, unasked{diagnosis.ReasonSandboxError, err.Error()}
	}
	return s, unasked{}
}

// podConfig is the pod's resolv.conf: as the runtime reports it, else the file
// that it has made, where that can be read. Containers of the pod may have
// written to the file.
func (c *Collector) podConfig(s cri.Sandbox) (config dns.Config, written, ok bool) {
	if s.HasDNS && len(s.DNS.Servers) > 0 {
		return dns.NewConfig(s.DNS.Servers, s.DNS.Searches, s.DNS.Options), false, true
	}
	if s.ResolvConf == "" {
		return dns.Config{}, false, false
	}
	text, err := hostfs.New(c.options.Root).ReadStart(s.ResolvConf, maxResolvConf)
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
	known := dns.FromFiles(c.options.Root).Servers
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
		view.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			return v.dial(ctx, network, address)
		}
		if a.barred = v.bars(); a.barred != nil {
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
	if _, port, err := net.SplitHostPort(e.Host); err == nil {
		return port
	}
	if e.Scheme == "http" {
		return "80"
	}
	return "443"
}

// bars is why the pod's network cannot be entered, nil where it can. It makes a
// socket there, since only that needs the right.
func (v podView) bars() error {
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
	defer ns.Close() //nolint:errcheck // what was opened in it stays open
	return ns.DialContext(ctx, network, address)
}

// podEvidence is a pod's lookup, beside the node's.
func podEvidence(a dns.Answer, v podView, host string, node dns.Answer) diagnosis.Evidence {
	facts := lookupFacts(a, host)
	facts.From, facts.Compared, facts.NodeAddresses = v.from, compare(node, a), addressTexts(node.Addresses)
	e := diagnosis.Evidence{Check: diagnosis.CheckPodDNS, Outcome: diagnosis.Failed, Fault: a.Fault, Body: facts}
	switch {
	case a.Fault == "":
		e.Outcome = diagnosis.Passed
	case v.from == diagnosis.VantageNode: // a network policy may bar the node, or not the pod
		e.Outcome = diagnosis.Inconclusive
	}
	return e
}

// connectionEvidence is the connection tried from the pod. It fails nothing: pulls
// do not go that way.
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

// compare is how a name fares on the node and in the pod. Two sets of public
// addresses are not held against each other: large registries give each who
// asks another part of theirs.
func compare(node, pod dns.Answer) diagnosis.Comparison {
	found := func(a dns.Answer) bool { return len(a.Addresses) > 0 }
	common := func(a netip.Addr) bool {
		return slices.ContainsFunc(pod.Addresses, func(b netip.Addr) bool { return a == b || near(a, b) && node.Name == pod.Name })
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

// near reports whether two addresses are of one network, as the members of a pool have them:
// of one /24, or /64.
func near(a, b netip.Addr) bool {
	bits := 64
	if a.Is4() {
		bits = 24
	}
	network, err := a.Prefix(bits)
	return err == nil && network.Contains(b)
}

// private reports whether an address is not of the public internet.
func private(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || netip.MustParsePrefix("100.64.0.0/10").Contains(a)
}

func addressTexts(addrs []netip.Addr) []string {
	if len(addrs) == 0 {
		return nil
	}
	out := make([]string, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}
