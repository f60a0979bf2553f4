package nodeconfig

import (
	"bytes"
	"slices"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/whypull/whypull/cri/registry"
)

// foreignKeys are TLS settings by the names that they have elsewhere: in containerd's own
// file (registry.configs, tls), in registries.conf and daemon.json, and misspelled. In a
// hosts.toml containerd ignores them without a word.
func foreignKeys() []string {
	return []string{
		"insecure_skip_verify", "insecure-skip-verify", "insecureSkipVerify", "skip-verify", "skipVerify", "skipverify", "skip_tls_verify", "tls_skip_verify", "insecure",
		"ca_file", "ca-file", "cafile", "cacert", "ca_cert", "cert_file", "key_file", "tls",
	}
}

// keyNotices reports TLS settings in a hosts.toml under names that containerd does not
// know there, the first of each endpoint.
func keyNotices(file string, doc []byte, endpoints []registry.Endpoint) []Notice {
	lines := foreignLines(doc)
	var notices []Notice
	for i, e := range endpoints {
		if line := lines[tableName(endpoints, i)]; line > 0 {
			notices = append(notices, Notice{Kind: NoticeForeignKey, Path: file, Line: line, Endpoint: e.String()})
		}
	}
	return notices
}

// foreignLines returns the line of the first foreign key of each table by its
// host[:port]; the server's is under "".
func foreignLines(doc []byte) map[string]int {
	out := map[string]int{}
	parser := unstable.Parser{}
	parser.Reset(doc)
	var table []string
	for parser.NextExpression() {
		e := parser.Expression()
		path := table
		switch e.Kind { //nolint:exhaustive // the others hold no value
		case unstable.Table, unstable.ArrayTable:
			table = keyOf(e)
			path = table
		case unstable.KeyValue:
			path = append(slices.Clone(table), keyOf(e)...)
		}
		host, known := "", false
		switch {
		case len(path) >= 3 && path[0] == "host":
			host, known = urlHost(path[1]), slices.Contains(foreignKeys(), path[2])
		case len(path) > 0 && path[0] != "host":
			known = slices.Contains(foreignKeys(), path[0])
		}
		if known && out[host] == 0 {
			it := e.Key()
			it.Next()
			out[host] = 1 + bytes.Count(doc[:it.Node().Raw.Offset], []byte("\n"))
		}
	}
	return out
}
