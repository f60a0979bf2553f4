package message

import (
	"strings"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// reading is what one text says of one failed pull.
type reading struct {
	// Cause is Unknown where the text supports none.
	Cause diagnosis.Cause
	// Host is the host, with the port if the text has one, that was talked to
	// when it failed. It differs from the image's for mirrors, token servers and
	// content networks.
	Host string
	// Resolver is the DNS server that was asked, as host:port.
	Resolver string
	// Proxy is the proxy that the text names, as host or host:port.
	Proxy string
	// LoginSent tells that the pull brought a login: containerd asks for an
	// "anonymous token" without one, and for an "oauth token" with one
	// (core/remotes/docker, authorizer).
	LoginSent bool
	// BehindProxy tells that the text shows a proxy's answer: Go's bare text of a
	// status when CONNECT is refused, status 407, or a proxy's error page.
	BehindProxy bool
	// Address is the address that could not be connected to, as host:port.
	Address string
	// Status is the HTTP status.
	Status int
	// RetryAfter is when the registry wants to be asked again.
	RetryAfter time.Duration
	// Image is the image that failed, as the text names it.
	Image string
	// Platform is the platform that has no manifest, as the runtime wrote it.
	Platform string
	// Blob is the digest of the blob, layer or config that the text says failed.
	Blob string
	// Path is the file that could not be written.
	Path string
	// Clock is the node's time when it refused a certificate; NotBefore or
	// NotAfter is the end of the certificate's validity that it violates.
	Clock, NotBefore, NotAfter time.Time
	// CertificateNames are the names for which the certificate is valid.
	CertificateNames []string
	// Expired tells that the text says of a login or a token that its time is
	// over. For certificates see NotAfter.
	Expired bool
	// Mirror tells that the text is about a mirror of the registry.
	Mirror bool
	// Mirrors are the hosts of the mirrors that the text says have failed, in
	// their order: those in containers/image's "(Mirrors also failed: [...])",
	// and the host of containerd's request with "?ns=".
	Mirrors []string
	// Parts are the members of a list of failed attempts in their order, if
	// there are several; the other values are then those of the decisive one.
	Parts []reading
	// Text is the message, redacted, on one line and bounded.
	Text string
}

// maxParts bounds how many failed attempts of one pull are read.
const maxParts = 16

// Read returns what text says about a failed pull. text is the message of a
// container's waiting state, of an Event or of a log line; reason is that of the
// waiting state, or "".
func Read(reason, text string) *diagnosis.MessageFacts {
	r := read(bound(reason), bound(text))
	return &diagnosis.MessageFacts{
		Cause: r.Cause, Host: r.Host, Status: r.Status, Blob: r.Blob, AfterManifest: afterManifest(r.Text),
		CredentialsSent: r.LoginSent, BehindProxy: r.BehindProxy, SaysExpired: r.Expired, Text: r.Text,
	}
}

func read(reason, message string) reading {
	if strings.Contains(message, `\"`) {
		message = redactPairs(message) // before the strings in it lose their ends
	}
	line, wrapped := tidy(joinReason(reason, message))
	line = membersApart(line)
	r := readAttempts(line, wrapped)
	if r.Cause == diagnosis.Unknown && rawReason(reason, message) {
		r.Cause = diagnosis.PullSecretMalformed
	}
	if r.Image == "" {
		r.Image = imageIn(line)
	}
	r.LoginSent = indexFold(line, "fetch oauth token") >= 0
	text, _ := tidy(message)
	r.Text = shorten(redact(text))
	return r
}

// afterManifest reports whether a runtime got past the manifest before it failed:
// these words are containerd's and containers/image's for copying and unpacking
// blobs.
func afterManifest(text string) bool {
	for _, words := range []string{"failed to copy", "httpreadseeker", "reading blob", "copying blob", "writing blob", "failed to extract layer", "failed to unpack image", "failed commit on ref"} {
		if indexFold(text, words) >= 0 {
			return true
		}
	}
	return false
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

// rawReason tells that the reason is no word but the text of an error: so the
// kubelet, since 1.33, reports a pull secret that it cannot decode.
func rawReason(reason, message string) bool {
	return strings.Contains(reason, " ") && (message == "" || message == reason)
}

// readAttempts reads the one error, or each error of a list, in line.
func readAttempts(line string, wrapped bool) reading {
	attempts := splitAttempts(line, wrapped)
	if len(attempts) == 1 {
		return readAttempt(attempts[0], wrapped)
	}
	parts := make([]reading, len(attempts))
	best := 0
	for i, a := range attempts {
		parts[i] = readAttempt(a, wrapped)
		parts[i].Text = shorten(redact(a))
		if progress(parts[i].Cause) > progress(parts[best].Cause) {
			best = i
		}
	}
	r := parts[best]
	r.Parts = parts
	return r
}

// readAttempt reads what one attempt to pull has come to.
func readAttempt(text string, wrapped bool) reading {
	text, mirrors := cutMirrors(cutArtifact(text))
	r := readOne(text, wrapped)
	if mirrors == "" {
		return r
	}
	r.Mirrors = mirrorHosts(mirrors)
	if r.Cause == diagnosis.Unknown {
		image, hosts := r.Image, r.Mirrors
		r = readOne(mirrors, wrapped)
		r.Cause, r.Image, r.Mirrors = diagnosis.MirrorFailed, image, hosts
	}
	r.Mirror = true
	return r
}

func readOne(text string, wrapped bool) reading {
	masked := complete(mask(text, wrapped))
	status := httpStatus(masked)
	if status == 0 && wrapped {
		status = httpStatus(strings.ReplaceAll(masked, " ", ""))
	}
	p := newPhrases(masked, !wrapped)
	r := reading{
		Cause:       causeOf(p, status, func() bool { return aboutHub(text, wrapped) }),
		Host:        hostIn(text),
		Status:      status,
		RetryAfter:  retryAfterIn(masked),
		Image:       imageIn(text),
		Resolver:    resolverIn(text),
		Proxy:       proxyIn(text),
		BehindProxy: status == 407 || p.any(proxyAnswers),
		Address:     addressIn(text),
		Platform:    platformIn(text),
		Blob:        blobIn(text),
		Path:        pathIn(text),
		Expired:     p.any(expiredLogins),
		Mirror:      strings.Contains(text, "?ns="),
	}
	if r.Mirror && r.Host != "" {
		r.Mirrors = []string{r.Host}
	}
	r.Clock, r.NotBefore, r.NotAfter = validityIn(text)
	r.CertificateNames = certificateNamesIn(text)
	return r
}

// aboutHub tells whether the text names Docker Hub.
func aboutHub(text string, wrapped bool) bool {
	if wrapped {
		text = strings.ReplaceAll(text, " ", "")
	}
	return indexFold(text, "docker.io") >= 0
}

// causeOf applies the rules.
func causeOf(p *phrases, status int, hub func() bool) diagnosis.Cause {
	for r := range textRules {
		if r.from > 0 && (status < r.from || status > r.to) {
			continue
		}
		if r.any != "" && !p.any(r.any) || r.with != "" && !p.any(r.with) || p.any(r.not) || r.hub && !hub() {
			continue
		}
		return r.cause
	}
	return diagnosis.Unknown
}

// progress orders the outcomes of several attempts, with several credentials,
// at one image: the attempt that got furthest tells most. A registry that does
// not have the image has accepted the credential; one that refuses has been
// reached.
func progress(c diagnosis.Cause) int {
	switch c {
	case diagnosis.Unknown:
		return 0
	case diagnosis.RegistryNameNotFound, diagnosis.DNSFailure, diagnosis.ConnectionRefused, diagnosis.ConnectionTimeout, diagnosis.NetworkUnreachable, diagnosis.ProxyFailed,
		diagnosis.TLSUntrusted, diagnosis.TLSExpired, diagnosis.TLSHostnameMismatch, diagnosis.TLSHandshakeFailed, diagnosis.HTTPSMismatch:
		return 1
	case diagnosis.AuthenticationRequired:
		return 2
	case diagnosis.CredentialsRejected:
		return 3
	case diagnosis.DeniedOrNotFound:
		return 4
	case diagnosis.AccessDenied:
		return 5
	case diagnosis.CredentialsExpired:
		return 6
	default:
		return 7
	}
}

// attemptStarts are the words that an attempt's error starts with, in a list of
// several. Errors hold commas themselves, so a comma alone divides nothing.
func attemptStarts() []string {
	return []string{
		"rpc error", "failed to ", "unable to ", "initializing source", "reading manifest", "pinging container",
		"Error response", "Error ", "RegistryUnavailable", "SignatureValidationFailed", "Source image",
		"Requesting bearer", "copying system image", "pull QPS", "get image config",
	}
}

// splitAttempts returns the members of "[e1, e2]" as the kubelet writes it when
// it has tried several credentials, or line alone.
func splitAttempts(line string, wrapped bool) []string {
	from := listStart(line, wrapped)
	if from < 0 {
		return []string{line}
	}
	var attempts []string
	start := from
	for i := from; i+2 < len(line) && len(attempts) < maxParts-1; i++ {
		if line[i] == ',' && line[i+1] == ' ' && startsAttempt(line[i+2:], wrapped) {
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
func listStart(line string, wrapped bool) int {
	for i := 0; i < len(line); {
		n := strings.IndexByte(line[i:], '[')
		if n < 0 {
			return -1
		}
		i += n + 1
		if startsAttempt(line[i:], wrapped) {
			return i
		}
	}
	return -1
}

// startsAttempt tells whether an attempt's error starts s. In a wrapped text
// blanks do not count.
func startsAttempt(s string, wrapped bool) bool {
	if wrapped {
		s = strings.ReplaceAll(s[:min(len(s), 64)], " ", "")
	}
	for _, start := range attemptStarts() {
		if wrapped {
			start = strings.ReplaceAll(start, " ", "")
		}
		if hasPrefixFold(s, start) {
			return true
		}
	}
	return false
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
