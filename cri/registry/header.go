package registry

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"errors"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker/auth"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/opencontainers/go-digest"
)

const (
	maxRetryAfter = 24 * time.Hour
	maxNames      = 8  // of a certificate
	maxCommonName = 64 // bytes, as in X.520
	maxHostName   = 253
	maxScheme     = 16       // bytes; http and https are the ones that are spoken
	maxChallenges = 8 << 10  // bytes of all challenges of an answer
	mostHeaders   = 32       // that they may be in
	maxSearched   = 16 << 10 // bytes of a body that are searched for words
)

// retryAfter parses the header Retry-After, in seconds or as a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	var d time.Duration
	if n, err := strconv.ParseUint(value, 10, 32); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		d = at.Sub(now)
	}
	return bounded24(d)
}

// wait returns how long a response asks clients to wait. The reset of a limit counts only with
// a 429: registries also send it with other responses. The window of Docker Hub's limit does
// not count: it is an upper bound, often of hours. Dates are by the clock of the registry,
// which need not be the node's.
func wait(status int, h http.Header, now time.Time) time.Duration {
	if at, err := http.ParseTime(h.Get("Date")); err == nil {
		now = at
	}
	if d := retryAfter(h, now); d > 0 || status != http.StatusTooManyRequests {
		return d
	}
	return limitReset(h, now)
}

// limitReset parses when a limit is reset: seconds from now, as in the IETF draft, or seconds
// or milliseconds since 1970, as GitLab and GitHub send it.
func limitReset(h http.Header, now time.Time) time.Duration {
	for _, key := range []string{"RateLimit-Reset", "X-RateLimit-Reset"} {
		n, err := strconv.ParseInt(strings.TrimSpace(h.Get(key)), 10, 64)
		switch {
		case err != nil || n <= 0:
		case n > 1e12:
			return bounded24(time.UnixMilli(n).Sub(now))
		case n > 1e9:
			return bounded24(time.Unix(n, 0).Sub(now))
		default:
			return bounded24(time.Duration(min(n, 1e6)) * time.Second)
		}
	}
	return 0
}

func bounded24(d time.Duration) time.Duration { return min(max(d, 0), maxRetryAfter) }

// rateLimit parses the headers of Docker Hub ("100;w=21600") and others; it returns known if
// there are none.
func rateLimit(h http.Header, known *RateLimit) *RateLimit {
	limit, okLimit := leadingNumber(h.Get("Ratelimit-Limit"))
	remaining, okRemaining := leadingNumber(h.Get("Ratelimit-Remaining"))
	if !okLimit || !okRemaining {
		return known
	}
	return &RateLimit{Limit: limit, Remaining: remaining, Window: window(h)}
}

func window(h http.Header) time.Duration {
	_, parameters, _ := strings.Cut(h.Get("Ratelimit-Remaining"), ";")
	for parameter := range strings.SplitSeq(parameters, ";") {
		if value, ok := strings.CutPrefix(strings.TrimSpace(parameter), "w="); ok {
			n, _ := strconv.ParseUint(value, 10, 31)
			return bounded24(time.Duration(n) * time.Second)
		}
	}
	return 0
}

func leadingNumber(s string) (int, bool) {
	s, _, _ = strings.Cut(s, ";")
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 31)
	return int(n), err == nil
}

// manifestDigest returns the header's digest of a manifest, "" if it is none.
func manifestDigest(h http.Header) string {
	d, err := digest.Parse(h.Get("Docker-Content-Digest"))
	if err != nil {
		return ""
	}
	return d.String()
}

// isManifest reports whether the runtime can pull a media type by name (core/images,
// Manifest).
func isManifest(mediaType string) bool {
	return images.IsManifestType(mediaType) || images.IsIndexType(mediaType)
}

// isSchema1 reports whether a media type is a manifest of the first schema, which for the
// runtime includes text/plain (core/remotes/docker/resolver.go, getManifestMediaType).
func isSchema1(mediaType string) bool {
	return slices.Contains([]string{images.MediaTypeDockerSchema1Manifest, "application/vnd.docker.distribution.manifest.v1+json", plainText}, mediaType)
}

const plainText = "text/plain"

// contentType returns the media type without parameters; "" if there is none.
func contentType(h http.Header) string {
	t, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

func isHTML(h http.Header) bool { return contentType(h) == "text/html" }

// startsPage reports whether a body begins like an HTML page, whatever its media type.
func startsPage(body []byte) bool {
	start := strings.ToLower(strings.TrimSpace(string(body[:min(len(body), 256)])))
	return strings.HasPrefix(start, "<html") || strings.HasPrefix(start, "<!doctype html")
}

// proxyAnswered reports whether a response to a plain request is the proxy's own. Via is also
// in forwarded responses, so with it only gateway statuses count.
func proxyAnswered(status int, h http.Header) bool {
	if h.Get("X-Squid-Error") != "" {
		return status >= http.StatusBadRequest
	}
	switch status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	default:
		return false
	}
	for key := range h {
		if key == "Via" || strings.HasPrefix(key, "Proxy-") {
			return true
		}
	}
	return false
}

// wordsOf returns the part of a body that is searched for phrases.
func wordsOf(body []byte) string { return string(body[:min(len(body), maxSearched)]) }

// boundChallenges removes challenges that are larger than any legitimate ones: parsing takes
// memory quadratic in their size.
func boundChallenges(h http.Header) {
	left := maxChallenges
	for n, c := range h.Values("Www-Authenticate") {
		if left -= len(c); left < 0 || n == mostHeaders {
			h["Www-Authenticate"] = h["Www-Authenticate"][:n]
			return
		}
	}
}

// challengeSaysExpired reports whether a challenge says so, in error_description (RFC 6750).
func challengeSaysExpired(h http.Header) bool {
	return saysExpired(strings.Join(h.Values("Www-Authenticate"), " "))
}

// saysExpired reports whether a text says that a token or password has expired, by known
// phrases of ECR, Docker Hub, GitLab, Azure and RFC 6750, and not a certificate or signed URL.
func saysExpired(text string) bool {
	text = strings.Join(strings.Fields(strings.ToLower(text)), " ")
	for _, what := range []string{"token", "password", "credential", "credentials", "secret", "secret keys", "api key", "login"} {
		for _, how := range []string{" expired", " has expired", " have expired", " is expired", " are expired", " was expired"} {
			if strings.Contains(text, what+how) {
				return true
			}
		}
		if strings.Contains(text, "expired "+what) {
			return true
		}
	}
	return false
}

// schemeOf returns the scheme that the runtime uses of the challenges, which are in its order,
// and whether a token was invalid (RFC 6750).
func schemeOf(challenges []auth.Challenge) (scheme AuthScheme, invalidToken bool) {
	for _, c := range challenges {
		switch c.Scheme { //nolint:exhaustive // the runtime does not support digest either
		case auth.BearerAuth:
			return SchemeBearer, c.Parameters["error"] == "invalid_token"
		case auth.BasicAuth:
			return SchemeBasic, false
		}
	}
	return SchemeUnknown, false
}

// tokenServer returns the host of the realm and whether that is without TLS, also with
// ErrRealmInsecure: since the credential is sent to the realm, a realm without TLS is accepted
// only from a registry without TLS.
func tokenServer(challenges []auth.Challenge, scheme string) (host string, plain bool, err error) {
	for _, c := range challenges {
		if c.Scheme != auth.BearerAuth {
			continue
		}
		realm, err := url.Parse(c.Parameters["realm"])
		if err != nil || realm.Host == "" || realm.Scheme != "https" && realm.Scheme != "http" {
			return "", false, errors.New("challenge without a usable realm")
		}
		host, plain := realm.Host, realm.Scheme == "http"
		if plain && realm.Port() == "" {
			host += ":80" // without a scheme it would be taken for 443
		}
		if secure := realm.Scheme == "https" || plain && scheme == "http"; !secure {
			err = ErrRealmInsecure
		}
		return clean(host, maxHostName), plain, err
	}
	return "", false, errors.New("no bearer challenge")
}

// unexpectedStatus returns the status in an error of containerd; 0 if there is none.
func unexpectedStatus(err error) int {
	if status, ok := errors.AsType[remoteerrors.ErrUnexpectedStatus](err); ok {
		return status.StatusCode
	}
	return proxyStatus(err)
}

func proxyStatus(err error) int {
	if refused, ok := errors.AsType[proxyRefused](err); ok {
		return refused.status
	}
	return 0
}

// describe returns the description of an untrusted certificate.
func describe(cert *x509.Certificate) *Certificate {
	names := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			names = append(names, addr.Unmap().String())
		}
	}
	c := &Certificate{
		Issuer:    clean(cmp.Or(cert.Issuer.CommonName, strings.Join(cert.Issuer.Organization, " ")), maxCommonName),
		NotBefore: cert.NotBefore,
		NotAfter:  cert.NotAfter,
	}
	c.SelfSigned = len(cert.RawSubject) > 0 && bytes.Equal(cert.RawIssuer, cert.RawSubject)
	if cert.IsCA && len(names) == 0 && !c.SelfSigned {
		c.Authority = clean(cmp.Or(cert.Subject.CommonName, strings.Join(cert.Subject.Organization, " ")), maxCommonName)
	}
	for _, name := range names[:min(len(names), maxNames)] {
		c.Names = append(c.Names, clean(name, maxHostName))
	}
	return c
}

// clean removes everything but letters, digits and some punctuation, and truncates to limit bytes.
func clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(" .-_:*[]()", r):
			return r
		}
		return -1
	}, s)
	return s[:min(len(s), limit)]
}
