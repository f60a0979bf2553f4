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

// Sandboxes tells the sandbox of a pod. The errors are cri.ErrNoSandbox,
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
	// aside is added to what is said where the pod's own network was not entered,
	// and indirect tells that what fails then need not fail in the pod.
	aside    string
	indirect bool
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
	view, why := c.podView(ctx, f)
	if why != "" {
		return skipped(why, diagnosis.CheckPodDNS)
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
		return skipped("the check was cut short", diagnosis.CheckPodDNS)
	case answer.barred != nil:
		return skipped(barredBy(answer.barred), diagnosis.CheckPodDNS)
	case answer.names.Unknown:
		return skipped("the name could not be asked for in the pod: "+answer.names.Why, diagnosis.CheckPodDNS)
	}
	node := c.dns.lookup(ctx, c.dns.node, hostname(e.Host)) // the very answer that the node's check has
	names := podEvidence(answer.names, view, hostname(e.Host), node)
	c.Metrics.Checked(names.Check, names.Outcome, time.Since(start))
	out := []diagnosis.Evidence{names}
	if answer.tried != "" {
		out = append(out, connectionEvidence(*answer))
	}
	for i := range out {
		out[i].Endpoint = e.String()
	}
	return out
}

// moved tells that a pod has no longer the network that was asked from.
func (c *Collector) moved(ctx context.Context, f diagnosis.Failure, from podView) bool {
	if from.netns == "" {
		return false
	}
	now, why := c.podView(ctx, f)
	return why != "" || now.netns != from.netns
}

// barredBy says why a pod's network could not be entered.
func barredBy(err error) string {
	switch {
	case errors.Is(err, netns.ErrGone):
		return "the pod's sandbox has gone meanwhile"
	case errors.Is(err, netns.ErrNotMounted):
		return "whypull may not enter the pod's network namespace: the node's /var/run/netns is not mounted"
	case errors.Is(err, netns.ErrNotNamespace):
		return "whypull may not enter the pod's network namespace: /var/run/netns is mounted without mountPropagation HostToContainer"
	case errors.Is(err, netns.ErrNotPermitted):
		return "whypull may not enter the pod's network namespace: the capability SYS_ADMIN is missing"
	}
	return "whypull could not enter the pod's network namespace"
}

// podView finds the pod's resolver settings and the way into its network; or
// says why there is none. Pods of one workload share their answers: they have
// the same settings and, to a network policy, the same labels.
func (c *Collector) podView(ctx context.Context, f diagnosis.Failure) (podView, string) {
	sandbox, why := c.sandbox(ctx, f)
	if why != "" {
		return podView{}, why
	}
	v := podView{root: c.options.Root, port: c.podPort}
	var ok bool
	if v.config, ok = c.podConfig(sandbox); !ok {
		return v, "the container runtime does not tell the pod's resolver settings"
	}
	switch {
	case sandbox.HostNetwork:
		v.aside = ", the pod has the node's network"
	case !c.PodNetwork:
		v.aside, v.indirect = ", asked from the node's network", true
	case sandbox.NetNS == "":
		return v, "the container runtime does not tell the pod's network namespace"
	default:
		v.netns = sandbox.NetNS
	}
	v.key = strings.Join([]string{"pod", f.Namespace, f.Owner.Kind, f.Owner.Name, fmt.Sprint(v.config), v.aside}, "\x00")
	return v, ""
}

// sandbox asks for the pod's sandbox, or says why there is none to ask from.
func (c *Collector) sandbox(ctx context.Context, f diagnosis.Failure) (cri.Sandbox, string) {
	const none = "the pod has no sandbox, and so no network"
	switch {
	case f.Kind == diagnosis.KindSandbox:
		return cri.Sandbox{}, none
	case c.Sandboxes == nil:
		return cri.Sandbox{}, "no container runtime socket to ask for the pod's sandbox"
	}
	s, err := c.Sandboxes.Sandbox(ctx, f.SandboxUID)
	switch {
	case errors.Is(err, cri.ErrNoSandbox):
		return s, none
	case errors.Is(err, cri.ErrSandboxNotReady):
		return s, "the pod's sandbox does not run, so it has no network"
	case err != nil:
		return s, err.Error()
	}
	return s, ""
}

// podConfig is the pod's resolv.conf: as the runtime tells it, else the file
// that it has made, where that can be read.
func (c *Collector) podConfig(s cri.Sandbox) (dns.Config, bool) {
	if s.DNSTold && len(s.DNS.Servers) > 0 {
		return dns.NewConfig(s.DNS.Servers, s.DNS.Searches, s.DNS.Options), true
	}
	if s.ResolvConf == "" {
		return dns.Config{}, false
	}
	text, err := hostfs.New(c.options.Root).ReadStart(s.ResolvConf, maxResolvConf)
	return dns.ParseConfig(text), err == nil
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

// podEvidence puts a pod's lookup into the words of a report, beside the node's.
func podEvidence(a dns.Answer, v podView, host string, node dns.Answer) diagnosis.Evidence {
	e := diagnosis.Evidence{Check: diagnosis.CheckPodDNS, Outcome: diagnosis.Passed, Server: a.Server, Fault: a.Fault, Compared: compare(node, a), Name: a.Name}
	for _, addr := range a.Addresses {
		e.Addresses = append(e.Addresses, addr.String())
	}
	switch {
	case a.Fault == "":
		e.Detail = fmt.Sprintf("in the pod %s resolves to %s (resolver %s%s)%s", host, strings.Join(e.Addresses, ", "), a.Server, searched(a, host), v.aside)
		if e.Compared == diagnosis.ComparedOther {
			e.Detail += fmt.Sprintf("; other addresses than on the node, where it is %s", some(addressTexts(node.Addresses)))
		}
		return e
	case a.Fault == diagnosis.FaultNameNotFound && a.Server == "":
		e.Detail = fmt.Sprintf("in the pod the registry's name %s does not resolve: %s", host, why(a))
	case a.Fault == diagnosis.FaultNameNotFound:
		e.Detail = fmt.Sprintf("in the pod the registry's name %s does not resolve: %s, says resolver %s", host, why(a), a.Server)
	default:
		e.Detail = fmt.Sprintf("in the pod the registry's name %s cannot be resolved: resolver %s: %s", host, a.Server, a.Why)
	}
	e.Detail += v.aside
	if e.Outcome = diagnosis.Failed; v.indirect {
		e.Outcome = diagnosis.Inconclusive // a network policy may bar the node, or not the pod
	}
	return e
}

// searched tells of a name that the search list has completed.
func searched(a dns.Answer, host string) string {
	if a.Name == "" || strings.EqualFold(a.Name, strings.TrimSuffix(host, ".")) {
		return ""
	}
	return ", as " + a.Name
}

// why is what a lookup came to that has found nothing, in a few words.
func why(a dns.Answer) string {
	if a.Dangling {
		return fmt.Sprintf("it is an alias of %s, which does not exist", a.Canonical)
	}
	return a.Why
}

// connectionEvidence tells of the connection tried from the pod. It fails
// nothing: pulls do not go that way.
func connectionEvidence(a podAnswer) diagnosis.Evidence {
	e := diagnosis.Evidence{Check: diagnosis.CheckPodDNS, Outcome: diagnosis.Passed, Phase: diagnosis.PhaseConnect,
		Detail: fmt.Sprintf("a connection from the pod to %s succeeds", a.tried)}
	if a.err != nil {
		e.Outcome = diagnosis.Inconclusive
		e.Detail = fmt.Sprintf("a connection from the pod to %s fails (%s); pulls do not go that way, but the node's", a.tried, connectionTrouble(a.err))
	}
	return e
}

func connectionTrouble(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return "no answer"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "no route"
	}
	return "broken off"
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

// near tells two addresses of one network, as the members of a pool have them:
// of one /24, or /64.
func near(a, b netip.Addr) bool {
	bits := 64
	if a.Is4() {
		bits = 24
	}
	network, err := a.Prefix(bits)
	return err == nil && network.Contains(b)
}

// private tells an address that is not of the public internet.
func private(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || netip.MustParsePrefix("100.64.0.0/10").Contains(a)
}

func addressTexts(addrs []netip.Addr) []string {
	out := make([]string, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}
