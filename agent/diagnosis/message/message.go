package message

import (
	"slices"
	"strings"

	"github.com/whypull/whypull/agent/diagnosis"
)

// maxParts bounds how many failed attempts of one pull are read.
const maxParts = 16

// Read returns what text says about a failed pull. text is the message of a
// container's waiting state, of an Event or of a log line; reason is that of the
// waiting state, or "".
func Read(reason, text string) *diagnosis.MessageFacts {
	reason, text = bound(reason), bound(text)
	facts := read(reason, text)
	facts.Text = diagnosis.Clip(Redact(diagnosis.Printable(tidy(text))), maxText)
	facts.AfterManifest = saysAny(facts.Text, afterManifest)
	facts.FullStore = fullStore(facts.Text)
	facts.RuntimeHelper = facts.Cause == diagnosis.CredentialProviderFailed && indexFold(facts.Text, "getting username and password") >= 0
	facts.Undecrypted = facts.Cause == diagnosis.UnsupportedFormat && saysAny(facts.Text, undecryptedWords)
	facts.IntentUnrecorded = strings.Contains(text, "record image pull intent")
	return &facts
}

func read(reason, message string) diagnosis.MessageFacts {
	if strings.Contains(message, `\"`) {
		message = redactPairs(message) // before the strings in it lose their ends
	}
	whole := joinReason(reason, message)
	line := membersApart(tidy(whole))
	r := decisive(readAttempts(line))
	if rejoined, broken := rejoin(whole); broken {
		if other := decisive(readAttempts(membersApart(tidy(rejoined)))); other.rule < r.rule {
			r = other
		}
	}
	if rawReason(reason, message) && (r.Cause == diagnosis.Unknown || message != "" && r.Cause != diagnosis.CredentialProviderFailed) {
		r.Cause = diagnosis.PullSecretMalformed
	}
	r.CredentialsSent = indexFold(line, "fetch oauth token") >= 0
	return r.MessageFacts
}

// saysAny reports whether a text has one of these words, regardless of case.
func saysAny(text string, all []string) bool {
	return slices.ContainsFunc(all, func(words string) bool { return indexFold(text, words) >= 0 })
}

// afterManifest are the words of containerd and containers/image for copying and
// unpacking blobs: the runtime got past the manifest before it failed.
//
//nolint:gochecknoglobals // never written
var afterManifest = []string{
	"failed to copy", "httpreadseeker", "reading blob", "copying blob", "writing blob", "failed to extract layer",
	"failed to unpack image", "failed commit on ref",
	"copying system image from manifest list", "parsing image configuration", "fetching blob", "unpacking failed",
	"adding layer with blob", "setting up to decompress blob", "storing blob to file", "committing the finished image",
}

// undecryptedWords are about encrypted layers.
//
//nolint:gochecknoglobals // never written
var undecryptedWords = strings.Split(undecrypted, "|")

// fullStore returns the directory of containerd's content store, or the one that
// CRI-O keeps blobs in while it pulls them, from the text of a write to it that
// found no space left, "" from any other.
func fullStore(text string) string {
	before, _, full := strings.Cut(text, ": no space left on device")
	if !full {
		return ""
	}
	file := before[strings.LastIndexByte(before, ' ')+1:]
	for _, below := range []string{"/ingest/", "/container_images_"} {
		if dir, _, store := strings.Cut(file, below); store && strings.HasPrefix(dir, "/") {
			return dir
		}
	}
	return ""
}

func bound(s string) string {
	return s[:min(len(s), maxMessage)]
}

// joinReason puts the reason before the message, once.
func joinReason(reason, message string) string {
	if reason == "" || strings.Contains(message, reason) {
		return message
	}
	return reason + ": " + message
}

// rawReason reports whether the reason is the text of an error: so the
// kubelet, since 1.33, reports what keeps it from looking up credentials, in the
// words of the library that decodes them (EnsureImageExists).
func rawReason(reason, message string) bool {
	return strings.Contains(reason, " ") && (message == "" || message == reason)
}

// attempt is what one attempt to pull has come to.
type attempt struct {
	diagnosis.MessageFacts
	// rule is the place in textRules of the rule that found Cause, or behind all
	// if none did: of the stage, or behind all stages.
	rule int
}

// readAttempts reads the one error, or each error of a list, in line.
func readAttempts(line string) []attempt {
	var attempts []attempt
	for _, text := range splitAttempts(line) {
		attempts = append(attempts, readAttempt(text))
	}
	return attempts
}

// decisive returns the attempt that got furthest.
func decisive(attempts []attempt) attempt {
	best := attempts[0]
	for _, a := range attempts[1:] {
		if progress(&a.MessageFacts) > progress(&best.MessageFacts) {
			best = a
		}
	}
	return best
}

func readAttempt(text string) attempt {
	text, mirrors := cutMirrors(cutArtifact(text))
	if mirrors == "" {
		text, mirrors = cutFallbacks(text)
	}
	a := readError(text)
	a.AfterManifest = saysAny(text, afterManifest)
	if broken, _, tried := strings.Cut(text, " (while reconnecting: "); tried && readError(broken).Cause == diagnosis.NetworkUnreachable {
		a.Cause = diagnosis.NetworkUnreachable // what broke the connection also keeps the next one from being made
	}
	if mirrors == "" {
		if a.Cause != diagnosis.Unknown && relocated(text) {
			a.Cause = diagnosis.MirrorFailed
		}
		return a
	}
	if m := readError(mirrors); mirrorDecides(m.Cause, a.Cause) {
		m.Cause, m.rule = diagnosis.MirrorFailed, len(textRules)
		return m
	}
	return a
}

// mirrorDecides reports whether a pull fails over a mirror that fails, by the
// causes of both: the upstream registry is not meant to be reached, or there is no
// way to it at all, as on a node without access to the Internet. That both fail
// in the same way is no mirror's fault.
func mirrorDecides(mirror, upstream diagnosis.Cause) bool {
	unmeant := upstream == diagnosis.Unknown || upstream == diagnosis.PolicyBlocked
	return unmeant || upstream.Entry().Unreachable() && mirror != upstream
}

// relocated reports whether containers/image was at another registry than the one
// that the image names: registries.conf has another location for it.
func relocated(text string) bool {
	image := wordBeforeColon(text, "initializing source docker://")
	asked := authority(wordBeforeColon(text, "pinging container registry "))
	if _, after, found := strings.Cut(text, "reading manifest "); found && asked == "" {
		asked = hostOfName(wordBeforeColon(after, " in "))
	}
	named := hostOfName(image)
	if named == "docker.io" && asked == "registry-1.docker.io" {
		return false
	}
	return image != "" && asked != "" && asked != named
}

// wordBeforeColon returns the word behind lead, which an error follows; "" if
// the word is broken off.
func wordBeforeColon(s, lead string) string {
	_, after, _ := strings.Cut(s, lead)
	word, _, _ := strings.Cut(after[:min(len(after), maxQuoted)], " ")
	name, whole := strings.CutSuffix(word, ":")
	if !whole {
		return ""
	}
	return name
}

// hostOfName returns the registry of an image's name; docker.io where it has
// none, "" for no name.
func hostOfName(name string) string {
	if name == "" {
		return ""
	}
	host, _, found := strings.Cut(name, "/")
	if !found || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return "docker.io"
	}
	return host
}

func readError(text string) attempt {
	masked := mask(text)
	status := httpStatus(masked)
	p := newPhrases(masked)
	own := p
	if at := serverWords(masked); at >= 0 {
		own = newPhrases(masked[:at])
	}
	hub := indexFold(text, "docker.io") >= 0
	cause, rule := causeOf(textRules, p, own, status, hub)
	if saysMissing(own.text) && !slices.Contains(ofRefusal, cause) {
		cause, rule = causeOf(textRules, own, own, httpStatus(own.text), hub)
	}
	if cause == diagnosis.TagNotFound && blobMissing(text) {
		cause = diagnosis.ContentCorrupt
	}
	behindProxy := status == 407 || own.any(proxyAnswers)
	found := rule < len(textRules)
	cut := diagnosis.Unknown
	if own == p && (!found || textRules[rule].vague) {
		cut = causeOfCut(masked, status, hub)
	}
	switch {
	case cause != diagnosis.AuthenticationRequired && reasonPhrase(text):
		cause, behindProxy = diagnosis.ProxyFailed, true
	case cut != diagnosis.Unknown:
		cause, rule = cut, min(rule, len(textRules))
	case !found:
		cause, rule = causeOf(stages, own, own, 0, false)
		rule += len(textRules) + 1
	}
	return attempt{rule: rule, MessageFacts: diagnosis.MessageFacts{
		Cause: cause, Host: hostIn(text), OfMirror: ofMirror(text), Status: status, Blob: blobIn(text), BehindProxy: behindProxy,
	}}
}

// ofMirror reports whether the URL with the host of hostIn has the query ns.
func ofMirror(text string) bool {
	_, after, found := strings.Cut(text, "://"+hostIn(text)+"/")
	url, _, _ := strings.Cut(after, `"`)
	return found && strings.Contains(url, "?ns=")
}

// reasonPhrase reports whether a request failed with the reason phrase of an HTTP
// answer and nothing more: so net/http shows that a proxy refuses CONNECT, in the
// proxy's own words, whatever these sound like.
func reasonPhrase(text string) bool {
	for {
		before, after, found := strings.Cut(text, "https://")
		if !found {
			return false
		}
		url, phrase, _ := strings.Cut(after[:min(len(after), maxQuoted)], ": ")
		verb := strings.TrimRight(before, ` "`)
		asked := strings.HasSuffix(verb, "Head") || strings.HasSuffix(verb, "Get") || strings.HasSuffix(verb, "Post")
		if asked && !strings.Contains(url, " ") && isPhrase(phrase) {
			return true
		}
		text = after
	}
}

// isPhrase reports whether s starts as no error of net/http does: with a capital
// letter that is not EOF's or another request's, or with the name that some proxies
// give an exception ("dns_unresolved_hostname").
func isPhrase(s string) bool {
	name, _, _ := strings.Cut(s, " ")
	switch name = strings.TrimRight(name, `",;)`); name {
	case "", "EOF", "Get", "Head", "Post":
		return false
	}
	return name[0] != lower(name[0]) || strings.Contains(name, "_") && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") == ""
}

// saysMissing reports whether a text, in front of a registry's own words, ends with
// its code for something that it does not have. The words are then only prose.
func saysMissing(own string) bool {
	return slices.ContainsFunc(missingCodes, func(code string) bool { return strings.HasSuffix(own, ": "+code) })
}

//nolint:gochecknoglobals // never written
var missingCodes = []string{"manifest unknown", "name unknown", "blob unknown", "manifest blob unknown"}

// ofRefusal are the causes that a registry has no code for, or hides behind one for
// something that it does not have.
//
//nolint:gochecknoglobals // never written
var ofRefusal = []diagnosis.Cause{diagnosis.PolicyBlocked, diagnosis.RateLimited, diagnosis.CredentialsExpired, diagnosis.SignatureRejected, diagnosis.UnsupportedFormat}

// blobMissing reports whether a registry does not have a blob, which a manifest
// names, by containerd's text with the URL that it asked.
func blobMissing(text string) bool {
	_, after, found := strings.Cut(text, "content at ")
	url, rest, _ := strings.Cut(after, " ")
	return found && strings.Contains(url, "/blobs/") && strings.HasPrefix(rest, "not found")
}

// causeOf applies rules to all that a text says, or to own, which are the
// runtime's words alone; hub reports whether the text is about Docker Hub.
func causeOf(rules []textRule, all, own *phrases, status int, hub bool) (cause diagnosis.Cause, rule int) {
	for i := range rules {
		r := &rules[i]
		p := all
		if r.cause.Entry().Place != 0 { // a registry has nothing to say about it
			p = own
		}
		if r.from > 0 && (status < r.from || status > r.to) {
			continue
		}
		if r.any != "" && !p.any(r.any) || r.with != "" && !p.any(r.with) || p.any(r.not) || r.hub && !hub {
			continue
		}
		return r.cause, i
	}
	return diagnosis.Unknown, len(rules) + 1
}

// causeOfCut returns what a masked text would say if it did not end inside a word of a
// phrase, Unknown if it does not or if it can go on in several ways.
func causeOfCut(masked string, status int, hub bool) diagnosis.Cause {
	masked = strings.TrimRight(masked, " .…")
	rests, longest := []string(nil), 0
	for i := range textRules {
		// Of those in with, which show no cause by themselves, a text may end with the start too.
		for phrase := range strings.SplitSeq(textRules[i].any+"|"+textRules[i].with, "|") {
			phrase = strings.TrimSuffix(phrase, "$")
			n := begun(masked, phrase)
			if n > longest {
				rests, longest = nil, n
			}
			if n > 0 && n == longest && !slices.Contains(rests, phrase[n:]) {
				rests = append(rests, phrase[n:])
			}
		}
	}
	cause := diagnosis.Unknown
	for i, rest := range rests {
		p := newPhrases(masked + rest)
		switch c, _ := causeOf(textRules, p, p, status, hub); {
		case i == 0:
			cause = c
		case c != cause:
			return diagnosis.Unknown
		}
	}
	return cause
}

// begun returns how many bytes of phrase text ends with, if it ends inside a word of it
// that is not the first and of which two letters are there, 0 otherwise.
func begun(text, phrase string) int {
	const few = 6 // fewer begin too many phrases
	for n := min(len(phrase)-1, len(text)); n >= few; n-- {
		inside := isAlnum(phrase[n-2]) && isAlnum(phrase[n-1]) && isAlnum(phrase[n]) && strings.Contains(phrase[:n], " ")
		if inside && strings.HasSuffix(text, phrase[:n]) && (n == len(text) || !isAlnum(text[len(text)-n-1]) || !isAlnum(phrase[0])) {
			return n
		}
	}
	return 0
}

// progress orders the outcomes of several attempts, with several credentials,
// at one image: the attempt that got furthest shows most. A registry that does
// not have the image has accepted the credential; one that refuses has been
// reached; one that copies the image's blobs has its manifest.
func progress(f *diagnosis.MessageFacts) int {
	const furthest = 7
	switch e := f.Cause.Entry(); {
	case f.Cause == diagnosis.Unknown:
		return 0
	case f.AfterManifest:
		return furthest + 1
	case e.Place == diagnosis.OnTheWay:
		return 1
	case e.Rank > 0:
		return min(1+e.Rank, furthest)
	}
	return furthest
}

// attemptStarts are the words that an attempt's error starts with, in a list of
// several. Errors hold commas themselves, so a comma alone divides nothing.
//
//nolint:gochecknoglobals // never written
var attemptStarts = []string{
	"rpc error", "failed to ", "unable to ", "initializing source", "reading manifest", "pinging container",
	"Error response", "Error ", "RegistryUnavailable", "SignatureValidationFailed", "Source image",
	"Requesting bearer", "copying system image", "pull QPS", "get image config",
}

// splitAttempts returns the members of "[e1, e2]" as the kubelet writes it when
// it has tried several credentials, or line alone.
func splitAttempts(line string) []string {
	from := listStart(line)
	if from < 0 {
		return []string{line}
	}
	var attempts []string
	start := from
	for i := from; i+2 < len(line) && len(attempts) < maxParts-1; i++ {
		if line[i] == ',' && line[i+1] == ' ' && startsAttempt(line[i+2:]) {
			attempts = append(attempts, line[start:i])
			start = i + 2
		}
	}
	if len(attempts) == 0 {
		return []string{line}
	}
	return append(attempts, strings.TrimSuffix(line[start:], "]"))
}

// listStart finds the place behind the bracket that opens a list, -1 if there
// is none.
func listStart(line string) int {
	for i := 0; i < len(line); {
		n := strings.IndexByte(line[i:], '[')
		if n < 0 {
			return -1
		}
		i += n + 1
		if startsAttempt(line[i:]) {
			return i
		}
	}
	return -1
}

// startsAttempt reports whether an attempt's error starts s.
func startsAttempt(s string) bool {
	return slices.ContainsFunc(attemptStarts, func(start string) bool { return hasPrefixFold(s, start) })
}

// cutArtifact drops what CRI-O says of its second try, in which it takes the
// image for an artifact; it mostly repeats the first.
func cutArtifact(s string) string {
	if at := indexFold(s, "; artifact err:"); at >= 0 {
		return s[:at]
	}
	return s
}

// cutMirrors takes the list of containers/image's failed mirrors out of s: what
// counts is the registry itself, which was asked last.
func cutMirrors(s string) (rest, mirrors string) {
	const opening = "(mirrors also failed: ["
	at := indexFold(s, opening)
	if at < 0 {
		return s, ""
	}
	before, after := s[:at], s[at+len(opening):]
	mirrors, after, _ = strings.Cut(after, "])")
	return before + strings.TrimPrefix(after, ":"), mirrors
}

// cutFallbacks does for a blob what [cutMirrors] does for the manifest: containers/image
// writes the error of the mirror that has served the manifest behind a list of those that
// it then tried, of which the last is the registry itself.
func cutFallbacks(s string) (rest, mirrors string) {
	const opening = "(fallback sources also failed: ["
	at := indexFold(s, opening)
	if at < 0 {
		return s, ""
	}
	list, mirror, whole := strings.Cut(s[at+len(opening):], "])")
	if !whole {
		return s[:at], list
	}
	last := strings.LastIndex(list, "] [") + 1
	return s[:at] + strings.TrimPrefix(list[last:], " ["), mirror + " " + list[:last]
}
