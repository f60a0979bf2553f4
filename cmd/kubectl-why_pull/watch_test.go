//go:build unix

package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube/apitest"
	"github.com/whypull/whypull/report/fleet"
)

// watching is a running program with --watch.
type watching struct {
	stdout, stderr output
	status         chan int
}

func watch(t *testing.T, s *apitest.Server, args ...string) *watching {
	t.Helper()
	w := &watching{status: make(chan int, 1)}
	args = append(args, "--watch", "--kubeconfig", s.Kubeconfig(t))
	go func() { w.status <- run(args, &w.stdout, &w.stderr) }()
	return w
}

func (w *watching) await(t *testing.T, text string) {
	t.Helper()
	eventually(t, text+" in:\n"+w.stdout.String(), func() bool { return strings.Contains(w.stdout.String(), text) })
}

// interrupt sends SIGINT, like Ctrl-C, and returns the exit status.
func (w *watching) interrupt(t *testing.T) int {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	return <-w.status
}

func TestWatch(t *testing.T) {
	s := apitest.New(t, broken("shop", "web", diagnosis.DiskFull), broken("other", "x", diagnosis.DiskFull))
	w := watch(t, s)
	w.await(t, "shop/web container app: DiskFull, a sentence on web\n")
	s.Put(broken("shop", "web", diagnosis.TagNotFound))
	w.await(t, "shop/web container app: TagNotFound, a sentence on web\n")
	s.Put(silent("shop", "api"))
	w.await(t, "shop/api container app: no report, ")
	s.Delete(silent("shop", "api"))
	w.await(t, "shop/api: no longer failing\n")
	if status := w.interrupt(t); status != somethingFails || w.stderr.String() != "" {
		t.Errorf("status %d, %s", status, w.stderr.String())
	}
	if got := w.stdout.String(); strings.Count(got, "\n") != 4 || strings.Contains(got, "other/x") || strings.Contains(got, "\x1b") {
		t.Errorf("output:\n%s", got)
	}
}

// The exit status is that of the last state.
func TestWatchUntilAllIsWell(t *testing.T) {
	s := apitest.New(t, broken("shop", "web", diagnosis.DiskFull), broken("b", "web", diagnosis.DiskFull))
	w := watch(t, s, "-A")
	w.await(t, "b/web container app: DiskFull")
	s.Put(fine("shop", "web"))
	s.Delete(broken("b", "web", diagnosis.DiskFull))
	w.await(t, "shop/web: no longer failing\n")
	w.await(t, "b/web: no longer failing\n")
	if status := w.interrupt(t); status != nothingFails {
		t.Errorf("status %d, %s", status, w.stderr.String())
	}
}

func TestWatchNothing(t *testing.T) {
	s := apitest.New(t, fine("shop", "web"))
	w := watch(t, s)
	w.await(t, "No pod fails to pull an image.\n")
	s.AwaitWatch(t)
	s.EndWatches(true) // a new list with the same pods
	s.Put(broken("shop", "web", diagnosis.DiskFull))
	w.await(t, "DiskFull")
	if status := w.interrupt(t); status != somethingFails {
		t.Errorf("status %d", status)
	}
}

func TestWatchOne(t *testing.T) {
	s := apitest.New(t, fine("shop", "web"), broken("shop", "db", diagnosis.DiskFull))
	w := watch(t, s, "web")
	w.await(t, "No pod fails to pull an image.\n")
	s.Put(broken("shop", "web", diagnosis.TagNotFound))
	w.await(t, "shop/web container app: TagNotFound")
	if status := w.interrupt(t); status != somethingFails || strings.Contains(w.stdout.String(), "shop/db") {
		t.Errorf("status %d\n%s", status, w.stdout.String())
	}
}

// What is watched is selected as what is shown once; a pod that fails for another
// cause has not recovered.
func TestWatchSelection(t *testing.T) {
	s := workloads(t)
	w := watch(t, s, "deploy/web", "--cause", "DiskFull")
	w.await(t, "shop/web-77-b container app: DiskFull")
	s.AwaitWatch(t)
	s.Put(ofDeployment("web-77-a", "web", "n1", diagnosis.TagNotFound))
	w.await(t, "shop/web-77-a: no longer selected\n")
	s.Put(ofDeployment("api-77-z", "api", "n1", diagnosis.DiskFull))
	s.Put(ofDeployment("web-77-z", "web", "n1", diagnosis.DiskFull))
	w.await(t, "shop/web-77-z container app: DiskFull")
	s.Delete(fine("shop", "web-77-b"))
	w.await(t, "shop/web-77-b: no longer failing\n")
	if status := w.interrupt(t); status != somethingFails || strings.Contains(w.stdout.String(), "api-77") {
		t.Errorf("status %d, %s%s", status, w.stdout.String(), w.stderr.String())
	}
}

func TestWatchNothingSelected(t *testing.T) {
	s := workloads(t)
	w := watch(t, s, "deploy/web", "--cause", "DNSFailure")
	w.await(t, "No selected pod fails to pull an image.\n")
	if status := w.interrupt(t); status != nothingFails {
		t.Errorf("status %d, %s", status, w.stderr.String())
	}
	if status := (<-watch(t, s, "deplyo/web").status); status != usageError {
		t.Errorf("no such owner: status %d", status)
	}
}

func TestWatchDocuments(t *testing.T) {
	for format, separator := range map[string]string{"json": "", "yaml": "---\n"} {
		s := apitest.New(t, broken("shop", "web", diagnosis.DiskFull))
		w := watch(t, s, "-o", format)
		w.await(t, "DiskFull")
		s.Put(broken("shop", "web", diagnosis.TagNotFound))
		w.await(t, "TagNotFound")
		w.interrupt(t)
		out := w.stdout.String()
		if format == "yaml" {
			if strings.Count(out, separator) != 2 || !strings.HasPrefix(out, separator) {
				t.Errorf("YAML:\n%s", out)
			}
			continue
		}
		for line := range strings.Lines(out) {
			var o fleet.Overview
			if err := json.Unmarshal([]byte(line), &o); err != nil || len(o.Pods) != 1 {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
}

func TestWatchRefused(t *testing.T) {
	for _, line := range []string{"list shop", "watch shop"} {
		s := apitest.New(t, fine("shop", "web"))
		s.Refuse(line)
		status, _, errs := called(t, s, "--watch")
		if status != usageError || !strings.Contains(errs, "forbidden") || strings.Contains(errs, "\x1b") || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: status %d, %q", line, status, errs)
		}
	}
}

// Information from other namespaces is included, also after a new list.
func TestWatchFleet(t *testing.T) {
	elsewhere := fine("other", "b")
	elsewhere.Spec.NodeName = "n2"
	s := apitest.New(t, broken("shop", "web", diagnosis.DNSFailure), elsewhere, silent("shop", "q"), agentPod("whypull", "n2"))
	w := watch(t, s, "-o", "json")
	last := func() fleet.Overview {
		lines := strings.Split(strings.TrimSpace(w.stdout.String()), "\n")
		var o fleet.Overview
		if json.Unmarshal([]byte(lines[len(lines)-1]), &o) != nil {
			return fleet.Overview{}
		}
		return o
	}
	pods := func(n int) func() bool { return func() bool { return len(last().Pods) == n } }
	eventually(t, "two pods", pods(2))
	s.AwaitWatch(t)
	s.EndWatches(true)
	s.Put(silent("shop", "r"))
	eventually(t, "three pods", pods(3))
	w.interrupt(t)
	for line := range strings.Lines(w.stdout.String()) {
		var o fleet.Overview
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatal(err)
		}
		for _, g := range o.Groups {
			if g.Cause == "DNSFailure" && g.PointsTo != "n1" || g.Cause == "" && !strings.Contains(g.NoReport, "has not reported") {
				t.Errorf("%+v", g)
			}
		}
	}
}

// An interrupt before the first output is not reported as success.
func TestInterruptedEarly(t *testing.T) {
	for _, args := range [][]string{{"-w"}, {}} {
		asked := make(chan struct{}, 10)
		stuck := apitest.NewScript(t, func(_ http.ResponseWriter, r apitest.Request) {
			asked <- struct{}{}
			<-r.Context().Done()
		})
		w := &watching{status: make(chan int, 1)}
		args = append(args, "-s", stuck.URL, "--kubeconfig", apitest.New(t).Kubeconfig(t))
		go func() { w.status <- run(args, &w.stdout, &w.stderr) }()
		<-asked
		if status := w.interrupt(t); status != usageError || w.stderr.String() == "" || w.stdout.String() != "" {
			t.Errorf("%q: status %d, %q, %q", args[0], status, w.stdout.String(), w.stderr.String())
		}
	}
}

// full is an output that rejects writes.
type full struct{}

// Write implements io.Writer.
func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestFullOutput(t *testing.T) {
	s := apitest.New(t, broken("shop", "web", diagnosis.DiskFull))
	for _, args := range [][]string{{}, {"-w"}, {"-o", "json"}, {"explain"}, {"explain", "DiskFull"}} {
		var errs output
		if args = append(args, "--kubeconfig", s.Kubeconfig(t)); args[0] == "explain" {
			args = args[:len(args)-2]
		}
		if status := run(args, full{}, &errs); status != usageError || !strings.Contains(errs.String(), "no space left") {
			t.Errorf("%q: status %d, %s", args, status, errs.String())
		}
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	pod := func(name string, reason string) fleet.Pod {
		return fleet.Pod{Namespace: "shop", Name: name, Containers: []fleet.Container{{Name: "app", Kind: "initContainer", NoReport: reason}}}
	}
	state := func(pods ...fleet.Pod) fleet.Overview { return fleet.Overview{Pods: pods} }
	for name, tc := range map[string]struct {
		before, after fleet.Overview
		shown         bool
		want          string
	}{
		"nothing at first":  {state(), state(), false, "No pod fails to pull an image.\n"},
		"nothing still":     {state(), state(), true, ""},
		"something":         {state(), state(pod("a", "x")), false, "shop/a init container app: no report, x\n"},
		"the same":          {state(pod("a", "x")), state(pod("a", "x")), true, ""},
		"another reason":    {state(pod("a", "x")), state(pod("a", "y")), true, "shop/a init container app: no report, y\n"},
		"one goes, one new": {state(pod("a", "x"), pod("b", "x")), state(pod("b", "x"), pod("c", "x")), true, "shop/c init container app: no report, x\nshop/a: no longer failing\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := strings.Join(lines(tc.before, tc.after, tc.shown, &fleet.View{}), ""); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestWatchPreflight(t *testing.T) {
	s := apitest.New(t, doomed("shop", "web", diagnosis.TagNotFound), broken("shop", "broken", diagnosis.DiskFull))
	w := watch(t, s, "--preflight")
	w.await(t, "shop/web container app: TagNotFound, a sentence on web\n")
	s.Put(fine("shop", "web"))
	w.await(t, "shop/web: no longer reported\n")
	if status := w.interrupt(t); status != nothingFails || strings.Contains(w.stdout.String(), "broken") {
		t.Errorf("status %d\n%s%s", status, w.stdout.String(), w.stderr.String())
	}
}
