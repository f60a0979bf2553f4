package faulttest

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	notFound   = `: not found$`
	noBasic    = `no basic auth credentials$`
	scopeText  = `server message: insufficient_scope: authorization failed$`
	head401    = `HEAD request .*/manifests/v1: 401 Unauthorized$`
	head403    = `HEAD request .*/manifests/v1: 403 Forbidden$`
	denied     = `HEAD request .*/manifests/v1: 403 Forbidden\ndenied: `
	anonymous  = `failed to fetch anonymous token: `
	oauth      = `failed to fetch oauth token: unexpected status from `
	blobStatus = `failed open: unexpected status from GET request to https://good\.`
	cdnStatus  = `failed open: unexpected status from GET request to https://cdn-good\.`
	silence    = `timeout|no answer` // whose, TestHosts checks
	noHost     = `lookup nxdomain\.fault\.example.*: no such host$`
	refused    = `connect: connection refused$`
	untrusted  = `x509: certificate signed by unknown authority$`
	mirrorNX   = `Head "https://nxdomain\..*ns=.*no such host$`
	mirrorGone = `Head "https://refused\..*ns=.*connection refused$`
	mirror500  = `HEAD request to https://mirror\..*ns=.*: 500 Internal Server Error$`
)

// expected is how containerd's own client ends at each case: a pattern for the
// error, or "" where the pull works.
func expected() map[string]string {
	out := map[string]string{}
	for _, part := range []map[string]string{expectedWorks(), expectedNetwork(), expectedCredentials(), expectedAnswer(), expectedContent(), expectedTransfer(), expectedNode()} {
		maps.Copy(out, part)
	}
	return out
}

func expectedWorks() map[string]string {
	out := map[string]string{}
	for _, name := range []string{
		"works", "basic-works", "basic-second-login-works", "hub-works", "token-works", "token-login-works", "cdn-works",
		"manifest-redirect-works", "platform-index-works", "platform-single", "layer-uncompressed-works", "helm-chart",
		"config-ca-works", "config-skip-verify-works", "config-plain-works", "config-without-host-works", "proxy-works",
		"mirror-works-origin-404", "mirror-404-origin-good", "mirror-500-origin-good", "mirror-refused-origin-good",
		"mirror-nxdomain-origin-good", "two-layers-works", "second-without-parts", "second-trickles",
	} {
		out[name] = ""
	}
	return out
}

func expectedNetwork() map[string]string {
	return map[string]string{
		"dns-nxdomain": noHost, "dns-nodata": `lookup nodata\..*: no such host$`,
		"dns-servfail": `lookup servfail\..*server misbehaving$`, "dns-refused": `lookup dnsrefused\..*server misbehaving$`,
		"dns-timeout": `lookup dnssilent\..*no answer$`,
		"no-route":    `network is unreachable|cannot assign requested address`,

		"connect-refused": refused, "connect-timeout": `i/o timeout$`, "tls-hangs": `TLS handshake timeout$`, "http-hangs": silence,
		"connection-reset": `connection reset by peer$`, "connection-closed": `EOF$`,
		"tls-untrusted": untrusted, "tls-expired": `is after`, "tls-not-yet-valid": `is before`,
		"tls-wrong-name":         `certificate is valid for another\.example, not wrongname\.fault\.example$`,
		"tls-client-certificate": `remote error: tls: certificate required$`, "tls-old-version": `tls: protocol version not supported$`,
		"plain-http": `server gave HTTP response to HTTPS client$`,

		"manifest-redirect-loop": `stopped after 10 redirects$`, "manifest-redirect-refused": `https://refused\..*` + refused,
		"manifest-redirect-unknown": noHost, "manifest-redirect-untrusted": `https://untrusted\..*` + untrusted,

		"cdn-name-unknown": `lookup cdn-nxdomain\..*no such host$`, "cdn-name-without-address": `lookup cdn-nodata\..*no such host$`,
		"cdn-dns-servfail": `lookup cdn-servfail\..*server misbehaving$`, "cdn-dns-refused": `lookup cdn-dnsrefused\..*server misbehaving$`,
		"cdn-dns-timeout": silence, "cdn-no-route": `network is unreachable|cannot assign requested address`,
		"cdn-refused": `https://cdn-refused\..*` + refused, "cdn-timeout": silence, "cdn-tls-hangs": silence, "cdn-http-hangs": silence,
		"cdn-reset": `https://cdn-reset\..*connection reset by peer$`, "cdn-closed": `https://cdn-eof\..*EOF$`,
		"cdn-untrusted": `https://cdn-untrusted\..*` + untrusted, "cdn-expired": `https://cdn-expired\..*is after`,
		"cdn-wrong-name": `certificate is valid for another\.example`, "cdn-client-certificate": `https://cdn-mtls\..*certificate required$`,
		"cdn-plain-http": `https://cdn-plainhttp\..*server gave HTTP response to HTTPS client$`,
		"cdn-403":        cdnStatus + `.*: 403 Forbidden`, "cdn-404": `from remote: not found$`, "cdn-429": cdnStatus + `.*: 429 Too Many Requests$`,
		"cdn-500": cdnStatus + `.*: 500 `, "cdn-503": cdnStatus + `.*: 503 `,
	}
}

func expectedCredentials() map[string]string {
	token := `https://tokens\.fault\.example:\d+/token/`
	return map[string]string{
		"basic-anonymous": noBasic, "basic-wrong": head401, "basic-two-wrong": head401, "unauthorized-without-challenge": head401,
		"expired-says-registry": head401, "expired-jwt": head401, "rejected-jwt": head401,
		"expired-says-registry-403": denied + `Your authorization token has expired`,
		"expired-says-token-server": oauth + `GET request to ` + token + `.*: 401 Unauthorized$`,

		"hub-anonymous": scopeText, "hub-login": scopeText, "hub-missing": scopeText, "hub-missing-login": scopeText,
		"hub-invalid-token":       `server message: invalid_token: authorization failed$`,
		"scope-refused-anonymous": scopeText, "scope-refused-login": scopeText, "bearer-loop": head401,

		"token-anonymous-401": anonymous + `.*: 401 Unauthorized$`, "token-anonymous-403": anonymous + `.*: 403 Forbidden$`,
		"token-anonymous-429": anonymous + `.*: 429 Too Many Requests$`, "token-anonymous-503": anonymous + `.*: 503 `,
		"token-login-401": oauth + `GET request to ` + token + `.*: 401 Unauthorized$`, "token-login-403": oauth + `POST request to .*: 403 Forbidden$`,
		"token-login-429": oauth + `POST request to .*: 429 Too Many Requests$`, "token-login-503": oauth + `POST request to .*: 503 `,
		"public-spoiled-by-login": oauth + `GET request to .*: 401 Unauthorized$`,
		"token-missing":           anonymous + `authorization server did not include a token in the response$`,
		"token-web-page":          anonymous + `unable to decode token response: invalid character '<'`,
		"token-name-unknown":      anonymous + `.*` + noHost, "token-dns-servfail": anonymous + `.*lookup servfail\..*server misbehaving$`,
		"token-refused": anonymous + `.*` + refused, "token-reset": anonymous + `.*connection reset by peer$`,
		"token-timeout": silence, "token-hangs": silence, "token-untrusted": anonymous + `.*` + untrusted,
		"token-expired-certificate": anonymous + `.*is after`, "token-wrong-name": anonymous + `.*certificate is valid for another\.example`,
		"token-plain-http": anonymous + `.*server gave HTTP response to HTTPS client$`,
	}
}

func expectedAnswer() map[string]string {
	status := func(s string) string { return `HEAD request .*/manifests/v1: ` + s }
	return map[string]string{
		"forbidden-login": denied, "forbidden-login-without-body": head403, "forbidden-anonymous": denied,
		"policy-403": status(`403 Forbidden\n.*due to configured policy`), "policy-412": status(`412 Precondition Failed$`),
		"policy-412-login": status(`412 Precondition Failed$`), "policy-451": status(`451 `), "quarantine": status(`403 Forbidden\n.*in quarantine`),
		"bad-request":      status(`400 Bad Request$`),
		"server-error-500": status(`500 `), "server-error-502": status(`502 `), "server-error-503": status(`503 `), "server-error-504": status(`504 `),
		"server-error-web-page": status(`503 `), "rate-limit": status(`429 Too Many Requests$`), "rate-limit-retry-after": status(`429 Too Many Requests$`),
		"manifest-404": notFound, "manifest-404-login": notFound, "digest-404": `@sha256:.*` + notFound,
		"repository-404": notFound, "repository-404-bare": notFound, "web-page-404": notFound, "web-page-200": `unexpected media type text/html$`,

		"blob-404": `from remote: not found$`, "config-404": `from remote: not found$`,
		"blob-403": blobStatus + `.*: 403 Forbidden`, "blob-500": blobStatus + `.*: 500 `, "blob-503": blobStatus + `.*: 503 `,
		"blob-429": blobStatus + `.*: 429 `, "config-500": blobStatus + `.*: 500 `,
		"manifest-500-after-head": blobStatus + `.*/manifests/sha256:.*: 500 `,
	}
}

func expectedContent() map[string]string {
	return map[string]string{
		"layer-digest-mismatch": `unexpected commit digest of .*layer`, "config-digest-mismatch": `unexpected commit digest of .*config`,
		"manifest-digest-mismatch": `unexpected commit digest of .*manifest`, "layer-short": `^short read: expected \d+ bytes but got \d+$`,
		"layer-size-wrong": `^short read: expected \d+ bytes but got \d+$`, "layer-broken-off": `unexpected EOF$`,
		"layer-diffid-wrong": `^unpacking: wrong diff id$`, "layer-gzip-broken": `^unpacking: unexpected EOF$`,
		"layer-no-archive": `^unpacking: archive/tar: invalid tar header$`, "layer-type-unknown": `^unpacking: unexpected media type application/vnd\.example\.layer$`,
		"platform-index": `^no match for platform$`, "child-manifest-404": `content at .*/manifests/sha256:.* not found: not found$`,
		"media-type-unknown": `unexpected media type application/vnd\.example\.image\.manifest\.v9\+json$`,
		"schema-1":           `unexpected media type application/vnd\.docker\.distribution\.manifest\.v1\+prettyjws$`,
	}
}

func expectedTransfer() map[string]string {
	return map[string]string{
		"second-403": blobStatus + `.*: 403 Forbidden`, "second-404": `from remote: not found$`, "second-429": blobStatus + `.*: 429 `,
		"second-500": blobStatus + `.*: 500 `, "second-cut-off": `unexpected EOF$`, "second-end-missing": `unexpected EOF$`,
		"second-file-short": `^short read: expected \d+ bytes but got \d+$`,
	}
}

func expectedNode() map[string]string {
	out := map[string]string{
		"config-does-not-parse": untrusted, "config-capability-unknown": untrusted, "config-file-misnamed": untrusted,
		"config-ca-missing": `unable to read CA cert`, "config-no-resolve": `^no resolve hosts: not found$`,
		"config-plain-for-tls": `HEAD request to http://.*: 400 Bad Request$`,

		"mirror-only-404": notFound, "mirror-only-500": mirror500, "mirror-only-refused": mirrorGone,
		"mirror-only-untrusted": `Head "https://untrusted\..*ns=.*` + untrusted,
		"mirror-404-origin-401": notFound, "mirror-404-origin-404": notFound, "mirror-404-origin-nxdomain": notFound,
		"mirror-refused-origin-404": notFound, "mirror-nxdomain-origin-404": notFound,
		"mirror-refused-origin-401": mirrorGone, "mirror-refused-origin-nxdomain": mirrorGone,
		"mirror-nxdomain-origin-401": mirrorNX, "mirror-nxdomain-origin-nxdomain": mirrorNX,

		"proxy-403": `"https://proxy-403\..*": Forbidden$`, "proxy-407": `": Proxy Authentication Required$`, "proxy-502": `": Bad Gateway$`,
		"proxy-503": `": Service Unavailable$`, "proxy-hang": `context deadline exceeded$`, "proxy-plain-502": `HEAD request to http://.*: 502 Bad Gateway$`,
		"proxied-401": noBasic, "proxied-500": `HEAD request .*: 500 `, "proxied-repository-404": notFound,
		"proxy-refused": `proxyconnect tcp: .*` + refused, "proxy-unknown": `proxyconnect tcp: .*` + noHost,
	}
	for _, origin := range []string{"good", "401", "404", "nxdomain"} {
		out["mirror-web-page-origin-"+origin] = `^unexpected media type text/html$`
		out["mirror-corrupt-origin-"+origin] = `^unexpected commit digest of .*layer`
		if origin != "good" {
			out["mirror-500-origin-"+origin] = mirror500
		}
	}
	return out
}

// Every fault happens, and nothing but the fault.
func TestCasesAsContainerdMeetsThem(t *testing.T) {
	t.Parallel()
	w := start(t)
	want := expected()
	cases := append(w.Cases(), w.InProcess()...)
	got := pullAll(t, w, cases, want)
	for i, c := range cases {
		pattern, known := want[c.Name]
		switch err := got[i]; {
		case !known:
			t.Errorf("%s: nobody has said what to expect; it ends with: %v", c.Name, err)
		case (pattern == "") != (err == nil):
			t.Errorf("%s ends with %v, want %q", c.Name, err, pattern)
		case err != nil && !regexp.MustCompile(`(?s)`+pattern).MatchString(err.Error()):
			t.Errorf("%s ends with %v, want %q", c.Name, err, pattern)
		case (c.Truth == Works) != (pattern == ""):
			t.Errorf("%s: the truth is %q, but it ends with %q", c.Name, c.Truth, pattern)
		}
		delete(want, c.Name)
	}
	for _, name := range []string{"no-route", "cdn-no-route"} { // depend on the machine
		delete(want, name)
	}
	if left := slices.Sorted(maps.Keys(want)); len(left) > 0 {
		t.Errorf("there are no cases %v", left)
	}
}

// pullAll pulls all side by side: those that hang at once, with little
// patience, the others a few at a time, with much.
func pullAll(t *testing.T, w *World, cases []Case, want map[string]string) []error {
	out := make([]error, len(cases))
	turns := make(chan struct{}, 8)
	var wg sync.WaitGroup
	for i, c := range cases {
		wg.Go(func() {
			limit, whole := time.Minute, 10*time.Minute
			switch pattern := want[c.Name]; {
			case strings.Contains(pattern, "deadline"):
				whole = 3 * time.Second
			case strings.Contains(pattern, "timeout"):
				limit = time.Second
			default:
				turns <- struct{}{}
				defer func() { <-turns }()
			}
			ctx, cancel := context.WithTimeout(t.Context(), whole)
			defer cancel()
			out[i] = puller{w, limit}.pull(ctx, c)
		})
	}
	wg.Wait()
	return out
}
