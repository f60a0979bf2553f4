package diagnosis

import (
	"strings"
	"time"
)

// Reading is what the text of the kubelet or of a runtime supports by itself.
// Every value is taken from the text, none is guessed, so all but Cause may be
// missing.
type Reading struct {
	// Cause is Unknown where the text supports none.
	Cause Cause
	// Host is the host, with the port if the text has one, that was talked to
	// when it failed. It differs from the image's for mirrors, token servers and
	// content networks.
	Host string
	// Resolver is the DNS server that was asked, as host:port.
	Resolver string
	// Proxy is where the proxy was looked for, as host:port.
	Proxy string
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
	// Path is the file that could not be written.
	Path string
	// Clock is the node's time when it refused a certificate; NotBefore or
	// NotAfter is the end of the certificate's validity that it violates.
	Clock, NotBefore, NotAfter time.Time
	// CertificateNames are the names for which the certificate is valid.
	CertificateNames []string
	// Mirror tells that the text is about a mirror of the registry.
	Mirror bool
	// Parts are the members of a list of failed attempts in their order, if
	// there are several; the other values are then those of the decisive one.
	Parts []Reading
	// Text is the message, redacted, on one line and bounded.
	Text string
}

// maxParts bounds how many failed attempts of one pull are read.
const maxParts = 16

// ReadMessage reads a container's waiting reason and message, or the text of an
// Event or a log line. The reason may be empty.
func ReadMessage(reason, message string) Reading {
	line, wrapped := tidy(joinReason(bound(reason), bound(message)))
	r := readAttempts(line, wrapped)
	if r.Cause == Unknown && rawReason(reason, message) {
		r.Cause = PullSecretMalformed
	}
	if r.Image == "" {
		r.Image = imageIn(line)
	}
	text, _ := tidy(bound(message))
	r.Text = shorten(Redact(text))
	return r
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
func readAttempts(line string, wrapped bool) Reading {
	attempts := splitAttempts(line)
	if len(attempts) == 1 {
		return readAttempt(attempts[0], wrapped)
	}
	parts := make([]Reading, len(attempts))
	best := 0
	for i, a := range attempts {
		parts[i] = readAttempt(a, wrapped)
		parts[i].Text = shorten(Redact(a))
		if progress(parts[i].Cause) > progress(parts[best].Cause) {
			best = i
		}
	}
	r := parts[best]
	r.Parts = parts
	return r
}

// readAttempt reads what one attempt to pull has come to.
func readAttempt(text string, wrapped bool) Reading {
	text, mirrors := cutMirrors(cutArtifact(text))
	r := readOne(text, wrapped)
	if mirrors == "" {
		return r
	}
	if r.Cause == Unknown {
		image := r.Image
		r = readOne(mirrors, wrapped)
		r.Cause, r.Image = MirrorFailed, image
	}
	r.Mirror = true
	return r
}

func readOne(text string, wrapped bool) Reading {
	masked := mask(text, wrapped)
	status := httpStatus(masked)
	if status == 0 && wrapped {
		status = httpStatus(strings.ReplaceAll(masked, " ", ""))
	}
	r := Reading{
		Cause:      causeOf(newPhrases(masked, !wrapped), status, strings.Contains(text, "docker.io")),
		Host:       hostIn(text),
		Status:     status,
		RetryAfter: retryAfterIn(masked),
		Image:      imageIn(text),
		Resolver:   resolverIn(text),
		Proxy:      proxyIn(text),
		Address:    addressIn(text),
		Platform:   platformIn(text),
		Path:       pathIn(text),
		Mirror:     strings.Contains(text, "?ns="),
	}
	r.Clock, r.NotBefore, r.NotAfter = validityIn(text)
	r.CertificateNames = certificateNamesIn(text)
	return r
}

// causeOf applies the rules.
func causeOf(p *phrases, status int, hub bool) Cause {
	for _, r := range textRules() {
		if r.hub && !hub || r.from > 0 && (status < r.from || status > r.to) {
			continue
		}
		if r.any != "" && !p.any(r.any) || r.with != "" && !p.any(r.with) || p.any(r.not) {
			continue
		}
		return r.cause
	}
	return Unknown
}

// progress orders the outcomes of several attempts, with several credentials,
// at one image: the attempt that got furthest tells most. A registry that does
// not have the image has accepted the credential; one that refuses has been
// reached.
func progress(c Cause) int {
	switch c {
	case Unknown:
		return 0
	case RegistryNameNotFound, DNSFailure, ConnectionRefused, ConnectionTimeout, NetworkUnreachable, ProxyFailed,
		TLSUntrusted, TLSExpired, TLSHostnameMismatch, TLSHandshakeFailed, HTTPSMismatch:
		return 1
	case AuthenticationRequired:
		return 2
	case CredentialsRejected:
		return 3
	case DeniedOrNotFound:
		return 4
	case AccessDenied:
		return 5
	case CredentialsExpired:
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

func startsAttempt(s string) bool {
	for _, start := range attemptStarts() {
		if strings.HasPrefix(s, start) {
			return true
		}
	}
	return false
}

// cutArtifact drops what CRI-O says of its second try, in which it takes the
// image for an artifact; it mostly repeats the first.
func cutArtifact(s string) string {
	before, _, _ := strings.Cut(s, "; artifact err:")
	return before
}

// cutMirrors takes the list of containers/image's failed mirrors out of s: what
// counts is the registry itself, which was asked last.
func cutMirrors(s string) (rest, mirrors string) {
	const opening = "(Mirrors also failed: ["
	before, after, found := strings.Cut(s, opening)
	if !found {
		return s, ""
	}
	mirrors, after, _ = strings.Cut(after, "])")
	return before + strings.TrimPrefix(after, ":"), mirrors
}
