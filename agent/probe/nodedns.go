package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/whypull/whypull/agent/diagnosis"
)

// The resolver's bounds: one question to one server, and all of it.
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
}

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
}

// Lookup resolves a host name. It always answers within five seconds.
func (r NodeResolver) Lookup(ctx context.Context, host string) Answer {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if addrs := r.fromHosts(host); len(addrs) > 0 {
		return Answer{Addresses: addrs, Why: "the node's hosts file"}
	}
	conf, err := r.config()
	if err != nil {
		return Answer{Fault: diagnosis.FaultDNSFailure, Why: "the node's resolv.conf cannot be read"}
	}
	return search(ctx, conf, host)
}

// open opens a file of the node, or this machine's own where the node's cannot
// be reached (a link that leads out of what is mounted).
func (r NodeResolver) open(path string) (io.ReadCloser, error) {
	if r.Root != "" && r.Root != "/" {
		if f, err := os.Open(filepath.Join(r.Root, path)); err == nil { //nolint:gosec // the two callers name the file
			return f, nil
		}
	}
	return os.Open(filepath.Clean(path))
}

func (r NodeResolver) config() (*dns.ClientConfig, error) {
	f, err := r.open("/etc/resolv.conf")
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	conf, err := dns.ClientConfigFromReader(io.LimitReader(f, 64<<10))
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
		if len(words) < 2 || !slices.ContainsFunc(words[1:], func(w string) bool { return strings.EqualFold(w, strings.TrimSuffix(host, ".")) }) {
			continue
		}
		if a, err := netip.ParseAddr(words[0]); err == nil {
			out = append(out, a)
		}
	}
	return tidy(out)
}

// search asks for each name that the search list makes of host. A name that
// does not exist leads to the next; a server that fails decides only if no
// name is found at all.
func search(ctx context.Context, conf *dns.ClientConfig, host string) Answer {
	var last, failed Answer
	for _, name := range conf.NameList(host) {
		a := askServers(ctx, conf, name)
		if len(a.Addresses) > 0 {
			return a
		}
		if a.Fault == diagnosis.FaultDNSFailure {
			failed = a
		} else if last.Fault == "" || name == dns.Fqdn(host) {
			last = a
		}
	}
	if failed.Fault != "" {
		return failed
	}
	return last
}

// askServers asks the servers in turn until one knows.
func askServers(ctx context.Context, conf *dns.ClientConfig, name string) Answer {
	var last Answer
	for _, server := range conf.Servers {
		at := net.JoinHostPort(server, conf.Port)
		last = askServer(ctx, at, name)
		if last.Fault != diagnosis.FaultDNSFailure {
			return last
		}
	}
	return last
}

// askServer asks one server for both kinds of addresses at once.
func askServer(ctx context.Context, server, name string) Answer {
	kinds := []uint16{dns.TypeA, dns.TypeAAAA}
	replies := make([]reply, len(kinds))
	var wg sync.WaitGroup
	for i, kind := range kinds {
		wg.Go(func() { replies[i] = exchange(ctx, server, name, kind) })
	}
	wg.Wait()
	return merge(server, replies)
}

type reply struct {
	addrs []netip.Addr
	rcode int
	err   error
}

func exchange(ctx context.Context, server, name string, kind uint16) reply {
	q := new(dns.Msg).SetQuestion(name, kind).SetEdns0(1232, false)
	client := &dns.Client{Net: "udp", Timeout: serverTimeout}
	resp, _, err := client.ExchangeContext(ctx, q, server)
	if err == nil && resp.Truncated {
		client.Net = "tcp"
		resp, _, err = client.ExchangeContext(ctx, q, server)
	}
	if err != nil {
		return reply{err: err}
	}
	out := reply{rcode: resp.Rcode}
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
// any failure is worse than none.
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
		switch {
		case r.err != nil:
			a.Fault, a.Why = diagnosis.FaultDNSFailure, silence(r.err)
		case r.rcode == dns.RcodeNameError:
			a.Why = "no such name (NXDOMAIN)"
		case r.rcode != dns.RcodeSuccess:
			a.Fault, a.Why = diagnosis.FaultDNSFailure, "it answered "+dns.RcodeToString[r.rcode]
		}
	}
	return a
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
	switch a.Fault {
	case "":
		e.Detail = fmt.Sprintf("%s resolves to %s (%s)", host, strings.Join(e.Addresses, ", "), by)
	case diagnosis.FaultNameNotFound:
		e.Outcome = diagnosis.Failed
		e.Detail = fmt.Sprintf("the registry's name %s does not resolve on node %s: %s, says %s", host, node, a.Why, by)
	default:
		e.Outcome = diagnosis.Failed
		e.Detail = fmt.Sprintf("the registry's name %s cannot be resolved on node %s: resolver %s: %s", host, node, a.Server, a.Why)
	}
	return e
}
