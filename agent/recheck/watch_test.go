package recheck

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
)

// secrets is an API server that records the requests.
type secrets struct {
	mu       sync.Mutex
	versions map[string]string
	errs     map[string]error
	asked    []string
	hangs    bool
}

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
	if err := s.errs[key]; err != nil {
		return "", err
	}
	if s.versions[key] == "" {
		return "", kube.ErrNotFound
	}
	return s.versions[key], nil
}

func (s *secrets) set(key, version string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions[key], s.errs[key] = version, err
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
		s := &secrets{versions: map[string]string{}, errs: map[string]error{}}
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

// A change of a secret is noticed within eleven seconds, once.
func TestSecretIsNoticed(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]struct {
		was, is       string
		wasErr, isErr error
		want          bool
	}{
		"changed":               {was: "u/1", is: "u/2", want: true},
		"created again":         {was: "u/1", is: "v/1", want: true},
		"created":               {is: "u/1", want: true},
		"deleted":               {was: "u/1", want: true},
		"no longer forbidden":   {wasErr: kube.ErrNoAccess, is: "u/1", want: true},
		"read after an error":   {wasErr: errors.New("503"), is: "u/1", want: true},
		"unchanged":             {was: "u/1", is: "u/1"},
		"still missing":         {},
		"still forbidden":       {wasErr: kube.ErrNoAccess, isErr: kube.ErrNoAccess},
		"an error":              {was: "u/1", isErr: errors.New("503")},
		"missing, and an error": {isErr: errors.New("503")},
	} {
		t.Run(name, func(t *testing.T) {
			inWatch(t, func(t *testing.T, p *pods, _ string) {
				p.s.set("team/pull", step.was, step.wasErr)
				p.fail(failure("a", "pull"))
				p.s.set("team/pull", step.is, step.isErr)
				passes(every + jitter)
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

// However many pods name a secret, it is requested once per interval.
func TestSecretIsAskedForOnce(t *testing.T) {
	inWatch(t, func(t *testing.T, p *pods, _ string) {
		var all []diagnosis.Failure
		for i := range 250 {
			all = append(all, failure(fmt.Sprintf("%03d", i), "pull"))
		}
		p.s.set("team/pull", "u/1", nil)
		p.fail(all...)
		passes(10 * every)
		if n := len(p.s.takeAsked()); n < 8 || n > 11 {
			t.Errorf("got %d requests in ten intervals, want about 10", n)
		}
		p.s.set("team/pull", "u/2", nil)
		passes(every + jitter)
		if n := len(p.takeReexamined()); n != 250 {
			t.Errorf("got %d pods examined, want all 250", n)
		}
	})
}

// Many secrets take turns.
func TestSecretsTakeTurns(t *testing.T) {
	inWatch(t, func(t *testing.T, p *pods, _ string) {
		var names []string
		for i := range 50 {
			names = append(names, fmt.Sprintf("s%02d", i))
		}
		p.fail(failure("a", names...))
		seen := map[string]int{}
		for range 5 { // 100 questions about 50 secrets
			passes(every + jitter)
			passes(0)
			for _, s := range p.s.takeAsked() {
				seen[s]++
			}
		}
		for _, name := range names {
			if n := seen["team/"+name]; n < 2 || n > 3 {
				t.Errorf("%s was asked for %d times, want 2 or 3", name, n)
			}
		}
	})
}

func TestTurnIsBounded(t *testing.T) {
	t.Parallel()
	w := New(&secrets{}, "")
	for i := range 50 {
		w.Secret(failure("a"), fmt.Sprint("s", i), "u/1", nil)
	}
	if n := len(w.turn()); n != mostSecrets {
		t.Errorf("%d secrets in one look", n)
	}
	if n := len(New(nil, "").turn()); n != 0 {
		t.Errorf("%d secrets without an API server", n)
	}
}

// A forbidden secret is not requested every ten seconds.
func TestRefusalIsRemembered(t *testing.T) {
	inWatch(t, func(t *testing.T, p *pods, _ string) {
		p.s.set("team/pull", "", kube.ErrNoAccess)
		p.fail(failure("a", "pull"))
		passes(10 * refusedFor)
		if n := len(p.s.takeAsked()); n < 7 || n > 10 {
			t.Errorf("got %d requests in ten minutes, want one a minute", n)
		}
		wantReexamined(t, "refused all the time", p)
	})
}

// After an API server has hung, changes are still noticed.
func TestHangingServer(t *testing.T) {
	inWatch(t, func(t *testing.T, p *pods, _ string) {
		p.s.set("team/pull", "u/1", nil)
		p.fail(failure("a", "pull"))
		p.s.mu.Lock()
		p.s.hangs = true
		p.s.mu.Unlock()
		p.s.set("team/pull", "u/2", nil)
		passes(time.Minute)
		wantReexamined(t, "hanging", p)
		p.s.mu.Lock()
		p.s.hangs = false
		p.s.mu.Unlock()
		passes(every + jitter + patience)
		wantReexamined(t, "after it", p, "a")
	})
}

// For a pod that no longer fails, nothing is requested and nothing kept.
func TestForgotten(t *testing.T) {
	inWatch(t, func(t *testing.T, p *pods, _ string) {
		p.files = []string{"/x"}
		p.fail(failure("a", "pull"), failure("b", "other"))
		p.s.set("team/pull", "u/1", nil)
		passes(every + jitter)
		wantReexamined(t, "both fail", p, "a")
		p.fail()
		p.s.takeAsked()
		passes(2 * refusedFor)
		if asked := p.s.takeAsked(); len(asked) > 0 {
			t.Errorf("asked for %q", asked)
		}
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		if n := len(p.w.bases) + len(p.w.pauses) + len(p.w.files) + len(p.w.shut); n > 0 {
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
		p.s.set("team/pull", "v/1", nil)
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
			passes(every + jitter)
			wantReexamined(t, fmt.Sprint("change ", i), p, "a")
		}
	})
}

// write puts a file below root.
func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
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
		w.look(t.Context(), p, p.nodeChanged)
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
