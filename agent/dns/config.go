package dns

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Limits of a configuration.
const (
	maxServers = 3  // as the C library (MAXNS) and Go read from resolv.conf
	maxSearch  = 32 // as the kubelet (MaxDNSSearchPaths); the C library and Go have none
	maxNdots   = 15 // as the C library (RES_MAXNDOTS) and Go
	maxRetries = 5  // as the C library (RES_MAXRETRY)
	maxTimeout = 30 // seconds, as the C library (RES_MAXRETRANS)
)

// Config is what a resolv.conf says, as far as it decides about the outcome of
// a lookup: resolv.conf(5), and net.dnsReadConfig for Go. "rotate" is read by
// neither: it changes only who is asked first. "single-request" changes only
// the order in time of the two questions.
type Config struct {
	// Servers are at most three; none means this machine itself, see
	// View.Lookup.
	Servers []netip.Addr
	// Search are at most 32 domains, without the last dot; "" is the root,
	// which the C library asks in its place and Go leaves out.
	Search []string
	// Ndots is how many dots a name needs to be tried as it is before the
	// search list is; 1 where a file does not say.
	Ndots int
	// Timeout of a question to a server; zero where the file does not say.
	Timeout time.Duration
	// Attempts is how often a question is sent; zero where the file does not
	// say: 2.
	Attempts int
	// TCP tells that questions go over TCP alone ("use-vc").
	TCP bool
	// NoAAAA tells that the C library does not ask for IPv6 addresses
	// ("no-aaaa"); Go does not know the option.
	NoAAAA bool
}

// ParseConfig reads the text of a resolv.conf. Lines and words that mean
// nothing to a resolver mean nothing here.
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

// NewConfig is the configuration of a pod's sandbox: what the kubelet hands
// the runtime, and the runtime writes into the sandbox's resolv.conf.
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

// number reads the digits that a value begins with, as atoi and Go's own
// reader do.
func number(value string, least, most int) int {
	digits := value[:len(value)-len(strings.TrimLeft(value, "0123456789"))]
	n, err := strconv.Atoi(digits)
	if err != nil && len(digits) > 0 { // too many of them
		n = most
	}
	return min(max(n, least), most)
}
