package diagnosis

import (
	"net"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxText is the length of a Reading's text in bytes.
const maxText = 1024

// shorten cuts s at a rune and removes the characters that steer a terminal.
func shorten(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
	if len(s) <= maxText {
		return s
	}
	const more = "…"
	cut := maxText - len(more)
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + more
}

// between returns the text behind the first of the leads that is in s, up to
// the first byte in stops.
func between(s, stops string, leads ...string) string {
	for _, lead := range leads {
		_, after, found := strings.Cut(s, lead)
		if !found {
			continue
		}
		after = after[:min(len(after), maxQuoted)]
		if n := strings.IndexAny(after, stops); n >= 0 {
			after = after[:n]
		}
		if after = strings.TrimRight(strings.TrimSpace(after), ":,;."); after != "" {
			return after
		}
	}
	return ""
}

// imageIn returns the image that the text says failed.
func imageIn(s string) string {
	image := between(s, `"`, `ull image "`, `ulling image "`, `ontainer image "`, `unpack image "`, `resolve reference "`,
		`resolve image "`, `nspect image "`, `parse image name "`, `parse image reference "`, `image tag "`, `sandbox image "`)
	if image == "" {
		image = between(s, " ,", "image pull failed for ", "docker://", "manifest for ", "pull access denied for ")
	}
	return Redact(image)
}

// hostIn returns the host of the request that failed: of the first URL that an
// error follows, else one that is named in words.
func hostIn(s string) string {
	for rest := s; ; {
		before, after, found := strings.Cut(rest, "://")
		if !found {
			break
		}
		end := strings.IndexAny(after, " \"'")
		if end < 0 {
			end = len(after)
		}
		if isHTTP(before) && failed(after[max(end-1, 0):]) {
			return authority(after[:end])
		}
		rest = after[end:]
	}
	return authority(between(s, " \"'", "pinging container registry ", "pulling from host ", "lookup "))
}

func isHTTP(before string) bool {
	return strings.HasSuffix(before, "http") || strings.HasSuffix(before, "https")
}

// failed tells whether a colon, and so an error, comes after the URL that ends
// at the start of s.
func failed(s string) bool {
	return strings.HasPrefix(s, ": ") || len(s) > 2 && (s[1] == '"' || s[1] == '\'') && strings.HasPrefix(s[2:], ":")
}

// authority returns host[:port] of a URL without its scheme.
func authority(s string) string {
	if n := strings.IndexAny(s, "/?#\\"); n >= 0 {
		s = s[:n]
	}
	s = s[strings.LastIndexByte(s, '@')+1:]
	s = strings.TrimRight(s, ":,;.)]}")
	if strings.HasPrefix(s, "[") && !strings.Contains(s, "]") {
		s += "]"
	}
	if strings.ContainsAny(s, "<>()…{}$ ") {
		return ""
	}
	return s
}

// resolverIn returns the server in Go's "lookup HOST on SERVER:53".
func resolverIn(s string) string {
	_, after, found := strings.Cut(s, "lookup ")
	if !found {
		return ""
	}
	words := strings.SplitN(after, " ", 4)
	if len(words) < 3 || words[1] != "on" {
		return ""
	}
	return hostPort(words[2])
}

// proxyIn returns the address in Go's "proxyconnect tcp: dial tcp ADDRESS: …";
// only a host when the proxy's name was not found.
func proxyIn(s string) string {
	_, after, found := strings.Cut(s, "proxyconnect tcp: dial tcp")
	if !found {
		return ""
	}
	after = strings.TrimPrefix(strings.TrimLeft(after, " :"), "lookup ")
	word, _, _ := strings.Cut(after, " ")
	if at := hostPort(word); at != "" {
		return at
	}
	return authority(word)
}

// addressIn returns the address in Go's "dial tcp ADDRESS: …" and in
// "read tcp FROM->ADDRESS: …".
func addressIn(s string) string {
	if strings.Contains(s, "proxyconnect") {
		return ""
	}
	if at := hostPort(between(s, " ", "dial tcp ")); at != "" {
		return at
	}
	return hostPort(between(s, " ", "->"))
}

// hostPort returns s without the colon behind it if it is an address and a port.
func hostPort(s string) string {
	s = strings.TrimRight(s, ":,")
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return ""
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return ""
	}
	return s
}

// platformIn returns the platform that the runtime looked for.
func platformIn(s string) string {
	if p := between(s, " ", "no matching manifest for ", "no child with platform "); p != "" {
		return p
	}
	arch := strings.Trim(between(s, " ,", "for architecture "), `"`)
	if arch == "" {
		return ""
	}
	if os := strings.Trim(between(s, " ,", "OS "), `"`); os != "" {
		return os + "/" + arch
	}
	return arch
}

// pathIn returns the file in "write PATH: no space left on device" and its like.
func pathIn(s string) string {
	before, _, found := strings.Cut(s, ": no space left on device")
	if !found {
		if before, _, found = strings.Cut(s, ": disk quota exceeded"); !found {
			return ""
		}
	}
	word := before[strings.LastIndexByte(before, ' ')+1:]
	if !strings.HasPrefix(word, "/") || len(word) > maxText {
		return ""
	}
	return word
}

// validityIn returns the times in crypto/x509's "current time A is after B" and
// "current time A is before B".
func validityIn(s string) (clock, notBefore, notAfter time.Time) {
	_, after, found := strings.Cut(s, "current time ")
	if !found {
		return
	}
	words := strings.SplitN(after, " ", 5)
	if len(words) < 4 || words[1] != "is" {
		return
	}
	clock, limit := instant(words[0]), instant(words[3])
	if words[2] == "before" {
		return clock, limit, notAfter
	}
	return clock, notBefore, limit
}

func instant(s string) time.Time {
	t, err := time.Parse(time.RFC3339, strings.TrimRight(s, `,;."')]`))
	if err != nil {
		return time.Time{}
	}
	return t
}

// certificateNamesIn returns the names in crypto/x509's "certificate is valid
// for A, B, not C".
func certificateNamesIn(s string) []string {
	_, after, found := strings.Cut(s, "certificate is valid for ")
	if !found {
		return nil
	}
	list, _, found := strings.Cut(after[:min(len(after), maxQuoted)], ", not ")
	if !found {
		return nil
	}
	return strings.SplitN(list, ", ", maxParts)
}

// retryAfterIn returns the seconds of a Retry-After in the text.
func retryAfterIn(masked string) time.Duration {
	word := between(masked, " s", "retry-after: ", "retry after ", "retry in ", "try again in ")
	n, err := strconv.Atoi(word)
	if err != nil || n < 0 || n > 7*24*3600 {
		return 0
	}
	return time.Duration(n) * time.Second
}

// httpStatus returns the first HTTP error status in a masked text. A number
// counts only beside a word that makes it one.
func httpStatus(s string) int {
	for i := 0; i+3 <= len(s); i++ {
		if s[i] != '4' && s[i] != '5' || !isDigit(s[i+1]) || !isDigit(s[i+2]) {
			continue
		}
		if i > 0 && (isAlnum(s[i-1]) || s[i-1] == '.' || s[i-1] == '-') {
			continue
		}
		ends := i+3 == len(s) || !isAlnum(s[i+3])
		if ends && statusBefore(s[max(0, i-40):i]) || statusAfter(s[i+3:]) {
			return int(s[i]-'0')*100 + int(s[i+1]-'0')*10 + int(s[i+2]-'0')
		}
	}
	return 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func statusBefore(s string) bool {
	s = strings.TrimRight(s, ": =")
	for _, word := range []string{"status", "statuscode", "status code", "http", "http code", "error code", "response code", "url"} {
		if strings.HasSuffix(s, word) {
			return true
		}
	}
	return false
}

// statusAfter knows the reason phrases of RFC 9110. A wrapped text may have
// blanks anywhere, so blanks do not count.
func statusAfter(s string) bool {
	s = strings.ReplaceAll(strings.TrimLeft(s[:min(len(s), 24)], " ("), " ", "")
	for _, word := range []string{
		"badrequest", "unauthorized", "forbidden", "notfound", "methodnot", "proxyauth", "requesttimeout", "gone", "toomany",
		"precondition", "unavailablefor", "internalserver", "notimplemented", "badgateway", "serviceunavail",
		"servicetemporarily", "gatewaytime",
	} {
		if strings.HasPrefix(s, word) {
			return true
		}
	}
	return false
}
