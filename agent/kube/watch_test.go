package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/whypull/whypull/agent/kube/apitest"
	"github.com/whypull/whypull/agent/podwatch"
)

// watcher serves a watch on pods: it sends what the test passes to it.
type watcher struct {
	t      *testing.T
	media  string
	events chan watchEvent
}

type watchEvent struct {
	kind string
	obj  runtime.Object
	end  bool // of this watch
}

// serve answers a watch until the test ends it or the client disconnects.
func (s *watcher) serve(ctx context.Context, w http.ResponseWriter) {
	w.Header().Set("Content-Type", s.media+";stream=watch")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-s.events:
			if e.end {
				return
			}
			_, _ = w.Write(s.frame(e))
			_ = http.NewResponseController(w).Flush()
		}
	}
}

func (s *watcher) frame(e watchEvent) []byte {
	event := &metav1.WatchEvent{Type: e.kind, Object: runtime.RawExtension{Raw: encode(s.t, s.media, e.obj)}}
	if s.media == runtime.ContentTypeJSON {
		out, err := json.Marshal(event)
		if err != nil {
			s.t.Error(err)
		}
		return out
	}
	var body, framed bytes.Buffer
	scheme := newScheme()
	if err := protobuf.NewRawSerializer(scheme, scheme).Encode(event, &body); err != nil {
		s.t.Error(err)
	}
	if _, err := protobuf.LengthDelimitedFramer.NewFrameWriter(&framed).Write(body.Bytes()); err != nil {
		s.t.Error(err)
	}
	return framed.Bytes()
}

// watched runs a reflector over the pods of the node into a tracker.
type watched struct {
	*apiServer
	watcher *watcher
	tracker *podwatch.Tracker
	client  *Client
	answer  func(http.ResponseWriter, request) bool // true: it has answered

	mu      sync.Mutex
	updates []podwatch.Update
	errs    []error
}

func newWatched(t *testing.T, access Access, media string, answer func(http.ResponseWriter, request) bool) *watched {
	t.Helper()
	s := &watched{watcher: &watcher{t: t, media: media, events: make(chan watchEvent)}, answer: answer}
	ctx, cancel := context.WithCancel(t.Context())
	s.apiServer = newAPIServer(t, func(w http.ResponseWriter, r request) {
		if s.answer != nil && s.answer(w, r) {
			return
		}
		s.watcher.serve(ctx, w)
	})
	s.client = s.apiServer.client(t, access)
	s.tracker = podwatch.NewTracker("whypull.dev/", time.Now, func(u podwatch.Update) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.updates = append(s.updates, u)
	})
	failed := func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.errs = append(s.errs, err)
	}
	stores := podwatch.Stores{s.tracker}
	r := cache.NewReflectorWithOptions(s.client.PodWatch(stores.AddListed, failed), &corev1.Pod{}, stores, cache.ReflectorOptions{Name: "pods", Backoff: WatchBackoff()})
	var wg sync.WaitGroup
	wg.Go(func() { r.RunWithContext(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return s
}

func (s *watched) send(t *testing.T, kind string, obj runtime.Object) {
	t.Helper()
	s.push(t, watchEvent{kind: kind, obj: obj})
}

func (s *watched) push(t *testing.T, e watchEvent) {
	t.Helper()
	select {
	case s.watcher.events <- e:
	case <-time.After(long):
		t.Fatal("nobody watches")
	}
}

// seen returns the failing containers of each update so far.
func (s *watched) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, u := range s.updates {
		line := u.Name
		for _, f := range u.Failures {
			line += " " + f.Container + ":" + f.Reason
		}
		if u.Gone {
			line += " gone"
		}
		out = append(out, line)
	}
	return out
}

func (s *watched) failures() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.errs)
}

func (s *watched) synced() bool {
	synced, _ := s.tracker.Synced()
	return synced
}

func pod(name, version, reason string) *corev1.Pod {
	p := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, UID: types.UID("u-" + name), ResourceVersion: version},
		Spec:       corev1.PodSpec{NodeName: nodeName, Containers: []corev1.Container{{Name: "app", Image: "hub.test/app:1", ImagePullPolicy: "Always"}}},
	}
	state := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	if reason != "" {
		state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", Image: "hub.test/app:1", State: state}}
	return p
}

func bookmark(version string, initial bool) *corev1.Pod {
	p := &corev1.Pod{TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{ResourceVersion: version}}
	if initial {
		p.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	}
	return p
}

// One watch delivers the existing pods and all that happens to them; there is
// no list request.
func TestPodWatch(t *testing.T) {
	t.Parallel()
	for _, media := range []string{runtime.ContentTypeProtobuf, runtime.ContentTypeJSON} {
		t.Run(media, func(t *testing.T) {
			t.Parallel()
			s := newWatched(t, AccessAuto, media, nil)
			s.send(t, "ADDED", pod("web", "1", "ErrImagePull"))
			s.send(t, "ADDED", pod("fine", "2", ""))
			if s.synced() {
				t.Error("synced before all pods have come")
			}
			s.send(t, "BOOKMARK", bookmark("5", true))
			eventually(t, "sync", s.synced)
			s.send(t, "MODIFIED", pod("fine", "6", "ImagePullBackOff"))
			s.send(t, "DELETED", pod("web", "7", "ErrImagePull"))
			s.send(t, "BOOKMARK", bookmark("8", false))
			eventually(t, "updates", func() bool { return len(s.seen()) == 3 })
			wantLines(t, "updates", s.seen(), "web app:ErrImagePull", "fine app:ImagePullBackOff", "web gone")
			s.wantOneWatch(t)
			if errs := s.failures(); len(errs) > 0 {
				t.Errorf("errors %v", errs)
			}
		})
	}
}

func (s *watched) wantOneWatch(t *testing.T) {
	t.Helper()
	all := s.All()
	if len(all) != 1 {
		t.Fatalf("%d requests, want one watch: %q", len(all), s.Lines())
	}
	r := all[0]
	if r.Line() != "GET /api/v1/pods "+asNode {
		t.Errorf("request %s", r.Line())
	}
	for key, want := range map[string]string{
		"watch": "true", "fieldSelector": "spec.nodeName=" + nodeName, "sendInitialEvents": "true",
		"resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true",
	} {
		if got := r.URL.Query().Get(key); got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
	if r.URL.Query().Get("timeoutSeconds") == "" {
		t.Error("the watch has no end")
	}
	if accept := r.Header.Get("Accept"); accept != "application/vnd.kubernetes.protobuf,application/json" {
		t.Errorf("accepts %s", accept)
	}
	if accept := r.Header.Get("Accept-Encoding"); accept != "" {
		t.Errorf("accepts the encoding %s", accept)
	}
	noGroups(t, all)
}

// A watch that ends resumes where it was.
func TestPodWatchGoesOn(t *testing.T) {
	t.Parallel()
	s := newWatched(t, AccessAuto, runtime.ContentTypeProtobuf, nil)
	s.send(t, "BOOKMARK", bookmark("5", true))
	eventually(t, "sync", s.synced)
	s.send(t, "ADDED", pod("web", "9", "ErrImagePull"))
	eventually(t, "update", func() bool { return len(s.seen()) == 1 })
	s.push(t, watchEvent{end: true})
	s.send(t, "MODIFIED", pod("web", "10", "ImagePullBackOff"))
	eventually(t, "update after the end", func() bool { return len(s.seen()) == 2 })
	all := s.All()
	if len(all) != 2 {
		t.Fatalf("requests %q, want two watches", s.Lines())
	}
	if q := all[1].URL.Query(); q.Get("watch") != "true" || q.Get("resourceVersion") != "9" || q.Get("fieldSelector") != "spec.nodeName="+nodeName {
		t.Errorf("second watch %v", q)
	}
}

// A watch that ends before all pods have come begins again. Pods that are no longer there
// then are gone.
func TestPodWatchBeginsAgain(t *testing.T) {
	t.Parallel()
	s := newWatched(t, AccessAuto, runtime.ContentTypeProtobuf, nil)
	s.send(t, "ADDED", pod("web", "1", "ErrImagePull"))
	eventually(t, "the first pod", func() bool { return len(s.seen()) == 1 })
	s.push(t, watchEvent{end: true})
	s.send(t, "ADDED", pod("db", "2", "ErrImagePull"))
	eventually(t, "the second pod", func() bool { return len(s.seen()) == 2 })
	if s.synced() {
		t.Error("synced before all pods have come")
	}
	s.send(t, "BOOKMARK", bookmark("5", true))
	eventually(t, "sync", s.synced)
	wantLines(t, "updates", s.seen(), "web app:ErrImagePull", "db app:ErrImagePull", "web gone")
}

// If impersonation is refused, the agent's own account is used, and the refusal
// is not reported as an error.
func TestPodWatchAccess(t *testing.T) {
	t.Parallel()
	refusing := func(w http.ResponseWriter, r request) bool {
		if r.Header.Get("Impersonate-User") == "" {
			return false
		}
		refuse(w, "pods", "impersonate-on:associated-node:watch")
		return true
	}
	const own, node = "GET /api/v1/pods", "GET /api/v1/pods " + asNode
	for name, tc := range map[string]struct {
		access        Access
		answer        func(http.ResponseWriter, request) bool
		want          []string
		impersonating bool
	}{
		"auto":           {AccessAuto, nil, []string{node}, true},
		"none":           {AccessNone, nil, []string{node}, true},
		"impersonate":    {AccessImpersonate, nil, []string{node}, true},
		"direct":         {AccessDirect, nil, []string{own}, false},
		"auto, refused":  {AccessAuto, refusing, []string{node, own}, false},
		"none, refused":  {AccessNone, refusing, []string{node, own}, false},
		"direct, anyway": {AccessDirect, refusing, []string{own}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newWatched(t, tc.access, runtime.ContentTypeProtobuf, tc.answer)
			s.send(t, "BOOKMARK", bookmark("5", true))
			eventually(t, "sync", s.synced)
			wantLines(t, "requests", s.Lines(), tc.want...)
			if got := s.client.reading.allowed(s.client.access, ""); got != tc.impersonating {
				t.Errorf("impersonating %t, want %t", got, tc.impersonating)
			}
			if errs := s.failures(); len(errs) > 0 {
				t.Errorf("errors %v", errs)
			}
		})
	}
}

// Impersonate never reads with other rights, and reports the refusal.
func TestPodWatchImpersonateRefused(t *testing.T) {
	t.Parallel()
	s := newWatched(t, AccessImpersonate, runtime.ContentTypeProtobuf, func(w http.ResponseWriter, _ request) bool {
		refuse(w, "users", "impersonate")
		return true
	})
	eventually(t, "errors", func() bool { return len(s.failures()) >= 2 })
	for _, line := range s.Lines() {
		if !strings.HasSuffix(line, asNode) {
			t.Errorf("request %s", line)
		}
	}
	if err := s.failures()[0]; !strings.Contains(err.Error(), "cannot impersonate") {
		t.Errorf("error %v", err)
	}
}

// If both identities are refused, the error names the manifests that grant one.
func TestPodWatchBothRefused(t *testing.T) {
	t.Parallel()
	s := newWatched(t, AccessAuto, runtime.ContentTypeProtobuf, func(w http.ResponseWriter, r request) bool {
		verb := "list"
		if r.Header.Get("Impersonate-User") != "" {
			verb = "impersonate"
		}
		refuse(w, "pods", verb)
		return true
	})
	eventually(t, "errors", func() bool { return len(s.failures()) >= 2 })
	for _, err := range s.failures() {
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "cannot list") || !strings.Contains(err.Error(), "deploy/before-1.36") {
			t.Errorf("error %v", err)
		}
	}
}

// An API server without watch-lists gets a list and a watch, of this node's
// pods only.
func TestPodWatchOldAPIServer(t *testing.T) {
	t.Parallel()
	s := newWatched(t, AccessAuto, runtime.ContentTypeProtobuf, func(w http.ResponseWriter, r request) bool {
		switch {
		case r.URL.Query().Get("sendInitialEvents") != "":
			apitest.Fail(w, 422, metav1.StatusReasonInvalid, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
		case r.URL.Query().Get("watch") == "":
			list := &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "4"}, Items: []corev1.Pod{*pod("web", "3", "ErrImagePull")}}
			w.Header().Set("Content-Type", runtime.ContentTypeProtobuf)
			list.Kind, list.APIVersion = "PodList", "v1"
			_, _ = w.Write(listBytes(list))
		default:
			return false
		}
		return true
	})
	eventually(t, "sync", s.synced)
	s.send(t, "MODIFIED", pod("web", "5", ""))
	eventually(t, "updates", func() bool { return len(s.seen()) >= 2 })
	for _, r := range s.All() {
		if r.URL.Query().Get("fieldSelector") != "spec.nodeName="+nodeName {
			t.Errorf("query %v", r.URL.Query())
		}
	}
}

func listBytes(list *corev1.PodList) []byte {
	var b bytes.Buffer
	scheme := newScheme()
	_ = protobuf.NewSerializer(scheme, scheme).Encode(list, &b)
	return b.Bytes()
}
