package dns

import "strings"

// Style is whose rules a place resolves by, where they differ.
type Style int

const (
	// Go is Go's own resolver, which container runtimes are built with:
	// goLookupIPCNAMEOrder in net/dnsclient_unix.go.
	Go Style = iota
	// C is the GNU C library's, which most programs in a pod have:
	// __res_context_search in resolv/res_query.c.
	C
)

// candidate is a name that the search list makes of a host.
type candidate struct {
	name string // rooted
	asIs bool   // the host itself, and not by an entry of the list
}

// candidates are the names to ask for, in order. It is the same for both
// styles (nameList of Go's resolver): a rooted name alone; with enough dots as
// it is, and then the list; with fewer the other way round. What makes no valid
// name is left out. Only Go's resolver keeps names of Tor from DNS (RFC 7686),
// and leaves the root out of the list.
func (v View) candidates(host string) []candidate {
	self := candidate{name: rooted(host), asIs: true}
	if strings.HasSuffix(host, ".") {
		return v.allowed(self)
	}
	var listed []candidate
	root := false
	for _, domain := range v.Search[:min(len(v.Search), maxSearch)] {
		if domain == "" && v.Style == C {
			root = true // the host is not tried again by the side of it
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

// isName tells that a text is a name of hosts, by RFC 1123 and with the
// underscores that people use all the same: at most 253 characters without the
// last dot, labels of 1 to 63, not of digits alone (isDomainName of Go's
// resolver).
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
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789_"
	return s != "" && len(s) <= 63 && strings.Trim(s, "-") == s &&
		strings.IndexFunc(strings.ToLower(s), func(r rune) bool { return r != '-' && !strings.ContainsRune(letters, r) }) < 0
}
