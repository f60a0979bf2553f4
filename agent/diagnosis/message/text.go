package message

import (
	"slices"
	"strings"
)

// The longest message that is read, and the longest quoted name in one. Both
// bound the work on hostile input.
const (
	maxMessage = 64 << 10
	maxQuoted  = 1024
)

// tidy brings a message onto one line: control characters and line breaks
// become spaces, runs of spaces one space, and the escaped quotes of a log line
// plain ones.
func tidy(s string) string {
	if isTidy(s) {
		return s
	}
	s = unescaped(s)
	var b strings.Builder
	b.Grow(len(s))
	space := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
		case c == '\\' && i+1 < len(s) && strings.IndexByte("nrt", s[i+1]) >= 0:
			space = true
			i++
		case c <= ' ' || c == 0x7f:
			space = true
		default:
			if space && b.Len() > 0 {
				b.WriteByte(' ')
			}
			space = false
			b.WriteByte(c)
		}
	}
	return b.String()
}

// unescaped undoes what encoding/json makes of angle brackets and ampersands.
func unescaped(s string) string {
	if !strings.Contains(s, `\u00`) {
		return s
	}
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(s)
}

// rejoin returns s without its line breaks and without the indentation after
// them, and reports whether there were any: a line can have been broken inside a
// word. After a colon or a comma, and before a sentence, a blank stays, since no
// word goes on there.
func rejoin(s string) (joined string, broken bool) {
	const indentation = 3 // no sentence has so many blanks
	if !strings.Contains(s, "\n") && !strings.Contains(s, "   ") {
		return s, false
	}
	var b strings.Builder
	b.Grow(len(s))
	for s = strings.TrimFunc(s, isBlank); s != ""; {
		n := strings.IndexFunc(s, isBlank)
		if n < 0 {
			b.WriteString(s)
			break
		}
		rest := strings.TrimLeftFunc(s[n:], isBlank)
		gap := s[n : len(s)-len(rest)]
		b.WriteString(s[:n])
		isBreak := strings.Contains(gap, "\n") || len(gap) >= indentation
		if !isBreak || s[n-1] == ':' || s[n-1] == ',' || startsSentence(rest) {
			b.WriteByte(' ')
		}
		broken = broken || isBreak
		s = rest
	}
	return b.String(), broken
}

func startsSentence(s string) bool {
	return len(s) > 1 && s[0] != lower(s[0]) && 'a' <= s[1] && s[1] <= 'z'
}

func isBlank(r rune) bool { return r <= ' ' || r == 0x7f }

// membersApart puts a blank between the members of JSON that has none, so that
// the name in one does not take a word of the next with it.
func membersApart(s string) string {
	if !strings.Contains(s, `":"`) && !strings.Contains(s, `","`) {
		return s
	}
	return strings.NewReplacer(`":"`, `": "`, `","`, `", "`).Replace(s)
}

// isTidy reports whether tidy leaves s as it is, as most texts are.
func isTidy(s string) bool {
	before := byte(' ')
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < ' ' || c >= 0x7f || c == '\\' || c == ' ' && before == ' ' {
			return false
		}
		before = c
	}
	return before != ' '
}

// mask lower-cases s and replaces what somebody chose freely: every quoted name
// and every reference becomes "_", every URL "url", or "http-url" if it is one
// without TLS. So the rules never decide on the words of an image's name, a path
// or a repository.
func mask(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	quoted := "" // the last name in quotes: it is one without them, too
	for i := 0; i < len(s); {
		if startsToken(s, i) {
			token, rest := nextToken(s, i)
			if token != "" && s[i] == '"' {
				quoted = token
			} else if quoted != "" && token == "" && strings.HasPrefix(s[i:], quoted+": ") {
				token, rest = quoted, i+len(quoted)
			}
			if stand := standIn(token); stand != "" {
				b.WriteString(stand)
				i = rest
				continue
			}
		}
		b.WriteByte(lower(s[i]))
		i++
	}
	return b.String()
}

func startsToken(s string, i int) bool {
	if s[i] == ' ' || i == 0 {
		return s[i] != ' '
	}
	return strings.IndexByte(" ([=*`", s[i-1]) >= 0
}

// nextToken returns the quoted name, or the word without the punctuation after
// it, that starts at i, and where the text goes on.
func nextToken(s string, i int) (token string, rest int) {
	if s[i] == '"' || s[i] == '\'' {
		window := s[i+1 : min(len(s), i+1+maxQuoted)]
		if n := strings.IndexByte(window, s[i]); n > 0 {
			return quotedName(window[:n]), i + n + 2
		}
	}
	end := len(s)
	if n := strings.IndexByte(s[i:min(len(s), i+maxQuoted)], ' '); n >= 0 {
		end = i + n
	} else {
		end = min(end, i+maxQuoted)
	}
	token = strings.TrimRight(s[i:end], ":,;.)]}'\"*`")
	rest = i + len(token)
	if rest < len(s) && s[rest] == '"' && !strings.Contains(token, `"`) {
		rest++ // the end of a name whose start was cut off
	}
	if hasName(token) && namesHost(s[:i]) || namesCertified(s[:i]) || isNamed(s[:i], s[min(i+len(token), len(s)):]) {
		return token, rest
	}
	return plainName(token), rest
}

// hasName reports whether word can be a registry's or an image's name.
func hasName(word string) bool {
	n := strings.IndexAny(word, ".:")
	return n > 0 && n < len(word)-1 && !isMediaType(word)
}

// namesHost reports whether a name comes after the words that s ends with.
func namesHost(s string) bool {
	return slices.ContainsFunc(nameWords, func(word string) bool { return strings.HasSuffix(s, word) })
}

//nolint:gochecknoglobals // never written
var nameWords = []string{"lookup ", "registry ", "host ", "for ", "image ", "to match "}

// namesCertified reports whether one of the names of a certificate, or the one that it
// is not for, comes after s (crypto/x509, HostnameError).
func namesCertified(s string) bool {
	if !strings.HasSuffix(s, ", ") && !strings.HasSuffix(s, ", not ") {
		return false
	}
	_, names, found := strings.Cut(s[max(0, len(s)-maxQuoted):], "certificate is valid for ")
	return found && !strings.Contains(names, ": ")
}

// isNamed reports whether what stands between two pieces of a text is a name,
// whatever it looks like: an image's, a tag, a registry's.
func isNamed(before, after string) bool {
	return slices.ContainsFunc(namePlaces, func(p namePlace) bool {
		return endsFold(before, p.before) && (p.after == "" || hasPrefixFold(after, p.after))
	})
}

// namePlace is a place of a name: the words before it and after it, in lower case.
type namePlace struct{ before, after string }

//nolint:gochecknoglobals // never written
var namePlaces = []namePlace{
	{"access denied for ", ""}, {"reading manifest ", " in "}, {"image name ", " returns"},
	{"pinging container registry ", ""}, {"pinging docker registry ", ""}, {"lookup ", " on "}, {"lookup ", ": "},
	{"manifest for ", " not found"}, {"registry ", " is blocked"}, {"project ", " not found"},
	{"repository ", " not found"}, {"image ", " not found"}, {"tag ", " not found"},
	{"pull image ", ": "}, {"pull failed for ", " because "}, {"is valid for ", ", not "}, {"pulling from host ", ""},
	{"mirrors also failed: [", ""}, {"but wanted to match ", ""}, {"[manifests ", "]"}, {"artifact ", " not found"},
	{"socks connect tcp ", ": "}, {"dial tcp: address ", ": "}, {"bearer token resource: ", ""},
}

func endsFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}

// serverWords returns where a registry's own words start in a masked text, which
// go to its end; -1 if there are none. So the runtimes quote the body of an
// answer: with its code, or as it is.
func serverWords(masked string) int {
	first := -1
	note := func(at int) {
		if at >= 0 && (first < 0 || at < first) {
			first = at
		}
	}
	for _, lead := range []string{"reading manifest _ in _: ", "fetching blob: ", "invalid username/password: ", "request to url: ", "request to http-url: ", "response from daemon: ", "url: "} {
		_, after, found := strings.Cut(masked, lead)
		if !found {
			continue
		}
		if code, _, ok := strings.Cut(after, ": "); ok && isRegistryCode(code, strings.HasPrefix(lead, "request")) {
			note(len(masked) - len(after) + len(code))
		}
	}
	if at := strings.Index(masked, "statuscode: "); at >= 0 {
		if quote := strings.Index(masked[at:], `, "`); quote == len("statuscode: 404") {
			note(at + quote)
		}
	}
	for _, lead := range []string{"server message: ", "error from registry: "} {
		if at := strings.Index(masked, lead); at >= 0 {
			note(at + len(lead))
		}
	}
	return first
}

// isRegistryCode reports whether s is a code of a registry's, or ends with one if a
// status comes before it. containerd puts a line break between them.
func isRegistryCode(s string, afterStatus bool) bool {
	return slices.ContainsFunc(registryCodes, func(code string) bool {
		return s == code || afterStatus && strings.HasSuffix(s, code)
	})
}

// registryCodes are the codes of the distribution specification, as containers/image
// writes them.
//
//nolint:gochecknoglobals // never written
var registryCodes = []string{
	"unauthorized", "denied", "unsupported", "toomanyrequests", "unavailable", "unknown", "digest invalid", "size invalid",
	"name invalid", "tag invalid", "name unknown", "manifest unknown", "manifest invalid", "manifest unverified",
	"manifest blob unknown", "blob unknown",
}

// quotedName returns q if it can be the name of something, "" if it is prose or
// a code of the registry's ("DENIED").
func quotedName(q string) string {
	if strings.HasSuffix(q, " ") {
		return "" // a quote inside a quote: err="Get "https://…
	}
	q = strings.TrimLeft(q, " ")
	if len(q) < 2 || strings.HasPrefix(q, "ErrImage") || strings.Contains(q, " ") || isCode(q) || isMediaType(q) {
		return ""
	}
	return q
}

func isCode(s string) bool {
	return strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == ""
}

func isMediaType(s string) bool {
	return strings.HasPrefix(s, "application/") || strings.HasPrefix(s, "text/")
}

// plainName returns t if it is a reference, a path or a URL, and "" otherwise.
func plainName(t string) string {
	switch strings.ToLower(t[:min(len(t), 24)]) {
	case "i/o", "input/output", "and/or", "net/http", "fork/exec", "username/password", "http/1.x", "http/1.1", "archive/tar":
		return ""
	case "<image>", "<registry>", "<repo>", "<repository>", "<name>", "<host>", "<url>", "<digest>", "<redacted>":
		return t
	}
	if !strings.Contains(t, "/") || isMediaType(t) || strings.Contains(t, "</") || strings.Contains(t, "/>") {
		return ""
	}
	return t
}

// standIn returns what replaces a name. A URL may have lost all behind its
// scheme, or its scheme.
func standIn(name string) string {
	switch {
	case name == "":
		return ""
	case hasPrefixFold(name, "http://unix/"), hasPrefixFold(name, "http://%2F"):
		return "_.sock" // asked through a socket: nydusd's, Docker's
	case hasPrefixFold(name, "http:"):
		return "http-url"
	case hasPrefixFold(name, "https:"), strings.Contains(name, "/v2/"):
		return "url"
	case strings.HasSuffix(name, ".sock") && (strings.HasPrefix(name, "/") || strings.HasPrefix(name, "unix:")):
		return "_.sock"
	case strings.HasPrefix(name, "/") && strings.Contains(name, "/certs.d/"):
		return "_ certs.d"
	default:
		return "_"
	}
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// indexFold is strings.Index without regard to case; lowered is in lower case.
func indexFold(s, lowered string) int {
	first := lowered[:1]
	if first != strings.ToUpper(first) {
		first += strings.ToUpper(first)
	}
	for i := 0; ; i++ {
		n := strings.IndexAny(s[i:], first)
		if n < 0 {
			return -1
		}
		if i += n; hasPrefixFold(s[i:], lowered) {
			return i
		}
	}
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// phrases finds phrases in a text. It lists the places where a word, or a
// punctuation mark, starts by the two bytes that stand there; a phrase is then
// compared at few places only.
type phrases struct {
	text string
	head [512]int32
	next []int32
}

func newPhrases(text string) *phrases {
	p := &phrases{text: text, next: make([]int32, len(text))}
	for i := len(text) - 2; i >= 0; i-- {
		if i > 0 && isAlnum(text[i]) && isAlnum(text[i-1]) {
			continue
		}
		slot := pair(text[i], text[i+1])
		p.next[i] = p.head[slot]
		p.head[slot] = int32(i) + 1 //nolint:gosec // texts are at most 64 KiB
	}
	return p
}

func pair(a, b byte) int { return (int(a)*31 + int(b)) & 511 }

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z'
}

// any reports whether one of the phrases in list, which "|" separates, is there.
func (p *phrases) any(list string) bool {
	for len(list) > 1 {
		end := strings.IndexByte(list, '|')
		if end < 0 {
			end = len(list)
		}
		// Most phrases start with letters that no word of the text starts with.
		if p.head[pair(list[0], list[1])] != 0 && p.has(list[:end]) {
			return true
		}
		list = list[min(end+1, len(list)):]
	}
	return false
}

// has reports whether phrase is there. A "$" at its end stands for the end of a
// word.
func (p *phrases) has(phrase string) bool {
	whole := strings.HasSuffix(phrase, "$")
	phrase = strings.TrimSuffix(phrase, "$")
	if len(phrase) < 2 {
		return false
	}
	for at := p.head[pair(phrase[0], phrase[1])]; at != 0; at = p.next[at-1] {
		here := p.text[at-1:]
		if !strings.HasPrefix(here, phrase) {
			continue
		}
		if !whole || len(here) == len(phrase) || !isAlnum(here[len(phrase)]) {
			return true
		}
	}
	return false
}
