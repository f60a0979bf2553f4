package faulttest

import (
	"net/http"
	"strconv"

	"github.com/opencontainers/go-digest"
)

// refusalCases are about what a registry answers to a request for a manifest.
func (w *World) refusalCases() []spec {
	said := func(name string, truth Truth, manifest http.HandlerFunc) spec {
		return simple(name, "", truth, &repository{manifest: manifest, tags: manifest})
	}
	guarded := func(name string, truth Truth, manifest http.HandlerFunc) spec {
		s := said(name, truth, manifest)
		s.repo.admit = basic(unauthorized())
		return s.as(right())
	}
	denied := refusal(http.StatusForbidden, "DENIED")
	violation := func(status int) http.HandlerFunc {
		return saying(status, "PROJECTPOLICYVIOLATION", "current image with 7 vulnerabilities cannot be pulled due to configured policy")
	}
	out := []spec{
		guarded("forbidden-login", AccessDenied, denied),
		guarded("forbidden-login-without-body", AccessDenied, answer(http.StatusForbidden)),
		// There is no challenge, so a credential would never be asked for.
		said("forbidden-anonymous", AccessDenied, denied),
		said("policy-403", PolicyBlocked, violation(http.StatusForbidden)),
		said("policy-412", PolicyBlocked, violation(http.StatusPreconditionFailed)),
		guarded("policy-412-login", PolicyBlocked, violation(http.StatusPreconditionFailed)),
		said("policy-451", PolicyBlocked, refusal(http.StatusUnavailableForLegalReasons, "DENIED")),
		said("quarantine", PolicyBlocked, saying(http.StatusForbidden, "QUARANTINED", "the image is in quarantine")),
		said("bad-request", RegistryError, refusal(http.StatusBadRequest, "UNSUPPORTED")),
	}
	for _, status := range []int{500, 502, 503, 504} {
		name := "server-error-" + strconv.Itoa(status)
		out = append(out, said(name, RegistryError, refusal(status, "UNKNOWN")))
	}
	return append(append(out, w.missingCases()...),
		said("server-error-web-page", RegistryError, webPage(http.StatusServiceUnavailable)),
		said("rate-limit", RateLimited, refusal(http.StatusTooManyRequests, "TOOMANYREQUESTS")).slowly(),
		said("rate-limit-retry-after", RateLimited,
			with("Retry-After", w.retryAfter(), refusal(http.StatusTooManyRequests, "TOOMANYREQUESTS"))).slowly(),
	)
}

// missingCases are about what is not there.
func (w *World) missingCases() []spec {
	missing := func() *repository {
		return &repository{
			manifest: refusal(http.StatusNotFound, "MANIFEST_UNKNOWN"),
			tags:     text(http.StatusOK, "application/json", `{"name":"it","tags":["latest","v0.9","v10","v2"]}`),
		}
	}
	guarded := missing()
	guarded.admit = basic(unauthorized())
	byDigest := simple("digest-404", "", TagNotFound, missing())
	byDigest.object = "@" + digest.FromString("nothing").String()
	return []spec{
		simple("manifest-404", "", TagNotFound, missing()),
		simple("manifest-404-login", "", TagNotFound, guarded).as(right()),
		byDigest,
		simple("repository-404", "", RepositoryNotFound, nil),
		// Nothing but the status.
		simple("repository-404-bare", "", RepositoryNotFound, &repository{all: answer(http.StatusNotFound)}),
		// No registry at all.
		simple("web-page-404", "", RepositoryNotFound, &repository{all: webPage(http.StatusNotFound)}),
		simple("web-page-200", "", UnsupportedFormat, &repository{all: webPage(http.StatusOK)}),
	}
}

// redirectCases are about manifests that are elsewhere.
func (w *World) redirectCases() []spec {
	to := func(name, host string, truth Truth) spec {
		s := simple(name, "", truth, &repository{manifest: redirect("https://" + w.hostport(host) + "/v2/" + name + "/manifests")})
		s.mirror = &repository{}
		return s
	}
	out := []spec{
		to("manifest-redirect-works", hostMirror, Works),
		to("manifest-redirect-loop", hostGood, RegistryError),
		to("manifest-redirect-refused", hostRefused, ConnectionRefused),
		to("manifest-redirect-unknown", hostNXDOMAIN, RegistryNameNotFound),
		to("manifest-redirect-untrusted", hostUntrusted, TLSUntrusted),
	}
	return out
}

// blobCases are about blobs that the registry itself refuses.
func (w *World) blobCases() []spec {
	layer := func(name string, truth Truth, answer http.HandlerFunc) spec {
		return simple(name, "", truth, &repository{layer: answer})
	}
	unknown := refusal(http.StatusNotFound, "BLOB_UNKNOWN")
	return []spec{
		layer("blob-404", ContentCorrupt, unknown),
		simple("config-404", "", ContentCorrupt, &repository{config: unknown}),
		layer("blob-403", AccessDenied, refusal(http.StatusForbidden, "DENIED")),
		layer("blob-500", RegistryError, refusal(http.StatusInternalServerError, "UNKNOWN")),
		layer("blob-503", RegistryError, refusal(http.StatusServiceUnavailable, "UNKNOWN")),
		layer("blob-429", RateLimited, refusal(http.StatusTooManyRequests, "TOOMANYREQUESTS")).slowly(),
		simple("config-500", "", RegistryError, &repository{config: refusal(http.StatusInternalServerError, "UNKNOWN")}),
		simple("manifest-500-after-head", "", RegistryError,
			&repository{byDigest: refusal(http.StatusInternalServerError, "UNKNOWN")}),
	}
}

// cdnCases are about blobs for which the registry sends the runtime elsewhere.
func (w *World) cdnCases() []spec {
	at := func(name, host string, truth Truth, cdn http.HandlerFunc) spec {
		name = "cdn-" + name
		to := "https://" + w.hostport("cdn-"+host) + "/cdn/" + name
		return simple(name, "", truth, &repository{layer: redirect(to), cdn: cdn})
	}
	out := []spec{
		at("works", hostGood, Works, nil),
		at("name-unknown", hostNXDOMAIN, RegistryNameNotFound, nil),
		at("name-without-address", hostNoData, RegistryNameNotFound, nil),
		at("dns-servfail", hostServfail, DNSFailure, nil),
		at("dns-refused", hostDNSRefused, DNSFailure, nil),
		at("dns-timeout", hostDNSSilent, DNSFailure, nil).slowly(),
		at("refused", hostRefused, ConnectionRefused, nil),
		at("timeout", hostBlackhole, ConnectionTimeout, nil).slowly(),
		at("tls-hangs", hostHangTLS, ConnectionTimeout, nil).slowly(),
		at("http-hangs", hostHangHTTP, ConnectionTimeout, nil).slowly(),
		at("reset", hostReset, NetworkUnreachable, nil),
		at("closed", hostEOF, NetworkUnreachable, nil),
		at("untrusted", hostUntrusted, TLSUntrusted, nil),
		at("expired", hostExpired, TLSExpired, nil),
		at("wrong-name", hostWrongName, TLSHostnameMismatch, nil),
		at("client-certificate", hostMTLS, TLSHandshakeFailed, nil),
		at("plain-http", hostPlain, HTTPSMismatch, nil),
		at("403", hostGood, AccessDenied, text(http.StatusForbidden, "application/xml", "<Error><Code>AccessDenied</Code></Error>")),
		at("404", hostGood, ContentCorrupt, text(http.StatusNotFound, "application/xml", "<Error><Code>NoSuchKey</Code></Error>")),
		at("500", hostGood, RegistryError, answer(http.StatusInternalServerError)),
		at("503", hostGood, RegistryError, answer(http.StatusServiceUnavailable)),
		at("429", hostGood, RateLimited, answer(http.StatusTooManyRequests)).slowly(),
	}
	if !routed(unreachable6) {
		out = append(out, at("no-route", hostOnly6, NetworkUnreachable, nil))
	}
	return out
}
