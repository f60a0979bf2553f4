//go:build linux

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/report"
)

var (
	leakVerdicts = flag.Int("verdicts", 0, "number of verdicts after which TestLeak looks for a leak")
	leakWarmUp   = flag.Int("warm-up", 500, "number of verdicts before those, which fill the agent's caches")
)

const (
	// together is the number of pods that fail at the same time, and leakEvery that of
	// verdicts between two samples.
	together  = 50
	leakEvery = 250
)

// TestLeak has an agent give thousands of verdicts on pods that then heal, are deleted,
// or are replaced by others of their names, and fits a line through what is left of them
// in the process each time all pods are gone. The agent is the released one but for a
// socket on which it collects its garbage and counts, and for the lines of replaced.
func TestLeak(t *testing.T) {
	if *leakVerdicts == 0 {
		t.Skip("takes minutes: make bench-soak")
	}
	w := newWorld(t)
	w.api.Config.IdleTimeout = time.Second // so that what is open between two samples does not vary
	socket := filepath.Join(t.TempDir(), "soak")
	a := startProgram(t, w, buildAgent(t, "-overlay", overlay(t)), "WHYPULL_SOAK_SOCKET="+socket)
	l := leak{w: w, a: a, socket: socket, causes: map[string]int{}}
	l.give(t, *leakWarmUp)
	clear(l.causes)
	all := []leftover{l.settled(t, 0)}
	for n := leakEvery; n <= *leakVerdicts; n += leakEvery {
		l.give(t, leakEvery)
		all = append(all, l.settled(t, n))
	}
	t.Logf("verdicts: %v\n%s", l.causes, table(all))
	for _, k := range leftovers() {
		f := fit(all, k.of)
		t.Logf("%-22s %8.1f +- %.1f %s per 1,000 verdicts", k.name, f.slope, f.err, k.unit)
		if f.grows(k.least) {
			t.Errorf("%s: grows by %.1f +- %.1f %s per 1,000 verdicts", k.name, f.slope, f.err, k.unit)
		}
	}
}

// replaced are lines of the agent, by their files, and what the test replaces them with:
// the room of caches, and the time for which the queue remembers a pod that is gone (110
// bytes). Caches that are full after a moment do not look like a leak, however fast or
// slow the machine is.
func replaced() map[string][2]string {
	return map[string][2]string{
		"agent/agent.go":          {"refresh = 5 * time.Minute", "refresh = 3 * time.Second"},
		"agent/probe/asker.go":    {"maxAnswers = 2000", "maxAnswers = 64"},
		"agent/probe/rejected.go": {"maxRejections = 1000", "maxRejections = 64"},
		"agent/probe/retry.go":    {"maxRetries        = 1000", "maxRetries = 64"},
		"agent/probe/slow.go":     {"maxHosts = 1000", "maxHosts = 64"},
		"agent/probe/lookups.go":  {"maxLookups = 1000", "maxLookups = 64"},
	}
}

// overlay returns a file that adds the socket to a build of the agent, and replaces lines.
func overlay(tb testing.TB) string {
	tb.Helper()
	dir, temporary := sourceDirectory(tb), tb.TempDir()
	replace := map[string]string{filepath.Join(dir, "cmd/whypull/soakprobe.go"): filepath.Join(dir, "cmd/whypull/testdata/soakprobe.go.txt")}
	for name, line := range replaced() {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			tb.Fatal(err)
		}
		if strings.Count(string(text), line[0]) != 1 {
			tb.Fatalf("%s: no %q", name, line[0])
		}
		file := filepath.Join(temporary, filepath.Base(name))
		replace[filepath.Join(dir, name)] = file
		if err := os.WriteFile(file, []byte(strings.Replace(string(text), line[0], line[1], 1)), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		tb.Fatal(err)
	}
	name := filepath.Join(temporary, "overlay.json")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		tb.Fatal(err)
	}
	return name
}

// The lines that TestLeak replaces are there.
func TestOverlay(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(overlay(t))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Count(string(text), ".go"), 2*len(replaced())+2; got != want {
		t.Errorf("%d names of files, want %d: %s", got, want, text)
	}
}

// sourceDirectory returns that of the module.
func sourceDirectory(tb testing.TB) string {
	tb.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		tb.Fatal(err)
	}
	return dir
}

// leak gives verdicts.
type leak struct {
	w      *world
	a      *soakAgent
	socket string
	given  int            // so far
	causes map[string]int // of the verdicts
}

// give has n pods fail, some at a time, and returns when each has had its last verdict
// and is gone.
func (l *leak) give(tb testing.TB, n int) {
	tb.Helper()
	for ; n > 0; n -= together {
		pods := make([]*corev1.Pod, 0, together)
		for range min(n, together) {
			pods = append(pods, l.w.short(l.given))
			l.given++
		}
		l.w.begin(pods...)
		for _, p := range pods {
			l.causes[l.w.final(tb, p)]++
		}
		l.w.end(tb, pods)
	}
}

// short returns the i-th pod that fails, each in another way than the last, with an
// image, and where there is one a secret, that no other has. Every other pod has the name
// of an earlier one.
func (w *world) short(i int) *corev1.Pod {
	name := fmt.Sprint("new-", i)
	if i%2 == 0 {
		name = fmt.Sprint("old-", i%together)
	}
	image := func(host string) string { return fmt.Sprintf("%s/shop/image%d:v1", host, i) }
	secret := func(password, host string) []string {
		s := fmt.Sprint("secret-", i)
		w.keep(s, fmt.Sprint("robot-", i), password, host)
		return []string{s}
	}
	switch i % 8 {
	case 1:
		return failing("shop", name, refused, secret("old", w.private.Host), image(w.private.Host))
	case 2:
		return failing("shop", name, refused, secret("new", "other.test"), image(w.private.Host))
	case 3:
		return failing("shop", name, refused, []string{fmt.Sprint("missing-", i)}, image(w.private.Host))
	case 5:
		return failing("shop", name, "connection reset by peer", nil, image("good.test"))
	case 6:
		return failing("shop", name, "dial tcp: lookup none.test: no such host", nil, image("none.test"))
	case 7:
		return failing("shop", name, "connection refused", nil, image("127.0.0.1:1"))
	default:
		return failing("shop", name, notFound, nil, fmt.Sprintf("%s/shop/image%d:v2", w.good.Host, i))
	}
}

// final waits for the last verdict on a pod's only container, whatever it is: on a slow
// machine it is that of checks that ran into their time limits. It returns the cause.
func (w *world) final(tb testing.TB, p *corev1.Pod) string {
	tb.Helper()
	timeout := time.After(soakPatience)
	for {
		w.mu.Lock()
		text, changed := w.pods[p.Namespace+"/"+p.Name].Annotations[report.ReportAnnotation], w.changed
		w.mu.Unlock()
		var d report.Document
		if text != "" && json.Unmarshal([]byte(text), &d) == nil && len(d.Containers) == 1 &&
			!slices.ContainsFunc(d.Containers[0].Evidence, func(e report.Entry) bool { return e.Fault == string(diagnosis.FaultPending) }) {
			return d.Containers[0].Cause
		}
		select {
		case <-changed:
		case <-timeout:
			tb.Fatalf("%s: no last verdict in %s: %s", p.Name, soakPatience, text)
		}
	}
}

// end lets one of three pods run until its report is gone, and deletes all.
func (w *world) end(tb testing.TB, pods []*corev1.Pod) {
	tb.Helper()
	w.mu.Lock()
	for i, p := range pods {
		if i%3 == 0 {
			running := w.pods[p.Namespace+"/"+p.Name].DeepCopy()
			running.Status.Phase = corev1.PodRunning
			running.Status.ContainerStatuses[0].State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
			w.put(running)
		}
	}
	w.mu.Unlock()
	timeout := time.After(soakPatience)
	for i, p := range pods {
		for name := p.Namespace + "/" + p.Name; ; {
			w.mu.Lock()
			current, changed := w.pods[name], w.changed
			if i%3 != 0 || current.Annotations[report.ReportAnnotation] == "" {
				w.api.Delete(current)
				delete(w.pods, name)
				delete(w.first, name)
				w.mu.Unlock()
				break
			}
			w.mu.Unlock()
			select {
			case <-changed:
			case <-timeout:
				tb.Fatalf("%s: the report of a running pod has not gone in %s", name, soakPatience)
			}
		}
	}
}

// leftover is what an agent's process has after some verdicts, while no pod fails.
type leftover struct {
	verdicts              int
	allocated, inUse      uint64 // bytes of the heap after a collection
	anonymous             uint64 // resident bytes that belong to no file
	goroutines            uint64
	threads, files, posts int
}

// settled waits until the agent has nothing left to do, and counts.
func (l *leak) settled(tb testing.TB, verdicts int) leftover {
	tb.Helper()
	const same = 25 // samples in a row
	last, n := l.count(tb), 0
	for deadline := time.Now().Add(soakPatience); n < same && time.Now().Before(deadline); n++ {
		time.Sleep(200 * time.Millisecond)
		now := l.count(tb)
		if now.goroutines != last.goroutines || now.files != last.files || now.posts != last.posts {
			n = 0
		}
		last = now
	}
	last.verdicts = verdicts
	tb.Logf("after %d verdicts: %d KiB live, %d goroutines", verdicts, last.allocated>>10, last.goroutines)
	return last
}

// count returns what the process has now.
func (l *leak) count(tb testing.TB) leftover {
	tb.Helper()
	conn, err := net.Dial("unix", l.socket)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // of a test
	var heap struct{ Allocated, InUse, Goroutines uint64 }
	if err := json.NewDecoder(conn).Decode(&heap); err != nil {
		tb.Fatal(err)
	}
	out := leftover{allocated: heap.Allocated, inUse: heap.InUse, goroutines: heap.Goroutines}
	proc := fmt.Sprintf("/proc/%d/", l.a.cmd.Process.Pid)
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &out.anonymous); err == nil {
			out.anonymous <<= 10
		}
		_, _ = fmt.Sscanf(line, "Threads: %d", &out.threads) // of one line
	}
	files, err := os.ReadDir(proc + "fd")
	if err != nil {
		tb.Fatal(err)
	}
	out.files = len(files)
	for _, r := range l.w.api.All() {
		if r.Method == http.MethodPost {
			out.posts++
		}
	}
	return out
}

// kind is one thing that an agent may leak.
type kind struct {
	name, unit string
	of         func(leftover) float64
	// least is the growth per 1,000 verdicts from which on it may be a leak. Less is
	// not one thing kept per verdict: a UID alone has 36 bytes, and its map entry and
	// header as many again. What the kernel counts comes in pages and what the heap has in
	// use in spans of 8 KiB and more, so fragments move both.
	least float64
}

func leftovers() []kind {
	kib := func(bytes uint64) float64 { return float64(bytes) / 1024 }
	return []kind{
		{"heap, live", "KiB", func(l leftover) float64 { return kib(l.allocated) }, 16},
		{"heap, in use", "KiB", func(l leftover) float64 { return kib(l.inUse) }, 32},
		{"anonymous, resident", "KiB", func(l leftover) float64 { return kib(l.anonymous) }, 64},
		{"goroutines", "", func(l leftover) float64 { return float64(l.goroutines) }, 0.5},
		{"threads", "", func(l leftover) float64 { return float64(l.threads) }, 0.5},
		{"open files", "", func(l leftover) float64 { return float64(l.files) }, 0.5},
	}
}

// table returns one line per sample.
func table(all []leftover) string {
	var text strings.Builder
	text.WriteString("verdicts")
	for _, k := range leftovers() {
		fmt.Fprintf(&text, " | %s", strings.TrimSpace(k.name+" "+k.unit))
	}
	for _, l := range all {
		fmt.Fprintf(&text, "\n%8d", l.verdicts)
		for _, k := range leftovers() {
			fmt.Fprintf(&text, " | %*.0f", len(strings.TrimSpace(k.name+" "+k.unit)), k.of(l))
		}
	}
	return text.String()
}

// line is the slope of a fitted line per 1,000 verdicts, with its standard error.
type line struct{ slope, err float64 }

// grows reports whether a slope is more than least, and more than the error explains.
func (l line) grows(least float64) bool { return l.slope > max(least, 3*l.err) }

// fit returns the line of least squares.
func fit(all []leftover, of func(leftover) float64) line {
	n := float64(len(all))
	if n < 3 {
		return line{}
	}
	var x, y float64
	for _, l := range all {
		x, y = x+float64(l.verdicts)/1000/n, y+of(l)/n
	}
	var xx, xy, rest float64
	for _, l := range all {
		dx := float64(l.verdicts)/1000 - x
		xx, xy = xx+dx*dx, xy+dx*(of(l)-y)
	}
	for _, l := range all {
		d := of(l) - y - xy/xx*(float64(l.verdicts)/1000-x)
		rest += d * d
	}
	return line{xy / xx, math.Sqrt(rest / (n - 2) / xx)}
}

func TestFit(t *testing.T) {
	t.Parallel()
	of := func(ys ...uint64) line {
		var all []leftover
		for i, y := range ys {
			all = append(all, leftover{verdicts: i * 1000, allocated: y})
		}
		return fit(all, func(l leftover) float64 { return float64(l.allocated) })
	}
	for name, c := range map[string]struct {
		got        line
		slope, err float64
		least      float64
		grows      bool
	}{
		"no noise":         {of(10, 12, 14, 16), 2, 0, 1, true},
		"less than counts": {of(10, 12, 14, 16), 2, 0, 3, false},
		"shrinks":          {of(16, 14, 12, 10), -2, 0, 0, false},
		"flat":             {of(5, 5, 5), 0, 0, 0, false},
		"noise":            {of(10, 20, 10, 20), 2, math.Sqrt(8), 1, false}, // worked out by hand
		"two points":       {of(1, 2), 0, 0, 0, false},
	} {
		if math.Abs(c.got.slope-c.slope) > 1e-9 || math.Abs(c.got.err-c.err) > 1e-9 || c.got.grows(c.least) != c.grows {
			t.Errorf("%s: %+v, grows: %t", name, c.got, c.got.grows(c.least))
		}
	}
}
