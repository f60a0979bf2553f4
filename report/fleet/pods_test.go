package fleet

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/whypull/whypull/agent/kube/apitest"
)

func pod(namespace, name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"name": name}}}
}

func client(t *testing.T, s *apitest.Server) *Client {
	t.Helper()
	cfg := &rest.Config{Host: s.URL, BearerToken: apitest.Token, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	c, err := New(cfg, "test/1")
	if err != nil {
		t.Fatal(err)
	}
	c.pause = time.Millisecond
	return c
}

// names lists pods.
func names(t *testing.T, c *Client, scope Scope) ([]string, error) {
	t.Helper()
	var out []string
	version, err := c.List(t.Context(), scope, func() { out = nil }, func(p *corev1.Pod) { out = append(out, p.Namespace+"/"+p.Name) })
	if err == nil && version == "" {
		t.Error("the list has no version")
	}
	return out, err
}

func TestList(t *testing.T) {
	t.Parallel()
	for _, protobuf := range []bool{false, true} {
		first := pod("a", "x")
		first.Spec.NodeName = "n1"
		s := apitest.New(t, first, pod("b", "x"), pod("b", "y"))
		s.Protobuf = protobuf
		for want, scope := range map[string]Scope{
			"[a/x b/x b/y]": {}, "[b/x b/y]": {Namespace: "b"}, "[a/x b/x]": {Name: "x"}, "[b/y]": {Labels: "name=y"}, "[]": {Namespace: "none"}, "[a/x]": {Node: "n1"},
		} {
			if got, err := names(t, client(t, s), scope); err != nil || fmt.Sprint(got) != want {
				t.Errorf("%+v: %s, %v, want %s", scope, got, err, want)
			}
		}
		got, err := client(t, s).Get(t.Context(), "b", "y")
		if err != nil || got.Name != "y" {
			t.Errorf("get: %v, %v", got, err)
		}
		if _, err := client(t, s).Get(t.Context(), "b", "z"); !apierrors.IsNotFound(err) {
			t.Errorf("get what is not there: %v", err)
		}
	}
}

func TestListInPages(t *testing.T) {
	t.Parallel()
	s := apitest.New(t)
	for i := range 2*pageSize + 7 {
		s.Put(pod("a", fmt.Sprintf("p%04d", i)))
	}
	got, err := names(t, client(t, s), Scope{})
	if err != nil || len(got) != 2*pageSize+7 || len(slices.Compact(slices.Clone(got))) != len(got) {
		t.Errorf("%d pods, %v", len(got), err)
	}
	if limits := s.Limits(); !slices.Equal(limits, []string{"500", "500", "500"}) {
		t.Errorf("limits %q", limits)
	}
}

// A list that expires is read again as a whole, and no pod counts twice.
func TestListExpires(t *testing.T) {
	t.Parallel()
	s := apitest.New(t)
	for i := range pageSize + 1 {
		s.Put(pod("a", fmt.Sprintf("p%04d", i)))
	}
	s.ExpirePages(1)
	got, err := names(t, client(t, s), Scope{})
	if err != nil || len(got) != pageSize+1 {
		t.Errorf("%d pods, %v", len(got), err)
	}
	if limits := s.Limits(); !slices.Equal(limits, []string{"500", "500", ""}) {
		t.Errorf("limits %q", limits)
	}
}

func TestListRefused(t *testing.T) {
	t.Parallel()
	s := apitest.New(t, pod("a", "x"))
	s.Refuse("list *")
	if _, err := names(t, client(t, s), Scope{}); !apierrors.IsForbidden(err) {
		t.Errorf("error %v", err)
	}
	if got, err := names(t, client(t, s), Scope{Namespace: "a"}); err != nil || len(got) != 1 {
		t.Errorf("%q, %v", got, err)
	}
}

// The API server's warnings are not written to the terminal; the user agent
// reaches the API server.
func TestHeaders(t *testing.T) {
	t.Parallel()
	s := apitest.NewScript(t, func(w http.ResponseWriter, _ apitest.Request) { http.Error(w, "no", http.StatusTeapot) })
	c, err := New(&rest.Config{Host: s.URL}, "test/1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), "a", "b"); err == nil || s.All()[0].UserAgent() != "test/1" {
		t.Errorf("error %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	if _, err := New(&rest.Config{Host: "http://["}, "test/1"); err == nil {
		t.Error("no error")
	}
}

// following is a running Follow with the calls it has made, as "restart", "put
// x", "delete x", "synced".
type following struct {
	calls chan string
	done  chan error
	stop  context.CancelFunc
}

func follow(t *testing.T, s *apitest.Server, scope Scope) *following {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &following{calls: make(chan string, 1000), done: make(chan error, 1), stop: cancel}
	t.Cleanup(cancel)
	c := client(t, s)
	go func() {
		f.done <- c.Follow(ctx, scope, Handler{
			Restart: func() { f.calls <- "restart" },
			Put:     func(p *corev1.Pod) { f.calls <- "put " + p.Name },
			Delete:  func(p *corev1.Pod) { f.calls <- "delete " + p.Name },
			Synced:  func() { f.calls <- "synced" },
		})
	}()
	return f
}

// expect waits for the next calls.
func (f *following) expect(t *testing.T, want string) {
	t.Helper()
	var got []string
	for range strings.SplitSeq(want, ", ") {
		select {
		case c := <-f.calls:
			got = append(got, c)
		case err := <-f.done:
			t.Fatalf("ended with %v after %q, want %s", err, got, want)
		case <-time.After(30 * time.Second):
			t.Fatalf("timed out: got %q, want %s", got, want)
		}
	}
	if strings.Join(got, ", ") != want {
		t.Fatalf("got %q, want %s", got, want)
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	s := apitest.New(t, pod("a", "x"), pod("b", "elsewhere"))
	f := follow(t, s, Scope{Namespace: "a"})
	f.expect(t, "restart, put x, synced")
	s.Put(pod("a", "y"))
	f.expect(t, "put y, synced")
	s.Put(pod("b", "z"))
	s.Delete(pod("a", "x"))
	f.expect(t, "delete x, synced")
	f.stop()
	if err := <-f.done; err != nil {
		t.Errorf("error %v", err)
	}
}

func TestFollowOne(t *testing.T) {
	t.Parallel()
	s := apitest.New(t, pod("a", "x"), pod("a", "y"))
	f := follow(t, s, Scope{Namespace: "a", Name: "y"})
	f.expect(t, "restart, put y, synced")
	s.Put(pod("a", "x"))
	s.Put(pod("a", "y"))
	f.expect(t, "put y, synced")
}

// A watch whose connection ends resumes where it was.
func TestFollowReconnects(t *testing.T) {
	t.Parallel()
	s := apitest.New(t, pod("a", "x"))
	f := follow(t, s, Scope{})
	f.expect(t, "restart, put x, synced")
	s.AwaitWatch(t)
	s.EndWatches(false)
	s.Put(pod("a", "y"))
	f.expect(t, "put y, synced")
	s.CloseClientConnections()
	s.Put(pod("a", "z"))
	f.expect(t, "put z, synced")
}

// A watch that is too far behind starts over with a new list, whether the API
// server reports it in the watch or instead of it.
func TestFollowGone(t *testing.T) {
	t.Parallel()
	s := apitest.New(t, pod("a", "x"))
	f := follow(t, s, Scope{})
	f.expect(t, "restart, put x, synced")
	s.AwaitWatch(t)
	s.EndWatches(true)
	f.expect(t, "restart, put x, synced")
	s.AwaitWatch(t)
	s.RefuseVersions(1)
	s.EndWatches(false)
	f.expect(t, "restart, put x, synced")
	s.Put(pod("a", "y"))
	f.expect(t, "put y, synced")
}

func TestFollowRefused(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"list *", "watch *"} {
		s := apitest.New(t, pod("a", "x"))
		s.Refuse(line)
		if err := <-follow(t, s, Scope{}).done; !apierrors.IsForbidden(err) {
			t.Errorf("%s: error %v", line, err)
		}
	}
}

// Follow ends when the permission is withdrawn.
func TestFollowLosesRight(t *testing.T) {
	t.Parallel()
	s := apitest.New(t, pod("a", "x"))
	f := follow(t, s, Scope{})
	f.expect(t, "restart, put x, synced")
	s.AwaitWatch(t)
	s.Refuse("watch *")
	s.EndWatches(false)
	if err := <-f.done; !apierrors.IsForbidden(err) {
		t.Errorf("error %v", err)
	}
}

func TestFollowNobody(t *testing.T) {
	t.Parallel()
	s := apitest.New(t)
	s.Close()
	if err := <-follow(t, s, Scope{}).done; err == nil {
		t.Error("no error")
	}
}
