package faulttest

import (
	"net/http"
	"time"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

const anyToken = true

// credentialCases are about credentials that the registry itself looks at.
func (w *World) credentialCases() []spec {
	guarded := func() *repository { return &repository{admit: basic(unauthorized())} }
	saysExpired := func(status int) *repository {
		said := saying(status, "DENIED", "Your authorization token has expired. Reauthenticate and try again.")
		return &repository{admit: basic(func(rw http.ResponseWriter, r *http.Request) {
			if _, _, given := r.BasicAuth(); given {
				said(rw, r)
				return
			}
			unauthorized()(rw, r)
		})}
	}
	return []spec{
		simple("basic-works", "", Works, guarded()).as(right()),
		simple("basic-second-login-works", "", Works, guarded()).as(wrong(), right()),
		simple("basic-anonymous", "", AuthenticationRequired, guarded()),
		simple("basic-wrong", "", CredentialsRejected, guarded()).as(wrong()),
		simple("basic-two-wrong", "", CredentialsRejected, guarded()).as(wrong(), credential.New("other", "wrong-too")),
		simple("unauthorized-without-challenge", "", AuthenticationRequired, &repository{all: unauthorized()}),
		simple("expired-says-registry", "", CredentialsExpired, saysExpired(http.StatusUnauthorized)).as(wrong()),
		simple("expired-says-registry-403", "", CredentialsExpired, saysExpired(http.StatusForbidden)).as(wrong()),
		simple("expired-jwt", "", CredentialsExpired, guarded()).as(jwt(time.Now().Add(-time.Hour))),
		simple("rejected-jwt", "", CredentialsRejected, guarded()).as(jwt(time.Now().Add(time.Hour))),
	}
}

// scopeCases are about tokens that do not allow the pull.
func (w *World) scopeCases() []spec {
	// Everyone who logs in, or does not, gets a token, but not for this.
	refused := func(name, flaw string) *repository {
		return &repository{admit: w.bearer(name, flaw), token: issuer(registrytest.TokenFor("nothing"), anyToken, unauthorized())}
	}
	const scope = "insufficient_scope"
	private := &repository{admit: w.bearer("hub-works", scope), token: issuer(registrytest.TokenFor("hub-works"), anyToken, unauthorized())}
	return []spec{
		simple("hub-works", hostHub, Works, private).as(right()),
		// The hub says the same of private repositories and of missing ones.
		simple("hub-anonymous", hostHub, DeniedOrNotFound, refused("hub-anonymous", scope)),
		simple("hub-login", hostHub, DeniedOrNotFound, refused("hub-login", scope)).as(right()),
		simple("hub-missing", hostHub, DeniedOrNotFound, nil),
		simple("hub-missing-login", hostHub, DeniedOrNotFound, nil).as(right()),
		// It rejects what its own token server has issued.
		simple("hub-invalid-token", hostHub, RegistryError, refused("hub-invalid-token", "invalid_token")),
		// The good registry says so when there is no such repository: this one is
		// there.
		simple("scope-refused-anonymous", "", AuthenticationRequired, refused("scope-refused-anonymous", scope)),
		simple("scope-refused-login", "", AccessDenied, refused("scope-refused-login", scope)).as(right()),
		simple("bearer-loop", "", AccessDenied, refused("bearer-loop", "")).as(right()),
	}
}

// tokenCases are about the token server.
func (w *World) tokenCases() []spec {
	from := func(name string, truth Truth, token http.HandlerFunc) spec {
		return simple(name, "", truth, &repository{admit: w.bearer(name, ""), token: token})
	}
	refusing := func(name string, truth Truth, status int, anonymous bool) spec {
		return from(name, truth, issuer(registrytest.TokenFor(name), anonymous, refusal(status, "DENIED")))
	}
	at := func(name, host string, truth Truth) spec {
		return simple(name, "", truth, &repository{admit: w.bearerFrom("https://"+w.hostport(host)+"/token/"+name, name, "")})
	}
	expired := saying(http.StatusUnauthorized, "UNAUTHORIZED", "authentication failed: token has expired")
	return []spec{
		refusing("token-works", Works, http.StatusUnauthorized, anyToken),
		refusing("token-login-works", Works, http.StatusUnauthorized, !anyToken).as(right()),
		refusing("token-anonymous-401", AuthenticationRequired, http.StatusUnauthorized, !anyToken),
		refusing("token-anonymous-403", AuthenticationRequired, http.StatusForbidden, !anyToken),
		refusing("token-anonymous-429", RateLimited, http.StatusTooManyRequests, !anyToken).slowly(),
		refusing("token-anonymous-503", RegistryError, http.StatusServiceUnavailable, !anyToken),
		refusing("token-login-401", CredentialsRejected, http.StatusUnauthorized, !anyToken).as(wrong()),
		// 401 is the status for a credential that is wrong; 403 says that it may not.
		refusing("token-login-403", AccessDenied, http.StatusForbidden, !anyToken).as(wrong()),
		refusing("token-login-429", RateLimited, http.StatusTooManyRequests, !anyToken).as(wrong()).slowly(),
		refusing("token-login-503", RegistryError, http.StatusServiceUnavailable, !anyToken).as(wrong()),
		// Anyone may pull this, but for those who bring a wrong credential.
		refusing("public-spoiled-by-login", CredentialsRejected, http.StatusUnauthorized, anyToken).as(wrong()),
		from("expired-says-token-server", CredentialsExpired, issuer("", !anyToken, expired)).as(wrong()),
		from("token-missing", RegistryError, text(http.StatusOK, "application/json", "{}")),
		from("token-web-page", RegistryError, webPage(http.StatusOK)),
		at("token-name-unknown", hostNXDOMAIN, RegistryNameNotFound),
		at("token-dns-servfail", hostServfail, DNSFailure),
		at("token-refused", hostRefused, ConnectionRefused),
		at("token-reset", hostReset, NetworkUnreachable),
		at("token-timeout", hostBlackhole, ConnectionTimeout).slowly(),
		at("token-hangs", hostHangHTTP, ConnectionTimeout).slowly(),
		at("token-untrusted", hostUntrusted, TLSUntrusted),
		at("token-expired-certificate", hostExpired, TLSExpired),
		at("token-wrong-name", hostWrongName, TLSHostnameMismatch),
		at("token-plain-http", hostPlain, HTTPSMismatch),
	}
}
