package registry

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/whypull/whypull/cri/catest"
)

const (
	tokenLifetime = 5 * time.Minute
	signingKeyID  = "lab"
)

// Access is one permission in a token, in the format of the registry token protocol.
type Access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// Grant returns what a user ("" for anonymous) gets of the requested scopes.
func Grant(user string, scopes []string) []Access {
	granted := []Access{}
	for _, scope := range scopes {
		kind, rest, _ := strings.Cut(scope, ":")
		colon := strings.LastIndexByte(rest, ':')
		if kind != "repository" || colon < 0 {
			continue
		}
		repository := rest[:colon]
		actions := slices.DeleteFunc(strings.Split(rest[colon+1:], ","), func(action string) bool {
			return !allowed(user, repository, action)
		})
		if len(actions) > 0 {
			granted = append(granted, Access{Type: kind, Name: repository, Actions: actions})
		}
	}
	return granted
}

func allowed(user, repository, action string) bool {
	switch {
	case user == Admin:
		return true
	case action != "pull":
		return false
	case user == Reader && strings.HasPrefix(repository, "team-a/"):
		return true
	default:
		return strings.HasPrefix(repository, "public/")
	}
}

// TokenService issues tokens over HTTP.
type TokenService struct {
	signer jose.Signer
	users  map[string]string
}

// NewTokenService returns a service that signs tokens with the given pair's key.
func NewTokenService(key *catest.Pair) (*TokenService, error) {
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", signingKeyID)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key.Key}, options)
	if err != nil {
		return nil, fmt.Errorf("token signer: %w", err)
	}
	users := map[string]string{Reader: ReaderPassword, Admin: AdminPassword}
	return &TokenService{signer: signer, users: users}, nil
}

// ServeHTTP answers GET with a token. It does not support POST; neither do some
// registries.
func (s *TokenService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		http.Error(w, "use GET", http.StatusMethodNotAllowed)
		return
	}
	user, password, ok := r.BasicAuth()
	if ok && !s.knows(user, password) {
		w.Header().Set("WWW-Authenticate", `Basic realm="lab"`)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`))
		return
	}
	token, err := s.issue(user, r.URL.Query().Get("service"), r.URL.Query()["scope"], time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"token": token, "access_token": token, "expires_in": int(tokenLifetime.Seconds()), "issued_at": time.Now().UTC(),
	})
}

func (s *TokenService) knows(user, password string) bool {
	want, ok := s.users[user]
	return ok && subtle.ConstantTimeCompare([]byte(want), []byte(password)) == 1
}

func (s *TokenService) issue(user, service string, scopes []string, now time.Time) (string, error) {
	var split []string
	for _, scope := range scopes { // one parameter may contain several
		split = append(split, strings.Fields(scope)...)
	}
	claims := jwt.Claims{
		Issuer: AuthHost, Subject: user, Audience: jwt.Audience{service}, ID: rand.Text(),
		Expiry: jwt.NewNumericDate(now.Add(tokenLifetime)), NotBefore: jwt.NewNumericDate(now.Add(-time.Minute)), IssuedAt: jwt.NewNumericDate(now),
	}
	token, err := jwt.Signed(s.signer).Claims(claims).Claims(map[string]any{"access": Grant(user, split)}).Serialize()
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return token, nil
}

// keySet returns the token service's public key as registries read it.
func keySet(key *catest.Pair) ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: key.Key.Public(), KeyID: signingKeyID, Algorithm: string(jose.ES256), Use: "sig"},
	}}
	data, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	return data, nil
}

// ServeTokens runs the token service inside the lab until ctx is done.
func ServeTokens(ctx context.Context) error {
	key, err := catest.Read(configDir + "/token-key")
	if err != nil {
		return err
	}
	service, err := NewTokenService(key)
	if err != nil {
		return err
	}
	return serveTLS(ctx, net.JoinHostPort(authAddress, "443"), logged(service), "auth")
}

// serveTLS serves with the certificate for the requested name, or else the first one.
func serveTLS(ctx context.Context, address string, handler http.Handler, certificates ...string) error {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	for _, name := range certificates {
		pair, err := tls.LoadX509KeyPair(filepath.Join(configDir, name+".crt"), filepath.Join(configDir, name+".key"))
		if err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
		config.Certificates = append(config.Certificates, pair)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, TLSConfig: config}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}
