package apitest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

// Server is an API server over TLS that can get, list in pages, and watch pods.
// It refuses the requests that Refuse names.
type Server struct {
	*Script

	// Protobuf makes the server answer in protobuf if the client accepts it.
	Protobuf bool

	other func(http.ResponseWriter, Request) // answers what does not read pods; may be nil

	mu       sync.Mutex
	pods     []*corev1.Pod
	events   []event
	refused  []string
	expired  int           // pages to answer with 410
	gone     int           // watches to answer with 410
	news     chan struct{} // closed on a new event, or to end watches
	epoch    int           // number of EndWatches calls
	farewell bool          // whether the last epoch's watches end with a 410
	open     int           // watches of this epoch
}

type event struct {
	version int
	kind    string
	pod     *corev1.Pod
}

// New starts a server with pods; it stops with the test.
func New(t *testing.T, pods ...*corev1.Pod) *Server {
	t.Helper()
	return start(t, &Server{}, pods...)
}

// NewWith starts a server without pods that has other answer all requests but those
// that read pods, and that uses protobuf as real ones do; it stops with the test.
func NewWith(tb testing.TB, other func(http.ResponseWriter, Request)) *Server {
	tb.Helper()
	return start(tb, &Server{other: other, Protobuf: true})
}

func start(tb testing.TB, s *Server, pods ...*corev1.Pod) *Server {
	tb.Helper()
	s.news = make(chan struct{})
	for _, p := range pods {
		s.Put(p)
	}
	s.Script = Unstarted(s.serve)
	s.StartTLS()
	tb.Cleanup(func() {
		s.EndWatches(false)
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// Kubeconfig writes a kubeconfig for the server and returns its path.
func (s *Server) Kubeconfig(t *testing.T) string {
	t.Helper()
	return Kubeconfig(t, s.URL, s.CA())
}

// Put creates or updates a pod.
func (s *Server) Put(pod *corev1.Pod) {
	s.change(pod, func(i int, p *corev1.Pod) string {
		if i < 0 {
			s.pods = append(s.pods, p)
			return "ADDED"
		}
		s.pods[i] = p
		return "MODIFIED"
	})
}

// Delete deletes a pod.
func (s *Server) Delete(pod *corev1.Pod) {
	s.change(pod, func(i int, _ *corev1.Pod) string {
		s.pods = slices.Delete(s.pods, i, i+1)
		return "DELETED"
	})
}

func (s *Server) change(pod *corev1.Pod, do func(int, *corev1.Pod) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	version := len(s.events) + 1
	p := pod.DeepCopy()
	p.ResourceVersion, p.Kind, p.APIVersion = strconv.Itoa(version), "Pod", "v1"
	at := slices.IndexFunc(s.pods, func(o *corev1.Pod) bool { return o.Namespace == p.Namespace && o.Name == p.Name })
	s.events = append(s.events, event{version, do(at, p), p})
	s.wake()
}

func (s *Server) wake() {
	close(s.news)
	s.news = make(chan struct{})
}

// Refuse answers matching requests with 403 from now on: "list *" is a list of
// all namespaces, "watch shop" a watch on one.
func (s *Server) Refuse(lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = append(s.refused, lines...)
}

// ExpirePages answers the next n requests for a further page with 410 Gone.
func (s *Server) ExpirePages(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expired = n
}

// RefuseVersions answers the next n watches with 410 Gone.
func (s *Server) RefuseVersions(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = n
}

// EndWatches ends all open watches, with a 410 Gone event if gone is set.
func (s *Server) EndWatches(gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch, s.farewell, s.open = s.epoch+1, gone, 0
	s.wake()
}

// AwaitWatch waits until there is a watch that EndWatches would end.
func (s *Server) AwaitWatch(tb testing.TB) {
	tb.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		open := s.open
		s.mu.Unlock()
		switch {
		case open > 0:
			return
		case time.Now().After(deadline):
			tb.Fatal("timed out waiting for a watch")
		}
	}
}

// Requests returns the requests so far, as "list shop".
func (s *Server) Requests() []string {
	var out []string
	for _, r := range s.All() {
		out = append(out, r.onPods())
	}
	return out
}

// Limits returns the limit parameter of every list.
func (s *Server) Limits() []string {
	var out []string
	for _, r := range s.All() {
		if strings.HasPrefix(r.onPods(), "list ") {
			out = append(out, r.URL.Query().Get("limit"))
		}
	}
	return out
}

// onPods returns the verb and namespace of a request, as "list shop" or "watch
// *".
func (r Request) onPods() string {
	namespace, name, _ := place(r.URL.Path)
	verb := "list"
	switch {
	case name != "":
		verb = "get"
	case r.URL.Query().Get("watch") != "":
		verb = "watch"
	}
	if namespace == "" {
		namespace = "*"
	}
	return verb + " " + namespace
}

func (s *Server) serve(w http.ResponseWriter, r Request) {
	namespace, name, ok := place(r.URL.Path)
	line := r.onPods()
	s.mu.Lock()
	refused := slices.Contains(s.refused, line)
	s.mu.Unlock()
	switch verb, _, _ := strings.Cut(line, " "); {
	case r.Header.Get("Authorization") != "Bearer "+Token:
		Fail(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized")
	case (r.Method != http.MethodGet || !ok) && s.other != nil:
		s.other(w, r)
	case r.Method != http.MethodGet || !ok:
		Fail(w, http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, r.Method+" "+r.URL.Path)
	case refused:
		Fail(w, http.StatusForbidden, metav1.StatusReasonForbidden, "pods is forbidden: User \"u\x1b[31m\" cannot "+line)
	case verb == "get":
		s.get(w, r, namespace, name)
	case verb == "watch":
		s.watch(w, r, namespace)
	default:
		s.list(w, r, namespace)
	}
}

func place(path string) (namespace, name string, ok bool) {
	rest, found := strings.CutPrefix(path, "/api/v1/")
	if after, within := strings.CutPrefix(rest, "namespaces/"); within {
		namespace, rest, _ = strings.Cut(after, "/")
	}
	kind, name, _ := strings.Cut(rest, "/")
	return namespace, name, found && kind == "pods" && !strings.Contains(name, "/")
}

func expire(w http.ResponseWriter) {
	Fail(w, http.StatusGone, metav1.StatusReasonExpired, "too old resource version")
}

func (s *Server) get(w http.ResponseWriter, r Request, namespace, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pods {
		if p.Namespace == namespace && p.Name == name {
			s.write(w, r, p)
			return
		}
	}
	Fail(w, http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("pods %q not found", name))
}

func (s *Server) write(w http.ResponseWriter, r Request, obj runtime.Object) {
	Write(w, s.mediaType(r), obj)
}

// mediaType returns the media type of the answer to a request.
func (s *Server) mediaType(r Request) string {
	if s.Protobuf && strings.Contains(r.Header.Get("Accept"), runtime.ContentTypeProtobuf) {
		return runtime.ContentTypeProtobuf
	}
	return runtime.ContentTypeJSON
}

// selects reports whether a request's selectors match a pod.
func selects(r Request, namespace string, p *corev1.Pod) bool {
	q := r.URL.Query()
	byField, err := fields.ParseSelector(q.Get("fieldSelector"))
	byLabel, err2 := labels.Parse(q.Get("labelSelector"))
	return err == nil && err2 == nil && (namespace == "" || p.Namespace == namespace) &&
		byField.Matches(fields.Set{"metadata.name": p.Name, "spec.nodeName": p.Spec.NodeName}) && byLabel.Matches(labels.Set(p.Labels))
}

func (s *Server) list(w http.ResponseWriter, r Request, namespace string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := r.URL.Query()
	if q.Get("continue") != "" && s.expired > 0 {
		s.expired--
		expire(w)
		return
	}
	list := &corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}}
	list.ResourceVersion = strconv.Itoa(len(s.events))
	skip, _ := strconv.Atoi(q.Get("continue"))
	limit, _ := strconv.Atoi(q.Get("limit"))
	for _, p := range s.pods {
		switch {
		case !selects(r, namespace, p):
		case skip > 0:
			skip--
		case limit > 0 && len(list.Items) == limit:
			before, _ := strconv.Atoi(q.Get("continue"))
			list.Continue = strconv.Itoa(before + limit)
		default:
			list.Items = append(list.Items, *p)
		}
	}
	s.write(w, r, list)
}

func (s *Server) watch(w http.ResponseWriter, r Request, namespace string) {
	s.mu.Lock()
	gone, epoch := s.gone > 0, s.epoch
	s.gone = max(s.gone-1, 0)
	if !gone {
		s.open++
	}
	s.mu.Unlock()
	if gone {
		expire(w)
		return
	}
	send := sendJSON
	if s.mediaType(r) == runtime.ContentTypeProtobuf {
		send = sendProtobuf
	}
	w.Header().Set("Content-Type", s.mediaType(r))
	out := http.NewResponseController(w)
	_ = out.Flush() // the client has gone
	at, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	bookmark := r.URL.Query().Get("sendInitialEvents") == "true"
	for {
		s.mu.Lock()
		events, news, over, farewell := s.events[at:], s.news, s.epoch != epoch, s.farewell
		at = len(s.events)
		if bookmark {
			events = s.initialEvents()
		}
		s.mu.Unlock()
		for _, e := range events {
			if selects(r, namespace, e.pod) {
				send(w, e.kind, e.pod)
			}
		}
		if bookmark {
			bookmark = false
			send(w, "BOOKMARK", initialEventsEnd(at))
		}
		if over {
			if farewell {
				send(w, "ERROR", Status(http.StatusGone, metav1.StatusReasonExpired, "too old resource version"))
			}
			return
		}
		_ = out.Flush() // the client has gone
		select {
		case <-news:
		case <-r.Context().Done():
			return
		}
	}
}

// initialEvents returns the pods that exist as events. The caller holds the lock.
func (s *Server) initialEvents() []event {
	var out []event
	for _, p := range s.pods {
		out = append(out, event{kind: "ADDED", pod: p})
	}
	return out
}

// initialEventsEnd returns the bookmark behind the pods that exist when a watch begins.
func initialEventsEnd(version int) *corev1.Pod {
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{ResourceVersion: strconv.Itoa(version), Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}},
	}
}

func sendJSON(w io.Writer, kind string, obj runtime.Object) {
	_ = json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": obj}) // the client has gone
}

func sendProtobuf(w io.Writer, kind string, obj runtime.Object) {
	raw, err := Encode(runtime.ContentTypeProtobuf, obj)
	if err != nil {
		return // the client misses it
	}
	event := metav1.WatchEvent{Type: kind, Object: runtime.RawExtension{Raw: raw}}
	if body, err := event.Marshal(); err == nil {
		_, _ = protobuf.LengthDelimitedFramer.NewFrameWriter(w).Write(body) // the client has gone
	}
}
