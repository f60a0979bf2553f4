package diagnosis

import "strings"

// redacted stands for what was taken out.
const redacted = "REDACTED"

// Redact takes credentials out of s: the query and the user info of every URL,
// the values of passwords, tokens and signatures, and everything that looks
// like a token. Redacting twice changes nothing.
func Redact(s string) string {
	s = bound(s)
	for range 4 { // what one pass joins, the next one sees; mostly one suffices
		next := redactTokens(redactPairs(redactURLs(s)))
		if next == s {
			break
		}
		s = next
	}
	return s
}

// redactURLs replaces user info and queries. It looks at words, so it finds
// them in URLs without a scheme as well.
func redactURLs(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for s != "" {
		n := strings.IndexFunc(s, endsURL)
		if n < 0 {
			n = len(s)
		}
		b.WriteString(redactURL(s[:n]))
		if n < len(s) {
			b.WriteByte(s[n])
			n++
		}
		s = s[n:]
	}
	return b.String()
}

// endsURL tells the characters that a URL ends at; all are one byte.
func endsURL(r rune) bool {
	return r <= ' ' || r == '"' || r == '\'' || r == '`' || r == '<' || r == '>'
}

// redactURL redacts one word.
func redactURL(word string) string {
	word = redactUser(word)
	n := strings.IndexByte(word, '?')
	if n < 0 || !strings.Contains(word[n:], "=") && !strings.Contains(word[:n], "/") {
		return word
	}
	tail := word[len(strings.TrimRight(word, ":,;.)]}")):]
	if n+1+len(tail) >= len(word) {
		return word
	}
	return word[:n+1] + redacted + tail
}

// redactUser replaces what stands between "://" and the last "@" of the host
// part, and "user:password@host" without a scheme.
func redactUser(word string) string {
	before, rest, found := strings.Cut(word, "://")
	if !found {
		user, host, at := strings.Cut(word, "@")
		if at && strings.Contains(user, ":") && !strings.Contains(user, "/") && !strings.HasPrefix(host, "sha") {
			return redacted + "@" + host
		}
		return word
	}
	var b strings.Builder
	b.WriteString(before)
	for found {
		b.WriteString("://")
		end := strings.IndexAny(rest, "/?#")
		if end < 0 {
			end = len(rest)
		}
		if at := strings.LastIndexByte(rest[:end], '@'); at >= 0 {
			b.WriteString(redacted)
			rest = rest[at:]
		}
		before, rest, found = strings.Cut(rest, "://")
		b.WriteString(before)
	}
	return b.String()
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
		key, quoted := keyBefore(s[:i])
		if !secretKey(key) {
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

// keyBefore returns the word, in lower case, that s ends with, and whether it
// is quoted.
func keyBefore(s string) (key string, quoted bool) {
	s = s[max(0, len(s)-48):]
	trimmed := strings.TrimRight(s, `"'\`)
	quoted = len(trimmed) < len(s)
	start := len(trimmed)
	for start > 0 && (isAlnum(trimmed[start-1]) || trimmed[start-1] == '_' || trimmed[start-1] == '-') {
		start--
	}
	return strings.ToLower(trimmed[start:]), quoted
}

func secretKey(key string) bool {
	switch key {
	case "":
		return false
	case "pwd", "pass", "sig", "auth", "authorization", "key":
		return true
	}
	for _, part := range []string{"password", "passwd", "secret", "signature", "apikey", "api_key", "api-key", "accountkey", "access_key", "accesskey", "credential"} {
		if strings.Contains(key, part) {
			return true
		}
	}
	return strings.HasSuffix(key, "token") || strings.HasSuffix(key, "registry-auth") || strings.HasSuffix(key, "authorization")
}

// valueAfter returns where the secret value of key starts and ends in s. After
// a colon and a space stands prose as often as a value ("invalid
// username/password: unauthorized: …"), so there the word has to look like one.
func valueAfter(s string, i int, colon, quoted bool, key string) (from, to int) {
	spaced := i
	for i < len(s) && s[i] == ' ' && i < spaced+4 {
		i++
	}
	if i >= len(s) {
		return 0, 0
	}
	if n := openingQuote(s[i:]); n > 0 {
		return i + n, i + n + closingQuote(s[i+n:], s[i+n-1])
	}
	end := i + wordEnd(s[i:])
	switch {
	case i == spaced:
		if isURLColon(s, i) {
			return 0, 0
		}
		return i, end
	case colon && strings.HasSuffix(key, "authorization") && isScheme(s[i:end]):
		next := end
		for next < len(s) && s[next] == ' ' {
			next++
		}
		return i, max(end, next+wordEnd(s[next:]))
	case !colon || quoted || proseOrSecret(s[i:], end-i, key):
		return i, end
	}
	return 0, 0
}

// isURLColon tells that the colon before s[i] belongs to "scheme://".
func isURLColon(s string, i int) bool { return strings.HasPrefix(s[i:], "//") }

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

func closingQuote(s string, quote byte) int {
	if before, _, ok := strings.Cut(s, string(quote)); ok {
		return len(strings.TrimRight(before, `\`))
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
	switch strings.ToLower(word) {
	case "bearer", "basic", "digest", "negotiate", "token", "aws4-hmac-sha256":
		return true
	}
	return false
}

// proseOrSecret tells whether the n bytes at the start of s, which stand after
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
			scheme = scheme && s[m] == ' '
			m++
		}
		b.WriteString(s[n:m])
		s = s[m:]
	}
	return b.String()
}

func isTokenByte(c byte) bool {
	return isAlnum(c) || strings.IndexByte("-_.~+/=", c) >= 0
}

func isAuthScheme(word string) bool {
	return strings.EqualFold(word, "bearer") || strings.EqualFold(word, "basic")
}

// plainAfterScheme tells the words that follow a scheme's name in prose.
func plainAfterScheme(word string) bool {
	switch strings.ToLower(strings.TrimRight(word, ".")) {
	case "authentication", "authorization", "token", "tokens", "credentials", "challenge", "scheme", "header":
		return true
	}
	return strings.HasPrefix(word, "realm=")
}

// looksSecret tells tokens by the marks that their makers give them, and long
// runs of base64.
func looksSecret(word string) bool {
	for _, prefix := range []string{"eyJ", "AKIA", "ASIA", "ghp_", "gho_", "ghs_", "ghu_", "github_pat_", "glpat-", "gldt-", "dckr_pat_", "ya29.", "xoxb-", "hvs."} {
		if at := strings.Index(word, prefix); at >= 0 && len(word)-at >= 16 && (at == 0 || !isAlnum(word[at-1])) {
			return true
		}
	}
	return len(word) >= 128 && strings.Count(word, "/")*20 < len(word) && !strings.Contains(word, "://")
}
