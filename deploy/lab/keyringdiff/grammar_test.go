package keyringdiff

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/cri/credential"
)

// grammar generates random cases. Most are valid, so that entries match; the others
// have the mistakes that people and programs make.
type grammar struct {
	*rand.Rand
	image string
	users int
}

func newGrammar(seed, number uint64) *grammar {
	return &grammar{Rand: rand.New(rand.NewPCG(seed, number))}
}

func (g *grammar) oneIn(n int) bool { return g.IntN(n) == 0 }

func (g *grammar) pick(from ...string) string { return from[g.IntN(len(from))] }

// often returns usual, except once in n times one of the others.
func (g *grammar) often(n int, usual string, others ...string) string {
	if g.oneIn(n) {
		return g.pick(others...)
	}
	return usual
}

func (g *grammar) host() string {
	if g.oneIn(25) {
		return g.pick("bücher.example", "hub.example.com.", "hub..example.com", "-hub.example.com", "", "10.0.0.0.1", "[::1%25eth0]")
	}
	return g.pick("docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com",
		"hub.example.com", "hub.example.com", "hub.example.com", "Hub.Example.com", "a.hub.example.com",
		"example.com", "quay.io", "localhost", "localhost", "MyHost", "127.0.0.1", "[::1]", "[2001:db8::1]", "[:::]",
		"hub", "hub-2.example.com", "xn--bcher-kva.example", "hub_x.example.com")
}

func (g *grammar) port() string {
	return g.often(3, "", ":5000", ":5000", ":5000", ":443", ":80", ":", ":99999", ":*", ":05000", ":5000:1", ":x")
}

func (g *grammar) repo() string {
	return g.pick("nginx", "library/nginx", "team/app", "team/app", "teamwork/app", "team/app/sub", "v1/app", "v2/app",
		"v2/v2/app", "app", "a__b/c.d-e", "te", "t/e/a/m")
}

func (g *grammar) tag() string {
	if g.oneIn(25) {
		return g.pick("@sha256:abc", "@md5:00", ":", ":Ü", ":a/b", "@")
	}
	return g.often(2, "", ":1", ":latest", ":v1.2", "@sha256:"+strings.Repeat("a1", 32),
		":1@sha256:"+strings.Repeat("b2", 32), "@sha512:"+strings.Repeat("c3", 64))
}

func (g *grammar) anyImage() string {
	switch g.IntN(24) {
	case 0, 1, 2, 3, 4:
		return g.repo() + g.tag()
	case 5:
		return g.mutate(g.host() + g.port() + "/" + g.repo() + g.tag())
	case 6:
		return g.pick("", "/", "UPPER/Case", strings.Repeat("a1", 32), "a b", "hub.example.com", "localhost:5000",
			"https://hub.example.com/app", "docker.io/nginx", "index.docker.io/nginx", "Docker.io/nginx", "nginx:", "-/x",
			strings.Repeat("long/", 60)+"x", "docker.io", "hub.example.com//x", "hub.example.com/")
	default:
		return g.host() + g.often(4, "", ":5000", ":443", ":80") + "/" + g.repo() + g.tag()
	}
}

func (g *grammar) path() string {
	return g.pick("", "", "", "", "/", "/v1/", "/v2/", "/v1", "/v2", "/v2/team", "/v1/team/", "/team", "/team/", "/team/app",
		"/te", "/team%2Fapp", "/team/app:1", "/%3F", "/team%3Fx", "/te%23am", "/team%2525", "/%zz", "//", "/*", "/library",
		"/library/nginx", "/v2/v2/", "/v2/v2/app", "/v1/v2/app", "/v1//team", "/V2/", "/./team", "/team/../team", "/team app", `/te\am`)
}

// keyOfImage returns a key that matches the image of the case, or nearly does.
func (g *grammar) keyOfImage() string {
	name, _, _ := strings.Cut(g.image, "@")
	if tag := strings.LastIndex(name, ":"); tag > strings.LastIndex(name, "/") && !g.oneIn(8) {
		name = name[:tag]
	}
	if !strings.Contains(name, "/") || g.oneIn(8) {
		name = g.pick("docker.io/library/", "index.docker.io/", "docker.io/") + name
	}
	host, path, _ := strings.Cut(name, "/")
	switch g.IntN(4) {
	case 0, 1:
		return host + "/" + path[:g.IntN(len(path)+1)]
	case 2:
		return g.glob(host) + g.path()
	default:
		return host + g.path()
	}
}

func (g *grammar) glob(host string) string {
	labels := strings.Split(host, ".")
	for range 1 + g.IntN(2) {
		i := g.IntN(len(labels))
		labels[i] = g.pick("*", "*", "*", "*"+labels[i], labels[i]+"*", "?"+labels[i], "[a-z]*", "[^x]*", "[", `\*`, `\`+labels[i],
			"**", "*.*", "", strings.ToUpper(labels[i]), "%2A", "%C3%BC", "%C3")
	}
	return strings.Join(labels, ".")
}

func (g *grammar) key() string {
	base := g.host() + g.port() + g.path()
	switch g.IntN(10) {
	case 0, 1, 2, 3, 4, 5:
		base = g.keyOfImage()
	case 6:
		base = g.glob(g.host()) + g.port() + g.path()
	case 7:
		base = g.pick("https://index.docker.io/v1/", "https://index.docker.io/v1/", "https://index.docker.io/v1", "index.docker.io",
			"docker.io", "https://docker.io/v2/", "index.docker.io/v2/", "index.docker.io:443", "https://registry-1.docker.io/v2/")
	}
	if !strings.Contains(base, "://") {
		base = g.often(3, "", "https://", "https://", "https://", "https://", "http://", "http://", "http://", "HTTPS://", "oci://", "docker://", "//", " ", "https:/", "https:///", "https://https://") +
			g.often(15, "", "user@", "user:pw@", "@", "a@b@") + base
	}
	base += g.often(20, "", "?x=1", "#f", " ", "\t", "\n", "?", "#", "/", "%", "\x00", "é")
	if g.oneIn(25) {
		return g.mutate(base)
	}
	return base
}

// mutate changes a few bytes.
func (g *grammar) mutate(s string) string {
	b := []byte(s)
	for range 1 + g.IntN(3) {
		at := g.IntN(len(b) + 1)
		odd := g.pick("", "\"", ":", "/", "@", "?", "*", "[", "]", "{", "}", ",", "%", "\\", " ", ".", "=", "\x00", "\xff", "A", "1", "null", "-")
		end := min(len(b), at+g.IntN(3))
		b = append(b[:at:at], append([]byte(odd), b[end:]...)...)
	}
	return string(b)
}

// credentials returns a user and a password that no other entry of the case has.
func (g *grammar) credentials() (username, password string) {
	g.users++
	return g.often(8, fmt.Sprintf("user%d", g.users), "", "same", " x", "ü:"), g.often(8, fmt.Sprintf("pass%d", g.users), "", "same", "a:b", "x\n", "\xff\xfe")
}

func (g *grammar) auth() string {
	username, password := g.credentials()
	good := base64.StdEncoding.EncodeToString([]byte(username + ":" + password))
	if !g.oneIn(12) {
		return g.often(4, good, strings.TrimRight(good, "="), good[:len(good)/2]+"\n"+good[len(good)/2:], good+"\n", "\r\n"+good)
	}
	return g.pick(" "+good, good+" ", good+"=", "=", "", "%%%", base64.URLEncoding.EncodeToString([]byte("??>>:~~~")), "user:pass",
		base64.StdEncoding.EncodeToString([]byte("nocolon")), base64.StdEncoding.EncodeToString([]byte(good)), "$(AUTH)", "é",
		g.mutate(good), base64.RawStdEncoding.EncodeToString([]byte(":")), good[:len(good)-1])
}

func text(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// oddValue returns a value of a wrong type, or null.
func (g *grammar) oddValue() string {
	return g.pick("null", "null", "null", "1", "1e999", "true", `"x"`, "[]", "{}", `["a"]`, `{"a":1}`, `{"a":"b"}`, `{"auth":"dTpw"}`)
}

func (g *grammar) field(name, value string) string {
	if g.oneIn(12) {
		name = g.pick(strings.ToUpper(name), strings.ToUpper(name[:1])+name[1:], strings.ReplaceAll(name, "s", "ſ"), name+"x", name+" ")
	}
	return text(name) + ":" + g.often(60, text(value), g.oddValue())
}

func (g *grammar) entry() string {
	if g.oneIn(40) {
		return g.oddValue()
	}
	username, password := g.credentials()
	var fields []string
	add := func(n int, name, value string) {
		if g.oneIn(n) {
			fields = append(fields, g.field(name, value))
		}
	}
	add(2, "auth", g.auth())
	add(2, "username", username)
	add(2, "password", password)
	add(6, "email", g.pick("x@example.com", "<x&y>", "\xff"))
	add(8, "identitytoken", "tok")
	add(12, "registrytoken", "tok")
	add(20, "auth", g.auth())
	if g.oneIn(30) {
		fields = append(fields, text("extra")+":"+g.oddValue())
	}
	g.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	return "{" + strings.Join(fields, ",") + "}"
}

func (g *grammar) entries() string {
	if g.oneIn(30) {
		return g.oddValue()
	}
	var out []string
	for range g.IntN(5) {
		key := g.key()
		out = append(out, text(key)+":"+g.entry())
		if g.oneIn(10) {
			out = append(out, text(g.pick("https://", "http://", "")+key)+":"+g.entry())
		}
	}
	return "{" + strings.Join(out, ", ") + "}"
}

func (g *grammar) dockerConfigJSON() string {
	if g.oneIn(30) {
		return g.pick(g.oddValue(), g.entries())
	}
	parts := []string{g.often(15, `"auths"`, `"Auths"`, `"AUTHS"`, `"authſ"`, `"auth"`, `"auths "`) + ":" + g.entries()}
	if g.oneIn(12) {
		parts = append(parts, g.often(3, `"auths"`, `"AUTHS"`)+":"+g.often(2, g.entries(), g.oddValue()))
	}
	if g.oneIn(12) {
		parts = append(parts, g.pick(`"HttpHeaders"`, `"httpheaders"`)+":"+g.often(2, `{"User-Agent":"x"}`, g.oddValue(), `{"a":null}`))
	}
	if g.oneIn(12) {
		parts = append(parts, g.pick(`"credsStore":"x"`, `"credHelpers":{"hub.example.com":"x"}`, `"x":1`))
	}
	g.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	return "{" + strings.Join(parts, ",") + "}"
}

// document sometimes breaks a whole document.
func (g *grammar) document(good string) []byte {
	switch g.IntN(80) {
	case 0:
		return []byte(g.mutate(good))
	case 1:
		return []byte(good[:g.IntN(len(good)+1)])
	case 2:
		return []byte(g.pick("\xef\xbb\xbf", " \n", "x", "") + good + g.pick("", "\n\n", " x", "{}"))
	case 3:
		return []byte(g.pick(base64.StdEncoding.EncodeToString([]byte(good)), " ", "", "\x00"))
	default:
		return []byte(good)
	}
}

func (g *grammar) secret(name string) keyring.Secret {
	data := map[string][]byte{}
	s := keyring.Secret{Name: name, Data: credential.Redact(data)}
	s.Type = g.often(4, keyring.TypeDockerConfigJSON, keyring.TypeDockercfg, keyring.TypeDockercfg, keyring.TypeDockercfg, "Opaque", "")
	if !g.oneIn(30) && s.Type != keyring.TypeDockercfg || g.oneIn(30) {
		data[keyring.DataDockerConfigJSON] = g.document(g.dockerConfigJSON())
	}
	if !g.oneIn(30) && s.Type == keyring.TypeDockercfg || g.oneIn(30) {
		data[keyring.DataDockercfg] = g.document(g.often(20, g.entries(), g.dockerConfigJSON()))
	}
	return s
}

// nodeFile returns a docker configuration of the node, or nil.
func (g *grammar) nodeFile() *keyring.NodeFile {
	switch g.IntN(4) {
	case 0:
		return &keyring.NodeFile{Path: "/.dockercfg", Legacy: true, Data: credential.Redact(g.document(g.often(20, g.entries(), g.dockerConfigJSON())))}
	case 1, 2:
		return &keyring.NodeFile{Path: "/var/lib/kubelet/config.json", Data: credential.Redact(g.document(g.dockerConfigJSON()))}
	default:
		return nil
	}
}

// next returns the next case.
func (g *grammar) next() (image string, from keyring.Sources) {
	g.image = g.anyImage()
	for i := range g.IntN(4) {
		s := g.secret(fmt.Sprintf("secret%d", i))
		s.UID = fmt.Sprintf("uid%d", i)
		from.Secrets = append(from.Secrets, s)
		if g.oneIn(10) {
			from.Secrets = append(from.Secrets, from.Secrets[g.IntN(len(from.Secrets))])
		}
	}
	from.Node = g.nodeFile()
	return g.image, from
}
