package kube

import (
	"context"
	"net/http"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"github.com/whypull/whypull/agent/kube/apitest"
)

// reviewed responds to reviews as the API server does, with the given results, and
// checks the requests.
func reviewed(t *testing.T, authenticated, allowed bool) func(http.ResponseWriter, request) {
	t.Helper()
	decode := func(r request, into runtime.Object) {
		scheme := newScheme()
		if _, _, err := protobuf.NewSerializer(scheme, scheme).Decode([]byte(r.Body), nil, into); err != nil {
			t.Errorf("request body: %v", err)
		}
	}
	return func(w http.ResponseWriter, r request) {
		w.Header().Set("Content-Type", runtime.ContentTypeProtobuf)
		switch r.Line() {
		case "POST /apis/authentication.k8s.io/v1/tokenreviews":
			var got authenticationv1.TokenReview
			decode(r, &got)
			got.SetGroupVersionKind(authenticationv1.SchemeGroupVersion.WithKind("TokenReview"))
			got.Status.Authenticated = authenticated && got.Spec.Token == password
			got.Status.User = authenticationv1.UserInfo{Username: "prometheus", UID: "u-1", Groups: []string{"scrapers"},
				Extra: map[string]authenticationv1.ExtraValue{"scopes": {"a", "b"}}}
			apitest.Write(w, runtime.ContentTypeProtobuf, &got)
		case "POST /apis/authorization.k8s.io/v1/subjectaccessreviews":
			var got authorizationv1.SubjectAccessReview
			decode(r, &got)
			s := got.Spec
			if s.User != "prometheus" || s.UID != "u-1" || strings.Join(s.Groups, ",") != "scrapers" || strings.Join(s.Extra["scopes"], ",") != "a,b" ||
				s.ResourceAttributes != nil || *s.NonResourceAttributes != (authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"}) {
				t.Errorf("subject access review %+v", s)
			}
			got.SetGroupVersionKind(authorizationv1.SchemeGroupVersion.WithKind("SubjectAccessReview"))
			got.Status.Allowed = allowed
			apitest.Write(w, runtime.ContentTypeProtobuf, &got)
		default:
			t.Errorf("request %s", r.Line())
		}
	}
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		authenticated, allowed bool
		want                   int
		requests               int
	}{
		"allowed":   {true, true, 200, 2},
		"forbidden": {true, false, 403, 2},
		"unknown":   {false, true, 401, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer(t, reviewed(t, tc.authenticated, tc.allowed))
			if status, err := s.client(t, AccessAuto).Authorize(t.Context(), password, "/metrics"); err != nil || status != tc.want {
				t.Errorf("%d %v, want %d", status, err, tc.want)
			}
			if n := len(s.All()); n != tc.requests {
				t.Errorf("%d requests, want %d", n, tc.requests)
			}
		})
	}
}

// An error without a decision is not a refusal, and does not contain the token even
// if the API server's message does.
func TestAuthorizeUndecided(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(http.ResponseWriter, request){
		"no right": func(w http.ResponseWriter, _ request) {
			apitest.Fail(w, http.StatusForbidden, metav1.StatusReasonForbidden, "tokenreviews is forbidden: "+password)
		},
		"too many": func(w http.ResponseWriter, _ request) { w.Header().Set("Retry-After", "1"); w.WriteHeader(429) },
		"ill": func(w http.ResponseWriter, _ request) {
			apitest.Fail(w, 500, metav1.StatusReasonInternalError, password)
		},
		"no content": func(w http.ResponseWriter, _ request) { _, _ = w.Write([]byte(password)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer(t, answer)
			_, err := s.client(t, AccessAuto).Authorize(t.Context(), password, "/metrics")
			if err == nil || strings.Contains(err.Error(), password) {
				t.Errorf("error %v", err)
			}
			if n := len(s.All()); n != 1 {
				t.Errorf("%d requests, want 1", n)
			}
		})
	}
}

// Reviews have their own rate limit, so made-up tokens do not use up that of the
// agent's other requests.
func TestAuthorizeIsLimited(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t, reviewed(t, false, false))
	c := s.client(t, AccessAuto)
	for range reviewBurst {
		if status, err := c.Authorize(t.Context(), "made up", "/metrics"); err != nil || status != 401 {
			t.Fatalf("%d %v", status, err)
		}
	}
	if got := c.tokens.GetRateLimiter(); got != c.rights.GetRateLimiter() || got == c.core.GetRateLimiter() || got.QPS() != reviewRate {
		t.Error("the reviews do not share one limit that is theirs alone")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Authorize(ctx, "made up", "/metrics"); err == nil || len(s.All()) != reviewBurst {
		t.Errorf("error %v after %d requests", err, len(s.All()))
	}
}
