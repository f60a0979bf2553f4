package message

import (
	"slices"
	"strings"

	"github.com/whypull/whypull/agent/diagnosis"
)

// redacted stands for what was taken out.
const redacted = diagnosis.Redacted

// Redact takes credentials out of s, as Read does: the query and the user info of
// every URL, the values of passwords, tokens and signatures, and everything that
// looks like a token. Redacting twice changes nothing.
func Redact(s string) string {
	s = bound(s)
	for range 4 { // what one pass joins, the next one sees; mostly one suffices
		next := redactTokens(redactPairs(redactFlags(RedactImages(s))))
		if next == s {
			break
		}
		s = next
	}
	return s
}

// RedactImages replaces user info and queries of the URLs and image names in a text. It
// looks at words, so it finds them in URLs without a scheme as well.
func RedactImages(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for s != "" {
		n := 0
		for n < len(s) && !endsURL(s[n]) {
			n++
		}
		b.WriteString(RedactImage(s[:n]))
		if n < len(s) {
			b.WriteByte(s[n])
			n++
		}
		s = s[n:]
	}
	return b.String()
}

// endsURL reports whether a URL ends at r; all are one byte.
func endsURL(r byte) bool {
	return r <= ' ' || r == '"' || r == '\'' || r == '`' || r == '<' || r == '>'
}

// RedactImage replaces the credentials in one word, such as an image name: "user:password@host/path",
// with or without a scheme, and a query. A name that parses has none and stays as it is.
func RedactImage(word string) string {
	if !strings.ContainsAny(word, `/@?%\`) {
		return word
	}
	word = redactEncoded(redactUser(word))
	n, mark := queryStart(word)
	if n < 0 || !strings.Contains(word[n:], "=") && !strings.Contains(word[n:], "%3") && !strings.Contains(word[:n], "/") {
		return word
	}
	tail := word[len(strings.TrimRight(word, ":,;.)]}")):]
	if n+mark+len(tail) >= len(word) {
		return word
	}
	return word[:n+mark] + redacted + tail
}

// queryStart returns where the query's mark stands and its length; the mark may
// be encoded for a URL or for JSON.
func queryStart(word string) (at, length int) {
	at = -1
	if !strings.ContainsAny(word, `?%\`) {
		return at, 0
	}
	for _, mark := range []string{"?", "%3f", `\u003f`} {
		if n := indexFold(word, mark); n >= 0 && (at < 0 || n < at) {
			at, length = n, len(mark)
		}
	}
	return at, length
}

// redactEncoded replaces the user info of a URL that is encoded for another's
// query.
func redactEncoded(word string) string {
	const scheme, at = "%3a%2f%2f", "%40"
	if strings.IndexByte(word, '%') < 0 {
		return word
	}
	from := indexFold(word, scheme)
	if from < 0 {
		return word
	}
	from += len(scheme)
	if n := indexFold(word[from:], at); n >= 0 {
		return word[:from] + redacted + word[from+n:]
	}
	return word
}

// redactUser replaces the user info of each URL in a word, and "user:password@host" and
// "token@host/path" without a scheme.
func redactUser(word string) string {
	before, rest, found := strings.Cut(word, "://")
	if !found {
		slashes := word[:len(word)-len(strings.TrimLeft(word, "/"))]
		if at := loginEnd(word[len(slashes):]); at > 0 {
			return slashes + redacted + word[len(slashes)+at:]
		}
		return word
	}
	var b strings.Builder
	b.WriteString(before)
	for found {
		b.WriteString("://")
		image := strings.HasSuffix(before, "docker")
		before, rest, found = strings.Cut(rest, "://")
		if image && !strings.ContainsAny(before, "@%/?") {
			b.WriteString(before) // an image and its tag
			continue
		}
		b.WriteString(redactAuthority(before))
	}
	return b.String()
}

// loginEnd returns where the @ behind a login stands; 0 if there is none. The @ of a
// digest has no path behind it and a path before it, or the digest's algorithm behind it.
func loginEnd(s string) int {
	if at := strings.LastIndexByte(s[:max(strings.LastIndexByte(s, '/'), 0)], '@'); at > 0 && !isDigest(s[at+1:]) {
		if strings.Contains(s[:at], ":") || !strings.Contains(s[:at], "/") {
			return at
		}
	}
	user, host, found := strings.Cut(s, "@")
	if found && strings.Contains(user, ":") && !strings.Contains(user, "/") && !isDigest(host) {
		return len(user)
	}
	return 0
}

// isDigest reports whether s begins with a digest, which may be cut off.
func isDigest(s string) bool {
	algorithm, _, _ := strings.Cut(s, ":")
	return len(algorithm) >= len("sha") && slices.ContainsFunc([]string{"sha256", "sha384", "sha512"}, func(whole string) bool {
		return strings.HasPrefix(whole, algorithm)
	})
}

// redactAuthority replaces the user info at the start of s, which is a URL
// behind its scheme. What follows a colon and is no port is a password whose end
// is cut off, or has a character that ends a host.
func redactAuthority(s string) string {
	end := strings.IndexAny(s, "/?#")
	if end < 0 {
		end = len(s)
	}
	host := s[:end]
	if at := strings.LastIndexByte(host, '@'); at >= 0 {
		return redacted + s[at:]
	}
	if at := indexFold(host, "%40"); at >= 0 {
		return redacted + s[at:]
	}
	if host == redacted || isHostPort(strings.TrimRight(host, ":,;.)]}…")) {
		return s
	}
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		return redacted + s[at:]
	}
	return redacted + s[end:]
}

// isHostPort reports whether nothing but a port follows the host in s.
func isHostPort(s string) bool {
	if strings.HasPrefix(s, "[") {
		return true
	}
	_, port, found := strings.Cut(s, ":")
	return !found || strings.Trim(port, "0123456789") == ""
}

// redactFlags replaces the value behind a command line's flag for a secret, and
// behind netrc's "login NAME password".
func redactFlags(s string) string {
	if !strings.Contains(s, "--") && !strings.Contains(s, "login ") {
		return s
	}
	words := strings.Split(s, " ")
	login := false
	for i, word := range words[:len(words)-1] {
		login = login || word == "login"
		flag := strings.TrimLeft(word, "-")
		if secretFlag(flag, len(word)-len(flag), login) && words[i+1] != "" && !strings.HasPrefix(words[i+1], "-") {
			words[i+1] = redacted
		}
	}
	return strings.Join(words, " ")
}

// secretFlag reports whether a word of a command line, behind so many dashes,
// announces a secret. login reports whether the command logs in.
func secretFlag(flag string, dashes int, login bool) bool {
	switch dashes {
	case 0:
		return login && flag == "password"
	case 1:
		return login && flag == "p"
	default:
		return flag == "creds" || !strings.Contains(flag, "=") && secretKey(strings.ToLower(flag)) && !strings.Contains(flag, "stdin")
	}
}

// redactPairs replaces the values of key=value, key:value and "key": "value"
// where the key is one for a secret.
func redactPairs(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	done := 0
	for i := 0; i < len(s); i++ {
		if s[i] != '=' && s[i] != ':' {
			continue
		}
		key, quoted := keyBefore(s[:i], s[i] == ':')
		if !secretKey(key) || failsToGet(s[:i], s[i:]) || s[i-1] == ' ' && s[i] == ':' && openingQuote(strings.TrimLeft(s[i+1:min(len(s), i+9)], " ")) == 0 {
			continue
		}
		from, to := valueAfter(s, i+1, s[i] == ':', quoted, key)
		if to <= from || from < done {
			continue
		}
		b.WriteString(s[done:from])
		b.WriteString(redacted)
		done = to
		i = to - 1
	}
	b.WriteString(s[done:])
	return b.String()
}

// failsToGet reports whether an error of containers/image stands around a colon:
// no password follows its words.
func failsToGet(before, after string) bool {
	if !strings.HasSuffix(before, "getting username and password") {
		return false
	}
	return slices.ContainsFunc(prose, func(words string) bool { return strings.HasPrefix(after, words) })
}

//nolint:gochecknoglobals // never written
var prose = []string{": reading JSON file ", ": illegal base64 data", ": error getting credentials", ": unmarshaling JSON"}

// keyBefore returns the word, in lower case, that s ends with, and whether it
// is quoted. Before a colon, the last part of a path is an image's name.
func keyBefore(s string, colon bool) (key string, quoted bool) {
	s = strings.TrimRight(s[max(0, len(s)-48):], " ")
	trimmed := strings.TrimRight(s, `"'\`)
	quoted = len(trimmed) < len(s)
	start := len(trimmed)
	for start > 0 && (isAlnum(trimmed[start-1]) || trimmed[start-1] == '_' || trimmed[start-1] == '-') {
		start--
	}
	if colon && start > 0 && trimmed[start-1] == '/' {
		return "", false
	}
	return strings.ToLower(strings.TrimLeft(trimmed[start:], "-")), quoted
}

func secretKey(key string) bool {
	switch key {
	case "":
		return false
	case "pwd", "pass", "sig", "auth", "_auth", "authorization", "key", "bearer", "cookie", "set-cookie", "creds":
		return true
	}
	return slices.ContainsFunc(secretKeyParts, func(part string) bool { return strings.Contains(key, part) }) ||
		strings.HasSuffix(key, "token") || strings.HasSuffix(key, "registry-auth") || strings.HasSuffix(key, "authorization")
}

//nolint:gochecknoglobals // never written
var secretKeyParts = []string{"password", "passwd", "secret", "signature", "apikey", "api_key", "api-key", "accountkey", "access_key", "accesskey", "credential", "passphrase", "assertion", "art-api"}

// valueAfter returns where the secret value of key starts and ends in s. After
// a colon and a space stands prose as often as a value ("invalid
// username/password: unauthorized: …"), so there the word has to look like one.
func valueAfter(s string, i int, colon, quoted bool, key string) (from, to int) {
	spaced := i
	for i < len(s) && s[i] == ' ' && i < spaced+4 {
		i++
	}
	list := i
	for i < len(s) && s[i] == '[' { // a header's values, as Go prints them
		i++
	}
	if i >= len(s) {
		return 0, 0
	}
	if n := openingQuote(s[i:]); n > 0 {
		return i + n, i + n + closingQuote(s[i+n:], s[i+n-1], n-1)
	}
	end := i + wordEnd(s[i:])
	switch {
	case isScheme(s[i:end]) && (i == spaced || i > list || strings.HasSuffix(key, "authorization")):
		next := end
		for next < len(s) && s[next] == ' ' {
			next++
		}
		return i, max(end, next+wordEnd(s[next:]))
	case i == spaced:
		if strings.HasPrefix(s[i:], "//") {
			return 0, 0
		}
		return i, end
	case !colon || quoted || proseOrSecret(s[i:], end-i, key):
		return i, end
	}
	return 0, 0
}

func openingQuote(s string) int {
	n := 0
	for n < len(s) && s[n] == '\\' && n < 4 {
		n++
	}
	if n < len(s) && (s[n] == '"' || s[n] == '\'') {
		return n + 1
	}
	return 0
}

// closingQuote returns where the string that starts s ends. Its quotes are
// behind so many backslashes; those inside it are behind more.
func closingQuote(s string, quote byte, backslashes int) int {
	run := 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			run++
			continue
		case s[i] == quote && (run <= backslashes || backslashes == 0 && run%2 == 0):
			return i - run
		}
		run = 0
	}
	return len(s)
}

func wordEnd(s string) int {
	if n := strings.IndexAny(s, " &,;\"'`})]<>"); n >= 0 {
		return n
	}
	return len(s)
}

func isScheme(word string) bool {
	return slices.Contains([]string{"bearer", "basic", "digest", "negotiate", "token", "aws4-hmac-sha256"}, strings.ToLower(word))
}

// proseOrSecret reports whether the n bytes at the start of s, which stand after
// "key: ", are a secret rather than the next part of an error.
func proseOrSecret(s string, n int, key string) bool {
	word := s[:n]
	if strings.HasSuffix(word, ":") || word == "" {
		return false
	}
	if strings.HasSuffix(key, "password") || strings.HasSuffix(key, "passwd") {
		return true
	}
	return len(word) >= 8 && strings.IndexFunc(word, func(r rune) bool { return r < 'a' || r > 'z' }) >= 0
}

// redactTokens replaces words that are tokens by their looks, and the word
// after "Bearer" or "Basic".
func redactTokens(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	scheme := false
	for s != "" {
		n := 0
		for n < len(s) && isTokenByte(s[n]) {
			n++
		}
		word := s[:n]
		if scheme && !plainAfterScheme(word) && len(word) >= 6 || looksSecret(word) {
			b.WriteString(redacted)
		} else {
			b.WriteString(word)
		}
		if n > 0 {
			scheme = isAuthScheme(word)
		}
		m := n
		for m < len(s) && !isTokenByte(s[m]) {
			scheme = scheme && (s[m] == ' ' || s[m] == '%')
			m++
		}
		b.WriteString(s[n:m])
		s = s[m:]
	}
	return b.String()
}

func isTokenByte(c byte) bool {
	switch c {
	case '-', '_', '.', '~', '+', '/', '=':
		return true
	}
	return isAlnum(c)
}

func isAuthScheme(word string) bool {
	word = strings.TrimPrefix(word, "20") // of "%20"
	return strings.EqualFold(word, "bearer") || strings.EqualFold(word, "basic") || word == "Negotiate" || word == "NTLM"
}

// plainAfterScheme reports whether word follows a scheme's name in prose.
func plainAfterScheme(word string) bool {
	switch strings.ToLower(strings.TrimRight(word, ".")) {
	case "authentication", "authorization", "token", "tokens", "credentials", "challenge", "scheme", "header":
		return true
	}
	return strings.HasPrefix(word, "realm=")
}

// looksSecret recognizes tokens by the marks that their makers give them, and long
// runs of base64.
func looksSecret(word string) bool {
	if len(word) < 16 {
		return false
	}
	for _, prefix := range tokenPrefixes {
		if at := strings.Index(word, prefix); at >= 0 && len(word)-at >= 16 && (at == 0 || !isAlnum(word[at-1])) {
			return true
		}
	}
	return len(word) >= 128 && strings.Count(word, "/")*20 < len(word) && !strings.Contains(word, "://")
}

// tokenPrefixes start the tokens of clouds, registries and code hosts.
//
//nolint:gochecknoglobals // never written
var tokenPrefixes = []string{
	"eyJ", "AKIA", "ASIA", "ghp_", "gho_", "ghs_", "ghu_", "ghr_", "github_pat_",
	"glpat-", "gldt-", "glcbt-", "glrt-", "dckr_pat_", "dckr_oat_", "ya29.", "AIza", "xoxb-", "hvs.", "hf_", "npm_", "AKCp", "cmVmdGtu", "dop_v1_", "sq0csp-",
}
