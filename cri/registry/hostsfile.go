package registry

import (
	"fmt"
	"slices"
	"strings"

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
	var edits []replacement
	parser := unstable.Parser{}
	parser.Reset(doc)
	inHost := true // the root's keys are those of the server
	for parser.NextExpression() {
		switch e := parser.Expression(); e.Kind { //nolint:exhaustive // the others hold no value
		case unstable.Table, unstable.ArrayTable:
			inHost = isHostTable(keyOf(e))
		case unstable.KeyValue:
			if key := keyOf(e); inHost && len(key) == 1 && (key[0] == "ca" || key[0] == "client") {
				edits = collect(e.Value(), convert, edits)
			}
		}
	}
	if parser.Error() != nil || len(edits) == 0 {
		return doc, false
	}
	return apply(doc, edits), true
}

// isHostTable: only [host."URL"] has a path; its sub-table is the headers.
func isHostTable(key []string) bool { return len(key) == 2 && key[0] == "host" }

func keyOf(n *unstable.Node) []string {
	var parts []string
	for it := n.Key(); it.Next(); {
		parts = append(parts, string(it.Node().Data))
	}
	return parts
}

// collect finds the strings of a value: one, a list, or a list of pairs.
func collect(n *unstable.Node, convert func(string) string, edits []replacement) []replacement {
	switch n.Kind { //nolint:exhaustive // other types are errors that containerd reports
	case unstable.String:
		if path := string(n.Data); convert(path) != path {
			edits = append(edits, replacement{n.Raw.Offset, n.Raw.Length, quote(convert(path))})
		}
	case unstable.Array:
		for it := n.Children(); it.Next(); {
			edits = collect(it.Node(), convert, edits)
		}
	}
	return edits
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
