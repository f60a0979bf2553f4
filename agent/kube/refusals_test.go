package kube

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/whypull/whypull/agent/kube/apitest"
)

// A refusal expires, and so does the memory of its namespace.
func TestRefusalsExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRefusals(refusalTTL, refusalTTL)
		if r.has("team") {
			t.Error("refused without a refusal")
		}
		r.add("team")
		time.Sleep(refusalTTL - 1)
		if !r.has("team") || r.has("other") {
			t.Error("the refusal is forgotten, or stands for all")
		}
		time.Sleep(time.Nanosecond)
		if r.has("team") {
			t.Error("the refusal is not forgotten")
		}
		for i := range 1000 {
			r.add(fmt.Sprint("ns", i))
			time.Sleep(refusalTTL / 10)
		}
		kept := 0
		for i := range 1000 {
			if r.Get(fmt.Sprint("ns", i)) > 0 {
				kept++
			}
		}
		if kept > 22 {
			t.Errorf("%d refusals are kept", kept)
		}
	})
}

// A repeated refusal holds for longer, up to the maximum; one after a long
// while, or after it was forgotten, counts as the first.
func TestRefusalsBackOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRefusals(firstRetry, lastRetry)
		holds := func() time.Duration {
			r.add("team")
			start := time.Now()
			for r.has("team") {
				time.Sleep(time.Second)
			}
			return time.Since(start)
		}
		for _, want := range []time.Duration{1, 2, 4, 8, 15, 15} {
			if got := holds(); got != want*time.Second {
				t.Errorf("holds for %s, want %s", got, want*time.Second)
			}
		}
		r.Reset("team")
		if got := holds(); got != firstRetry {
			t.Errorf("holds for %s after it was forgotten", got)
		}
		for range 4 {
			holds()
		}
		time.Sleep(time.Minute)
		r.add("other") // removes expired refusals
		if got := holds(); got != firstRetry {
			t.Errorf("holds for %s after a while", got)
		}
	})
}

// starting is an API server that has just started: until it has loaded its
// roles it refuses everything, and then it grants what the node may do.
type starting struct{ refuses atomic.Bool }

// refused answers a refused request, and reports whether it did.
func (s *starting) refused(w http.ResponseWriter, r request) bool {
	switch impersonates := r.Header.Get("Impersonate-User") != ""; {
	case impersonates && s.refuses.Load():
		refuse(w, "nodes", "impersonate:associated-node")
	case !impersonates:
		refuse(w, "secrets", "get") // the default manifests grant this to nobody
	default:
		return false
	}
	return true
}

// A starting API server does not blind the agent: as soon as it allows
// impersonation, the pods are seen.
func TestPodWatchOfStartingAPIServer(t *testing.T) {
	t.Parallel()
	for _, access := range []Access{AccessAuto, AccessNone} {
		t.Run(string(access), func(t *testing.T) {
			t.Parallel()
			var start starting
			start.refuses.Store(true)
			s := newWatched(t, access, runtime.ContentTypeProtobuf, start.refused)
			eventually(t, "a refusal", func() bool { return len(s.failures()) >= 2 })
			start.refuses.Store(false)
			s.send(t, "ADDED", pod("web", "1", "ErrImagePull"))
			s.send(t, "BOOKMARK", bookmark("5", true))
			eventually(t, "sync", s.synced)
			wantLines(t, "updates", s.seen(), "web app:ErrImagePull")
		})
	}
}

// Nor does a secret stay unread, or its version unknown.
func TestSecretOfStartingAPIServer(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(*Client) error{
		"secret": func(c *Client) error {
			_, err := c.Secret(t.Context(), "team", "pull")
			return err
		},
		"version": func(c *Client) error {
			_, err := c.SecretVersion(t.Context(), "team", "pull")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var start starting
			start.refuses.Store(true)
			c := newAPIServer(t, func(w http.ResponseWriter, r request) {
				switch {
				case start.refused(w, r):
				case name == "version":
					apitest.Write(w, runtime.ContentTypeProtobuf, metadata("u", "1"))
				default:
					apitest.Write(w, runtime.ContentTypeProtobuf, pullSecret())
				}
			}).client(t, AccessAuto)
			for range 3 {
				if err := ask(c); !errors.Is(err, ErrNoAccess) {
					t.Errorf("error %v while it starts", err)
				}
			}
			start.refuses.Store(false)
			if err := ask(c); err != nil {
				t.Errorf("error %v after it has started", err)
			}
		})
	}
}

// The agent's own account counts as allowed if it learns that the secret does
// not exist. Once it is refused, impersonation is tried again at once.
func TestRefusalIsRememberedWhereTheOwnAccountWorks(t *testing.T) {
	t.Parallel()
	var granted atomic.Bool
	s := newAPIServer(t, func(w http.ResponseWriter, r request) {
		switch impersonates := r.Header.Get("Impersonate-User") != ""; {
		case granted.Load() && impersonates:
			apitest.Write(w, runtime.ContentTypeProtobuf, pullSecret())
		case granted.Load():
			refuse(w, "secrets", "get")
		case impersonates:
			refuse(w, "users", "impersonate")
		default:
			apitest.Fail(w, 404, metav1.StatusReasonNotFound, "gone")
		}
	})
	c := s.client(t, AccessAuto)
	for range 2 {
		if _, err := c.Secret(t.Context(), "team", "pull"); !errors.Is(err, ErrNotFound) {
			t.Errorf("error %v", err)
		}
	}
	wantLines(t, "requests", s.Lines(), secretPath+" "+asNode, secretPath, secretPath)
	granted.Store(true)
	for range 2 {
		if _, err := c.Secret(t.Context(), "team", "pull"); err != nil {
			t.Errorf("error %v", err)
		}
	}
	wantLines(t, "requests", s.Lines()[3:], secretPath, secretPath+" "+asNode, secretPath+" "+asNode)
}

// A failing API server says nothing about the agent's own rights.
func TestRefusalIsNotRememberedWhereTheOwnAccountFails(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t, func(w http.ResponseWriter, r request) {
		if r.Header.Get("Impersonate-User") != "" {
			refuse(w, "users", "impersonate")
			return
		}
		apitest.Fail(w, 500, metav1.StatusReasonInternalError, "ill")
	})
	c := s.client(t, AccessAuto)
	for range 2 {
		if _, err := c.SecretVersion(t.Context(), "team", "pull"); err == nil {
			t.Error("no error")
		}
	}
	wantLines(t, "requests", s.Lines(), secretPath+" "+asNode, secretPath, secretPath+" "+asNode, secretPath)
}

// The watch is retried within fifteen seconds, however often it has failed.
func TestWatchBackoff(t *testing.T) {
	t.Parallel()
	delay := WatchBackoff().DelayFunc()
	for i := range 100 {
		if d := delay(); d < 500*time.Millisecond || d > 15*time.Second {
			t.Errorf("attempt %d waits %s", i, d)
		}
	}
}
