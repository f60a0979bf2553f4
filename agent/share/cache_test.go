package share_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whypull/whypull/agent/share"
)

// answer is a value with its own life.
type answer struct {
	text string
	life time.Duration
}

const (
	long  = 5 * time.Minute
	short = 20 * time.Second
	many  = 100
)

func newCache(limit int) *share.Cache[string, answer] {
	return share.New[string](limit, func(a answer) time.Duration { return a.life }, time.Now)
}

// source counts the fetches, which take a second each.
type source struct {
	fetches atomic.Int32
	running atomic.Int32
	most    atomic.Int32 // maximum number of concurrent fetches
}

func (s *source) fetch(a answer, err error) func(context.Context) (answer, error) {
	return func(ctx context.Context) (answer, error) {
		s.fetches.Add(1)
		s.most.Store(max(s.most.Load(), s.running.Add(1)))
		defer s.running.Add(-1)
		select {
		case <-time.After(time.Second):
			return a, err
		case <-ctx.Done():
			return answer{}, ctx.Err()
		}
	}
}

func (s *source) want(t *testing.T, when string, fetches int) {
	t.Helper()
	if got := int(s.fetches.Load()); got != fetches {
		t.Errorf("%s: %d fetches, want %d", when, got, fetches)
	}
}

// texts returns the values of a group; without groups, that with no name has all.
func texts(c *share.Cache[string, answer], group string) []string {
	var out []string
	for key, kept := range c.Of(group) {
		out = append(out, key+"="+kept.Value.text)
	}
	slices.Sort(out)
	return out
}

// Of many concurrent callers, one fetches for each key, and all get its value.
func TestOneFetchPerKey(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"a value": nil, "an error": errors.New("503")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, sources := newCache(many), [3]source{}
				keys := []string{"a", "b", "c"}
				var wg sync.WaitGroup
				for i := range 90 {
					wg.Go(func() {
						got, gotErr := c.Get(t.Context(), keys[i%3], sources[i%3].fetch(answer{keys[i%3], long}, err))
						if got.text != keys[i%3] || !errors.Is(gotErr, err) {
							t.Errorf("got %+v, %v", got, gotErr)
						}
					})
				}
				wg.Wait()
				for i := range sources {
					sources[i].want(t, keys[i], 1)
				}
			})
		})
	}
}

// A value serves for its life, to the nanosecond, and is gone after that,
// whether or not anybody asks.
func TestLife(t *testing.T) {
	t.Parallel()
	for name, life := range map[string]time.Duration{"long": long, "short": short} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, s := newCache(many), source{}
				ask := func() { _, _ = c.Get(t.Context(), "a", s.fetch(answer{"a", life}, nil)) }
				ask()
				time.Sleep(life - 1)
				ask()
				s.want(t, "within its life", 1)
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				if n := c.Len(); n != 0 {
					t.Errorf("%d entries are held after that", n)
				}
				ask()
				s.want(t, "after its life", 2)
			})
		})
	}
}

// Use does not prolong a life.
func TestLifeUnderSteadyUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := share.New[string](1, share.For[time.Time](short), time.Now)
		for range 50 {
			time.Sleep(short / 10)
			fetched, err := c.Get(t.Context(), "a", func(context.Context) (time.Time, error) { return time.Now(), nil })
			if age := time.Since(fetched); age >= short || err != nil {
				t.Errorf("a value of %s ago, %v", age, err)
			}
		}
	})
}

// The clock passed to New decides, not the timers' clock.
func TestClockOfTheTest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Unix(1, 0)
		s := source{}
		c := share.New[string](many, func(a answer) time.Duration { return a.life }, func() time.Time { return now })
		ask := func() { _, _ = c.Get(t.Context(), "a", s.fetch(answer{"a", short}, nil)) }
		ask()
		time.Sleep(long)
		ask()
		s.want(t, "the clock stands still", 1)
		now = now.Add(short)
		if got := texts(c, ""); len(got) != 0 {
			t.Errorf("%q serve", got)
		}
		ask()
		s.want(t, "the clock has moved", 2)
	})
}

// Errors and values without a life are not kept.
func TestNotKept(t *testing.T) {
	t.Parallel()
	broken := errors.New("503")
	for name, tc := range map[string]struct {
		answer answer
		err    error
	}{"an error": {answer{"a", long}, broken}, "no life": {answer{"a", 0}, nil}, "less than none": {answer{"a", -1}, nil}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, s := newCache(many), source{}
				for range 2 {
					if got, err := c.Get(t.Context(), "a", s.fetch(tc.answer, tc.err)); got != tc.answer || !errors.Is(err, tc.err) {
						t.Errorf("got %+v, %v", got, err)
					}
				}
				s.want(t, "two calls", 2)
				if n := c.Len(); n != 0 {
					t.Errorf("%d entries are held", n)
				}
			})
		})
	}
}

// A caller that gives up returns at once with the context's error. The fetch
// goes on for the others, whoever was first.
func TestWaiterGivesUp(t *testing.T) {
	t.Parallel()
	for _, first := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c, s := newCache(many), source{}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
			defer cancel()
			start := time.Now()
			impatient := func() {
				_, err := c.Get(ctx, "a", s.fetch(answer{"a", long}, nil))
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second/2 {
					t.Errorf("%v after %s", err, time.Since(start))
				}
			}
			patient := func() {
				if got, err := c.Get(t.Context(), "a", s.fetch(answer{"a", long}, nil)); got.text != "a" || err != nil {
					t.Errorf("got %+v, %v", got, err)
				}
			}
			calls := []func(){patient, impatient}
			if first {
				calls = []func(){impatient, patient}
			}
			var wg sync.WaitGroup
			for _, call := range calls {
				wg.Go(call)
				synctest.Wait()
			}
			wg.Wait()
			s.want(t, "both", 1)
		})
	}
}

// A caller whose context has ended starts no fetch.
func TestTooLate(t *testing.T) {
	t.Parallel()
	c, s := newCache(many), source{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Get(ctx, "a", s.fetch(answer{}, nil)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.want(t, "too late", 0)
}

// A fetch that no caller waits for is canceled. A caller that comes while it
// ends does not get its error, and starts no second, concurrent fetch.
func TestAbandoned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newCache(many), source{}
		slowToEnd := func(ctx context.Context) (answer, error) {
			got, err := s.fetch(answer{"a", long}, nil)(ctx)
			if err != nil {
				s.running.Add(1)
				time.Sleep(time.Minute)
				s.running.Add(-1)
			}
			return got, err
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, err := c.Get(ctx, "a", slowToEnd); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		start := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if got, err := c.Get(t.Context(), "a", slowToEnd); got.text != "a" || err != nil {
					t.Errorf("got %+v, %v", got, err)
				}
			})
		}
		wg.Wait()
		s.want(t, "one abandoned, one for all", 2)
		if took := time.Since(start); took != time.Minute+time.Second {
			t.Errorf("it took %s", took)
		}
		if n := s.most.Load(); n != 1 {
			t.Errorf("%d fetches at once", n)
		}
	})
}

// A fetch may ignore the cancellation; its value serves callers that come
// meanwhile and later.
func TestAbandonedEndsWell(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newCache(many), source{}
		toItsEnd := func(ctx context.Context) (answer, error) {
			return s.fetch(answer{"a", long}, nil)(context.WithoutCancel(ctx))
		}
		for _, wait := range []time.Duration{time.Second / 4, time.Second / 4, time.Second, time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			got, err := c.Get(ctx, "a", toItsEnd)
			cancel()
			if patient := wait == time.Second; patient != (got.text == "a" && err == nil) {
				t.Errorf("after %s: %+v, %v", wait, got, err)
			}
		}
		s.want(t, "all", 1)
	})
}

// The fetch's context has the first caller's values and no deadline.
func TestContextOfTheFetch(t *testing.T) {
	t.Parallel()
	type key struct{}
	ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "v"), time.Hour)
	defer cancel()
	_, _ = newCache(1).Get(ctx, "a", func(ctx context.Context) (answer, error) {
		if _, limited := ctx.Deadline(); limited || ctx.Value(key{}) != "v" || ctx.Err() != nil {
			t.Errorf("context %v", ctx)
		}
		return answer{}, nil
	})
}

// A value that does not serve one caller is fetched again, once for all such
// callers.
func TestGetIf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newCache(many), source{}
		ask := func(since time.Time) {
			_, _ = c.GetIf(t.Context(), "a", func(k share.Kept[answer]) bool { return !k.Fetched.Before(since) }, s.fetch(answer{"a", long}, nil))
		}
		ask(time.Time{})
		time.Sleep(time.Second)
		ask(time.Time{})
		s.want(t, "any serves", 1)
		since := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { ask(since) })
		}
		wg.Wait()
		s.want(t, "a new one is wanted", 2)
		for _, kept := range c.Of("") {
			if !kept.Fetched.Equal(since.Add(time.Second)) || !kept.Until.Equal(kept.Fetched.Add(long)) {
				t.Errorf("kept %+v", kept)
			}
		}
	})
}

// oneByOne are turns in which one key of a group is fetched at a time.
func oneByOne(group func(string) string) share.Turns[string, answer] {
	return share.Turns[string, answer]{
		Group: group, Waiting: many, Each: 1,
		Width: func(answer) int { return 1 }, Alone: func(string) bool { return false },
	}
}

// A value that is put serves like one that was fetched, until its life ends or one
// without life takes its place.
func TestPut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCache(10)
		want := func(when, text string) {
			t.Helper()
			k, ok := c.Peek("k")
			if k.Value.text != text || ok != (text != "") {
				t.Errorf("%s: %q, %t; want %q", when, k.Value.text, ok, text)
			}
		}
		want("at first", "")
		c.Put(t.Context(), "k", answer{"one", short})
		c.Put(t.Context(), "k", answer{"two", long})
		want("put twice", "two")
		time.Sleep(long)
		want("after its life", "")
		c.Put(t.Context(), "k", answer{"three", short})
		if a, err := c.Get(t.Context(), "k", nil); a.text != "three" || err != nil {
			t.Errorf("got %q, %v", a.text, err)
		}
		c.Put(t.Context(), "k", answer{})
		want("without life", "")
	})
}

// After a value that allows it several keys are fetched at a time, and one of those that
// must be alone.
func TestWidth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := oneByOne(func(string) string { return "" })
		turns.Each, turns.Width = 2, func(answer) int { return 3 }
		turns.Alone = func(key string) bool { return key[0] == 'x' }
		c := share.NewInTurn(many, func(a answer) time.Duration { return a.life }, time.Now, turns)
		sources := map[byte]*source{'x': {}, 'y': {}}
		start := time.Now()
		var wg sync.WaitGroup
		for _, key := range []string{"y1", "y2", "y3", "y4", "y5", "x1", "x2", "x3", "x4"} {
			wg.Go(func() {
				if got, err := c.Get(t.Context(), key, sources[key[0]].fetch(answer{key, long}, nil)); got.text != key || err != nil {
					t.Errorf("got %+v, %v", got, err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		if x, y, took := sources['x'].most.Load(), sources['y'].most.Load(), time.Since(start); x != 1 || y != 2 || took != 7*time.Second {
			t.Errorf("%d and %d at once, in %s; want 1, and after the first 2, in 7s", x, y, took)
		}
	})
}

// One key of a group is fetched at a time, and the next fetch sees the previous
// value. A key that no caller waits for any more is not fetched.
func TestInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		group := func(key string) string { return key[:1] }
		c := share.NewInTurn(many, func(a answer) time.Duration { return a.life }, time.Now, oneByOne(group))
		sources := map[string]*source{"a": {}, "b": {}}
		fetch := func(key string) func(context.Context) (answer, error) {
			return func(ctx context.Context) (answer, error) {
				seen := texts(c, group(key))
				if begun := int(sources[group(key)].fetches.Load()); len(seen) != begun {
					t.Errorf("%q after %d fetches", seen, begun)
				}
				return sources[group(key)].fetch(answer{key, long}, nil)(ctx)
			}
		}
		start := time.Now()
		impatient, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		var wg sync.WaitGroup
		for _, key := range []string{"a1", "a2", "a3", "b1", "b2"} {
			wg.Go(func() {
				if got, err := c.Get(t.Context(), key, fetch(key)); got.text != key || err != nil {
					t.Errorf("got %+v, %v", got, err)
				}
			})
		}
		synctest.Wait()
		wg.Go(func() {
			if _, err := c.Get(impatient, "a4", fetch("a4")); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
		wg.Wait()
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("it took %s", took)
		}
		sources["a"].want(t, "a", 3)
		sources["b"].want(t, "b", 2)
		if a, b := sources["a"].most.Load(), sources["b"].most.Load(); a != 1 || b != 1 {
			t.Errorf("%d and %d at once", a, b)
		}
	})
}

// Beyond the limit, the value that would expire first is dropped.
func TestLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newCache(2), source{}
		for _, key := range []string{"a", "b", "c", "d"} {
			life := long
			if key == "b" {
				life = 10 * long
			}
			if _, err := c.Get(t.Context(), key, s.fetch(answer{key, life}, nil)); err != nil {
				t.Error(err)
			}
		}
		if got := texts(c, ""); !slices.Equal(got, []string{"b=b", "d=d"}) || c.Len() != 2 {
			t.Errorf("kept %q", got)
		}
	})
}

// A forgotten value is fetched again, even if a fetch is in progress: its value
// goes to the callers that wait for it and does not replace the new one.
func TestForget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := newCache(many), source{}
		get := func(key, text string) {
			if got, err := c.Get(t.Context(), key, s.fetch(answer{text, long}, nil)); got.text != text || err != nil {
				t.Errorf("%s: got %+v, %v; want %s", key, got, err, text)
			}
		}
		get("a", "old")
		get("b", "kept")
		var wg sync.WaitGroup
		wg.Go(func() { get("c", "old") })
		synctest.Wait()
		c.Forget(func(a answer) bool { return a.text == "kept" })
		time.Sleep(time.Second / 2)
		wg.Go(func() { get("c", "new") })
		wg.Wait()
		get("a", "new")
		if got := texts(c, ""); !slices.Equal(got, []string{"a=new", "b=kept", "c=new"}) {
			t.Errorf("kept %q", got)
		}
		c.Forget(nil)
		if n := c.Len(); n != 0 {
			t.Errorf("%d entries are held", n)
		}
	})
}

// A fetch that panics ends the process, as it would without a cache.
func TestPanic(t *testing.T) {
	t.Parallel()
	const variable = "SHARE_TEST_PANIC"
	if os.Getenv(variable) != "" {
		_, _ = newCache(1).Get(t.Context(), "a", func(context.Context) (answer, error) { panic("the fetch is broken") })
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPanic$")
	cmd.Env = append(os.Environ(), variable+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "panic: the fetch is broken") {
		t.Errorf("%v: %s", err, out)
	}
}

// The limit, lives and groups hold whatever is fetched, forgotten and dropped in
// between.
func TestManyValues(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const limit, groups = 50, 7
		group := func(key string) string { return key[:1] }
		c := share.NewInTurn(limit, func(a answer) time.Duration { return a.life }, time.Now, oneByOne(group))
		get := func(i int, life time.Duration) {
			key := strconv.Itoa(i%groups) + "-" + strconv.Itoa(i)
			ctx := share.WithTenant(t.Context(), strconv.Itoa(i%3))
			if got, err := c.Get(ctx, key, func(context.Context) (answer, error) { return answer{key, life}, nil }); got.text != key || err != nil {
				t.Errorf("got %+v, %v", got, err)
			}
		}
		values := func() (out []string) {
			for g := range groups {
				all := texts(c, strconv.Itoa(g))
				if i := slices.IndexFunc(all, func(text string) bool { return group(text) != strconv.Itoa(g) }); i >= 0 {
					t.Errorf("group %d has %s", g, all[i])
				}
				out = append(out, all...)
			}
			return out
		}
		for i := range 1000 {
			get(i*7919%400, time.Duration(1+i*31%97)*time.Second)
			if i%100 == 99 {
				c.Forget(func(a answer) bool { return a.life%(2*time.Second) == 0 })
			}
			if i%10 == 9 {
				time.Sleep(3 * time.Second)
				synctest.Wait()
			}
			if n := len(values()); n > limit || n != c.Len() {
				t.Fatalf("%d values serve and %d are held, want no more than %d, and all to serve", n, c.Len(), limit)
			}
		}
		time.Sleep(100 * time.Second)
		synctest.Wait()
		if n := len(values()); n != 0 || c.Len() != 0 {
			t.Errorf("%d values serve and %d are held after all lives", n, c.Len())
		}
	})
}

// Values that serve for a moment beside one that serves for long leave nothing behind: a
// timer for the latter once stayed for each of them.
func TestShortLivesLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		c := share.New[int](10, func(life time.Duration) time.Duration { return life }, time.Now)
		serve := func(key int, life time.Duration) {
			if _, err := c.Get(ctx, key, func(context.Context) (time.Duration, error) { return life, nil }); err != nil {
				t.Fatal(err)
			}
		}
		heap := func() uint64 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		serve(0, 1000*time.Hour)
		serve(1, time.Second)
		time.Sleep(time.Minute)
		const values = 20_000
		before := heap()
		for i := range values {
			serve(i+1, time.Second)
			time.Sleep(2 * time.Second)
		}
		if after := heap(); after > before+values*50 {
			t.Errorf("%d bytes are left of each value", (after-before)/values)
		}
	})
}
