package message

import (
	"net"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxText is the length of the facts' text in bytes.
const maxText = 1024

// shorten cuts s at a rune and removes the characters that steer a terminal.
func shorten(s string) string {
	if len(s) <= maxText && isTidy(s) {
		return s
	}
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
	return redact(image)
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
	if strings.ContainsAny(s, "<>()…{}$% ") || !isHostPort(s) {
		return "" // a placeholder, or a password whose end is not there
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
	word := between(s, " ", "proxyconnect tcp: dial tcp: lookup ", "proxyconnect tcp: dial tcp ", "socks connect tcp ")
	word, _, _ = strings.Cut(word, "->")
	if word == "" {
		word = between(s, " \"'", "invalid proxy address \"", "connect to proxy ", "proxy server ")
		_, after, found := strings.Cut(word, "://")
		if found {
			word = after
		}
	}
	return hostName(authority(word))
}

// hostName returns s if it can be a host or host:port, "" otherwise.
func hostName(s string) string {
	const maxHost = 255 + len(":65535")
	if len(s) > maxHost || !strings.ContainsAny(s, ".:") {
		return ""
	}
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && strings.IndexByte(".-_:[]", s[i]) < 0 {
			return ""
		}
	}
	return s
}

// mirrorHosts returns the hosts in containers/image's list of failed mirrors,
// "MIRROR/REF: error] [MIRROR/REF: error".
func mirrorHosts(list string) []string {
	var hosts []string
	for _, entry := range strings.SplitN(list, "] [", maxParts) {
		word, _, _ := strings.Cut(entry[:min(len(entry), maxQuoted)], " ")
		if host := hostName(authority(word)); host != "" {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// blobIn returns the digest behind the words that name a blob, a layer or a
// config. containerd's refs join the kind and the digest ("layer-sha256:…").
func blobIn(s string) string {
	for rest := s; ; {
		before, after, found := strings.Cut(rest, "sha256:")
		if !found {
			return ""
		}
		n := 0
		for n < len(after) && n < 64 && isHex(after[n]) {
			n++
		}
		if n == 64 && namesBlob(before) {
			return "sha256:" + after[:n]
		}
		rest = after[n:]
	}
}

func isHex(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' }

// namesBlob tells whether a blob's digest comes after the words that s ends with.
func namesBlob(s string) bool {
	s = strings.ToLower(s[max(0, len(s)-96):])
	if open := strings.LastIndexByte(s, '('); open >= 0 && isMediaType(s[open+1:]) {
		return true // "failed to extract layer (application/… sha256:…)"
	}
	s = strings.TrimRight(s, ` "'\`)
	for _, word := range []string{"blob", "/blobs/", "layer", "layer-", "config-", "descriptor", "content digest", "digest for"} {
		if strings.HasSuffix(s, word) {
			return true
		}
	}
	return false
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

// retryAfterIn returns how long the text says to wait: the seconds of a
// Retry-After, a duration as Go writes it, or a number and its unit.
func retryAfterIn(masked string) time.Duration {
	words := strings.Fields(between(masked, ",;()[]{}\"'\\", "retry-after: ", "retry-after:", "retry after ", "retry in ", "try again in ", "retry again in "))
	if len(words) == 0 {
		return 0
	}
	wait, err := time.ParseDuration(words[0])
	if err != nil {
		n, err := strconv.ParseUint(words[0], 10, 24)
		if err != nil {
			return 0
		}
		wait = time.Duration(n) * unitIn(words[1:])
	}
	const longest = 7 * 24 * time.Hour
	if wait < 0 || wait > longest {
		return 0
	}
	return wait
}

// unitIn returns the unit of time that the first of words names, else a second.
func unitIn(words []string) time.Duration {
	if len(words) > 0 {
		switch strings.TrimRight(words[0], "s.") {
		case "minute", "min":
			return time.Minute
		case "hour":
			return time.Hour
		}
	}
	return time.Second
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
