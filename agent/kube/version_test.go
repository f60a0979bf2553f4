package kube

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/whypull/whypull/agent/kube/apitest"
)

func metadata(uid types.UID, version string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "pull", UID: uid, ResourceVersion: version},
	}
}

// The version from the metadata equals that of a full read of the secret, and
// the request accepts only metadata types.
func TestSecretVersion(t *testing.T) {
	t.Parallel()
	for _, mediaType := range []string{runtime.ContentTypeProtobuf, runtime.ContentTypeJSON} {
		t.Run(mediaType, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer(t, func(w http.ResponseWriter, r request) {
				if strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadata") {
					apitest.Write(w, mediaType, metadata("u1", "77"))
					return
				}
				full := pullSecret()
				full.UID, full.ResourceVersion = "u1", "77"
				apitest.Write(w, mediaType, full)
			})
			c := s.client(t, AccessAuto)
			got, err := c.SecretVersion(t.Context(), "team", "pull")
			if err != nil || got != "u1/77" {
				t.Errorf("version %q, error %v", got, err)
			}
			full, err := c.Secret(t.Context(), "team", "pull")
			if err != nil || full.Version != got {
				t.Errorf("the secret itself is of version %q, error %v", full.Version, err)
			}
			wantLines(t, "requests", s.Lines(), secretPath+" "+asNode, secretPath+" "+asNode)
			for accepted := range strings.SplitSeq(s.All()[0].Header.Get("Accept"), ",") {
				if !strings.HasSuffix(accepted, ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1") {
					t.Errorf("accepts %s", accepted)
				}
			}
			noGroups(t, s.All())
		})
	}
}

// Two states of a secret have two versions, even if it was deleted and
// recreated.
func TestSecretVersionsDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, m := range []*metav1.PartialObjectMetadata{metadata("u1", "1"), metadata("u1", "2"), metadata("u2", "2")} {
		seen[version(m.ObjectMeta)] = true
	}
	if len(seen) != 3 {
		t.Errorf("versions %v", seen)
	}
}

func TestSecretVersionAccess(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		access Access
		answer func(http.ResponseWriter, request)
		want   error
		lines  []string
	}{
		"missing": {AccessAuto, func(w http.ResponseWriter, _ request) { apitest.Fail(w, 404, metav1.StatusReasonNotFound, "gone") }, ErrNotFound, []string{secretPath + " " + asNode}},
		"refused": {AccessDirect, func(w http.ResponseWriter, _ request) { refuse(w, "secrets", "get") }, ErrNoAccess, []string{secretPath}},
		"acting as the node refused": {AccessAuto, func(w http.ResponseWriter, r request) {
			if r.Header.Get("Impersonate-User") != "" {
				refuse(w, "users", "impersonate")
				return
			}
			apitest.Write(w, runtime.ContentTypeProtobuf, metadata("u", "1"))
		}, nil, []string{secretPath + " " + asNode, secretPath}},
		"never asked": {AccessNone, func(http.ResponseWriter, request) { t.Error("asked") }, ErrNoAccess, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer(t, tc.answer)
			if _, err := s.client(t, tc.access).SecretVersion(t.Context(), "team", "pull"); !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			wantLines(t, "requests", s.Lines(), tc.lines...)
		})
	}
}

// A response of another kind gives an error without its content.
func TestSecretVersionErrors(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(http.ResponseWriter, request){
		"500": func(w http.ResponseWriter, _ request) {
			apitest.Fail(w, 500, metav1.StatusReasonInternalError, password)
		},
		"406": func(w http.ResponseWriter, _ request) {
			apitest.Fail(w, 406, metav1.StatusReasonNotAcceptable, password)
		},
		"no object": func(w http.ResponseWriter, _ request) { _, _ = io.WriteString(w, password) },
		"the whole secret": func(w http.ResponseWriter, _ request) {
			apitest.Write(w, runtime.ContentTypeProtobuf, pullSecret())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := newAPIServer(t, answer).client(t, AccessAuto).SecretVersion(t.Context(), "team", "pull")
			if err == nil || got != "" || errors.Is(err, ErrNotFound) || errors.Is(err, ErrNoAccess) || strings.Contains(err.Error(), password) {
				t.Errorf("version %q, error %v", got, err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newAPIServer(t, nil).client(t, AccessAuto).SecretVersion(ctx, "team", "pull"); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
