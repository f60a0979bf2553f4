package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
)

// However many pods of one namespace are to be served, another's is served after
// one of them.
func TestNamespacesTakeTurns(t *testing.T) {
	t.Parallel()
	q := newTurns(100)
	for i := range 4 {
		q.Push(key{"evil", fmt.Sprint("e", i)})
	}
	q.Push(key{"good", "g0"})
	q.Push(key{"good", "g1"})
	q.Push(key{"other", "o0"})
	var got []string
	for q.Len() > 0 {
		got = append(got, q.Pop().uid)
	}
	if want := []string{"e0", "g0", "o0", "e1", "g1", "e2", "e3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(q.waiting)+len(q.order) != 0 {
		t.Errorf("namespaces without pods are kept: %+v", q)
	}
}

// A namespace gets another worker only while more are idle than serve it.
func TestNamespacesShareWorkers(t *testing.T) {
	t.Parallel()
	q := newTurns(16)
	push := func(namespace string) {
		for i := range 20 {
			q.Push(key{namespace, fmt.Sprint(namespace, i)})
		}
	}
	serve := func() (served int) {
		for ; q.Len() > 0; served++ {
			q.Pop()
		}
		return served
	}
	for i, want := range []int{8, 4, 2, 1, 1, 0} {
		push(fmt.Sprint(i))
		if got := serve(); got != want {
			t.Errorf("namespace %d has %d workers, want %d", i, got, want)
		}
	}
	if !q.others() {
		t.Error("none waits")
	}
	q.leave(key{"0", "00"})
	if got := q.Pop(); got.namespace != "5" || q.Len() != 0 {
		t.Errorf("the worker of the first namespace serves %s, and there is another", got.namespace)
	}
	for namespace, n := range map[string]int{"0": 7, "1": 4, "2": 2, "3": 1, "4": 1, "5": 1} {
		for range n {
			q.leave(key{namespace, ""})
		}
	}
	if q.busy != 0 || len(q.served) != 0 {
		t.Errorf("%d workers serve %v", q.busy, q.served)
	}
}

func TestOthers(t *testing.T) {
	t.Parallel()
	q := newTurns(4)
	a, b := key{"shop", "a"}, key{"shop", "b"}
	q.Push(a)
	q.Pop()
	if q.others() {
		t.Error("there is another pod than the one that is served")
	}
	q.Push(b)
	if !q.others() {
		t.Error("no other pod waits")
	}
	q.Pop()
	if !q.others() {
		t.Error("no other pod is served")
	}
	q.leave(a)
	if q.others() {
		t.Error("there is another pod after the other one was served")
	}
}

// Pods of one namespace for which the API server takes long, however many, keep
// nobody else's from being served.
func TestManyPodsThatTakeLong(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		l.publisher.hung = "evil"
		for i := range 4 * workers {
			l.pods.Observe(of(update(failure("app")), "evil", fmt.Sprint("evil-", i)))
		}
		l.sees(time.Second)
		l.want()
		l.sees(time.Second, of(update(failure("app")), "good", "victim"))
		l.publisher.mu.Lock()
		defer l.publisher.mu.Unlock()
		if got := l.publisher.lines; len(got) != 1 || !strings.HasPrefix(got[0], "victim: all ") {
			t.Errorf("got %q, want the victim's verdict", got)
		}
	})
}

// While many pods fail, an update that shows nothing new of a pod waits, and one that does
// is served at once.
func TestNothingNewWaits(t *testing.T) {
	inLoop(t, nil, func(l *loop) {
		for i := range many {
			l.pods.Observe(of(update(failure("app")), "shop", fmt.Sprint(i)))
		}
		served := func(after time.Duration) int {
			l.sees(after)
			l.publisher.mu.Lock()
			defer l.publisher.mu.Unlock()
			n := len(l.publisher.lines)
			l.publisher.lines = nil
			return n
		}
		if got := served(time.Second); got != many {
			t.Fatalf("%d pods were served, want %d", got, many)
		}
		again, other := of(update(failure("app")), "shop", "0"), of(update(failure("app")), "shop", "1")
		again.Annotations = map[string]string{"whypull.dev/cause": "TagNotFound"}
		other.Failures[0].Message += " once more"
		l.pods.Observe(again)
		l.pods.Observe(other)
		if got := served(afterOthers / 2); got != 1 {
			t.Errorf("%d pods were served at once, want the one that has changed", got)
		}
		if got := served(afterOthers); got != 1 {
			t.Errorf("%d pods were served later, want the one that has not changed", got)
		}
	})
}

// of gives an update another namespace and pod.
func of(u podwatch.Update, namespace, uid string) podwatch.Update {
	u.Namespace, u.UID = namespace, uid
	for i := range u.Failures {
		u.Failures[i].Namespace, u.Failures[i].UID = namespace, uid
	}
	return u
}

// 250 pods of one namespace whose registry answers nothing keep nobody's first
// verdict, neither their own nor another's.
func TestManyPodsAtAHangingRegistry(t *testing.T) {
	const pods = 250
	inLoop(t, map[string]time.Duration{"slow": time.Hour}, func(l *loop) {
		for i := range pods {
			l.pods.Observe(of(update(failure("slow")), "evil", fmt.Sprint("evil-", i)))
		}
		l.sees(time.Second, of(update(failure("app")), "good", "victim"))
		l.publisher.mu.Lock()
		defer l.publisher.mu.Unlock()
		if len(l.publisher.lines) != pods+1 {
			t.Fatalf("%d verdicts, want a first one of each pod and the victim's", len(l.publisher.lines))
		}
		if i := slices.IndexFunc(l.publisher.lines, func(line string) bool { return line == "victim: all 1 of app" }); i < 0 || l.publisher.at[i] > spread {
			t.Errorf("the victim's verdict is line %d", i)
		}
		if last := l.publisher.at[pods]; last > patience+spread {
			t.Errorf("the last first verdict came after %s", last)
		}
	})
}

// The recovery of a container is published while its pod is still being examined,
// and no failure of it after that.
func TestRecoveryWhileExamined(t *testing.T) {
	inLoop(t, map[string]time.Duration{"app": 5 * time.Second, "side": 5 * time.Second}, func(l *loop) {
		l.sees(2*time.Second, update(failure("app"), failure("side")))
		l.sees(time.Second, recovered(update(failure("side")), failure("app")))
		l.want("uid-1: first 1 of app, first 1 of side, so far", "uid-1: recovered app")
		l.sees(10 * time.Second)
		l.want("uid-1: all 1 of side", "uid-1: all 1 of side")
		l.sees(time.Second, recovered(update(), failure("side")))
		l.want("uid-1: recovered side", "uid-1: clear", "uid-1: forget")
	})
}

// A pod that gets all its images while it is examined is cleared at once.
func TestAllRecoverWhileExamined(t *testing.T) {
	inLoop(t, map[string]time.Duration{"app": time.Hour}, func(l *loop) {
		l.sees(time.Second, update(failure("app")))
		l.sees(time.Second, recovered(update(), failure("app")))
		l.want("uid-1: first 1 of app, so far", "uid-1: recovered app", "uid-1: clear", "uid-1: forget")
		l.wantPods(0)
	})
}

// What changes while a pod is examined is examined next.
func TestChangeWhileExamined(t *testing.T) {
	inLoop(t, map[string]time.Duration{"app": 5 * time.Second}, func(l *loop) {
		l.sees(time.Second, update(failure("app")))
		l.sees(time.Second, update(failure("app", func(f *diagnosis.Failure) { f.Image = "hub.test/app:2" })))
		l.sees(20 * time.Second)
		l.want("uid-1: first 1 of app, so far", "uid-1: all 1 of app", "uid-1: first 2 of app, so far", "uid-1: all 2 of app")
		l.wantAsks(2)
	})
}

// A look at pulls that was due while the pod was examined is made after that.
func TestLookWhileExamined(t *testing.T) {
	inLoop(t, map[string]time.Duration{"app": 3 * lookAfter}, func(l *loop) {
		l.collector.pull(map[string]int64{"side": 31})
		u := waits("side")
		u.Failures = []diagnosis.Failure{failure("app")}
		l.sees(3*lookAfter+spread, u)
		l.want("uid-1: first 1 of app, so far", "uid-1: all 1 of app")
		l.sees(lookAgain)
		l.want("uid-1: all 1 of app, 31 bytes of side")
	})
}

func TestBurst(t *testing.T) {
	pods := NewPods()
	burst := func() bool {
		select {
		case <-pods.Burst():
			return true
		default:
			return false
		}
	}
	for i := range many {
		if burst() {
			t.Errorf("%d pods are many", i)
		}
		pods.Observe(of(update(failure("app")), "shop", fmt.Sprint("web-", i)))
	}
	if !burst() {
		t.Errorf("%d pods are few", many)
	}
	pods.Observe(of(update(failure("app")), "shop", "one-more"))
	if burst() {
		t.Error("one more begins another burst")
	}
}
