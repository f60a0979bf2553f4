package faulttest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// right is the credential that every registry and token server of the world
// takes, wrong one that none takes.
func right() credential.Credential { return credential.New("robot", "correct-horse") }
func wrong() credential.Credential { return credential.New("robot", "battery-staple") }

func isRight(username, password string) bool {
	rightName, rightPassword := right().Reveal()
	return username == rightName && password == rightPassword
}

// jwt is a credential whose password is a token with a time of its own.
func jwt(expires time.Time) credential.Credential {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return credential.New("oauth2accesstoken", part(`{"alg":"none","typ":"JWT"}`)+"."+
		part(fmt.Sprintf(`{"iat":%d,"exp":%d}`, expires.Add(-time.Hour).Unix(), expires.Unix()))+"."+part("signature"))
}

// basic admits those who bring the right credential, and answers others.
func basic(refused http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, ok := r.BasicAuth(); ok && isRight(user, password) {
			return true
		}
		w.Header().Set("Www-Authenticate", `Basic realm="registry"`)
		refused(w, r)
		return false
	}
}

// unauthorized is a registry's plain 401.
func unauthorized() http.HandlerFunc { return refusal(http.StatusUnauthorized, "UNAUTHORIZED") }

// bearer admits those who bring a token of the world's own token server. flaw
// is the error in the challenge to a token that does not do.
func (w *World) bearer(name, flaw string) func(http.ResponseWriter, *http.Request) bool {
	return w.bearerFrom("https://"+w.hostport(hostTokens)+"/token/"+name, name, flaw)
}

// bearerFrom is bearer with another token server.
func (w *World) bearerFrom(realm, name, flaw string) func(http.ResponseWriter, *http.Request) bool {
	return func(rw http.ResponseWriter, r *http.Request) bool {
		given := r.Header.Get("Authorization")
		if given == "Bearer "+registrytest.TokenFor(name) {
			return true
		}
		challenge := fmt.Sprintf(`Bearer realm=%q,service=%q,scope="repository:%s:pull"`, realm, domain, name)
		if given != "" && flaw != "" {
			challenge += fmt.Sprintf(`,error=%q`, flaw)
		}
		rw.Header().Set("Www-Authenticate", challenge)
		unauthorized()(rw, r)
		return false
	}
}

// issue gives everyone a token.
func issue(token string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "access_token": token, "expires_in": 300})
	}
}

// issuer gives a token to those with the right credential, and, if anonymous, to
// those without any; it answers others.
func issuer(token string, anonymous bool, refused http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if user, password, none := registrytest.TokenCredential(r); isRight(user, password) || none && anonymous {
			issue(token)(w, r)
			return
		}
		refused(w, r)
	}
}
