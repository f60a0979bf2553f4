package nodeconfig

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// replacement is a string value in a TOML document and what to put there.
type replacement struct {
	offset, length uint32
	text           string
}

// rewritePaths gives the text of a hosts.toml in which every path in "ca" and
// "client" went through convert, and whether that changed anything. The text
// is edited in place because containerd takes the order of the hosts from the
// order of the tables, which decoding and encoding would lose. A document that
// does not parse stays as it is: containerd is to say so.
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

// dropPaths gives the text of a hosts.toml in which the keys "ca" and "client"
// have a name that nobody reads where drop wants that of one of their paths.
// host is the host[:port] of the key's table, "" for the server's.
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

// dropDialTimeouts gives the text of a hosts.toml in which the key dial_timeout
// has a name that nobody reads.
func dropDialTimeouts(doc []byte) (rewritten []byte, changed bool) {
	return edit(doc, []string{"dial_timeout"}, func(_ string, key *unstable.Node) []replacement {
		return []replacement{renamed(key)}
	})
}

// renamed puts a name that nobody reads in the place of a key: one of its own,
// since a table has a key once.
func renamed(key *unstable.Node) replacement {
	it := key.Key()
	it.Next()
	raw := it.Node().Raw
	return replacement{raw.Offset, raw.Length, "whypull-hidden-" + keyOf(key)[0]}
}

func pathKeys() []string { return []string{"ca", "client"} }

// edit makes the edits that are wanted of the server's and the hosts' keys of
// the given names.
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
	return apply(doc, edits), true
}

// hostOf gives the host[:port] of the table that a key is in, "" for the root.
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

// urlHost is the host[:port] of a host's address, which may lack the scheme
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

// lacksHosts tells a hosts.toml that is right but for having no table of a
// host. containerd 1.x takes it for broken (getSortedHosts).
func lacksHosts(doc []byte) bool {
	var file map[string]any
	err := toml.Unmarshal(doc, &file)
	return err == nil && len(doc) > 0 && table(file, "host") == nil
}

// dialTimeouts gives dial_timeout by host[:port]; that of the server under "".
func dialTimeouts(doc []byte) map[string]time.Duration {
	type host struct {
		DialTimeout string `toml:"dial_timeout"`
	}
	var file struct {
		host
		Hosts map[string]host `toml:"host"`
	}
	if err := toml.Unmarshal(doc, &file); err != nil {
		return nil // containerd has refused it
	}
	out := map[string]time.Duration{}
	out[""], _ = time.ParseDuration(file.DialTimeout)
	for address, h := range file.Hosts {
		out[urlHost(address)], _ = time.ParseDuration(h.DialTimeout)
	}
	return out
}

func keyOf(n *unstable.Node) []string {
	var parts []string
	for it := n.Key(); it.Next(); {
		parts = append(parts, string(it.Node().Data))
	}
	return parts
}

// texts finds the strings of a value: one, a list, or a list of pairs.
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

// apply makes the edits, which are in the document's order.
func apply(doc []byte, edits []replacement) []byte {
	doc = slices.Clone(doc)
	for _, e := range slices.Backward(edits) {
		doc = slices.Replace(doc, int(e.offset), int(e.offset+e.length), []byte(e.text)...)
	}
	return doc
}

// quote writes a basic string of TOML. Go's %q has escapes that TOML lacks.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
