package nodeconfig

import (
	"bytes"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/whypull/whypull/cri/registry"
)

// hostTable is what hosts.toml says of one host beside what containerd's package
// hands on.
type hostTable struct {
	line        int  // of the table, or of the key "server"
	override    bool // override_path is set
	dialTimeout time.Duration
	rewrites    []rewriteRule
}

// tableName returns the name of an endpoint's table. The last endpoint is the server's.
func tableName(endpoints []registry.Endpoint, i int) string {
	if i == len(endpoints)-1 {
		return ""
	}
	return endpoints[i].Host
}

// rewriteRule is a row of a table "rewrite", which containerd as k3s and RKE2
// build it knows: the first that changes the repository replaces it.
type rewriteRule struct {
	pattern     *regexp.Regexp
	replacement string
}

// hostTables reads the tables of a hosts.toml by host[:port]; the server's is
// under "". A document that does not parse has none.
func hostTables(doc []byte) map[string]hostTable {
	type host struct {
		Override    bool              `toml:"override_path"`
		DialTimeout string            `toml:"dial_timeout"`
		Rewrite     map[string]string `toml:"rewrite"`
	}
	var file struct {
		host
		Hosts map[string]host `toml:"host"`
	}
	if err := toml.Unmarshal(doc, &file); err != nil {
		return nil
	}
	lines, out := hostLines(doc), map[string]hostTable{}
	add := func(name string, h host) {
		timeout, _ := time.ParseDuration(h.DialTimeout)
		out[name] = hostTable{lines[name], h.Override, timeout, rewriteRules(h.Rewrite)}
	}
	add("", file.host)
	for address, h := range file.Hosts {
		add(urlHost(address), h)
	}
	return out
}

// rewriteRules leaves out patterns that do not compile, as the runtime does. It
// takes the others in no order of its own.
func rewriteRules(table map[string]string) []rewriteRule {
	var out []rewriteRule
	for _, pattern := range slices.Sorted(maps.Keys(table)) {
		if compiled, err := regexp.Compile(pattern); err == nil {
			out = append(out, rewriteRule{compiled, table[pattern]})
		}
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
		case !t.override && strings.HasPrefix(e.Settings.Path, "/v2/") && strings.HasSuffix(e.Settings.Path, "/v2"):
			n.Kind = NoticePathDoubled
		case t.override && lacksVersion(e.Settings.Path):
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

// rewritten returns what the rules make of repositories; nil where there are none.
func rewritten(rules []rewriteRule) func(string) string {
	if len(rules) == 0 {
		return nil
	}
	return func(repository string) string {
		for _, r := range rules {
			if changed := r.pattern.ReplaceAllString(repository, r.replacement); changed != repository {
				return changed
			}
		}
		return repository
	}
}
