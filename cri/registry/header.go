package registry

import (
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
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	maxRetryAfter = 24 * time.Hour
	maxNames      = 8  // of a certificate
	maxCommonName = 64 // bytes, as in X.520
	maxHostName   = 253
)

// retryAfter reads the header Retry-After, which has seconds or a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	var d time.Duration
	if n, err := strconv.ParseUint(value, 10, 32); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// rateLimit reads the headers of Docker Hub, "100;w=21600"; without them it
// gives what is known already.
func rateLimit(h http.Header, known *RateLimit) *RateLimit {
	limit, okLimit := leadingNumber(h.Get("Ratelimit-Limit"))
	remaining, okRemaining := leadingNumber(h.Get("Ratelimit-Remaining"))
	if !okLimit || !okRemaining {
		return known
	}
	return &RateLimit{Limit: limit, Remaining: remaining}
}

func leadingNumber(s string) (int, bool) {
	s, _, _ = strings.Cut(s, ";")
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 31)
	return int(n), err == nil
}

// descriptor reads digest and media type of a manifest. The media type is one
// of those that the runtime knows, or nothing.
func descriptor(h http.Header) (dgst, mediaType string) {
	if d, err := digest.Parse(h.Get("Docker-Content-Digest")); err == nil {
		dgst = d.String()
	}
	t, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return dgst, ""
	}
	switch t {
	case images.MediaTypeDockerSchema2Manifest, images.MediaTypeDockerSchema2ManifestList,
		images.MediaTypeDockerSchema1Manifest, ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex:
		return dgst, t
	}
	return dgst, ""
}

func isHTML(h http.Header) bool {
	t, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && t == "text/html"
}

// schemeOf gives the scheme that the runtime takes among the challenges, which
// are in its order, and the error that comes with it.
func schemeOf(challenges []auth.Challenge) (AuthScheme, ChallengeError) {
	for _, c := range challenges {
		switch c.Scheme { //nolint:exhaustive // the runtime does not know digest either
		case auth.BearerAuth:
			return SchemeBearer, knownChallenge(c.Parameters["error"])
		case auth.BasicAuth:
			return SchemeBasic, ""
		}
	}
	return SchemeUnknown, ""
}

func knownChallenge(s string) ChallengeError {
	switch c := ChallengeError(s); c {
	case ChallengeInsufficientScope, ChallengeInvalidToken, ChallengeInvalidRequest:
		return c
	}
	return ""
}

// tokenServer gives the host of the realm. A realm without TLS is only
// for a registry without TLS: the credential goes there.
func tokenServer(challenges []auth.Challenge, scheme string) (string, error) {
	for _, c := range challenges {
		if c.Scheme != auth.BearerAuth {
			continue
		}
		realm, err := url.Parse(c.Parameters["realm"])
		if err != nil || realm.Host == "" {
			return "", errors.New("challenge without a usable realm")
		}
		if realm.Scheme != "https" && (realm.Scheme != "http" || scheme != "http") {
			return "", ErrRealmInsecure
		}
		return clean(realm.Host, maxHostName), nil
	}
	return "", errors.New("no bearer challenge")
}

// unexpectedStatus is the status in an error of containerd's, or 0.
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

// describe tells about a certificate, without trusting a byte of it.
func describe(cert *x509.Certificate) *Certificate {
	names := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			names = append(names, addr.Unmap().String())
		}
	}
	c := &Certificate{
		Subject:   title(cert.Subject.CommonName, cert.Subject.Organization),
		Issuer:    title(cert.Issuer.CommonName, cert.Issuer.Organization),
		NotBefore: cert.NotBefore,
		NotAfter:  cert.NotAfter,
	}
	for _, name := range names[:min(len(names), maxNames)] {
		c.Names = append(c.Names, clean(name, maxHostName))
	}
	return c
}

func title(commonName string, organization []string) string {
	if commonName == "" {
		commonName = strings.Join(organization, " ")
	}
	return clean(commonName, maxCommonName)
}

// clean drops everything but letters, digits and some punctuation, and cuts.
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
