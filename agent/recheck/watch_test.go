package recheck

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/cri/hostfs/hostfstest"
)

// secrets is an API server that records the requests.
type secrets struct {
	mu       sync.Mutex
	versions map[string]string
	errs     map[string]error
	asked    []string
	hangs    bool
	noWatch  error         // the answer to a watch; nil if it is allowed
	watches  []string      // opened so far
	open     int           // now
	most     int           // that were open at the same time
	changes  chan struct{} // closed at each change
	ends     int           // how often all watches have been ended
}

func newSecrets() *secrets {
	return &secrets{versions: map[string]string{}, errs: map[string]error{}, changes: make(chan struct{})}
}

// SecretVersion implements Secrets.
func (s *secrets) SecretVersion(ctx context.Context, namespace, name string) (string, error) {
	s.mu.Lock()
	hangs := s.hangs
	s.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return "", ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := namespace + "/" + name
	s.asked = append(s.asked, key)
	return s.version(key)
}

func (s *secrets) version(key string) (string, error) {
	if err := s.errs[key]; err != nil {
		return "", err
	}
	if s.versions[key] == "" {
		return "", kube.ErrNotFound
	}
	return s.versions[key], nil
}

// WatchSecret implements Secrets.
func (s *secrets) WatchSecret(ctx context.Context, namespace, name string, seen func(string, error)) error {
	key := namespace + "/" + name
	s.mu.Lock()
	s.watches = append(s.watches, key)
	err, ends := s.noWatch, s.ends
	if err == nil {
		s.open++
		s.most = max(s.most, s.open)
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.open--
		}()
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	last := "none yet"
	for {
		s.mu.Lock()
		version, err := s.version(key)
		changes, over := s.changes, s.ends != ends
		s.mu.Unlock()
		if over {
			return nil
		}
		if err != nil && !errors.Is(err, kube.ErrNotFound) {
			return err
		}
		if last != version {
			last = version
			seen(version, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changes:
		}
	}
}

func (s *secrets) set(key, version string, err error) {
	s.change(func() { s.versions[key], s.errs[key] = version, err })
}

// change changes the server, and sends the change to its watches.
func (s *secrets) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	close(s.changes)
	s.changes = make(chan struct{})
}

// takeWatches returns the watches opened since the last call, and how many are open.
func (s *secrets) takeWatches() (opened []string, open int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	opened = s.watches
	s.watches = nil
	return opened, s.open
}

// takeAsked returns the requests since the last call.
func (s *secrets) takeAsked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// pods are the failing pods. Examining one reads its secrets and files, as the
// agent does.
type pods struct {
	w     *Watch
	s     *secrets
	files []string
	deaf  bool // examinations do not come about

	mu      sync.Mutex
	failing []diagnosis.Failure
	again   []string
	fresh   bool
	ofNode  int
}

func (p *pods) Failing() []diagnosis.Failure {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.failing)
}

func (p *pods) Reexamine(uid string, fresh bool) {
	p.mu.Lock()
	p.again, p.fresh = append(p.again, uid), p.fresh || fresh
	p.mu.Unlock()
	if !p.deaf {
		p.examine(uid)
	}
}

func (p *pods) examine(uid string) {
	for _, f := range p.Failing() {
		if f.UID != uid {
			continue
		}
		p.w.Files(f, p.files)
		for _, name := range f.PullSecrets {
			p.s.mu.Lock()
			version, err := p.s.versions[f.Namespace+"/"+name], p.s.errs[f.Namespace+"/"+name]
			p.s.mu.Unlock()
			if version == "" && err == nil {
				err = kube.ErrNotFound
			}
			p.w.Secret(f, name, version, err)
		}
	}
}

func (p *pods) fail(fs ...diagnosis.Failure) {
	p.mu.Lock()
	p.failing = fs
	p.mu.Unlock()
	for _, f := range fs {
		p.examine(f.UID)
	}
}

func (p *pods) nodeChanged() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ofNode++
}

// takeReexamined returns the pods that were examined again since the last call.
func (p *pods) takeReexamined() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	again := p.again
	p.again = nil
	return again
}

func failure(uid string, secrets ...string) diagnosis.Failure {
	return diagnosis.Failure{Namespace: "team", UID: uid, Container: "app", Kind: diagnosis.KindContainer, PullSecrets: secrets}
}

// inWatch runs a test with a watch in a synctest bubble.
func inWatch(t *testing.T, test func(*testing.T, *pods, string)) {
	t.Helper()
	t.Parallel()
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSecrets()
		p := &pods{w: New(s, root), s: s}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { p.w.Run(ctx, p, p.nodeChanged) })
		test(t, p, root)
		cancel()
		wg.Wait()
	})
}

// passes lets time go by.
func passes(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func wantReexamined(t *testing.T, what string, p *pods, want ...string) {
	t.Helper()
	if got := p.takeReexamined(); !slices.Equal(got, want) {
		t.Errorf("%s: got %q examined, want %q", what, got, want)
	}
}

// changes are what can happen to a secret between an examination and a later look.
func changes() map[string]change {
	return map[string]change{
		"changed":               {was: "u/1", is: "u/2", want: true},
		"created again":         {was: "u/1", is: "v/2", want: true},
		"created":               {is: "u/1", want: true},
		"deleted":               {was: "u/1", want: true},
		"no longer forbidden":   {wasErr: kube.ErrNoAccess, is: "u/1", want: true},
		"read after an error":   {wasErr: errors.New("503"), is: "u/1", want: true},
		"unchanged":             {was: "u/1", is: "u/1"},
		"an older state":        {was: "u/10", is: "u/9"},
		"still missing":         {},
		"still forbidden":       {wasErr: kube.ErrNoAccess, isErr: kube.ErrNoAccess},
		"an error":              {was: "u/1", isErr: errors.New("503")},
		"missing, and an error": {isErr: errors.New("503")},
	}
}

type change struct {
	was, is       string
	wasErr, isErr error
	want          bool
}

// A change of a secret is noticed once: in less than a second by a watch, and within
// eleven seconds by polls.
func TestSecretIsNoticed(t *testing.T) {
	t.Parallel()
	for name, step := range changes() {
		for how, noWatch := range map[string]error{"watch": nil, "polls": kube.ErrNoAccess} {
			t.Run(name+", "+how, func(t *testing.T) {
				inWatch(t, func(t *testing.T, p *pods, _ string) {
					p.s.noWatch = noWatch
					p.s.set("team/pull", step.was, step.wasErr)
					p.fail(failure("a", "pull"))
					within := every + jitter
					if noWatch == nil && step.wasErr == nil {
						passes(openWithin)
						within = time.Second
					}
					p.s.set("team/pull", step.is, step.isErr)
					passes(within)
					var want []string
					if step.want {
						want = []string{"a"}
					}
					wantReexamined(t, "at first", p, want...)
					passes(5 * (every + jitter))
					wantReexamined(t, "later", p)
					if p.fresh || p.ofNode > 0 {
						t.Error("a secret calls for no other answers of a registry")
					}
				})
			})
		}
	}
}

// What has changed before the watch was open, or while it was interrupted, is noticed.
func TestChangeBetweenWatches(t *testing.T) {
	inWatch(t, func(t *testing.T, p *pods, _ string) {
		p.s.set("team/pull", "u/1", nil)
		p.fail(failure("a", "pull"))
		p.s.set("team/pull", "u/2", nil) // the watch is not open yet
		passes(2 * time.Second)
		wantReexamined(t, "before the watch", p, "a")
		passes(time.Minute)
		p.s.change(func() {
			p.s.ends++
			p.s.noWatch = errors.New("connection refused")
		})
		passes(time.Second)
		p.s.set("team/pull", "u/3", nil)
		passes(time.Second)
		p.s.change(func() { p.s.noWatch = nil })
		passes(3 * time.Second)
		wantReexamined(t, "after an interruption", p, "a")
		if asked := p.s.takeAsked(); len(asked) > 0 {
			t.Errorf("polled for %q", asked)
		}
	})
}

// However many pods name a secret, one watch is open for it, and nothing is polled.
func TestSecretIsWatchedOnce(t *testing.T) {
	inWatch(t, func(t *testing.T, p *pods, _ string) {
		var all []diagnosis.Failure
		for i := range 250 {
			all = append(all, failure(fmt.Sprintf("%03d", i), "pull"))
		}
		p.s.set("team/pull", "u/1", nil)
		p.fail(all...)
		passes(time.Hour)
		if opened, open := p.s.takeWatches(); len(opened) != 1 || open != 1 {
			t.Errorf("got %d watches, of which %d are open", len(opened), open)
		}
		p.s.set("team/pull", "u/2", nil)
		passes(time.Second)
		if n := len(p.takeReexamined()); n != 250 {
			t.Errorf("got %d pods examined, want all 250", n)
		}
		if asked := p.s.takeAsked(); len(asked) > 0 {
			t.Errorf("polled %d times", len(asked))
		}
	})
}

// A watch that the API server ends, as it does every few minutes, is opened again. It is
// closed when no pod needs it.
func TestWatchIsOpenedAgain(t *testing.T) {
	inWatch(t, func(t *testing.T, p *pods, _ string) {
		p.s.set("team/pull", "u/1", nil)
		p.fail(failure("a", "pull"))
		for range 5 {
			passes(5 * time.Minute)
			p.s.change(func() { p.s.ends++ })
		}
		passes(2 * time.Second)
		if opened, open := p.s.takeWatches(); len(opened) != 6 || open != 1 {
			t.Errorf("got %d watches, of which %d are open", len(opened), open)
		}
		wantReexamined(t, "unchanged", p)
		p.fail()
		passes(every + jitter)
		if opened, open := p.s.takeWatches(); len(opened) != 0 || open != 0 {
			t.Errorf("after the failure %d watches were opened, %d are open", len(opened), open)
		}
	})
}

// A secret that cannot be watched is polled, less and less often until it changes. That
// it can be watched later is found out.
func TestPollsBackOff(t *testing.T) {
	inWatch(t, func(t *testing.T, p *pods, _ string) {
		p.s.noWatch = kube.ErrNoAccess
		p.s.set("team/pull", "u/1", nil)
		p.fail(failure("a", "pull"))
		passes(time.Hour)
		if n := len(p.s.takeAsked()); n < 12 || n > 20 {
			t.Errorf("polled %d times in an hour", n)
		}
		if opened, _ := p.s.takeWatches(); len(opened) < 8 || len(opened) > 14 {
			t.Errorf("tried to watch %d times in an hour", len(opened))
		}
		p.s.set("team/pull", "u/2", nil)
		var again []string
		for range int(slowest/every) + 2 {
			passes(every)
			again = append(again, p.takeReexamined()...)
			if len(again) > 0 {
				break
			}
		}
		if !slices.Equal(again, []string{"a"}) {
			t.Errorf("changed: got %q examined", again)
		}
		p.s.set("team/pull", "u/3", nil)
		passes(time.Minute)
		wantReexamined(t, "changed again", p, "a")
		p.s.change(func() { p.s.noWatch = nil })
		passes(lastBar*5/4 + every + jitter)
		p.s.takeAsked()
		passes(time.Hour)
		if asked := p.s.takeAsked(); len(asked) > 0 {
			t.Errorf("polled %d times while it is watched", len(asked))
		}
	})
}

// Where watches fail without being refused, such as behind a proxy that does not let
// them through, secrets are polled.
func TestWatchesThatFail(t *testing.T) {
	inWatch(t, func(t *testing.T, p *pods, _ string) {
		p.s.noWatch = errors.New("502")
		p.s.set("team/pull", "u/1", nil)
		p.fail(failure("a", "pull"))
		passes(time.Minute)
		p.s.set("team/pull", "u/2", nil)
		passes(3 * time.Minute)
		wantReexamined(t, "changed", p, "a")
		p.s.takeWatches()
		passes(time.Hour)
		if opened, _ := p.s.takeWatches(); len(opened) > 120 {
			t.Errorf("tried to watch %d times in an hour", len(opened))
		}
	})
}

// Many secrets are polled in turns, and one namespace's do not keep another's waiting.
func TestPollsTakeTurns(t *testing.T) {
	inWatch(t, func(t *testing.T, p *pods, _ string) {
		p.s.noWatch = kube.ErrNoAccess
		var names []string
		for i := range 50 {
			names = append(names, fmt.Sprintf("s%02d", i))
		}
		other := failure("b", "pull")
		other.Namespace = "zoo"
		p.fail(failure("a", names...), other)
		seen := map[string]int{}
		for range 6 {
			passes(every + jitter)
			asked := p.s.takeAsked()
			if len(asked) > 12 {
				t.Errorf("polled %d secrets within %s", len(asked), every+jitter)
			}
			for _, s := range asked {
				seen[s]++
			}
		}
		for _, name := range names {
			if n := seen["team/"+name]; n < 1 || n > 2 {
				t.Errorf("%s was polled %d times, want 1 or 2", name, n)
			}
		}
		if n := seen["zoo/pull"]; n < 3 {
			t.Errorf("the secret of the other namespace was polled %d times in a minute", n)
		}
	})
}

// No namespace keeps the secrets of another one from being watched, and the number of
// watches is bounded. The secrets of the last namespaces are not left out either.
func TestWatchesAreShared(t *testing.T) {
	inWatch(t, func(t *testing.T, p *pods, _ string) {
		var greedy []diagnosis.Failure
		for i := range 3 * mostWatches {
			f := failure(fmt.Sprint("g", i), fmt.Sprint("s", i))
			f.Namespace = "greedy"
			p.s.set("greedy/"+f.PullSecrets[0], "u/1", nil)
			greedy = append(greedy, f)
		}
		p.fail(greedy...)
		passes(time.Minute)
		if opened, open := p.s.takeWatches(); len(opened) != mostWatches || open != mostWatches {
			t.Errorf("got %d watches, of which %d are open", len(opened), open)
		}
		p.s.set("team/pull", "u/1", nil)
		p.fail(append(greedy, failure("a", "pull"))...)
		passes(time.Minute)
		if opened, open := p.s.takeWatches(); !slices.Equal(opened, []string{"team/pull"}) || open != mostWatches {
			t.Errorf("opened %q, %d are open", opened, open)
		}
		p.s.set("team/pull", "u/2", nil)
		passes(time.Second)
		wantReexamined(t, "of the other namespace", p, "a")
		if p.s.most > mostWatches+1 { // one is being closed
			t.Errorf("%d watches were open at the same time", p.s.most)
		}
	})
}

// Without an API server, nothing is polled.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	if s, due := New(nil, "").turn(); due {
		t.Errorf("%v is due", s)
	}
}

// A forbidden secret is not requested every ten seconds.
func TestRefusalIsRemembered(t *testing.T) {
	inWatch(t, func(t *testing.T, p *pods, _ string) {
		p.s.noWatch = kube.ErrNoAccess
		p.s.set("team/pull", "", kube.ErrNoAccess)
		p.fail(failure("a", "pull"))
		passes(10 * refusedFor)
		if n := len(p.s.takeAsked()); n < 2 || n > 6 {
			t.Errorf("got %d requests in ten minutes, want fewer than one a minute", n)
		}
		wantReexamined(t, "refused all the time", p)
	})
}

// After an API server has hung, changes are still noticed.
func TestHangingServer(t *testing.T) {
	inWatch(t, func(t *testing.T, p *pods, _ string) {
		p.s.noWatch = kube.ErrNoAccess
		p.s.set("team/pull", "u/1", nil)
		p.fail(failure("a", "pull"))
		p.s.change(func() { p.s.hangs = true })
		p.s.set("team/pull", "u/2", nil)
		passes(time.Minute)
		wantReexamined(t, "hanging", p)
		p.s.change(func() { p.s.hangs = false })
		passes(every + jitter + patience)
		wantReexamined(t, "after it", p, "a")
	})
}

// For a pod that no longer fails, nothing is requested and nothing kept.
func TestForgotten(t *testing.T) {
	inWatch(t, func(t *testing.T, p *pods, _ string) {
		p.files = []string{"/x"}
		p.s.set("team/pull", "u/1", nil)
		p.fail(failure("a", "pull"), failure("b", "other"))
		passes(every + jitter)
		p.s.set("team/pull", "u/2", nil)
		passes(time.Second)
		wantReexamined(t, "both fail", p, "a")
		p.fail()
		passes(every + jitter)
		p.s.takeWatches()
		passes(time.Hour)
		opened, open := p.s.takeWatches()
		if asked := p.s.takeAsked(); len(asked)+len(opened)+open > 0 {
			t.Errorf("polled %q, watched %q, %d watches are open", asked, opened, open)
		}
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		if n := len(p.w.bases) + len(p.w.pauses) + len(p.w.files) + len(p.w.followed); n > 0 {
			t.Errorf("%d things are kept", n)
		}
	})
}

// A secret that changes all the time causes fewer and fewer examinations; after
// some time without changes the next one is examined at once.
func TestRestlessSecret(t *testing.T) {
	inWatch(t, func(t *testing.T, p *pods, _ string) {
		p.fail(failure("a", "pull"))
		for i := range 360 { // an hour
			p.s.set("team/pull", fmt.Sprint("u/", i), nil)
			passes(every)
		}
		if n := len(p.takeReexamined()); n < 10 || n > 24 {
			t.Errorf("got %d examinations in an hour of changes, want a few, then one in five minutes", n)
		}
		passes(2 * quiet)
		p.takeReexamined()
		p.s.set("team/pull", "v/1000", nil)
		passes(every + jitter)
		wantReexamined(t, "after a rest", p, "a")
	})
}

// Each of the first few changes is examined at once.
func TestSeveralChanges(t *testing.T) {
	inWatch(t, func(t *testing.T, p *pods, _ string) {
		p.fail(failure("a", "pull"))
		for i := range few {
			p.s.set("team/pull", fmt.Sprint("u/", i), nil)
			passes(calm + time.Second)
			wantReexamined(t, fmt.Sprint("change ", i), p, "a")
		}
	})
}

// write puts a file below root.
func write(t *testing.T, name, content string) {
	t.Helper()
	hostfstest.Add(t, "", map[string]string{name: content})
}

func TestFileIsNoticed(t *testing.T) {
	t.Parallel()
	const file = "/etc/certs.d/hub.test/hosts.toml"
	for name, tt := range map[string]struct {
		before, change func(t *testing.T, file string)
		want           bool
	}{
		"created":   {nil, func(t *testing.T, f string) { write(t, f, "x") }, true},
		"rewritten": {func(t *testing.T, f string) { write(t, f, "x") }, func(t *testing.T, f string) { write(t, f, "longer") }, true},
		"replaced by one of the same size and time": {func(t *testing.T, f string) { write(t, f, "x") }, func(t *testing.T, f string) {
			info, err := os.Stat(f)
			if err != nil {
				t.Fatal(err)
			}
			write(t, f+".new", "y")
			if err := errors.Join(os.Chtimes(f+".new", info.ModTime(), info.ModTime()), os.Rename(f+".new", f)); err != nil {
				t.Fatal(err)
			}
		}, true},
		"removed": {func(t *testing.T, f string) { write(t, f, "x") }, func(t *testing.T, f string) {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}, true},
		"read":          {func(t *testing.T, f string) { write(t, f, "x") }, func(t *testing.T, f string) { _, _ = os.ReadFile(f) }, false},
		"still missing": {nil, func(*testing.T, string) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			inWatch(t, func(t *testing.T, p *pods, root string) {
				if tt.before != nil {
					tt.before(t, root+file)
				}
				p.files = []string{file}
				p.fail(failure("a"), failure("b"))
				passes(every + jitter)
				wantReexamined(t, "before", p)
				tt.change(t, root+file)
				passes(every + jitter)
				var want []string
				ofNode := 0
				if tt.want {
					want, ofNode = []string{"a", "b"}, 1
				}
				wantReexamined(t, "after", p, want...)
				if p.ofNode != ofNode {
					t.Errorf("nodeChanged was called %d times, want %d", p.ofNode, ofNode)
				}
				if len(p.s.takeAsked()) > 0 {
					t.Error("the API server was asked")
				}
			})
		})
	}
}

// A file that changed just before it was recorded may have been read before the
// change: the pod is examined once more.
func TestYoungFile(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, root+"/etc/hosts", "x")
	w := New(nil, root)
	f := failure("a")
	p := &pods{w: w, deaf: true, failing: []diagnosis.Failure{f}}
	for _, tt := range []struct {
		name string
		age  time.Duration
		want []string
	}{{"young", time.Second, []string{"a"}}, {"old", racy + time.Second, nil}, {"of the future", -time.Hour, nil}} {
		w.mu.Lock()
		clear(w.files)
		clear(w.pauses)
		w.mu.Unlock()
		changed := look(root, "/etc/hosts").changed
		w.now = func() time.Time { return changed.Add(tt.age) }
		w.Files(f, []string{"/etc/hosts"})
		w.look(p.failing, true, p, p.nodeChanged)
		wantReexamined(t, tt.name, p, tt.want...)
	}
}

// Symbolic links are resolved as on the node.
func TestLook(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, root+"/run/resolv.conf", "here")
	if err := errors.Join(os.Mkdir(root+"/etc", 0o700), os.Symlink("/run/resolv.conf", root+"/etc/resolv.conf"),
		os.Symlink("loop", root+"/etc/loop")); err != nil {
		t.Fatal(err)
	}
	if a, b := look(root, "/etc/resolv.conf"), look(root, "/run/resolv.conf"); a != b || a.mark == "absent" {
		t.Errorf("a link shows %+v, its file %+v", a, b)
	}
	if got := look(root, "/no/such/file/here"); got.mark != "absent" || !got.settled(time.Now()) {
		t.Errorf("nothing shows %+v", got)
	}
	if got := look(root, "/etc/loop"); got.mark != "unusable" && got.mark != "absent" {
		t.Errorf("a loop shows %+v", got)
	}
}
