package probe

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/whypull/whypull/agent/diagnosis"
)

// The resolver's limits.
const (
	serverTimeout = 2 * time.Second
	lookupTimeout = 5 * time.Second
	maxServers    = 3 // as the C library and Go read from resolv.conf
	maxAddresses  = 8
)

// NodeResolver resolves names as the container runtime does: runtimes are
// static Go programs, so Go's own resolver with the node's files, /etc/hosts
// first, then the servers of /etc/resolv.conf with its search list, and no
// other source of names.
type NodeResolver struct {
	// Root is where the node's file system is mounted; "/" or empty on the
	// node itself.
	Root string

	port   string // of the servers; empty: 53
	bounds bounds // zero fields have defaults
}

// bounds are how long one question to one server may take, and all of a
// lookup.
type bounds struct{ server, lookup time.Duration }

// Answer is the result of one lookup.
type Answer struct {
	// Addresses are sorted; none where Fault is set.
	Addresses []netip.Addr
	// Fault is FaultNameNotFound or FaultDNSFailure, or empty.
	Fault diagnosis.Fault
	// Server is the resolver that settled it, as host:port; empty when the
	// hosts file did.
	Server string
	// Why is what that server said, in a few words.
	Why string

	unknown bool // the lookup was not made, or not to its end: Fault is empty
}

// Lookup resolves a host name. It always answers within five seconds.
func (r NodeResolver) Lookup(ctx context.Context, host string) Answer {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.bounds.lookup, lookupTimeout))
	defer cancel()
	if addr, err := netip.ParseAddr(host); err == nil {
		return Answer{Addresses: []netip.Addr{addr}, Why: "it is an address"}
	}
	if addrs := r.fromHosts(host); len(addrs) > 0 {
		return Answer{Addresses: addrs, Why: "the node's hosts file"}
	}
	conf, err := r.config()
	if err != nil { // the runtime may well be able to
		return Answer{Why: "whypull cannot read the node's resolv.conf", unknown: true}
	}
	q := inquiry{timeout: cmp.Or(r.bounds.server, serverTimeout)}
	for _, server := range conf.Servers {
		q.servers = append(q.servers, net.JoinHostPort(server, cmp.Or(r.port, conf.Port)))
	}
	return q.search(ctx, conf.NameList(host), dns.Fqdn(host))
}

// open opens a file of the node, or this machine's own where the node's cannot
// be reached (a link that leads out of what is mounted).
func (r NodeResolver) open(name string) (io.ReadCloser, error) {
	if r.Root != "" && r.Root != "/" {
		if f, err := os.Open(inside(r.Root, name)); err == nil {
			return f, nil
		}
	}
	return os.Open(filepath.Clean(name))
}

// inside is where a file of the node is found under the mount: a link to an
// absolute path means one of the node, and not of this process. Links in the
// directories on the way are left to the system.
func inside(root, name string) string {
	const most = 10
	for range most {
		target, err := os.Readlink(filepath.Join(root, name))
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(name), target)
		}
		name = target
	}
	return filepath.Join(root, name)
}

func (r NodeResolver) config() (*dns.ClientConfig, error) {
	f, err := r.open("/etc/resolv.conf")
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	// The parser takes an error of reading for the end of the file.
	text, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return nil, err
	}
	conf, err := dns.ClientConfigFromReader(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if len(conf.Servers) == 0 { // the default of the C library and of Go
		conf.Servers = []string{"127.0.0.1"}
	}
	conf.Servers = conf.Servers[:min(len(conf.Servers), maxServers)]
	return conf, nil
}

func (r NodeResolver) fromHosts(host string) []netip.Addr {
	f, err := r.open("/etc/hosts")
	if err != nil {
		return nil
	}
	defer f.Close() //nolint:errcheck // only read
	var out []netip.Addr
	for s := bufio.NewScanner(io.LimitReader(f, 1<<20)); s.Scan(); {
		line, _, _ := strings.Cut(s.Text(), "#")
		words := strings.Fields(line)
		if len(words) < 2 || !slices.ContainsFunc(words[1:], func(w string) bool {
			return strings.EqualFold(strings.TrimSuffix(w, "."), strings.TrimSuffix(host, "."))
		}) {
			continue
		}
		if a, err := netip.ParseAddr(words[0]); err == nil {
			out = append(out, a)
		}
	}
	return tidy(out)
}

// inquiry is a lookup under way.
type inquiry struct {
	servers []string // host:port; those that kept silent come last
	timeout time.Duration
}

// search asks for each name that the search list makes of a host. A name that
// does not exist leads to the next; a server that fails decides only if no
// name is found at all.
func (q *inquiry) search(ctx context.Context, names []string, host string) Answer {
	var last, failed Answer
	for _, name := range names {
		a := q.ask(ctx, name)
		if len(a.Addresses) > 0 {
			return a
		}
		if a.Fault == diagnosis.FaultDNSFailure {
			failed = a
		} else if last.Fault == "" || name == host {
			last = a
		}
	}
	if failed.Fault != "" {
		return failed
	}
	return last
}

// ask asks the servers in turn until one knows.
func (q *inquiry) ask(ctx context.Context, name string) Answer {
	var last Answer
	for _, server := range slices.Clone(q.servers) {
		replies := q.askServer(ctx, server, name)
		last = merge(server, replies)
		if last.Fault != diagnosis.FaultDNSFailure {
			return last
		}
		if slices.ContainsFunc(replies, func(r reply) bool { return r.err != nil }) {
			q.putLast(server)
		}
	}
	return last
}

// putLast makes a server the last to be asked for the next name, so that a
// dead one does not use up the time once for each name of the search list.
func (q *inquiry) putLast(server string) {
	q.servers = append(slices.DeleteFunc(q.servers, func(s string) bool { return s == server }), server)
}

// askServer asks one server for both kinds of addresses at once.
func (q *inquiry) askServer(ctx context.Context, server, name string) []reply {
	kinds := []uint16{dns.TypeA, dns.TypeAAAA}
	replies := make([]reply, len(kinds))
	var wg sync.WaitGroup
	for i, kind := range kinds {
		wg.Go(func() { replies[i] = q.exchange(ctx, server, name, kind) })
	}
	wg.Wait()
	return replies
}

type reply struct {
	addrs []netip.Addr
	rcode int
	lame  bool // an empty answer of a server that neither knows nor asks others
	err   error
}

func (q *inquiry) exchange(ctx context.Context, server, name string, kind uint16) reply {
	m := new(dns.Msg).SetQuestion(name, kind).SetEdns0(1232, false)
	client := &dns.Client{Net: "udp", Timeout: q.timeout}
	resp, _, err := client.ExchangeContext(ctx, m, server)
	if err == nil && resp.Truncated {
		client.Net = "tcp"
		resp, _, err = client.ExchangeContext(ctx, m, server)
	}
	if err != nil {
		return reply{err: err}
	}
	out := reply{rcode: resp.Rcode}
	out.lame = resp.Rcode == dns.RcodeSuccess && len(resp.Answer) == 0 && !resp.Authoritative && !resp.RecursionAvailable
	for _, rr := range resp.Answer {
		if a, ok := address(rr); ok {
			out.addrs = append(out.addrs, a)
		}
	}
	return out
}

func address(rr dns.RR) (netip.Addr, bool) {
	var ip net.IP
	switch rr := rr.(type) {
	case *dns.A:
		ip = rr.A
	case *dns.AAAA:
		ip = rr.AAAA
	}
	a, ok := netip.AddrFromSlice(ip)
	return a.Unmap(), ok
}

// merge makes one answer of the replies for both kinds: any address is good,
// a name that does not exist has none of either kind, and any failure is worse
// than none.
func merge(server string, replies []reply) Answer {
	a := Answer{Server: server}
	for _, r := range replies {
		a.Addresses = append(a.Addresses, r.addrs...)
	}
	if a.Addresses = tidy(a.Addresses); len(a.Addresses) > 0 {
		return a
	}
	a.Fault, a.Why = diagnosis.FaultNameNotFound, "it has no addresses"
	for _, r := range replies {
		if r.err == nil && r.rcode == dns.RcodeNameError {
			a.Fault, a.Why = diagnosis.FaultNameNotFound, "no such name (NXDOMAIN)"
			break
		}
		if why := r.failure(); why != "" {
			a.Fault, a.Why = diagnosis.FaultDNSFailure, why
		}
	}
	return a
}

// failure says in a few words why a reply is none, or "".
func (r reply) failure() string {
	switch {
	case r.err != nil:
		return silence(r.err)
	case r.lame: // the C library and Go ask the next server too
		return "it neither knows the name nor asks other servers"
	case r.rcode != dns.RcodeSuccess:
		return "it answered " + cmp.Or(dns.RcodeToString[r.rcode], "code "+strconv.Itoa(r.rcode))
	}
	return ""
}

// silence says in a few words why a server gave no answer.
func silence(err error) string {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "it did not answer in time"
	case isRefused(err):
		return "its port is closed"
	default:
		return "it could not be reached"
	}
}

func tidy(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	return addrs[:min(len(addrs), maxAddresses)]
}

// evidence puts a lookup into the words of a report.
func (a Answer) evidence(host, node string) diagnosis.Evidence {
	e := diagnosis.Evidence{Check: diagnosis.CheckNodeDNS, Outcome: diagnosis.Passed, Server: a.Server, Fault: a.Fault}
	by := "the node's hosts file"
	if a.Server != "" {
		by = "resolver " + a.Server
	}
	for _, addr := range a.Addresses {
		e.Addresses = append(e.Addresses, addr.String())
	}
	switch {
	case a.unknown:
		e.Outcome = diagnosis.Inconclusive
		e.Detail = fmt.Sprintf("the registry's name %s could not be looked up on node %s: %s", host, node, a.Why)
	case a.Fault == "":
		e.Detail = fmt.Sprintf("%s resolves to %s (%s)", host, strings.Join(e.Addresses, ", "), by)
	case a.Fault == diagnosis.FaultNameNotFound:
		e.Outcome = diagnosis.Failed
		e.Detail = fmt.Sprintf("the registry's name %s does not resolve on node %s: %s, says %s", host, node, a.Why, by)
	default:
		e.Outcome = diagnosis.Failed
		e.Detail = fmt.Sprintf("the registry's name %s cannot be resolved on node %s: resolver %s: %s", host, node, a.Server, a.Why)
	}
	return e
}
