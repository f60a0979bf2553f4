package share

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A lane admits one at a time, concurrently with other lanes; unused lanes are
// dropped.
func TestLanes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l lanes
		var wg sync.WaitGroup
		start := time.Now()
		for i := range 30 {
			wg.Go(func() {
				leave, err := l.enter(t.Context(), strconv.Itoa(i%3))
				defer leave()
				if err != nil {
					t.Error(err)
				}
				time.Sleep(time.Second)
			})
		}
		wg.Wait()
		if took := time.Since(start); took != 10*time.Second || len(l.all) != 0 {
			t.Errorf("it took %s; %d lanes are held", took, len(l.all))
		}
	})
}

// A waiter that gives up leaves the lane to the next, whether or not it was
// free.
func TestLaneGivenUp(t *testing.T) {
	t.Parallel()
	for _, free := range []bool{true, false} {
		var l lanes
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		leave := func() {}
		if !free {
			leave, _ = l.enter(t.Context(), "a")
		}
		late, err := l.enter(ctx, "a")
		if late(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		leave()
		if len(l.all) != 0 {
			t.Errorf("%d lanes are held", len(l.all))
		}
	}
}
