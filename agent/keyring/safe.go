package keyring

import (
	"strconv"
	"strings"
)

// longest is how much of a key is shown, in bytes. A host name has at most
// 253; the rest of an image's name seldom helps.
const longest = 160

// hidden stands for what is not shown.
const hidden = "…"

// safeKey is a registry key without the parts in which a credential may stand: what
// is in front of an "@", behind a "?" or "#", and a port that is none.
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

// authorityOf is what stands between the scheme and the path.
func authorityOf(key string) string {
	s := key[len(schemeOf(key)):]
	if end := strings.IndexAny(s, "/?#"); end >= 0 {
		return s[:end]
	}
	return s
}

// strangePort tells that what follows the first colon is no port and not the
// wildcard that people write for one: it may be a password. What is in front
// of it is then returned only if it looks like the name of a host.
func strangePort(authority string) (host string, strange bool) {
	if strings.HasPrefix(authority, "[") {
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

func safeRest(rest string) string {
	if end := strings.IndexAny(rest, "?#"); end >= 0 {
		rest = rest[:end+1] + hidden
	}
	if strings.Contains(rest, "@") {
		return "/" + hidden
	}
	return rest
}

// printable cuts a text from a secret to a bearable length and makes it valid
// UTF-8. Control characters are left to quote.
func printable(s string) string {
	if len(s) > longest {
		s = s[:longest] + hidden
	}
	return strings.ToValidUTF8(s, "")
}

// quote makes a text from a secret fit for a sentence.
func quote(s string) string { return strconv.Quote(printable(s)) }
