package dns

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// mostStrikes is how many of them make a server dead for the rest of a lookup.
const mostStrikes = 2

// inquiry is a lookup under way.
type inquiry struct {
	style    Style
	dial     DialFunc
	tcp      bool
	kinds    []uint16
	attempts int
	timeout  time.Duration

	servers []server // in the order in which they are asked next
	asked   []Reply
}

type server struct {
	addr    string
	strikes int
}

// tried are the answers so far, none of them with addresses.
type tried struct {
	candidate
	Answer
}

// search asks for the names in turn until one has addresses.
func (q *inquiry) search(ctx context.Context, names []candidate) Answer {
	var all []tried
	ended := false // the search list is, by the C library's rule
	for _, c := range names {
		if ended && !c.asIs {
			continue
		}
		a, asked := q.ask(ctx, c.name)
		switch {
		case !asked && len(q.servers) == 0: // they are dead: nothing more to learn
			return q.verdict(all)
		case !asked:
			return cutShort(all)
		case len(a.Addresses) > 0 || a.Unknown:
			return a
		}
		all = append(all, tried{c, a})
		ended = ended || q.style == C && !c.asIs && endsList(a.Code)
	}
	return q.verdict(all)
}

// cutShort is the answer when time is up with names left: they might have had
// addresses, unless a server's failure is what the time was spent on.
func cutShort(all []tried) Answer {
	for _, t := range slices.Backward(all) {
		if t.Fault == diagnosis.FaultDNSFailure {
			return t.Answer
		}
	}
	return Answer{Code: NotAsked, Why: Reply{Code: NotAsked}.words(), Unknown: true}
}

// endsList tells that the C library leaves the search list after such an
// answer to one of its names, and tries only the host as it is.
func endsList(code Code) bool {
	return code != NameError && code != NoData && code != ServerFailure
}

// verdict is the answer when no name has addresses.
func (q *inquiry) verdict(all []tried) Answer {
	if len(all) == 0 {
		return cutShort(nil)
	}
	if q.style == C {
		return verdictC(all)
	}
	return verdictGo(all)
}

// verdictGo is a server's failure, if there was one: the name might have
// addresses. Go's resolver tells of a failure only for the host as it is, or
// for the first name. Else it is the answer for the host as it is, or for the
// first name.
func verdictGo(all []tried) Answer {
	out := all[0]
	for _, t := range all {
		if t.Fault == diagnosis.FaultDNSFailure || out.Fault != diagnosis.FaultDNSFailure && t.asIs {
			out = t
		}
	}
	return out.Answer
}

// verdictC is the C library's: of the host as it is if that came first, else
// of a name that exists without addresses, else of a SERVFAIL, else of the
// last name.
func verdictC(all []tried) Answer {
	if all[0].asIs {
		return all[0].Answer
	}
	for _, code := range []Code{NoData, ServerFailure} {
		if i := slices.IndexFunc(all, func(t tried) bool { return !t.asIs && t.Code == code }); i >= 0 {
			return all[i].Answer
		}
	}
	return all[len(all)-1].Answer
}

// ask asks the servers in turn until one knows. What one has settled for one
// kind of address is not asked again for the other's sake. Go's resolver asks
// the next server too for a kind of address that the first has failed to give
// beside good ones of the other kind; that would cost time and change nothing.
func (q *inquiry) ask(ctx context.Context, name string) (a Answer, asked bool) {
	latest := make([]result, len(q.kinds))
	for _, s := range slices.Clone(q.servers) {
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

// askServer asks one server for all kinds of addresses that are not settled,
// side by side.
func (q *inquiry) askServer(ctx context.Context, addr, name string, latest []result) {
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
		r := latest[i].Reply
		if len(q.asked) < maxAsked {
			q.asked = append(q.asked, r)
		}
		silent = silent && r.silent()
		if r.Code != Timeout {
			strikes = mostStrikes
		}
	}
	if silent {
		q.strike(addr, strikes)
	}
}

// strike makes a silent server the last to be asked for the next name, so that
// it does not use up the time once for each name of the search list. One whose
// port is closed is not asked again; one that did not answer in time is, once:
// that may have been for the one name.
func (q *inquiry) strike(addr string, strikes int) {
	i := slices.IndexFunc(q.servers, func(s server) bool { return s.addr == addr })
	s := q.servers[i]
	q.servers = slices.Delete(q.servers, i, i+1)
	if s.strikes += strikes; s.strikes < mostStrikes {
		q.servers = append(q.servers, s)
	}
}
