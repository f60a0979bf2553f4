package nodeconfig

import (
	"bytes"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/whypull/whypull/cri/registry"
)

// hostTable is what hosts.toml says of one host beside what containerd's package
// hands on.
type hostTable struct {
	Override    bool              `toml:"override_path"`
	DialTimeout string            `toml:"dial_timeout"`
	Rewrite     map[string]string `toml:"rewrite"` // of k3s and RKE2
	line        int               // of the table, or of the key "server"; 0 if there is none
}

// tableName returns the name of an endpoint's table. The last endpoint is the server's.
func tableName(endpoints []registry.Endpoint, i int) string {
	if i == len(endpoints)-1 {
		return ""
	}
	return endpoints[i].Host
}

// hostTables reads the tables of a hosts.toml by host[:port]; the server's is
// under "". A document that does not parse has none.
func hostTables(doc []byte) map[string]hostTable {
	var file struct {
		hostTable
		Hosts map[string]hostTable `toml:"host"`
	}
	if err := toml.Unmarshal(doc, &file); err != nil {
		return nil
	}
	out := map[string]hostTable{"": file.hostTable}
	for address, t := range file.Hosts {
		out[urlHost(address)] = t
	}
	lines := hostLines(doc)
	for name, t := range out {
		t.line = lines[name]
		out[name] = t
	}
	return out
}

// hostLines finds the lines of the tables, from 1.
func hostLines(doc []byte) map[string]int {
	out := map[string]int{}
	parser := unstable.Parser{}
	parser.Reset(doc)
	root := true
	for parser.NextExpression() {
		e := parser.Expression()
		key := keyOf(e)
		line := func() int {
			it := e.Key()
			it.Next()
			return 1 + bytes.Count(doc[:it.Node().Raw.Offset], []byte("\n"))
		}
		switch {
		case e.Kind == unstable.Table && len(key) == 2 && key[0] == "host":
			out[urlHost(key[1])] = line()
		case e.Kind == unstable.KeyValue && root && len(key) == 1 && key[0] == "server":
			out[""] = line()
		}
		root = root && e.Kind == unstable.KeyValue
	}
	return out
}

// addressNotices reports endpoints of a hosts.toml that lead to no registry's API.
func addressNotices(host, file string, endpoints []registry.Endpoint, tables map[string]hostTable) []Notice {
	var notices []Notice
	for i, e := range endpoints {
		name := tableName(endpoints, i)
		t, ok := tables[name]
		if !ok || name == "" && t.line == 0 { // nobody has written it
			continue
		}
		n := Notice{Path: file, Line: t.line, Endpoint: e.String()}
		switch {
		case host == "docker.io" && isWebSite(e.Host):
			n.Kind = NoticeWebSite
		case !t.Override && strings.HasPrefix(e.Settings.Path, "/v2/") && strings.HasSuffix(e.Settings.Path, "/v2"):
			n.Kind = NoticePathDoubled
		case t.Override && lacksVersion(e.Settings.Path):
			n.Kind = NoticePathWithoutVersion
		default:
			continue
		}
		notices = append(notices, n)
	}
	return notices
}

// isWebSite reports whether a host serves Docker's web site. docker.io in the name
// of an image stands for registry-1.docker.io, and in an address for itself.
func isWebSite(host string) bool {
	return slices.Contains([]string{"docker.io", "www.docker.com", "hub.docker.com"}, strings.TrimSuffix(strings.ToLower(host), ":443"))
}

// lacksVersion reports whether the path of an API is without /v2, which the runtime
// does not add to it.
func lacksVersion(p string) bool {
	return !slices.Contains(strings.Split(path.Clean("/"+p), "/"), "v2")
}

// rewrites reports whether the runtime knows the tables "rewrite". Where its version
// is not known, whoever has written one is taken to know that it does.
func (c *Config) rewrites() bool {
	return c.opts.RuntimeVersion == "" || ofRancher(c.opts.RuntimeVersion)
}

// rewriting returns what a table "rewrite" makes of repositories; nil where it has no
// rules. The first that changes the repository replaces it. The runtime leaves out patterns
// that do not compile, and takes the others in no order of its own.
func rewriting(table map[string]string) func(string) string {
	var rules []func(string) string
	for _, pattern := range slices.Sorted(maps.Keys(table)) {
		if compiled, err := regexp.Compile(pattern); err == nil {
			rules = append(rules, func(repository string) string { return compiled.ReplaceAllString(repository, table[pattern]) })
		}
	}
	if len(rules) == 0 {
		return nil
	}
	return func(repository string) string {
		for _, rule := range rules {
			if changed := rule(repository); changed != repository {
				return changed
			}
		}
		return repository
	}
}
