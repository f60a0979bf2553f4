package registrytest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// list answers a request for the tags, in pages as the client wants them.
func (repo Repository) list(w http.ResponseWriter, r *http.Request) {
	if repo.ListStatus != 0 {
		fail(w, repo.ListStatus, codeOf(repo.ListStatus))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	tags := repo.Tags
	if n, err := strconv.Atoi(r.FormValue("n")); err == nil && len(tags) > n {
		tags = slices.Sorted(slices.Values(tags))
		tags = slices.DeleteFunc(tags, func(tag string) bool { return tag <= r.FormValue("last") })
		if len(tags) > n {
			w.Header().Set("Link", `</v2/`+repo.Name+`/tags/list?last=`+tags[n-1]+`>; rel="next"`)
			tags = tags[:n]
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"name": repo.Name, "tags": tags})
}

// fail answers with the repository's own words if it has any.
func (repo Repository) fail(w http.ResponseWriter, status int) {
	if repo.ErrorBody == "" {
		fail(w, status, codeOf(status))
		return
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, repo.ErrorBody)
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"the registry's own words"}]}`, code)
}

func codeOf(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "UNAUTHORIZED"
	case http.StatusForbidden:
		return "DENIED"
	case http.StatusTooManyRequests:
		return "TOOMANYREQUESTS"
	case http.StatusPreconditionFailed:
		return "PROJECTPOLICYVIOLATION"
	default:
		return "UNKNOWN"
	}
}

// ping answers a request for /v2/.
func (s *Server) ping(w http.ResponseWriter) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	i := slices.IndexFunc(s.Repositories, func(repo Repository) bool { return repo.Auth != Open })
	switch {
	case s.PingStatus >= http.StatusBadRequest:
		fail(w, s.PingStatus, codeOf(s.PingStatus))
	case s.PingStatus != 0:
		w.WriteHeader(s.PingStatus)
	case i < 0:
		_, _ = io.WriteString(w, "{}")
	case s.Repositories[i].Auth == Basic:
		s.challenge(w, s.Repositories[i], basicChallenge)
	default:
		s.challenge(w, s.Repositories[i], fmt.Sprintf(`Bearer realm=%q,service="registry.test"`, s.realm()))
	}
}

const basicChallenge = `Basic realm="Registry"`

// allowed lets a request in, or answers it with a 401.
func (s *Server) allowed(w http.ResponseWriter, r *http.Request, repo Repository) bool {
	switch repo.Auth {
	case Basic:
		user, password, ok := r.BasicAuth()
		if ok && s.knows(user, password) && repo.admits(user) {
			return true
		}
		s.challenge(w, repo, basicChallenge)
		return false
	case Bearer:
		token, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if isBearer && token == TokenFor(repo.Name) {
			return true
		}
		challenge := fmt.Sprintf(`Bearer realm=%q,service="registry.test",scope="repository:%s:pull"`, s.realm(), repo.Name)
		if isBearer {
			challenge += `,error="insufficient_scope"`
		}
		s.challenge(w, repo, challenge)
		return false
	case Open:
	}
	return true
}

func (s *Server) challenge(w http.ResponseWriter, repo Repository, challenge string) {
	if repo.Challenge != "" {
		challenge = repo.Challenge
	}
	w.Header().Set("Www-Authenticate", challenge)
	repo.fail(w, http.StatusUnauthorized)
}

func (s *Server) realm() string {
	if s.Realm != "" {
		return s.Realm
	}
	scheme := "https"
	if s.Plain {
		scheme = "http"
	}
	return scheme + "://" + s.Host + "/token"
}

func (s *Server) knows(user, password string) bool {
	want, ok := s.Passwords[user]
	return ok && want == password
}

func (repo Repository) admits(user string) bool {
	return repo.Users == nil || slices.Contains(repo.Users, user)
}

// TokenFor is the token that allows to pull from a repository.
func TokenFor(name string) string {
	return base64.RawURLEncoding.EncodeToString([]byte("pull " + name))
}

// token is the token server. It takes the password grant of a POST, and basic
// authorization or none of a GET.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	maps.Copy(w.Header(), s.TokenHeader)
	switch {
	case s.TokenStatus != 0 && s.TokenBody != "":
		w.WriteHeader(s.TokenStatus)
		_, _ = io.WriteString(w, s.TokenBody)
		return
	case s.TokenStatus != 0:
		fail(w, s.TokenStatus, codeOf(s.TokenStatus))
		return
	}
	if r.Method == http.MethodPost && s.TokenGET {
		fail(w, http.StatusNotFound, "UNKNOWN")
		return
	}
	user, password, anonymous := TokenCredential(r)
	if anonymous && s.NoAnonymous || !anonymous && !s.knows(user, password) {
		fail(w, http.StatusUnauthorized, "UNAUTHORIZED")
		return
	}
	if s.TokenBody != "" {
		_, _ = io.WriteString(w, s.TokenBody)
		return
	}
	token := s.grant(r.FormValue("scope"), user, anonymous)
	_ = json.NewEncoder(w).Encode(map[string]string{"token": token, "access_token": token})
}

// TokenCredential is the credential of a request for a token.
func TokenCredential(r *http.Request) (user, password string, anonymous bool) {
	if r.Method == http.MethodPost {
		return r.FormValue("username"), r.FormValue("password"), false
	}
	user, password, ok := r.BasicAuth()
	return user, password, !ok
}

// grant gives a token for the repository of the scope, and one for nothing to
// those who may not have it. Anonymous clients may only have open ones.
func (s *Server) grant(scope, user string, anonymous bool) string {
	name := strings.TrimSuffix(strings.TrimPrefix(scope, "repository:"), ":pull")
	for _, repo := range s.Repositories {
		if repo.Name == name && (anonymous && repo.Users == nil && len(s.Passwords) == 0 || !anonymous && repo.admits(user)) {
			return TokenFor(name)
		}
	}
	return TokenFor("nothing")
}
