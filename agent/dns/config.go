package dns

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Limits of a configuration.
const (
	maxServers = 3  // like the C library (MAXNS) and Go
	maxSearch  = 32 // like the kubelet (MaxDNSSearchPaths); the C library and Go have no limit
	maxNdots   = 15 // like the C library (RES_MAXNDOTS) and Go
	maxRetries = 5  // like the C library (RES_MAXRETRY)
	maxTimeout = 30 // seconds, like the C library (RES_MAXRETRANS)
)

// Config holds the settings of a resolv.conf that affect the result of a
// lookup; see resolv.conf(5), and net.dnsReadConfig for Go. "rotate" is ignored
// because it only changes which server is asked first, "single-request" because
// it only changes the timing of the two queries.
type Config struct {
	// Servers has at most three entries; if it is empty, the machine itself is
	// asked, see View.Lookup.
	Servers []netip.Addr
	// Search has at most 32 domains, without the trailing dot. "" is the root,
	// which the C library queries in its turn and Go skips.
	Search []string
	// Ndots is the number of dots from which on a name is tried as given before
	// the search list; 1 by default.
	Ndots int
	// Timeout limits one query to one server; zero if the file does not set it.
	Timeout time.Duration
	// Attempts is how often a query is sent; zero if the file does not set it,
	// which means 2.
	Attempts int
	// TCP reports whether queries use TCP only ("use-vc").
	TCP bool
	// NoAAAA reports whether the C library does not ask for IPv6 addresses
	// ("no-aaaa"). Go ignores the option.
	NoAAAA bool
}

// ParseConfig parses a resolv.conf. Like resolvers, it ignores lines and
// options that it does not know.
func ParseConfig(text []byte) Config {
	c := Config{Ndots: 1}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 2 || line[0] == '#' || line[0] == ';' {
			continue
		}
		switch words[0] {
		case "nameserver":
			c.addServers(words[1])
		case "domain":
			c.setSearch(words[1])
		case "search":
			c.setSearch(words[1:]...)
		case "options":
			c.addOptions(words[1:])
		}
	}
	return c
}

// NewConfig returns the configuration of a pod's sandbox, from the settings
// that the kubelet passes to the runtime and the runtime writes into the
// sandbox's resolv.conf.
func NewConfig(servers, searches, options []string) Config {
	c := Config{Ndots: 1}
	c.addServers(servers...)
	c.setSearch(searches...)
	c.addOptions(options)
	return c
}

func (c *Config) addServers(servers ...string) {
	for _, s := range servers {
		if addr, err := netip.ParseAddr(s); err == nil && len(c.Servers) < maxServers {
			c.Servers = append(c.Servers, addr)
		}
	}
}

func (c *Config) setSearch(domains ...string) {
	c.Search = nil
	for _, d := range domains[:min(len(domains), maxSearch)] {
		if d = strings.TrimSuffix(d, "."); d == "" || isName(d) {
			c.Search = append(c.Search, d)
		}
	}
}

func (c *Config) addOptions(options []string) {
	for _, o := range options {
		name, value, found := strings.Cut(o, ":")
		if found {
			name += ":"
		}
		switch name {
		case "ndots:":
			c.Ndots = number(value, 0, maxNdots)
		case "timeout:":
			c.Timeout = time.Duration(number(value, 1, maxTimeout)) * time.Second
		case "attempts:":
			c.Attempts = number(value, 1, maxRetries)
		case "use-vc", "usevc", "tcp":
			c.TCP = true
		case "no-aaaa":
			c.NoAAAA = true
		}
	}
}

// number parses the leading digits of a value, like atoi and Go's own parser.
func number(value string, least, most int) int {
	digits := value[:len(value)-len(strings.TrimLeft(value, "0123456789"))]
	n, err := strconv.Atoi(digits)
	if err != nil && len(digits) > 0 { // out of range
		n = most
	}
	return min(max(n, least), most)
}
