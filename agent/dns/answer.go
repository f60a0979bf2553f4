package dns

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/miekg/dns"

	"github.com/whypull/whypull/agent/diagnosis"
)

// Bounds of an answer.
const (
	maxAddresses = 8
	maxAsked     = 128
)

// Code is what became of one question to one server, or of a lookup.
type Code string

// The codes. NotAsked is no fact about any server.
const (
	Success        Code = "Success"
	NoData         Code = "NODATA"   // the name exists, and has no such record (RFC 2308, 2.2)
	NameError      Code = "NXDOMAIN" // the name does not exist
	ServerFailure  Code = "SERVFAIL"
	Refused        Code = "REFUSED"
	NotImplemented Code = "NOTIMP"
	FormatError    Code = "FORMERR"
	OtherRcode     Code = "OtherRcode"  // any other response code: Reply.Rcode
	Lame           Code = "Lame"        // neither knows the name nor asks others
	Malformed      Code = "Malformed"   // what came is no answer to the question
	Truncated      Code = "Truncated"   // too long for UDP, and none over TCP
	Timeout        Code = "Timeout"     // nothing came in time
	PortClosed     Code = "PortClosed"  // the server's machine refused the packet
	Unreachable    Code = "Unreachable" // no way to the server, or a broken connection
	NotAsked       Code = "NotAsked"    // given up, or there was no socket to ask through

	HostsFile    Code = "HostsFile"    // the hosts file settled it
	IsAddress    Code = "IsAddress"    // the host is no name
	InvalidName  Code = "InvalidName"  // the host is no name that can be asked for
	Unconfigured Code = "Unconfigured" // resolv.conf could not be read
)

// Reply is what a server said to one question.
type Reply struct {
	Server string // host:port
	Name   string // the name asked for, without the last dot
	Type   string // "A" or "AAAA"
	Code   Code
	Rcode  int           // DNS response code; 0 where there is no response
	Took   time.Duration // from the first packet to the last
	TCP    bool          // it was asked over TCP, at least in the end
	// WithoutEDNS tells that the server did not understand EDNS0 (RFC 6891)
	// and was asked again without. Go's own resolver does not do that.
	WithoutEDNS bool
}

// Answer is the result of one lookup.
type Answer struct {
	// Addresses are sorted, at most eight; none where Fault is set.
	Addresses []netip.Addr
	// Fault is FaultNameNotFound or FaultDNSFailure, or empty.
	Fault diagnosis.Fault
	// Code is what settled it.
	Code Code
	// Server is the resolver that settled it, as host:port; empty when the
	// hosts file did, or nobody.
	Server string
	// Upstream are the servers that Server passes questions on to, where it is
	// systemd-resolved's stub and that is known.
	Upstream []netip.Addr
	// Name is the name that this is the answer for: the host itself, or the
	// host and a domain of the search list; without the last dot.
	Name string
	// Canonical is the end of the chain of aliases (CNAME) that begins at Name,
	// without the last dot; empty where Name is no alias.
	Canonical string
	// Dangling tells that the chain of aliases ends at a name that does not
	// exist.
	Dangling bool
	// Why is what was said, in a few words.
	Why string
	// Unknown tells that the lookup was not made, or not to its end: Fault is
	// empty, and there are no addresses.
	Unknown bool
	// Asked are all questions in the order of the names and servers, A before
	// AAAA; at most 128.
	Asked []Reply
}

// result is a reply with what is in it.
type result struct {
	Reply
	addrs     []netip.Addr
	canonical string
}

// failed tells that the server did not settle the question, so that the next
// is asked.
func (r Reply) failed() bool {
	return r.Code != Success && r.Code != NoData && r.Code != NameError
}

// silent tells that there was no answer of any kind.
func (r Reply) silent() bool {
	return r.Code == Timeout || r.Code == PortClosed || r.Code == Unreachable
}

// words says in a few words what a reply means.
func (r Reply) words() string {
	switch r.Code {
	case Success:
		return ""
	case NoData:
		return "it has no addresses"
	case NameError:
		return "no such name (NXDOMAIN)"
	case Lame: // the C library and Go ask the next server too
		return "it neither knows the name nor asks other servers"
	case Timeout:
		return "it did not answer in time"
	case PortClosed:
		return "its port is closed"
	case Unreachable:
		return "it could not be reached"
	case Truncated:
		return "its answer is too long for UDP, and it gives none over TCP"
	case Malformed:
		return "its answer is malformed"
	case NotAsked:
		return "the check was cut short"
	default:
		return "it answered " + cmp.Or(dns.RcodeToString[r.Rcode], "code "+strconv.Itoa(r.Rcode))
	}
}

// merge makes one answer of the replies for both kinds: any address is good, a
// name that does not exist has none of either kind (RFC 8020), and any failure
// is worse than none.
func merge(results []result) Answer {
	var a Answer
	for _, r := range results {
		if len(r.addrs) > 0 && a.Server == "" {
			a = r.answer("")
		}
		a.Addresses = append(a.Addresses, r.addrs...)
	}
	if a.Addresses = tidy(a.Addresses); len(a.Addresses) > 0 {
		return a
	}
	return worst(results)
}

// worst is the answer of replies without addresses.
func worst(results []result) Answer {
	var out Answer
	for _, r := range results {
		switch {
		case r.Code == NameError:
			a := r.answer(diagnosis.FaultNameNotFound)
			a.Dangling = a.Canonical != ""
			return a
		case r.Code == NotAsked:
			out = r.answer("")
			out.Unknown, out.Server = true, ""
		case r.failed() && !out.Unknown:
			out = r.answer(diagnosis.FaultDNSFailure)
		case out.Code == "":
			out = r.answer(diagnosis.FaultNameNotFound)
		}
	}
	return out
}

func (r result) answer(fault diagnosis.Fault) Answer {
	return Answer{Fault: fault, Code: r.Code, Server: r.Server, Name: r.Name, Canonical: r.canonical, Why: r.words()}
}

func tidy(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	return addrs[:min(len(addrs), maxAddresses)]
}
