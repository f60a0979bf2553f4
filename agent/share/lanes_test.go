package share

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const roomy = 1000

// A lane admits one at a time, concurrently with other lanes; unused lanes are
// dropped.
func TestLanes(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]time.Duration{1: 10 * time.Second, 2: 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			l := NewLanes(size, roomy)
			var wg sync.WaitGroup
			start := time.Now()
			for i := range 30 {
				wg.Go(func() {
					leave, err := l.Enter(t.Context(), strconv.Itoa(i%3))
					if err != nil {
						t.Error(err)
						return
					}
					defer leave()
					time.Sleep(time.Second)
				})
			}
			wg.Wait()
			if took := time.Since(start); took != want || len(l.all) != 0 {
				t.Errorf("size %d: it took %s, want %s; %d lanes are held", size, took, want, len(l.all))
			}
		})
	}
}

// A waiter that gives up leaves the lane to the next, whether or not it was
// free.
func TestLaneGivenUp(t *testing.T) {
	t.Parallel()
	for _, free := range []bool{true, false} {
		l := NewLanes(1, roomy)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		leave := func() {}
		if !free {
			leave, _ = l.Enter(t.Context(), "a")
		}
		if _, err := l.Enter(ctx, "a"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		leave()
		if len(l.all) != 0 {
			t.Errorf("%d lanes are held", len(l.all))
		}
	}
}

// Who does not wait enters a free lane, and leaves no trace at one that is held.
func TestTryEnter(t *testing.T) {
	t.Parallel()
	l := NewSharedLanes(2, 1, roomy)
	enter := func(tenant string) (func(), bool) { return l.TryEnter(WithTenant(t.Context(), tenant), "a") }
	leave, entered := enter("one")
	if !entered {
		t.Fatal("the lane is not free")
	}
	if _, entered := enter("one"); entered {
		t.Error("a tenant has more than its share")
	}
	other, entered := enter("other")
	if !entered {
		t.Fatal("there is no place for another tenant")
	}
	if _, entered := enter("third"); entered {
		t.Error("the lane has more places than it should")
	}
	leave()
	if leave, entered = enter("one"); !entered {
		t.Fatal("the lane is not free again")
	}
	leave()
	other()
	if len(l.all) != 0 {
		t.Errorf("%d lanes are left", len(l.all))
	}
}

// order has waiters come one after the other to a lane that is held, and returns
// in which order they have it.
func order(t *testing.T, l *Lanes, waiters ...string) (served []string) {
	t.Helper()
	hold, err := l.Enter(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, tenant := range waiters {
		wg.Go(func() {
			leave, err := l.Enter(WithTenant(t.Context(), tenant), "a")
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				served = append(served, fmt.Sprint(tenant, i, ": ", err))
				return
			}
			served = append(served, fmt.Sprint(tenant, i))
			leave()
		})
		synctest.Wait()
	}
	hold()
	wg.Wait()
	return served
}

// A lane shrinks at once, and grows only when its last holder leaves.
func TestLaneSize(t *testing.T) {
	t.Parallel()
	l := NewSharedLanes(1, 2, roomy)
	var tickets []*ticket
	for _, tenant := range []string{"a", "a", "a", "b", "b", "c", "c"} {
		one, err := l.take("lane", tenant)
		if err != nil {
			t.Fatal(err)
		}
		tickets = append(tickets, one)
	}
	left := map[int]bool{}
	for _, step := range []struct {
		leaves, size int
		hold         []int // afterwards
	}{
		{0, 3, []int{1, 3, 5}},
		{1, 1, []int{3, 5}},
		{3, 3, []int{5}},
		{5, 3, []int{2, 4, 6}},
		{2, 0, []int{4, 6}},
		{4, 0, []int{6}},
		{6, 0, nil},
	} {
		l.leave(tickets[step.leaves], step.size)
		left[step.leaves] = true
		var hold []int
		for i, one := range tickets {
			if one.held && !left[i] {
				hold = append(hold, i)
			}
		}
		if !slices.Equal(hold, step.hold) {
			t.Errorf("%v hold the lane after %d, want %v", hold, step.leaves, step.hold)
		}
	}
	if len(l.all) != 0 {
		t.Errorf("%d lanes are left", len(l.all))
	}
}

// What waits only because its tenant has its share is another tenant's at once.
func TestJoinedTicketOfAnotherTenant(t *testing.T) {
	t.Parallel()
	l := NewSharedLanes(2, 1, roomy)
	first, err := l.take("lane", "bad")
	if err != nil {
		t.Fatal(err)
	}
	second, err := l.take("lane", "bad")
	if err != nil || second.held {
		t.Fatal(err, second.held)
	}
	l.also(second, "good")
	if !second.held || second.tenant != "good" {
		t.Errorf("held %t, for %q", second.held, second.tenant)
	}
	l.leave(first, 0)
	l.leave(second, 0)
	if len(l.all) != 0 {
		t.Errorf("%d lanes are left", len(l.all))
	}
}

// However many of one tenant wait, another's is served after one of them.
func TestTenantsTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		got := order(t, NewLanes(1, roomy), "bad", "bad", "bad", "bad", "good", "good", "other")
		want := []string{"bad0", "good4", "other6", "bad1", "good5", "bad2", "bad3"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// Beyond the limit a tenant's callers are refused, and only theirs.
func TestTenantsWaitersAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewLanes(1, 2)
		got := order(t, l, "bad", "bad", "bad", "good")
		want := []string{"bad2: " + ErrBusy.Error(), "bad0", "good3", "bad1"}
		if !slices.Equal(got, want) || len(l.all) != 0 {
			t.Errorf("got %q, want %q; %d lanes are held", got, want, len(l.all))
		}
	})
}

// A value that a tenant has waited for long is fetched for another when its own
// turn comes, once.
func TestJoinedFetchWaitsInBothQueues(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := NewInTurn(roomy, For[string](time.Hour), time.Now, Turns[string, string]{
			Group: func(string) string { return "registry" }, Waiting: roomy, Each: 1,
			Width: func(string) int { return 1 }, Alone: func(string) bool { return false },
		})
		var mu sync.Mutex
		var fetched []string
		var wg sync.WaitGroup
		get := func(tenant, key string) {
			wg.Go(func() {
				_, err := c.Get(WithTenant(t.Context(), tenant), key, func(context.Context) (string, error) {
					time.Sleep(time.Second)
					mu.Lock()
					defer mu.Unlock()
					fetched = append(fetched, key)
					return key, nil
				})
				if err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		for i := range 20 {
			get("bad", strconv.Itoa(i))
		}
		get("good", "19") // the last of the other tenant's
		wg.Wait()
		if len(fetched) != 20 || fetched[2] != "19" {
			t.Errorf("fetched %q, want 19 third, and once", fetched)
		}
	})
}

// A cache that one tenant fills holds what the others have.
func TestOneTenantDropsNothingOfOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New[string](10, func(life time.Duration) time.Duration { return life }, time.Now)
		get := func(tenant, key string, life time.Duration) (fetched bool) {
			_, err := c.Get(WithTenant(t.Context(), tenant), key, func(context.Context) (time.Duration, error) {
				fetched = true
				return life, nil
			})
			if err != nil {
				t.Error(err)
			}
			return fetched
		}
		get("good", "mine", time.Minute)
		for i := range 100 {
			get("bad", strconv.Itoa(i), 24*time.Hour)
		}
		if get("good", "mine", time.Minute) {
			t.Error("what another tenant has fetched took the place of it")
		}
		if c.Len() != 10 {
			t.Errorf("%d values are kept, want 10", c.Len())
		}
	})
}

// No tenant holds more than its share of a lane: whoever comes next need not wait for
// it, and those of its own do.
func TestSharedLanes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewSharedLanes(3, 2, 10)
		enter := func(tenant string) (leave func(), entered *bool) {
			ticket := make(chan func(), 1)
			entered = new(bool)
			go func() {
				leave, err := l.Enter(WithTenant(t.Context(), tenant), "lane")
				if err != nil {
					t.Error(err)
					leave = func() {}
				}
				*entered = true
				ticket <- leave
			}()
			synctest.Wait()
			return func() { (<-ticket)(); synctest.Wait() }, entered
		}
		first, _ := enter("evil")
		second, in2 := enter("evil")
		third, in3 := enter("evil")
		other, in := enter("good")
		if !*in2 || *in3 || !*in {
			t.Errorf("entered: %t, %t and %t, want only the third to wait", *in2, *in3, *in)
		}
		another, inToo := enter("good") // the lane is full
		other()
		if *in3 || !*inToo {
			t.Errorf("entered: %t and %t, want another's next", *in3, *inToo)
		}
		first()
		if !*in3 {
			t.Error("the tenant with less than its share does not enter")
		}
		second()
		third()
		another()
		if len(l.all) != 0 {
			t.Errorf("%d lanes are left", len(l.all))
		}
	})
}
