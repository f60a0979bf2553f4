package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/whypull/whypull/agent/share"
)

// metricsPath is the URL path of the metrics and their nonResourceURL in RBAC.
const metricsPath = "/metrics"

// authorizer returns the HTTP status for a token and a path: 200, 401 or 403. kube.Client
// is one.
type authorizer interface {
	Authorize(ctx context.Context, token, path string) (status int, err error)
}

const (
	// allowedLife and refusedLife are how long a decision of the API server is
	// valid. A revoked right is lost within allowedLife.
	allowedLife = time.Minute
	refusedLife = 10 * time.Second
	// knownLife is how long a token that was allowed is exempt from unknownRate.
	knownLife = time.Hour
	// decisionLimit is the number of decisions kept; refusals are evicted first.
	decisionLimit = 64
	// decisionTimeout bounds the two requests to the API server.
	decisionTimeout = 5 * time.Second
)

// The limit on unknown tokens sent to the API server, per second and at once. It
// does not apply to known ones, so a flood of made-up tokens does not lock out
// Prometheus.
const (
	unknownRate  = 1
	unknownBurst = 10
)

// errBusy is returned for an unknown token beyond the limit.
var errBusy = errors.New("too many unknown tokens")

// decision is the API server's decision on a token, as an HTTP status: 200, 401 or
// 403.
type decision struct{ status int }

// life returns how long a decision is kept; one that allows is valid for less.
func (d *decision) life() time.Duration {
	if d.status == http.StatusOK {
		return knownLife
	}
	return refusedLife
}

// tokenAuth serves requests with a bearer token whose user may get metricsPath.
type tokenAuth struct {
	api       authorizer
	log       *slog.Logger
	now       func() time.Time
	unknown   *rate.Limiter
	decisions *share.Cache[[sha256.Size]byte, *decision] // by the token's hash
}

func newTokenAuth(api authorizer, log *slog.Logger, now func() time.Time) *tokenAuth {
	return &tokenAuth{api: api, log: log, now: now, unknown: rate.NewLimiter(unknownRate, unknownBurst),
		decisions: share.New[[sha256.Size]byte](decisionLimit, (*decision).life, now)}
}

// protection returns the middleware for a value of --metrics-auth.
func protection(flag string, api authorizer, log *slog.Logger) (func(http.Handler) http.Handler, error) {
	switch flag {
	case "none":
		return unprotected, nil
	case "token":
		return newTokenAuth(api, log, time.Now).protect, nil
	}
	return nil, fmt.Errorf("metrics authentication %q: want none or token", flag)
}

func (a *tokenAuth) protect(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch status := a.decide(r); status {
		case http.StatusOK:
			h.ServeHTTP(w, r)
		case http.StatusUnauthorized:
			w.Header().Set("WWW-Authenticate", "Bearer")
			fallthrough
		default:
			http.Error(w, http.StatusText(status), status)
		}
	})
}

// decide returns the HTTP status for a request: 200 if it is allowed, 503 if there
// is no decision.
func (a *tokenAuth) decide(r *http.Request) int {
	token := bearer(r)
	if token == "" {
		return http.StatusUnauthorized
	}
	known := false
	serves := func(k share.Kept[*decision]) bool {
		known = k.Value.status == http.StatusOK
		return !known || a.now().Sub(k.Fetched) < allowedLife
	}
	d, err := a.decisions.GetIf(r.Context(), sha256.Sum256([]byte(token)), serves, func(ctx context.Context) (*decision, error) {
		if !known && !a.unknown.AllowN(a.now(), 1) {
			return nil, errBusy
		}
		ctx, cancel := context.WithTimeout(ctx, decisionTimeout)
		defer cancel()
		status, err := a.api.Authorize(ctx, token, metricsPath)
		return &decision{status}, err
	})
	switch {
	case err == nil:
		return d.status
	case r.Context().Err() == nil && !errors.Is(err, errBusy):
		a.log.Warn("metrics request could not be authorized", "err", err)
	}
	return http.StatusServiceUnavailable
}

// bearer returns the request's bearer token (RFC 6750), "" if it has none.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
