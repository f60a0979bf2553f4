package message

import (
	"slices"
	"strings"
)

// maxText is the length of the facts' text in bytes.
const maxText = 1024

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
		if (strings.HasSuffix(before, "http") || strings.HasSuffix(before, "https")) && failed(after[max(end-1, 0):]) {
			return authority(after[:end])
		}
		rest = after[end:]
	}
	return authority(between(s, " \"'", "pinging container registry ", "pulling from host ", "lookup "))
}

// failed reports whether a colon, and so an error, comes after the URL that ends
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

// namesBlob reports whether a blob's digest comes after the words that s ends with.
func namesBlob(s string) bool {
	s = strings.ToLower(s[max(0, len(s)-96):])
	if open := strings.LastIndexByte(s, '('); open >= 0 && isMediaType(s[open+1:]) {
		return true // "failed to extract layer (application/… sha256:…)"
	}
	s = strings.TrimRight(s, ` "'\`)
	return slices.ContainsFunc(blobWords, func(word string) bool { return strings.HasSuffix(s, word) })
}

//nolint:gochecknoglobals // never written
var blobWords = []string{"blob", "/blobs/", "layer", "layer-", "config-", "descriptor", "content digest", "digest for"}

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
	s = strings.TrimRight(s, ": =(")
	return slices.ContainsFunc(statusWords, func(word string) bool { return strings.HasSuffix(s, word) })
}

//nolint:gochecknoglobals // never written
var statusWords = []string{"status", "statuscode", "status code", "http", "http code", "api error", "error code", "response code", "url"}

// statusAfter knows the reason phrases of RFC 9110. Blanks do not count.
func statusAfter(s string) bool {
	s = strings.ReplaceAll(strings.TrimLeft(s[:min(len(s), 24)], " ("), " ", "")
	return slices.ContainsFunc(reasonPhrases, func(phrase string) bool { return strings.HasPrefix(s, phrase) })
}

//nolint:gochecknoglobals // never written
var reasonPhrases = []string{
	"badrequest", "unauthorized", "forbidden", "notfound", "methodnot", "proxyauth", "requesttimeout", "gone", "toomany",
	"precondition", "unavailablefor", "internalserver", "notimplemented", "badgateway", "serviceunavail",
	"servicetemporarily", "gatewaytime",
}
