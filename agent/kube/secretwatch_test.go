package kube

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/whypull/whypull/agent/kube/apitest"
)

// sight is a call of seen.
type sight struct {
	version string
	err     error
}

// writeWatch answers a watch with objects and ends it.
func writeWatch(w http.ResponseWriter, objs ...*metav1.PartialObjectMetadata) {
	w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	for _, o := range objs {
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "ADDED", "object": o}) // the client has gone
	}
}

// A watch on one secret delivers its versions, as SecretVersion returns them, and
// asks for metadata only.
func TestWatchSecret(t *testing.T) {
	t.Parallel()
	for _, mediaType := range []string{runtime.ContentTypeProtobuf, runtime.ContentTypeJSON} {
		t.Run(mediaType, func(t *testing.T) {
			t.Parallel()
			from := &watcher{t: t, media: mediaType, events: make(chan watchEvent)}
			s := newAPIServer(t, func(w http.ResponseWriter, r request) { from.serve(r.Context(), w) })
			c := s.client(t, AccessAuto)
			seen, ended := make(chan sight), make(chan error, 1)
			go func() {
				ended <- c.WatchSecret(t.Context(), "team", "pull", func(version string, err error) { seen <- sight{version, err} })
			}()
			for _, step := range []struct {
				kind, uid, version string
				want               sight
			}{
				{"ADDED", "u1", "5", sight{"u1/5", nil}},
				{"MODIFIED", "u1", "7", sight{"u1/7", nil}},
				{"DELETED", "u1", "8", sight{"u1/8", ErrNotFound}},
				{"ADDED", "u2", "9", sight{"u2/9", nil}},
			} {
				send(t, from, watchEvent{kind: step.kind, obj: metadataOf(step.uid, step.version)})
				if got := await(t, seen); got != step.want {
					t.Errorf("%s: %v, want %v", step.kind, got, step.want)
				}
			}
			send(t, from, watchEvent{end: true})
			if err := await(t, ended); err != nil {
				t.Errorf("a watch that the server ends: %v", err)
			}
			r := s.All()[0]
			q := r.URL.Query()
			length, _ := strconv.Atoi(q.Get("timeoutSeconds"))
			if r.Line() != "GET /api/v1/namespaces/team/secrets "+asNode || len(q) != 4 || q.Get("watch") != "true" ||
				q.Get("fieldSelector") != "metadata.name=pull" || q.Get("resourceVersion") != "0" || length < 300 || length >= 600 {
				t.Errorf("request %s?%s", r.Line(), r.URL.RawQuery)
			}
			for accepted := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
				if !strings.HasSuffix(accepted, ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1") {
					t.Errorf("accepts %s", accepted)
				}
			}
			noGroups(t, s.All())
		})
	}
}

func metadataOf(uid, version string) *metav1.PartialObjectMetadata {
	m := metadata("", version)
	m.UID = types.UID(uid)
	return m
}

func send(t *testing.T, to *watcher, e watchEvent) {
	t.Helper()
	select {
	case to.events <- e:
	case <-time.After(long):
		t.Fatal("nobody watches")
	}
}

func await[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(long):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// Of a secret that does not exist a watch delivers nothing; that it does not exist is
// seen nevertheless, also after the API server has failed to say so.
func TestWatchMissingSecret(t *testing.T) {
	t.Parallel()
	from := &watcher{t: t, media: runtime.ContentTypeProtobuf, events: make(chan watchEvent)}
	var read atomic.Bool
	s := newAPIServer(t, func(w http.ResponseWriter, r request) {
		switch {
		case r.URL.Query().Get("watch") != "":
			from.serve(r.Context(), w)
		case read.Swap(true):
			apitest.Fail(w, 404, metav1.StatusReasonNotFound, "gone")
		default:
			apitest.Fail(w, 503, metav1.StatusReasonServiceUnavailable, "down")
		}
	})
	c := s.client(t, AccessAuto)
	ctx, cancel := context.WithCancel(t.Context())
	seen, ended := make(chan sight), make(chan error, 1)
	go func() {
		ended <- c.WatchSecret(ctx, "team", "pull", func(version string, err error) { seen <- sight{version, err} })
	}()
	if got := await(t, seen); got != (sight{"", ErrNotFound}) {
		t.Errorf("missing: %v", got)
	}
	send(t, from, watchEvent{kind: "ADDED", obj: metadataOf("u1", "5")})
	if got := await(t, seen); got != (sight{"u1/5", nil}) {
		t.Errorf("created: %v", got)
	}
	cancel()
	if err := await(t, ended); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if r := s.All()[2]; r.URL.RawQuery != fromCache || len(s.All()) != 3 {
		t.Errorf("%d requests, the third with the query %q", len(s.All()), r.URL.RawQuery)
	}
}

// Canceling the context ends the request.
func TestWatchSecretIsClosed(t *testing.T) {
	t.Parallel()
	var open atomic.Int32
	s := newAPIServer(t, func(w http.ResponseWriter, r request) {
		open.Add(1)
		defer open.Add(-1)
		(&watcher{t: t, media: runtime.ContentTypeJSON}).serve(r.Context(), w)
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.client(t, AccessAuto).WatchSecret(ctx, "team", "pull", func(string, error) {}) }()
	eventually(t, "a watch", func() bool { return open.Load() == 1 })
	cancel()
	if err := await(t, ended); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	eventually(t, "its end", func() bool { return open.Load() == 0 })
}

// A watch is made with the first identity that may watch. That it is refused does not
// change who reads.
func TestWatchSecretAccess(t *testing.T) {
	t.Parallel()
	const (
		path  = "GET /api/v1/namespaces/team/secrets"
		asIts = "agent as " + asNode + ": " + path
		cert  = asNode + ": " + path
		role  = "agent: " + path
	)
	for name, tc := range map[string]struct {
		version     int
		access      Access
		certificate bool
		change      func(*cluster)
		want        error
		lines       []string
	}{
		"impersonation":             {version: 37, access: AccessAuto, certificate: true, lines: []string{asIts}},
		"too old for impersonation": {version: 34, access: AccessAuto, certificate: true, lines: []string{asIts, cert}},
		"kubelet":                   {version: 37, access: AccessKubelet, certificate: true, lines: []string{cert}},
		"a role that may watch":     {version: 34, access: AccessDirect, change: func(c *cluster) { c.watches = true }, lines: []string{role}},
		"a role that may only get":  {version: 34, access: AccessDirect, change: func(c *cluster) { c.direct = true }, want: ErrNoAccess, lines: []string{role}},
		"impersonate, too old":      {version: 34, access: AccessImpersonate, want: ErrNoAccess, lines: []string{asIts}},
		"nothing granted":           {version: 34, access: AccessAuto, want: ErrNoAccess, lines: []string{asIts, role}},
		"none":                      {version: 37, access: AccessNone, certificate: true, want: ErrNoAccess},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newCluster(t, tc.version)
			if tc.change != nil {
				tc.change(s)
			}
			certificate := never
			if tc.certificate {
				certificate = always(s.kubelet())
			}
			c, ch := s.client(t, tc.access, certificate)
			var got []sight
			err := c.WatchSecret(t.Context(), "team", "pull", func(version string, err error) { got = append(got, sight{version, err}) })
			if !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			if tc.want == nil && (len(got) != 1 || got[0] != sight{"u/7", nil}) {
				t.Errorf("seen %v", got)
			}
			var lines []string
			for _, l := range s.seen() {
				line, _, _ := strings.Cut(l, "?")
				lines = append(lines, line)
			}
			wantLines(t, "requests", lines, tc.lines...)
			wantLines(t, "modes", ch.all)
		})
	}
}

// An installation whose role allows impersonation to get secrets, but not to watch
// them, goes on reading as the node.
func TestRefusedWatchDoesNotChangeWhoReads(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t, func(w http.ResponseWriter, r request) {
		switch {
		case r.URL.Query().Get("watch") == "":
			apitest.Write(w, runtime.ContentTypeProtobuf, pullSecret())
		case r.Header.Get("Impersonate-User") != "":
			refuse(w, "secrets", "impersonate-on:associated-node:watch")
		default:
			writeWatch(w, metadata("u", "1")) // a role
		}
	})
	c := s.client(t, AccessAuto)
	for range 2 {
		if err := c.WatchSecret(t.Context(), "team", "pull", func(string, error) {}); err != nil {
			t.Error(err)
		}
		if _, err := c.Secret(t.Context(), "team", "pull"); err != nil {
			t.Error(err)
		}
	}
	const list = "GET /api/v1/namespaces/team/secrets"
	wantLines(t, "requests", s.Lines(), list+" "+asNode, list, secretPath+" "+asNode, list, secretPath+" "+asNode)
}

// What is no metadata ends the watch, unseen. No error contains data of a secret.
func TestWatchSecretErrors(t *testing.T) {
	t.Parallel()
	other := metadataOf("u", "1")
	other.Name = "other"
	for name, event := range map[string]map[string]any{
		"the whole secret": {"type": "ADDED", "object": &corev1.Secret{TypeMeta: metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"},
			ObjectMeta: metav1.ObjectMeta{Name: "pull"}, Data: map[string][]byte{"x": []byte(password)}}},
		"another secret": {"type": "ADDED", "object": other},
		"too old":        {"type": "ERROR", "object": apitest.Status(410, metav1.StatusReasonExpired, password)},
		"no object":      {"type": "ADDED", "object": password},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer(t, func(w http.ResponseWriter, _ request) {
				w.Header().Set("Content-Type", runtime.ContentTypeJSON)
				_ = json.NewEncoder(w).Encode(event) // the client has gone
			})
			err := s.client(t, AccessAuto).WatchSecret(t.Context(), "team", "pull", func(version string, err error) { t.Errorf("seen %q, %v", version, err) })
			if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrNoAccess) || strings.Contains(err.Error(), password) {
				t.Errorf("error %v", err)
			}
		})
	}
	for name, answer := range map[string]func(http.ResponseWriter, request){
		"500": func(w http.ResponseWriter, _ request) {
			apitest.Fail(w, 500, metav1.StatusReasonInternalError, password)
		},
		"406": func(w http.ResponseWriter, _ request) {
			apitest.Fail(w, 406, metav1.StatusReasonNotAcceptable, password)
		},
	} {
		err := newAPIServer(t, answer).client(t, AccessAuto).WatchSecret(t.Context(), "team", "pull", func(string, error) { t.Error("seen") })
		if err == nil || errors.Is(err, ErrNoAccess) || strings.Contains(err.Error(), password) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A watch without a name would be one on all secrets.
func TestWatchNeedsNames(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t, func(http.ResponseWriter, request) { t.Error("asked") })
	for _, names := range [][2]string{{"", "pull"}, {"team", ""}, {"", ""}} {
		if err := s.client(t, AccessAuto).WatchSecret(t.Context(), names[0], names[1], func(string, error) {}); err == nil {
			t.Errorf("watched %q", names)
		}
	}
}

// However many secrets are to be watched, the API server gets a bounded number of
// requests per second for it.
func TestWatchesAreOpenedInTurns(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t, func(w http.ResponseWriter, _ request) { writeWatch(w, metadata("u", "1")) })
	c := s.client(t, AccessAuto)
	c.opening = flowcontrol.NewTokenBucketRateLimiter(1e-6, 2) // as if no time went by
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	opened := 0
	for range 5 {
		if err := c.WatchSecret(ctx, "team", "pull", func(string, error) {}); err == nil {
			opened++
		}
	}
	if opened != 2 || len(s.All()) != 2 {
		t.Errorf("opened %d watches with %d requests, want 2", opened, len(s.All()))
	}
}

func TestOlder(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"u/9", "u/10", true}, {"u/9", "v/10", true}, {"u/10", "u/9", false}, {"u/9", "u/9", false},
		{"", "u/9", false}, {"u/9", "", false}, {"u/x", "u/9", false}, {"u/9", "missing", false},
	} {
		if got := Older(tc.a, tc.b); got != tc.want {
			t.Errorf("%q is older than %q: %v", tc.a, tc.b, got)
		}
	}
}
