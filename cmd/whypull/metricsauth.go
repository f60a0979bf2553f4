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

	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/share"
)

// metricsPath is where the metrics are, and the nonResourceURL of their RBAC.
const metricsPath = "/metrics"

// authorizer decides whether the bearer of a token may get a path.
type authorizer interface {
	Authorize(ctx context.Context, token, path string) error
}

// How long the API server's decisions serve, how long a token that had the right
// is remembered, and how many are kept; the refusals go first. A right that is
// withdrawn ends within the first of these.
const (
	allowedLife   = time.Minute
	refusedLife   = 10 * time.Second
	knownLife     = time.Hour
	decisionLimit = 64
	// decisionTimeout bounds the API server's answers.
	decisionTimeout = 5 * time.Second
)

// The API server is asked about at most so many unknown tokens a second, and so
// many at once. Tokens that had the right do not count: who makes tokens up must
// not keep Prometheus from the metrics.
const (
	unknownRate  = 1
	unknownBurst = 10
)

// errBusy is returned for a token beyond the limit on unknown ones.
var errBusy = errors.New("too many unknown tokens")

// decision is the HTTP status for the bearer of a token.
type decision struct{ status int }

// life returns how long a decision is kept, not how long it serves.
func (d *decision) life() time.Duration {
	if d.status == http.StatusOK {
		return knownLife
	}
	return refusedLife
}

// tokenAuth lets requests through whose bearer token has the right to get
// /metrics, by RBAC's nonResourceURLs.
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

// protection returns what --metrics-auth puts before /metrics.
func protection(flag string, api authorizer, log *slog.Logger) (func(http.Handler) http.Handler, error) {
	switch flag {
	case "none":
		return forEverybody, nil
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

// decide returns the HTTP status for a request: 200 if it may pass, and 503 if the
// API server does not decide.
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
		return decisionOn(a.api.Authorize(ctx, token, metricsPath))
	})
	switch {
	case err == nil:
		return d.status
	case r.Context().Err() == nil && !errors.Is(err, errBusy):
		a.log.Warn("access to metrics is undecided", "err", err)
	}
	return http.StatusServiceUnavailable
}

// decisionOn returns the decision that the API server's answer is, or the error
// that kept it from one.
func decisionOn(err error) (*decision, error) {
	switch {
	case err == nil:
		return &decision{http.StatusOK}, nil
	case errors.Is(err, kube.ErrUnauthenticated):
		return &decision{http.StatusUnauthorized}, nil
	case errors.Is(err, kube.ErrForbidden):
		return &decision{http.StatusForbidden}, nil
	}
	return nil, err
}

// bearer returns the request's bearer token (RFC 6750), "" if it has none.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
