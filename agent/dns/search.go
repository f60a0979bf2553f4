package dns

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/whypull/whypull/agent/diagnosis"
)

// maxStrikes is the number of strikes after which a server is not asked again
// in this lookup.
const maxStrikes = 2

// lookup is a lookup in progress.
type lookup struct {
	View
	kinds   []dnsmessage.Type
	timeout time.Duration // of one server for one name
	left    []server      // in the order in which to ask them next
}

type server struct {
	addr    string
	strikes int
}

// outcome is the answer for one candidate; it has no addresses.
type outcome struct {
	candidate
	Answer
}

// search asks for the names in turn until one has addresses.
func (q *lookup) search(ctx context.Context, names []candidate) Answer {
	var all []outcome
	ended := false // whether the C library stops using the search list
	for _, c := range names {
		if ended && !c.asIs {
			continue
		}
		a, asked := q.ask(ctx, c.name)
		switch {
		case !asked && len(q.left) == 0: // no server is left to ask
			return q.verdict(all)
		case !asked:
			return incomplete(all)
		case len(a.Addresses) > 0 || a.Unknown:
			return a
		}
		all = append(all, outcome{c, a})
		ended = ended || q.Style == C && !c.asIs && endsSearch(a.Code)
	}
	return q.verdict(all)
}

// incomplete returns the answer when time runs out before all names are asked.
// The remaining names might have addresses, so the answer is unknown unless a
// failing server used up the time.
func incomplete(all []outcome) Answer {
	for _, t := range slices.Backward(all) {
		if t.Fault == diagnosis.FaultDNSFailure {
			return t.Answer
		}
	}
	return Answer{Code: NotAsked, Why: reply{Code: NotAsked}.words(), Unknown: true}
}

// endsSearch reports whether the C library leaves the search list after this
// reply to one of its names and then tries only the host as given.
func endsSearch(code Code) bool {
	return code != NameError && code != NoData && code != ServerFailure
}

// verdict returns the answer when no name has addresses.
func (q *lookup) verdict(all []outcome) Answer {
	if len(all) == 0 {
		return incomplete(nil)
	}
	if q.Style == C {
		return verdictC(all)
	}
	return verdictGo(all)
}

// verdictGo returns a server failure if there was one, since the name might
// have addresses; otherwise the answer for the host as given, or for the first
// name. Go's resolver itself reports a failure only for the host as given or
// for the first name.
func verdictGo(all []outcome) Answer {
	out := all[0]
	for _, t := range all {
		if t.Fault == diagnosis.FaultDNSFailure || out.Fault != diagnosis.FaultDNSFailure && t.asIs {
			out = t
		}
	}
	return out.Answer
}

// verdictC returns the answer that the C library returns: for the host as given
// if it was tried first, else for a name that exists without addresses, else a
// SERVFAIL, else for the last name.
func verdictC(all []outcome) Answer {
	if all[0].asIs {
		return all[0].Answer
	}
	for _, code := range []Code{NoData, ServerFailure} {
		if i := slices.IndexFunc(all, func(t outcome) bool { return !t.asIs && t.Code == code }); i >= 0 {
			return all[i].Answer
		}
	}
	return all[len(all)-1].Answer
}

// ask asks the servers in turn until one settles the name. A record type that
// one server has settled is not asked for again because the other failed. Go's
// resolver asks the next server even if the first returned addresses of the
// other type; that would cost time and not change the answer.
func (q *lookup) ask(ctx context.Context, name string) (a Answer, asked bool) {
	latest := make([]reply, len(q.kinds))
	for _, s := range slices.Clone(q.left) {
		if ctx.Err() != nil {
			break
		}
		asked = true
		q.askServer(ctx, s.addr, name, latest)
		a = merge(latest)
		if a.Fault != diagnosis.FaultDNSFailure {
			return a, true
		}
	}
	return a, asked
}

// askServer asks one server for all record types that are not settled,
// concurrently.
func (q *lookup) askServer(ctx context.Context, addr, name string, latest []reply) {
	var wg sync.WaitGroup
	var now []int
	for i := range latest {
		if latest[i].failed() {
			now = append(now, i)
			wg.Go(func() { latest[i] = q.exchange(ctx, addr, name, q.kinds[i]) })
		}
	}
	wg.Wait()
	silent, strikes := true, 1
	for _, i := range now {
		silent = silent && latest[i].silent()
		if latest[i].Code != Timeout {
			strikes = maxStrikes
		}
	}
	if silent {
		q.strike(addr, strikes)
	}
}

// strike moves an unresponsive server to the end of the list, so that it does
// not cost its timeout once for each name of the search list. A server with a
// closed port is not asked again. A server that timed out is asked once more,
// because the timeout may be specific to that name.
func (q *lookup) strike(addr string, strikes int) {
	i := slices.IndexFunc(q.left, func(s server) bool { return s.addr == addr })
	s := q.left[i]
	q.left = slices.Delete(q.left, i, i+1)
	if s.strikes += strikes; s.strikes < maxStrikes {
		q.left = append(q.left, s)
	}
}

// Style selects the resolver rules to follow where resolvers differ.
type Style int

const (
	// Go is Go's resolver, which container runtimes use: goLookupIPCNAMEOrder
	// in net/dnsclient_unix.go.
	Go Style = iota
	// C is the GNU C library's resolver, which most programs in a pod use:
	// __res_context_search in resolv/res_query.c.
	C
)

// candidate is a name to query for a host.
type candidate struct {
	name string // with a trailing dot
	asIs bool   // the host as given, without a domain of the search list
}

// candidates returns the names to query, in order. The order is the same for
// both styles (nameList in Go's resolver): a name with a trailing dot alone; a
// name with enough dots as given and then with the search list; any other name
// the other way round. Invalid names are left out. Only Go's resolver keeps
// .onion names out of DNS (RFC 7686) and skips the root in the search list.
func (v View) candidates(host string) []candidate {
	self := candidate{name: rooted(host), asIs: true}
	if strings.HasSuffix(host, ".") {
		return v.allowed(self)
	}
	var listed []candidate
	root := false
	for _, domain := range v.Search[:min(len(v.Search), maxSearch)] {
		if domain == "" && v.Style == C {
			root = true // so the host is not tried as given again
			listed = append(listed, candidate{name: self.name})
		} else if domain != "" {
			listed = append(listed, v.allowed(candidate{name: rooted(host + "." + domain)})...)
		}
	}
	switch {
	case strings.Count(host, ".") >= v.Ndots:
		return append(v.allowed(self), listed...)
	case root:
		return listed
	}
	return append(listed, v.allowed(self)...)
}

func (v View) allowed(c candidate) []candidate {
	onion := strings.HasSuffix(strings.ToLower(c.name), ".onion.")
	if !isName(c.name) || onion && v.Style == Go {
		return nil
	}
	return []candidate{c}
}

func rooted(name string) string { return strings.TrimSuffix(name, ".") + "." }

// isName reports whether a text is a valid host name: RFC 1123 plus
// underscores, which are common in practice; at most 253 characters without the
// trailing dot, labels of 1 to 63 characters, and not only digits (isDomainName
// in Go's resolver).
func isName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if len(s) > 253 || strings.Trim(s, "0123456789.") == "" {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return true
}

func isLabel(s string) bool {
	return s != "" && len(s) <= 63 && strings.Trim(s, "-") == s &&
		strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}
