package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/whypull/whypull/agent/kube/apitest"
)

// metadataList sends the response to a list of metadata.
func metadataList(w http.ResponseWriter, places ...string) {
	var items []string
	for _, p := range places {
		namespace, name, _ := strings.Cut(p, "/")
		items = append(items, fmt.Sprintf(`{"metadata":{"namespace":%q,"name":%q}}`, namespace, name))
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","items":[%s]}`, strings.Join(items, ","))
}

func TestExistsElsewhere(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		access Access
		answer func(http.ResponseWriter)
		want   bool
		err    error
		fails  bool
		asked  int // in two calls
	}{
		"found":       {AccessAuto, func(w http.ResponseWriter) { metadataList(w, "team/pull", "a/pull") }, true, nil, false, 2},
		"here alone":  {AccessAuto, func(w http.ResponseWriter) { metadataList(w, "team/pull") }, false, nil, false, 2},
		"others":      {AccessAuto, func(w http.ResponseWriter) { metadataList(w, "a/other", "team/pull") }, false, nil, false, 2},
		"none":        {AccessAuto, func(w http.ResponseWriter) { metadataList(w) }, false, nil, false, 2},
		"others too":  {AccessAuto, func(w http.ResponseWriter) { metadataList(w, "a/other", "b/pull") }, true, nil, false, 2},
		"direct":      {AccessDirect, func(w http.ResponseWriter) { metadataList(w, "a/pull") }, true, nil, false, 2},
		"no right":    {AccessAuto, func(w http.ResponseWriter) { refuse(w, "secrets", "list") }, false, ErrNoAccess, true, 1},
		"none at all": {AccessNone, nil, false, ErrNoAccess, true, 0},
		"impersonate": {AccessImpersonate, nil, false, ErrNoAccess, true, 0},
		"ill":         {AccessAuto, func(w http.ResponseWriter) { apitest.Fail(w, 500, metav1.StatusReasonInternalError, password) }, false, nil, true, 2},
		"not JSON":    {AccessAuto, func(w http.ResponseWriter) { _, _ = w.Write([]byte(password)) }, false, nil, true, 2},
		"no metadata": {AccessAuto, func(w http.ResponseWriter) {
			apitest.Fail(w, http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable, "only the following media types are accepted")
		}, false, nil, true, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer(t, func(w http.ResponseWriter, _ request) { tc.answer(w) })
			c := s.client(t, tc.access)
			for range 2 {
				got, err := c.ExistsElsewhere(t.Context(), "team", "pull")
				if got != tc.want || (err != nil) != tc.fails || tc.err != nil && !errors.Is(err, tc.err) {
					t.Errorf("%t, error %v", got, err)
				}
				if err != nil && strings.Contains(err.Error(), password) {
					t.Errorf("the error quotes the answer: %v", err)
				}
			}
			all := s.All()
			if len(all) != tc.asked {
				t.Fatalf("%d requests, want %d", len(all), tc.asked)
			}
			for _, r := range all {
				onlyMetadata(t, r)
			}
		})
	}
}

// The request asks for no secret content and does not impersonate the node.
func onlyMetadata(t *testing.T, r request) {
	t.Helper()
	if r.Line() != "GET /api/v1/secrets" || r.URL.Query().Get("fieldSelector") != "metadata.name=pull" || r.URL.Query().Get("limit") != "2" {
		t.Errorf("asked %s with %v", r.Line(), r.URL.Query())
	}
	for accepted := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		if !strings.Contains(accepted, "as=PartialObjectMetadataList") {
			t.Errorf("accepts %q", accepted)
		}
	}
}

// A refusal does not last for ever, and the first one only for a moment: an API
// server that has just started refuses a lot.
func TestExistsElsewhereAgain(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t, func(w http.ResponseWriter, _ request) { refuse(w, "secrets", "list") })
	c := s.client(t, AccessAuto)
	clock := clocktesting.NewFakeClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	c.listRefusals.Clock = clock
	for _, step := range []struct {
		wait  time.Duration
		asked int
	}{{0, 1}, {14 * time.Second, 1}, {time.Second, 2}, {29 * time.Second, 2}, {time.Second, 3}} {
		clock.Step(step.wait)
		if _, err := c.ExistsElsewhere(t.Context(), "team", "pull"); !errors.Is(err, ErrNoAccess) {
			t.Errorf("error %v", err)
		}
		if got := len(s.All()); got != step.asked {
			t.Errorf("%d requests, want %d", got, step.asked)
		}
	}
	if _, err := c.Secret(t.Context(), "team", "pull"); err == nil {
		t.Error("the secret was read all the same")
	}
	if lines := s.Lines(); len(lines) < 4 || !strings.HasSuffix(lines[3], asNode) {
		t.Errorf("the refusal counts for reading a secret, too: %q", lines)
	}
}

func TestExistsElsewhereCanceled(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t, func(w http.ResponseWriter, _ request) { metadataList(w) })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.client(t, AccessAuto).ExistsElsewhere(ctx, "team", "pull"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestSecretMetadata(t *testing.T) {
	t.Parallel()
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: created.Add(d)} }
	for name, tc := range map[string]struct {
		meta metav1.ObjectMeta
		want time.Time
	}{
		"unknown":      {metav1.ObjectMeta{}, time.Time{}},
		"created":      {metav1.ObjectMeta{CreationTimestamp: *at(0)}, created},
		"changed":      {metav1.ObjectMeta{CreationTimestamp: *at(0), ManagedFields: []metav1.ManagedFieldsEntry{{Time: at(time.Hour)}, {Time: at(time.Minute)}, {}}}, created.Add(time.Hour)},
		"older fields": {metav1.ObjectMeta{CreationTimestamp: *at(0), ManagedFields: []metav1.ManagedFieldsEntry{{Time: at(-time.Hour)}}}, created},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer(t, func(w http.ResponseWriter, _ request) {
				secret := pullSecret()
				secret.ObjectMeta, secret.UID = tc.meta, "u-1"
				apitest.Write(w, runtime.ContentTypeProtobuf, secret)
			})
			got, err := s.client(t, AccessAuto).Secret(t.Context(), "team", "pull")
			if err != nil || got.UID != "u-1" || !got.Changed.Equal(tc.want) || got.Type != string(corev1.SecretTypeDockerConfigJson) {
				t.Errorf("secret %s of %s, error %v", got.UID, got.Changed, err)
			}
		})
	}
}
