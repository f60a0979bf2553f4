package agent

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
)

// The names of verdicts in these tests: the examination of the container, and
// whether all of its evidence was there.
func firstOf(container string, n int) string { return fmt.Sprint("first ", n, " of ", container) }
func allOf(container string, n int) string   { return fmt.Sprint("all ", n, " of ", container) }

// saysOf returns the name of a verdict.
func saysOf(v diagnosis.Verdict) string { return v.Evidence[0].Message().Text }

func evidence(text string) []diagnosis.Evidence {
	return []diagnosis.Evidence{{Check: diagnosis.CheckMessage, Outcome: diagnosis.Inconclusive, Body: &diagnosis.MessageFacts{Text: text}}}
}

// ask is one call of Collect.
type ask struct {
	container string
	fresh     bool
	at        time.Time
}

// collector answers after a delay.
type collector struct {
	takes map[string]time.Duration // by container; 0 if not there, deaf if it does not end
	mu    sync.Mutex
	hangs map[string]diagnosis.Stall // by container
	pulls map[string]int64           // bytes done, by container
	looks int                        // at waiting containers
	down  bool                       // the runtime does not answer
	asked []ask
	quick time.Duration // how long the quick checks take; deaf: until the context ends
	now   int           // examinations that are under way
	most  int
}

// deaf makes Collect ignore the end of the context.
const deaf time.Duration = -1

func (c *collector) hang(hangs map[string]diagnosis.Stall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hangs = hangs
}

func (c *collector) pull(pulls map[string]int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulls = pulls
}

func (c *collector) Follow(_ context.Context, waiting []diagnosis.Failure) ([]diagnosis.Failure, []diagnosis.Progress, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looks++
	if c.down {
		return nil, nil, errAPI
	}
	var out []diagnosis.Failure
	var going []diagnosis.Progress
	for _, f := range waiting {
		if done, ok := c.pulls[f.Container]; ok {
			going = append(going, diagnosis.Progress{Failure: f, Done: done, Total: 100})
		}
		if f.Stall = c.hangs[f.Container]; f.Stall == diagnosis.StallSandbox {
			f.Kind, f.Container = diagnosis.KindSandbox, diagnosis.SandboxName
		}
		if f.Stall != "" {
			out = append(out, f)
		}
	}
	return out, going, nil
}

// stop makes the runtime answer no more, or again.
func (c *collector) stop(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

// proof adds evidence of a stalled transfer.
func proof(f diagnosis.Failure, all []diagnosis.Evidence) []diagnosis.Evidence {
	if f.Stall == diagnosis.StallTransfer || f.Stall == diagnosis.StallSandbox {
		all = append(all, diagnosis.Evidence{Check: diagnosis.CheckPull, Outcome: diagnosis.Failed, Fault: diagnosis.FaultStalled})
	}
	return all
}

func (c *collector) Collect(ctx context.Context, f diagnosis.Failure, fresh bool) ([]diagnosis.Evidence, <-chan []diagnosis.Evidence) {
	defer func() {
		if c.quick == deaf {
			<-ctx.Done()
		}
		time.Sleep(c.quick)
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, ask{f.Container, fresh, time.Now()})
	c.now++
	c.most = max(c.most, c.now)
	n := 0
	for _, a := range c.asked {
		if a.container == f.Container {
			n++
		}
	}
	all := make(chan []diagnosis.Evidence, 1)
	if takes := c.takes[f.Container]; takes != deaf {
		go func() {
			select {
			case <-time.After(takes):
			case <-ctx.Done():
			}
			c.mu.Lock()
			c.now--
			c.mu.Unlock()
			all <- proof(f, evidence(allOf(f.Container, n)))
			close(all)
		}()
	}
	return proof(f, evidence(firstOf(f.Container, n))), all
}

func (c *collector) asks() []ask {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

// publisher records its calls, one line each.
type publisher struct {
	mu         sync.Mutex
	start      time.Time
	lines      []string
	at         []time.Duration // since the start
	fails      []error         // of the next calls of Verdicts
	recoveries []error         // of the next calls of Recovered
	block      chan struct{}   // if not nil, the next Verdicts waits for it
	hung       string          // a namespace whose Verdicts wait for the end of the context
}

func (p *publisher) note(line string) {
	p.lines = append(p.lines, line)
	p.at = append(p.at, time.Since(p.start))
}

// Pod implements Publisher: all pods write to one list.
func (p *publisher) Pod(uid string) PodPublisher { return podPublisher{p, uid} }

// Reported implements Publisher.
func (p *publisher) Reported(annotations map[string]string) bool { return annotations["report"] != "" }

type podPublisher struct {
	*publisher
	uid string
}

func (p podPublisher) Verdicts(ctx context.Context, u podwatch.Update, verdicts []diagnosis.Verdict, final bool) error {
	if b := p.blocked(); b != nil {
		<-b
	}
	if u.Namespace == p.hung {
		<-ctx.Done()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var says []string
	for _, v := range verdicts {
		says = append(says, saysOf(v))
	}
	for _, g := range u.Pulling {
		says = append(says, fmt.Sprintf("%d bytes of %s", g.Done, g.Failure.Container))
	}
	line := u.UID + ": " + strings.Join(says, ", ")
	switch {
	case len(says) == 0:
		line = u.UID + ": clear"
	case !final:
		line += ", so far"
	}
	p.note(line)
	if len(p.fails) == 0 {
		return nil
	}
	err := p.fails[0]
	p.fails = p.fails[1:]
	return err
}

func (p *publisher) blocked() chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.block
	p.block = nil
	return b
}

func (p podPublisher) Recovered(_ context.Context, _ podwatch.Update, f diagnosis.Failure) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.recoveries) > 0 {
		err := p.recoveries[0]
		p.recoveries = p.recoveries[1:]
		if err != nil {
			return err
		}
	}
	p.note(f.UID + ": recovered " + f.Container)
	return nil
}

func (p podPublisher) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note(p.uid + ": forget")
}

// loop is an agent that runs in a synctest bubble.
type loop struct {
	t         *testing.T
	pods      *Pods
	collector *collector
	publisher *publisher
	cancel    context.CancelFunc
	stopped   chan struct{}
}

// inLoop runs a test with an agent; takes is how long the checks of a container
// take.
func inLoop(t *testing.T, takes map[string]time.Duration, test func(*loop)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &loop{t: t, pods: NewPods(), collector: &collector{takes: takes}, publisher: &publisher{start: time.Now()}, stopped: make(chan struct{})}
		agent := New(l.pods, diagnosis.PlatformK3s, l.collector, l.publisher, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		l.cancel = cancel
		go func() {
			defer close(l.stopped)
			agent.Run(ctx)
		}()
		test(l)
		cancel()
		<-l.stopped
	})
}

// sees passes updates to the agent and lets time go by.
func (l *loop) sees(wait time.Duration, updates ...podwatch.Update) {
	for _, u := range updates {
		l.pods.Observe(u)
	}
	time.Sleep(wait)
	synctest.Wait()
}

// want compares the publisher's calls since the last want.
func (l *loop) want(want ...string) {
	l.t.Helper()
	l.publisher.mu.Lock()
	defer l.publisher.mu.Unlock()
	got := strings.Join(l.publisher.lines, "\n")
	if w := strings.Join(want, "\n"); got != w {
		l.t.Errorf("got\n%s\nwant\n%s", got, w)
	}
	l.publisher.lines, l.publisher.at = nil, nil
}

// wantAt checks that the publisher's call i came after a time, plus at most spread.
func (l *loop) wantAt(i int, want time.Duration) {
	l.t.Helper()
	l.publisher.mu.Lock()
	defer l.publisher.mu.Unlock()
	if i >= len(l.publisher.at) {
		l.t.Fatalf("got %q, want at least %d lines", l.publisher.lines, i+1)
	}
	if got := l.publisher.at[i]; got < want || got > want+spread {
		l.t.Errorf("%q: got it after %v, want it after %v to %v", l.publisher.lines[i], got, want, want+spread)
	}
}

func (l *loop) wantAsks(want int) {
	l.t.Helper()
	if got := len(l.collector.asks()); got != want {
		l.t.Errorf("got %d examinations, want %d: %+v", got, want, l.collector.asks())
	}
}

// wantPods checks how many pods the agent remembers.
func (l *loop) wantPods(want int) {
	l.t.Helper()
	l.pods.mu.Lock()
	defer l.pods.mu.Unlock()
	if got := len(l.pods.pods); got != want {
		l.t.Errorf("got %d pods in memory, want %d", got, want)
	}
}

func began() time.Time { return time.Date(2026, 1, 2, 3, 4, 1, 0, time.UTC) }

func failure(name string, edits ...func(*diagnosis.Failure)) diagnosis.Failure {
	f := diagnosis.Failure{
		Namespace: "shop", Pod: "web", UID: "uid-1", Node: "worker-3", Container: name, Kind: diagnosis.KindContainer,
		Image: "hub.test/" + name + ":1", Registry: "hub.test", Repository: name, PullPolicy: "Always",
		Reason: "ErrImagePull", Message: "dial tcp: lookup hub.test: no such host", PullSecrets: []string{"regcred"}, Since: began(),
	}
	for _, edit := range edits {
		edit(&f)
	}
	return f
}

// update returns an update from the watch.
func update(failures ...diagnosis.Failure) podwatch.Update {
	u := podwatch.Update{Namespace: "shop", Name: "web", UID: "uid-1", Failures: failures, SeenAt: time.Now()}
	if len(failures) > 0 {
		u.UID = failures[0].UID
	}
	return u
}

func recovered(u podwatch.Update, fs ...diagnosis.Failure) podwatch.Update {
	u.Recovered = fs
	return u
}

func gonePod() podwatch.Update {
	u := update()
	u.Gone = true
	return u
}

func says(reason, message string) func(*diagnosis.Failure) {
	return func(f *diagnosis.Failure) { f.Reason, f.Message = reason, message }
}
