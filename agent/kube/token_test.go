package kube

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube/apitest"
	"github.com/whypull/whypull/cri/credential/credentialtest"
)

const (
	accountPath = "GET /api/v1/namespaces/team/serviceaccounts/builder " + asNode
	tokenPath   = "POST /api/v1/namespaces/team/serviceaccounts/builder/token " + asNode
	bearerToken = "header.payload.s1gnature"
)

// accountServer has a service account and makes its tokens, unless refusal answers.
func accountServer(t *testing.T, refusal func(http.ResponseWriter, request) bool) *apiServer {
	t.Helper()
	return newAPIServer(t, func(w http.ResponseWriter, r request) {
		switch {
		case refusal != nil && refusal(w, r):
		case r.Method == http.MethodGet:
			m := metadata("u1", "77")
			m.Name, m.Annotations = "builder", map[string]string{"corp/id": "7"}
			apitest.Write(w, runtime.ContentTypeJSON, m)
		default:
			w.Header().Set("Content-Type", runtime.ContentTypeJSON)
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(`{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","metadata":{"creationTimestamp":"2026-01-02T03:04:05Z"},
				"spec":{"audiences":["corp"],"expirationSeconds":1200},"status":{"token":"` + bearerToken + `","expirationTimestamp":"2026-01-02T03:14:05Z"}}`))
		}
	})
}

func podIn(namespace string) diagnosis.Failure {
	return diagnosis.Failure{Namespace: namespace, ServiceAccount: "builder", Pod: "web-0", UID: "p1"}
}

// A service account is read and its token requested as the node, without groups: of the
// account only its metadata, and the token as the kubelet requests it.
func TestToken(t *testing.T) {
	t.Parallel()
	s := accountServer(t, nil)
	c := s.client(t, AccessAuto)
	account, err := c.Account(t.Context(), podIn("team"))
	if err != nil || account.UID != "u1" || account.Annotations["corp/id"] != "7" {
		t.Errorf("%+v, %v", account, err)
	}
	begun := time.Now()
	got, err := c.Token(t.Context(), podIn("team"), "u1", "corp")
	if err != nil || got.Value.Reveal() != bearerToken {
		t.Errorf("error %v", err)
	}
	// The clock of the API server is wrong.
	if first, last := begun.Add(20*time.Minute), time.Now().Add(20*time.Minute); got.Expires.Before(first) || got.Expires.After(last) {
		t.Errorf("expires %s, want between %s and %s", got.Expires, first, last)
	}
	credentialtest.NeverShows(t, got, bearerToken)
	wantLines(t, "requests", s.Lines(), accountPath, tokenPath)
	noGroups(t, s.All())
	if accepted := s.All()[0].Header.Get("Accept"); accepted != "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1" {
		t.Errorf("accepts %s", accepted)
	}
	var body, want any
	if err := json.Unmarshal([]byte(s.All()[1].Body), &body); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(`{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","metadata":{"uid":"u1"},"spec":{"audiences":["corp"],
		"expirationSeconds":600,"boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":"web-0","uid":"p1"}},"status":{"token":"","expirationTimestamp":null}}`), &want); err != nil {
		t.Fatal(err)
	}
	if text, expected := indented(t, body), indented(t, want); text != expected {
		t.Errorf("request\n%s\nwant\n%s", text, expected)
	}
	if kind := s.All()[1].Header.Get("Content-Type"); kind != runtime.ContentTypeJSON {
		t.Errorf("content type %s", kind)
	}
}

func indented(t *testing.T, value any) string {
	t.Helper()
	text, err := json.MarshalIndent(value, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// No other identity requests tokens: not the agent's own account, even where roles grant
// it, and not the kubelet's certificate.
func TestTokenOnlyAsNode(t *testing.T) {
	t.Parallel()
	for _, access := range []Access{AccessDirect, AccessKubelet, AccessNone} {
		s := accountServer(t, nil)
		c := s.client(t, access)
		if _, err := c.Account(t.Context(), podIn("team")); !errors.Is(err, ErrTokenAccess) {
			t.Errorf("%s: account: %v", access, err)
		}
		if _, err := c.Token(t.Context(), podIn("team"), "u1", "corp"); !errors.Is(err, ErrTokenAccess) {
			t.Errorf("%s: token: %v", access, err)
		}
		wantLines(t, "requests", s.Lines())
	}
}

// What the API server may answer, and what the caller learns of it.
func TestTokenErrors(t *testing.T) {
	t.Parallel()
	forbidden := func(message string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			apitest.Fail(w, http.StatusForbidden, metav1.StatusReasonForbidden, message)
		}
	}
	other := errors.New("")
	for name, tc := range map[string]struct {
		answer         func(http.ResponseWriter)
		account, token error
		requests       int
	}{
		"no right": {func(w http.ResponseWriter) {
			refuse(w, "serviceaccounts", "impersonate-on:associated-node:get")
		}, ErrTokenAccess, ErrTokenAccess, 1},
		"an old API server": {func(w http.ResponseWriter) { refuse(w, "users", "impersonate") }, ErrTokenAccess, ErrTokenAccess, 1},
		"the audience":      {forbidden(`serviceaccounts "builder" is forbidden: ` + asNode + ` is not authorized to request tokens for audience "corp"`), ErrAudience, ErrAudience, 2},
		"another node's":    {forbidden(`serviceaccounts "builder" is forbidden: User "` + asNode + `" cannot create resource "serviceaccounts/token": no relationship found between node "worker-3" and this object`), other, other, 2},
		"another pod":       {forbidden(`serviceaccounts "builder" is forbidden: node requested token bound to a pod scheduled on a different node`), other, other, 2},
		"gone":              {func(w http.ResponseWriter) { apitest.Fail(w, 404, metav1.StatusReasonNotFound, bearerToken) }, ErrNotFound, ErrNotFound, 2},
		"a conflict":        {func(w http.ResponseWriter) { apitest.Fail(w, 409, metav1.StatusReasonConflict, bearerToken) }, other, other, 2},
		"text":              {func(w http.ResponseWriter) { _, _ = w.Write([]byte(bearerToken)) }, other, other, 2},
		"JSON cut off": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", runtime.ContentTypeJSON)
			_, _ = w.Write([]byte(`{"kind":"TokenRequest","status":{"token":"` + bearerToken))
		}, other, other, 2},
		"another kind": {func(w http.ResponseWriter) { apitest.Write(w, runtime.ContentTypeJSON, pullSecret()) }, other, other, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := accountServer(t, func(w http.ResponseWriter, _ request) bool {
				tc.answer(w)
				return true
			})
			c := s.client(t, AccessAuto)
			_, account := c.Account(t.Context(), podIn("team"))
			_, token := c.Token(t.Context(), podIn("team"), "u1", "corp")
			for what, got := range map[string][2]error{"account": {account, tc.account}, "token": {token, tc.token}} {
				if got[0] == nil || !errors.Is(got[1], other) && !errors.Is(got[0], got[1]) {
					t.Errorf("%s: %v, want %v", what, got[0], got[1])
				}
				if errors.Is(got[1], other) && (errors.Is(got[0], ErrTokenAccess) || errors.Is(got[0], ErrAudience) || errors.Is(got[0], ErrNotFound)) {
					t.Errorf("%s: %v is no other error", what, got[0])
				}
				if strings.Contains(got[0].Error(), bearerToken) {
					t.Errorf("%s: the error quotes the response: %v", what, got[0])
				}
			}
			if n := len(s.Lines()); n != tc.requests {
				t.Errorf("%d requests, want %d: %q", n, tc.requests, s.Lines())
			}
		})
	}
}

// A refusal is remembered for its namespace: roles grant tokens in some only.
func TestTokenRefusalIsOfOneNamespace(t *testing.T) {
	t.Parallel()
	s := accountServer(t, func(w http.ResponseWriter, r request) bool {
		closed := strings.Contains(r.URL.Path, "/closed/")
		if closed {
			refuse(w, "serviceaccounts", "impersonate-on:associated-node:get")
		}
		return closed
	})
	c := s.client(t, AccessAuto)
	for _, namespace := range []string{"closed", "team", "closed", "team"} {
		if _, err := c.Account(t.Context(), podIn(namespace)); errors.Is(err, ErrTokenAccess) != (namespace == "closed") {
			t.Errorf("%s: %v", namespace, err)
		}
	}
	wantLines(t, "requests", s.Lines(), strings.Replace(accountPath, "team", "closed", 1), accountPath, accountPath)
}
