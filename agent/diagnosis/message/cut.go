package message

import "strings"

// cutTails are the ends of errors that a cut-off text can end in. A text that
// ends inside one, behind the "|", is read as if it held the whole: what comes
// before the "|" is enough to tell it from the others.
func cutTails(yield func(string) bool) {
	for _, tail := range []string{
		"no such h|ost", "temporary failure in n|ame resolution", "server mis|behaving", "connection ref|used", "connection res|et by peer", "i/o ti|meout",
		"no route t|o host", "network is unre|achable", "tls handshake t|imeout", "timeout awaiting r|esponse headers",
		"awaiting head|ers)", "while waiting for co|nnection", "connection attempt f|ailed because the connected party did not properly respond", "context deadline e|xceeded", "context canc|eled", "operation timed o|ut",
		"signed by un|known authority", "certificate sign|ed by unknown authority", "certificate has e|xpired or is not yet valid",
		"certificate is valid f|or", "certificate relies on l|egacy common name", "gave http res|ponse to https client",
		"first record does not l|ook like a tls handshake", "no space l|eft on device", "disk quota e|xceeded",
		"no basic a|uth credentials", "insufficient_sc|ope: authorization failed", "access to the resource is d|enied",
		"authentication req|uired", "pull access d|enied", "not found: does not e|xist or no pull access",
		"token has e|xpired", "incorrect username o|r password", "too many r|equests", "toomanyr|equests", "pull rate l|imit",
		"manifest unk|nown", "name unk|nown", "invalid reference f|ormat", "invalid tar h|eader", "unexpected e|of",
		"unexpected commit d|igest", "no match for pl|atform in manifest", "no matching man|ifest for", "pull qps e|xceeded",
		"401 unau|thorized", "403 forb|idden", "404 not f|ound", "429 too m|any requests", "500 internal s|erver error", "502 bad g|ateway",
		"503 service u|navailable", "504 gateway t|imeout",
	} {
		if !yield(tail) {
			return
		}
	}
}

// complete ends a masked text that was cut off inside the end of an error.
func complete(masked string) string {
	tail := strings.TrimRight(masked, " .…\"'`*)]}")
	if tail == "" {
		return masked
	}
	last := tail[len(tail)-1]
	for phrase := range cutTails {
		head, rest, _ := strings.Cut(phrase, "|")
		for n := range len(rest) {
			if n == 0 && head[len(head)-1] != last || n > 0 && rest[n-1] != last {
				continue
			}
			if before, found := strings.CutSuffix(tail, rest[:n]); found && strings.HasSuffix(before, head) {
				return tail + rest[n:]
			}
		}
	}
	return masked
}
