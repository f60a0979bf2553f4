package keyring

import (
	"net/netip"
	"strconv"
	"strings"
)

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
