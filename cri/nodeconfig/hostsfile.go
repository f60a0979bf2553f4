package nodeconfig

import (
	"net/url"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"k8s.io/apimachinery/pkg/util/version"
)

// replacement is a value in a TOML document and its new text.
type replacement struct {
	offset, length uint32
	text           string
}

// rewritePaths returns a hosts.toml with every path in "ca" and "client" converted, and
// whether that changed anything. It edits the text, because containerd takes the order of
// the hosts from the order of the tables, which decoding and encoding would lose. A
// document that does not parse is returned as is: containerd reports the error.
func rewritePaths(doc []byte, convert func(string) string) (rewritten []byte, changed bool) {
	return edit(doc, pathKeys(), func(_ string, key *unstable.Node) []replacement {
		var edits []replacement
		for _, n := range texts(key.Value(), nil) {
			if path := string(n.Data); convert(path) != path {
				edits = append(edits, replacement{n.Raw.Offset, n.Raw.Length, quote(convert(path))})
			}
		}
		return edits
	})
}

// dropPaths returns a hosts.toml in which the keys "ca" and "client" are renamed to
// unused names if drop returns true for one of their paths. host is the host[:port] of
// the key's table; "" for the server's.
func dropPaths(doc []byte, drop func(host, key, path string) bool) (rewritten []byte, changed bool) {
	return edit(doc, pathKeys(), func(host string, key *unstable.Node) []replacement {
		var edits []replacement
		for _, n := range texts(key.Value(), nil) {
			if drop(host, keyOf(key)[0], string(n.Data)) && edits == nil {
				edits = []replacement{renamed(key)}
			}
		}
		return edits
	})
}

// asOlder returns a hosts.toml that containerd's package, which is newer, reads as this
// version does, and whether that changed anything: dial_timeout has no effect before
// 2.0.7, and the capability "referrers" is none before 2.2, so that the file is invalid.
func (v runtimeVersion) asOlder(doc []byte) (older []byte, changed bool) {
	if !v.AtLeast(version.MajorMinor(2, 0).WithPatch(7)) {
		doc, changed = edit(doc, []string{"dial_timeout"}, func(_ string, key *unstable.Node) []replacement {
			return []replacement{renamed(key)}
		})
	}
	if v.atLeast(2, 2) {
		return doc, changed
	}
	older, refused := edit(doc, []string{"capabilities"}, func(_ string, key *unstable.Node) []replacement {
		var edits []replacement
		for _, n := range texts(key.Value(), nil) {
			if strings.EqualFold(string(n.Data), "referrers") {
				edits = append(edits, replacement{n.Raw.Offset, n.Raw.Length, quote("unknown")})
			}
		}
		return edits
	})
	return older, changed || refused
}

// renamed renames a key to a unique unused name, since keys of a table must be distinct.
func renamed(key *unstable.Node) replacement {
	it := key.Key()
	it.Next()
	raw := it.Node().Raw
	return replacement{raw.Offset, raw.Length, "whypull-hidden-" + keyOf(key)[0]}
}

func pathKeys() []string { return []string{"ca", "client"} }

// edit applies the edits of the server's and the hosts' keys with the given names.
func edit(doc []byte, names []string, editsOf func(host string, key *unstable.Node) []replacement) (edited []byte, changed bool) {
	var edits []replacement
	parser := unstable.Parser{}
	parser.Reset(doc)
	var table []string // the root's keys are those of the server
	for parser.NextExpression() {
		switch e := parser.Expression(); e.Kind { //nolint:exhaustive // the others hold no value
		case unstable.Table, unstable.ArrayTable:
			table = keyOf(e)
		case unstable.KeyValue:
			host, inHost := hostOf(table)
			if key := keyOf(e); inHost && len(key) == 1 && slices.Contains(names, key[0]) {
				edits = append(edits, editsOf(host, e)...)
			}
		}
	}
	if parser.Error() != nil || len(edits) == 0 {
		return doc, false
	}
	doc = slices.Clone(doc)
	for _, e := range slices.Backward(edits) {
		doc = slices.Replace(doc, int(e.offset), int(e.offset+e.length), []byte(e.text)...)
	}
	return doc, true
}

// hostOf returns the host[:port] of a key's table; "" for the root.
// Only [host."URL"] has paths; its sub-table is the headers.
func hostOf(table []string) (host string, ok bool) {
	switch {
	case len(table) == 0:
		return "", true
	case len(table) != 2 || table[0] != "host":
		return "", false
	}
	return urlHost(table[1]), true
}

// urlHost returns the host[:port] of a host's address, which may have no scheme
// (parseHostConfig).
func urlHost(address string) string {
	if !strings.HasPrefix(address, "http") {
		address = "https://" + address
	}
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

// lacksHosts reports whether a hosts.toml is valid but has no host table, which
// containerd 1.x rejects (getSortedHosts).
func lacksHosts(doc []byte) bool {
	var file map[string]any
	err := toml.Unmarshal(doc, &file)
	return err == nil && len(doc) > 0 && table(file, "host") == nil
}

func keyOf(n *unstable.Node) []string {
	var parts []string
	for it := n.Key(); it.Next(); {
		parts = append(parts, string(it.Node().Data))
	}
	return parts
}

// texts returns the strings in a value: one, a list, or a list of pairs.
func texts(n *unstable.Node, found []*unstable.Node) []*unstable.Node {
	switch n.Kind { //nolint:exhaustive // other types are errors that containerd reports
	case unstable.String:
		return append(found, n)
	case unstable.Array:
		for it := n.Children(); it.Next(); {
			found = texts(it.Node(), found)
		}
	}
	return found
}

// quote returns a TOML string. Go's %q has escapes that TOML lacks.
func quote(s string) string {
	doc, _ := toml.Marshal(map[string]string{"x": s}) // a string has no errors
	return strings.TrimSpace(strings.TrimPrefix(string(doc), "x = "))
}
