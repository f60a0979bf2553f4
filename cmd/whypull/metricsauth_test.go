//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// decided is what a fakeAuthorizer returns.
type decided struct {
	status int
	err    error
}

// fakeAuthorizer returns the decisions it is given and records what it is asked.
type fakeAuthorizer struct {
	mu    sync.Mutex
	all   map[string]decided // by token; others are not valid
	asked []string
}

func (a *fakeAuthorizer) Authorize(_ context.Context, token, path string) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, token+" "+path)
	if d, known := a.all[token]; known {
		return d.status, d.err
	}
	return 401, nil
}

func (a *fakeAuthorizer) set(token string, status int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all[token] = decided{status, err}
}

type authenticated struct {
	*tokenAuth
	api   *fakeAuthorizer
	clock *clock
	log   *bytes.Buffer
}

func newAuthenticated() authenticated {
	a := authenticated{api: &fakeAuthorizer{all: map[string]decided{"good": {200, nil}, "other": {403, nil}}}, clock: newClock(), log: &bytes.Buffer{}}
	a.tokenAuth = newTokenAuth(a.api, slog.New(slog.NewTextHandler(a.log, nil)), a.clock.now)
	return a
}

func (a authenticated) get(header string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "/metrics", nil)
	if header != "" {
		r.Header.Set("Authorization", header)
	}
	w := httptest.NewRecorder()
	a.protect(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "secret") })).ServeHTTP(w, r)
	return w
}

func (a authenticated) want(t *testing.T, header string, status, asked int) {
	t.Helper()
	w := a.get(header)
	if w.Code != status || strings.Contains(w.Body.String(), "secret") != (status == 200) {
		t.Errorf("%q: %d %s, want %d", header, w.Code, w.Body, status)
	}
	if challenge := w.Header().Get("WWW-Authenticate"); (challenge != "") != (status == 401) {
		t.Errorf("%q: %d with challenge %q", header, status, challenge)
	}
	if len(a.api.asked) != asked {
		t.Errorf("%q: requests to the API server %q, want %d", header, a.api.asked, asked)
	}
}

func TestTokenAuth(t *testing.T) {
	t.Parallel()
	a := newAuthenticated()
	for _, none := range []string{"", "Bearer", "Bearer ", "Basic good", "good", "Bearergood"} {
		a.want(t, none, 401, 0)
	}
	a.want(t, "Bearer good", 200, 1)
	a.want(t, "bearer good", 200, 1)
	a.want(t, "Bearer other", 403, 2)
	a.want(t, "Bearer made-up", 401, 3)
	a.want(t, "Bearer made-up", 401, 3)
	if a.api.asked[0] != "good /metrics" {
		t.Errorf("asked %q", a.api.asked)
	}
	if a.log.Len() > 0 {
		t.Errorf("log %s", a.log)
	}
}

// A revoked right is lost after a minute, and a granted one works ten seconds after
// a refusal.
func TestTokenAuthExpires(t *testing.T) {
	t.Parallel()
	a := newAuthenticated()
	a.want(t, "Bearer good", 200, 1)
	a.want(t, "Bearer other", 403, 2)
	a.api.set("good", 403, nil)
	a.api.set("other", 200, nil)
	a.clock.advance(refusedLife - 1)
	a.want(t, "Bearer other", 403, 2)
	a.clock.advance(1)
	a.want(t, "Bearer other", 200, 3)
	a.clock.advance(allowedLife - refusedLife - 1)
	a.want(t, "Bearer good", 200, 3)
	a.clock.advance(1)
	a.want(t, "Bearer good", 403, 4)
}

// Without a decision there are no metrics, and errors are not cached.
func TestTokenAuthUndecided(t *testing.T) {
	t.Parallel()
	a := newAuthenticated()
	a.api.set("good", 0, errors.New("token review: the API server answered 500"))
	a.want(t, "Bearer good", 503, 1)
	if !strings.Contains(a.log.String(), "token review: the API server answered 500") || strings.Contains(a.log.String(), "good") {
		t.Errorf("log %s", a.log)
	}
	a.api.set("good", 200, nil)
	a.want(t, "Bearer good", 200, 2)
}

// Made-up tokens cost the API server little, do not fill the agent's memory or log,
// and do not lock out a token that was allowed before.
func TestTokenAuthFlood(t *testing.T) {
	t.Parallel()
	a := newAuthenticated()
	a.want(t, "Bearer good", 200, 1)
	for range 10 {
		for i := range 500 {
			if w := a.get(fmt.Sprintf("Bearer made-up-%d-%d", i, len(a.api.asked))); w.Code != 401 && w.Code != 503 {
				t.Fatalf("status %d", w.Code)
			}
		}
		a.clock.advance(allowedLife / 10)
	}
	const seconds = int(allowedLife / time.Second)
	if n := len(a.api.asked); n > 1+unknownBurst+seconds*unknownRate {
		t.Errorf("%d requests to the API server", n)
	}
	if n := a.decisions.Len(); n > decisionLimit {
		t.Errorf("%d decisions are kept", n)
	}
	if a.log.Len() > 0 {
		t.Errorf("log %s", a.log)
	}
	for i := range 500 {
		_ = a.get(fmt.Sprintf("Bearer again-%d", i))
	}
	a.want(t, "Bearer good", 200, len(a.api.asked)+1) // the decision has expired
}

func TestProtection(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	inner := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for flag, want := range map[string]int{"none": 200, "token": 401} {
		protect, err := protection(flag, &fakeAuthorizer{}, log)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		protect(inner).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", flag, w.Code, want)
		}
	}
	if _, err := protection("mtls", nil, log); err == nil || err.Error() != `metrics authentication "mtls": want none or token` {
		t.Errorf("error %v", err)
	}
}
