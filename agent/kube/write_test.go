package kube

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"github.com/whypull/whypull/agent/kube/apitest"
)

func TestPatchPod(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t, func(w http.ResponseWriter, _ request) { apitest.Write(w, runtime.ContentTypeProtobuf, &corev1.Pod{}) })
	// Writes use the agent's own account, whatever reads use.
	for _, access := range []Access{AccessAuto, AccessImpersonate, AccessDirect, AccessNone} {
		err := s.client(t, access).PatchPod(t.Context(), "team", "web", "u-1", PodChange{Annotations: map[string]*string{
			"whypull.dev/cause": new("TagNotFound"), "whypull.dev/report": nil,
		}})
		if err != nil {
			t.Errorf("%s: %v", access, err)
		}
	}
	for _, r := range s.All() {
		if r.Line() != "PATCH /api/v1/namespaces/team/pods/web/status" {
			t.Errorf("request %q", r.Line())
		}
		if got := r.Header.Get("Content-Type"); got != "application/merge-patch+json" {
			t.Errorf("content type %s", got)
		}
		const want = `{"metadata":{"annotations":{"whypull.dev/cause":"TagNotFound","whypull.dev/report":null},"uid":"u-1"}}`
		if r.Body != want {
			t.Errorf("body %s\nwant %s", r.Body, want)
		}
	}
	noGroups(t, s.All())
}

// A condition goes in the same request. A strategic merge patch leaves the conditions of
// other types as they are.
func TestPatchPodWithCondition(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t, func(w http.ResponseWriter, _ request) { apitest.Write(w, runtime.ContentTypeProtobuf, &corev1.Pod{}) })
	err := s.client(t, AccessAuto).PatchPod(t.Context(), "team", "web", "u-1", PodChange{
		Annotations: map[string]*string{"whypull.dev/cause": new("TagNotFound")},
		Condition: &corev1.PodCondition{Type: "whypull.dev/ImagePullable", Status: corev1.ConditionFalse, Reason: "TagNotFound", Message: "tag v9 does not exist",
			LastTransitionTime: metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC))},
	})
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, "requests", s.Lines(), "PATCH /api/v1/namespaces/team/pods/web/status")
	if got := s.All()[0].Header.Get("Content-Type"); got != "application/strategic-merge-patch+json" {
		t.Errorf("content type %s", got)
	}
	const want = `{"metadata":{"annotations":{"whypull.dev/cause":"TagNotFound"},"uid":"u-1"},"status":{"conditions":[` +
		`{"type":"whypull.dev/ImagePullable","status":"False","lastProbeTime":null,"lastTransitionTime":"2026-01-02T03:04:05Z","reason":"TagNotFound","message":"tag v9 does not exist"}]}}`
	if got := s.All()[0].Body; got != want {
		t.Errorf("body %s\nwant %s", got, want)
	}
}

// The patch touches only the annotations; the pod's UID is in it for
// comparison.
func TestPatchPodTouchesNothingElse(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t, func(w http.ResponseWriter, _ request) { apitest.Write(w, runtime.ContentTypeProtobuf, &corev1.Pod{}) })
	if err := s.client(t, AccessAuto).PatchPod(t.Context(), "team", "web", "u-1", PodChange{Annotations: map[string]*string{"a": new(`"}},"status":{}`)}}); err != nil {
		t.Fatal(err)
	}
	var patch map[string]map[string]any
	if err := json.Unmarshal([]byte(s.All()[0].Body), &patch); err != nil {
		t.Fatal(err)
	}
	if len(patch) != 1 || len(patch["metadata"]) != 2 {
		t.Errorf("patch %v", patch)
	}
}

func TestPatchPodErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		code   int
		reason metav1.StatusReason
		is     func(error) bool
	}{
		"gone":      {404, metav1.StatusReasonNotFound, func(err error) bool { return errors.Is(err, ErrNotFound) }},
		"another":   {409, metav1.StatusReasonConflict, apierrors.IsConflict},
		"forbidden": {403, metav1.StatusReasonForbidden, apierrors.IsForbidden},
		"policy":    {422, metav1.StatusReasonInvalid, apierrors.IsInvalid},
		"ill":       {500, metav1.StatusReasonInternalError, apierrors.IsInternalError},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer(t, func(w http.ResponseWriter, _ request) { apitest.Fail(w, tc.code, tc.reason, "no") })
			err := s.client(t, AccessAuto).PatchPod(t.Context(), "team", "web", "u-1", PodChange{})
			if !tc.is(err) {
				t.Errorf("error %v", err)
			}
			if n := len(s.All()); n != 1 {
				t.Errorf("%d requests, want 1: a write is not repeated behind the caller's back", n)
			}
		})
	}
}

// A pod that was created again under its name is gone, whichever way the API server says
// that the UID is another one's. Other fields that it does not accept are no such thing.
func TestPatchPodRecreated(t *testing.T) {
	t.Parallel()
	invalid := func(field string) *metav1.Status {
		out := apitest.Status(422, metav1.StatusReasonInvalid, `Pod "web" is invalid: `+field+`: Invalid value: "u-1": field is immutable`)
		out.Details = &metav1.StatusDetails{Name: "web", Kind: "Pod", Causes: []metav1.StatusCause{{Type: metav1.CauseTypeFieldValueInvalid, Field: field}}}
		return out
	}
	for name, tc := range map[string]struct {
		answer *metav1.Status
		gone   bool
	}{
		"immutable UID":    {invalid("metadata.uid"), true},
		"precondition":     {apitest.Status(409, metav1.StatusReasonConflict, `Operation cannot be fulfilled on pods "web": Precondition failed: UID in precondition: u-1, UID in object meta: u-2`), true},
		"another field":    {invalid("metadata.annotations"), false},
		"without details":  {apitest.Status(422, metav1.StatusReasonInvalid, "metadata.uid"), false},
		"another conflict": {apitest.Status(409, metav1.StatusReasonConflict, "the object has been modified"), false},
		"another refusal":  {apitest.Status(403, metav1.StatusReasonForbidden, "metadata.uid"), false},
	} {
		s := newAPIServer(t, func(w http.ResponseWriter, _ request) {
			w.Header().Set("Content-Type", runtime.ContentTypeJSON)
			w.WriteHeader(int(tc.answer.Code))
			_ = json.NewEncoder(w).Encode(tc.answer) // the client has gone
		})
		err := s.client(t, AccessAuto).PatchPod(t.Context(), "team", "web", "u-1", PodChange{})
		if err == nil || errors.Is(err, ErrNotFound) != tc.gone {
			t.Errorf("%s: error %v, want gone: %v", name, err, tc.gone)
		}
	}
}

func event() *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "web.1"}, EventTime: metav1.NewMicroTime(time.Unix(1767323045, 0)),
		ReportingController: "whypull.dev/agent", ReportingInstance: nodeName, Action: "Diagnosed", Reason: "TagNotFound",
		Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: "team", Name: "web", UID: "u-1"}, Note: "no such tag", Type: "Warning",
	}
}

func TestEvent(t *testing.T) {
	t.Parallel()
	for _, access := range []Access{AccessAuto, AccessImpersonate} {
		s := newAPIServer(t, func(w http.ResponseWriter, _ request) {
			w.WriteHeader(http.StatusCreated)
			apitest.Write(w, runtime.ContentTypeProtobuf, event())
		})
		if err := s.client(t, access).Event(t.Context(), event()); err != nil {
			t.Fatal(err)
		}
		wantLines(t, "requests", s.Lines(), "POST /apis/events.k8s.io/v1/namespaces/team/events")
		r := s.All()[0]
		if got := r.Header.Get("Content-Type"); got != "application/vnd.kubernetes.protobuf" {
			t.Errorf("content type %s", got)
		}
		var got eventsv1.Event
		scheme := newScheme()
		if _, _, err := protobuf.NewSerializer(scheme, scheme).Decode([]byte(r.Body), nil, &got); err != nil {
			t.Fatal(err)
		}
		if got.Name != "web.1" || got.Reason != "TagNotFound" || got.Regarding.UID != "u-1" || !got.EventTime.Equal(&event().EventTime) {
			t.Errorf("event %+v", got)
		}
		noGroups(t, s.All())
	}
}

func TestEventErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		code   int
		reason metav1.StatusReason
		is     func(error) bool
	}{
		"exists":    {409, metav1.StatusReasonAlreadyExists, func(err error) bool { return err == nil }},
		"conflict":  {409, metav1.StatusReasonConflict, apierrors.IsConflict},
		"forbidden": {403, metav1.StatusReasonForbidden, apierrors.IsForbidden},
		"gone":      {404, metav1.StatusReasonNotFound, apierrors.IsNotFound},
		"ill":       {500, metav1.StatusReasonInternalError, apierrors.IsInternalError},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer(t, func(w http.ResponseWriter, _ request) { apitest.Fail(w, tc.code, tc.reason, "no") })
			if err := s.client(t, AccessAuto).Event(t.Context(), event()); !tc.is(err) {
				t.Errorf("error %v", err)
			}
			if n := len(s.All()); n != 1 {
				t.Errorf("%d requests, want 1", n)
			}
		})
	}
}

// The scheme knows every type that whypull writes, and no more than it needs: of
// groups other than core Event, PartialObjectMetadata and its list, WatchEvent, and the
// three reviews.
func TestScheme(t *testing.T) {
	t.Parallel()
	known := newScheme().AllKnownTypes()
	var kinds []string
	for gvk := range maps.Keys(known) {
		if gvk.Version != "__internal" && !strings.HasSuffix(gvk.Kind, "Options") && gvk.Group != "" {
			kinds = append(kinds, gvk.Kind)
		}
	}
	if len(kinds) > 7 {
		t.Errorf("kinds %q", kinds)
	}
	if len(known) > 60 {
		t.Errorf("%d types: is the whole of the API linked in?", len(known))
	}
}
