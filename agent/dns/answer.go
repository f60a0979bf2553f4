package dns

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"
	"strconv"

	"github.com/whypull/whypull/agent/diagnosis"
)

// maxAddresses limits the addresses of an answer.
const maxAddresses = 8

// Code is the result of one query to one server, or of a lookup.
type Code string

// The codes. NotAsked says nothing about any server.
const (
	Success       Code = "Success"
	NoData        Code = "NODATA"   // the name exists but has no such record (RFC 2308, section 2.2)
	NameError     Code = "NXDOMAIN" // the name does not exist
	ServerFailure Code = "SERVFAIL"
	OtherRcode    Code = "OtherRcode"  // any other response code; see reply.Rcode
	Lame          Code = "Lame"        // lame: not authoritative for the name, and offers no recursion
	Malformed     Code = "Malformed"   // not a valid response to the query
	Truncated     Code = "Truncated"   // too long for UDP, and TCP failed
	Timeout       Code = "Timeout"     // no response in time
	PortClosed    Code = "PortClosed"  // the server's machine refused the packet
	Unreachable   Code = "Unreachable" // no route to the server, or the connection broke
	NotAsked      Code = "NotAsked"    // canceled, or no socket could be opened

	HostsFile    Code = "HostsFile"    // the hosts file has the name
	IsAddress    Code = "IsAddress"    // the host is an IP address
	InvalidName  Code = "InvalidName"  // the host is not a valid host name
	Unconfigured Code = "Unconfigured" // resolv.conf could not be read
)

// rcodes are the names of response codes (RFC 6895, 2.3).
var rcodes = []string{ //nolint:gochecknoglobals // never written
	"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE",
}

// rcodeName returns the name of a response code; "" if it has none.
func rcodeName(n int) string {
	if n >= len(rcodes) {
		return ""
	}
	return rcodes[n]
}

// reply is a server's reply to one query.
type reply struct {
	Server    string // host:port
	Name      string // the queried name, without the trailing dot
	Code      Code
	Rcode     int // DNS response code; 0 if there was no response
	Addresses []netip.Addr
	Canonical string // as in Answer
}

// Answer is the result of one lookup.
type Answer struct {
	// Addresses are sorted, at most eight; empty if Fault is set.
	Addresses []netip.Addr
	// Fault is FaultNameNotFound, FaultDNSFailure, or empty.
	Fault diagnosis.Fault
	// Code is the result that decided the lookup.
	Code Code
	// Server is the server that decided the lookup, as host:port; empty if it
	// was the hosts file or nothing did.
	Server string
	// System reports whether the system's own resolver was asked, which does not say
	// who has answered.
	System bool
	// Upstream holds the servers that Server forwards to, if Server is
	// systemd-resolved's stub and they are known.
	Upstream []netip.Addr
	// Name is the name that this answer is for: the host itself, or the host
	// with a domain of the search list; without the trailing dot.
	Name string
	// Canonical is the end of the CNAME chain that starts at Name, without the
	// trailing dot; empty if Name is not an alias.
	Canonical string
	// Dangling reports whether the CNAME chain ends at a name that does not
	// exist.
	Dangling bool
	// Why describes the result in a few words.
	Why string
	// Unknown reports whether the lookup did not run or did not complete. Fault
	// and Addresses are then empty.
	Unknown bool
}

// failed reports whether the server did not settle the query, so that the next
// one is asked.
func (r reply) failed() bool {
	return r.Code != Success && r.Code != NoData && r.Code != NameError
}

// silent reports whether there was no response at all.
func (r reply) silent() bool {
	return r.Code == Timeout || r.Code == PortClosed || r.Code == Unreachable
}

// words describes a reply in a few words.
func (r reply) words() string {
	if words, known := codeWords[r.Code]; known {
		return words
	}
	return "it answered " + cmp.Or(rcodeName(r.Rcode), "code "+strconv.Itoa(r.Rcode))
}

// codeWords are the words for codes other than a server's response codes.
var codeWords = map[Code]string{ //nolint:gochecknoglobals // never written
	Success:     "",
	NoData:      "it has no addresses",
	NameError:   "no such name (NXDOMAIN)",
	Lame:        "it does not know the name and does not ask other servers", // the C library and Go also ask the next server
	Timeout:     "it did not answer in time",
	PortClosed:  "its port is closed",
	Unreachable: "it could not be reached",
	Truncated:   "its answer is too long for UDP, and TCP failed",
	Malformed:   "its answer is malformed",
	NotAsked:    "the check was cut short",
}

// merge combines the replies for both record types: any address is a success, a
// name that does not exist has neither type (RFC 8020), and any failure
// outweighs an empty reply.
func merge(replies []reply) Answer {
	var a Answer
	for _, r := range replies {
		if len(r.Addresses) > 0 && a.Server == "" {
			a = r.answer("")
		}
		a.Addresses = append(a.Addresses, r.Addresses...)
	}
	if a.Addresses = sortAndLimit(a.Addresses); len(a.Addresses) > 0 {
		return a
	}
	return worst(replies)
}

// worst returns the answer for replies without addresses.
func worst(replies []reply) Answer {
	var out Answer
	for _, r := range replies {
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

func (r reply) answer(fault diagnosis.Fault) Answer {
	return Answer{Fault: fault, Code: r.Code, Server: r.Server, Name: r.Name, Canonical: r.Canonical, Why: r.words()}
}

func sortAndLimit(addrs []netip.Addr) []netip.Addr {
	sort.Slice(addrs, func(i, j int) bool { return addrs[i].Less(addrs[j]) })
	addrs = slices.Compact(addrs)
	return addrs[:min(len(addrs), maxAddresses)]
}
