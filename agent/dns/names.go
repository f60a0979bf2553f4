package dns

import "strings"

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
