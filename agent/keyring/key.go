package keyring

import (
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/whypull/whypull/agent/diagnosis"
)

// hubKey is the effective key of Docker Hub (defaultRegistryHost), hub the host in
// the names of its images, and hubServer the address that docker login and kubectl
// write for it.
const (
	hubKey    = "index.docker.io"
	hub       = "docker.io"
	hubServer = "https://index.docker.io/v1/"
)

// effectiveKey returns a registry key as BasicDockerKeyring.Add indexes it: without
// scheme, user, query, and a leading /v1/ or /v2/ of the path. It returns false if
// the key does not parse: the kubelet drops the entry.
func effectiveKey(written string) (string, bool) {
	if !strings.HasPrefix(written, "https://") && !strings.HasPrefix(written, "http://") {
		written = "https://" + written
	}
	u, err := url.Parse(written)
	if err != nil {
		return "", false
	}
	p := u.Path
	if strings.HasPrefix(p, "/v1/") || strings.HasPrefix(p, "/v2/") {
		p = p[len("/v1"):]
	}
	if p == "/" {
		p = ""
	}
	return u.Host + p, true
}

// endpoint is a parsed key or image.
type endpoint struct {
	labels []string // of the host
	port   string
	path   string
}

// newEndpoint parses a key or image without scheme (ParseSchemelessURL and SplitURL).
// Like the kubelet, it parses an effective key for the second time, which can change
// it: "%3F" has become "?".
func newEndpoint(s string) (endpoint, bool) {
	u, err := url.Parse("https://" + s)
	if err != nil {
		return endpoint{}, false
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		host, port = u.Host, ""
	}
	return endpoint{labels: strings.Split(host, "."), port: port, path: u.Path}, true
}

func (e endpoint) host() string { return strings.Join(e.labels, ".") }

// covers is URLsMatch: the same port, the same number of labels, each matched as a
// shell pattern, and a path that is a string prefix of the image's.
func (e endpoint) covers(image endpoint) bool {
	return e.port == image.port && e.coversHost(image) && strings.HasPrefix(image.path, e.path)
}

func (e endpoint) coversHost(image endpoint) bool {
	if len(e.labels) != len(image.labels) {
		return false
	}
	for i, pattern := range e.labels {
		if ok, err := path.Match(pattern, image.labels[i]); !ok || err != nil {
			return false
		}
	}
	return true
}

// target is an image as the kubelet looks it up.
type target struct {
	endpoint
	name     string // normalized, without tag
	registry string // the first part of the name
	valid    bool   // the name parses as a URL; "[:::]:5000/app" does not
	bare     bool   // the image as written names no registry
}

func newTarget(image diagnosis.Image) target {
	t := target{name: image.Name(), registry: image.Registry}
	t.endpoint, t.valid = newEndpoint(t.name)
	first, _, found := strings.Cut(image.Written, "/")
	t.bare = t.registry == hub && (!found || first != hub && first != hubKey)
	return t
}

// endsInWord reports whether the entry's path ends inside a part of the image's:
// the key reg/team is for reg/team-b too.
func (e entry) endsInWord(t target) bool {
	key, ok := newEndpoint(e.effective)
	if !ok || strings.HasSuffix(key.path, "/") || key.path == "" {
		return false
	}
	rest, found := strings.CutPrefix(t.path, key.path)
	return found && rest != "" && !strings.HasPrefix(rest, "/")
}

func (t target) matches(effective string) bool {
	e, ok := newEndpoint(effective)
	return ok && t.valid && e.covers(t.endpoint)
}

// defaultRegistry is isDefaultRegistryMatch for normalized names. Apart from Docker
// Hub it is true for hosts without dot and port: "localhost", and names that count as
// a host because of an uppercase letter.
func (t target) defaultRegistry() bool {
	return t.registry == hub || !strings.ContainsAny(t.registry, ".:")
}

// longest is the number of bytes of a key that are shown.
const longest = 160

// hidden replaces what is not shown.
const hidden = "…"

// safeKey returns a registry key without the parts that may contain a credential:
// before an "@", after a "?" or "#", and a port that is not a number.
func safeKey(key string) string {
	scheme, authority := schemeOf(key), authorityOf(key)
	rest := key[len(scheme)+len(authority):]
	shown := authority
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		shown = hidden + authority[at:]
	}
	if host, ok := strangePort(shown); ok {
		return printable(scheme + host + ":" + hidden)
	}
	return printable(scheme + shown + safeRest(rest))
}

// authorityOf returns the part between the scheme and the path.
func authorityOf(key string) string {
	s := key[len(schemeOf(key)):]
	if end := strings.IndexAny(s, "/?#"); end >= 0 {
		return s[:end]
	}
	return s
}

// strangePort reports whether the part after the first colon is neither a port nor
// "*", so that it may be a password. The part before it is then returned only if it
// looks like a hostname.
func strangePort(authority string) (host string, strange bool) {
	if strings.HasPrefix(authority, "[") || isIPv6(authority) {
		return "", false
	}
	host, port, found := strings.Cut(authority, ":")
	port = strings.TrimRight(port, " ")
	if !found || port == "*" || strings.Trim(port, "0123456789") == "" {
		return "", false
	}
	if !strings.Contains(host, ".") {
		host = hidden
	}
	return host, true
}

// isIPv6 reports whether s is an IPv6 address without the brackets that a URL has
// around it.
func isIPv6(s string) bool {
	address, err := netip.ParseAddr(s)
	return err == nil && address.Is6() && address.Zone() == ""
}

func safeRest(rest string) string {
	if end := strings.IndexAny(rest, "?#"); end >= 0 {
		rest = rest[:end+1] + hidden
	}
	if strings.Contains(rest, "@") {
		return "/" + hidden
	}
	return rest
}

// printable truncates a text from a secret and makes it valid UTF-8. Control
// characters are left to quote.
func printable(s string) string {
	if len(s) > longest {
		s = s[:longest] + hidden
	}
	return strings.ToValidUTF8(s, "")
}

// quote returns a text from a secret in quotes, for a sentence.
func quote(s string) string { return strconv.Quote(printable(s)) }
