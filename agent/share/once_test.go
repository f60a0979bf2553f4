package share_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/whypull/whypull/agent/share"
)

// One piece of work does a thing once for each key; another does it again.
func TestOnce(t *testing.T) {
	t.Parallel()
	var done atomic.Int32
	do := func() int32 { return done.Add(1) }
	for range 2 {
		ctx := share.WithOnce(t.Context())
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { share.Once(ctx, "a", do) })
			wg.Go(func() { share.Once(ctx, "b", do) })
		}
		wg.Wait()
	}
	if n := done.Load(); n != 4 {
		t.Errorf("done %d times, want once for each of 2 keys in each of 2 contexts", n)
	}
	if share.Once(t.Context(), "a", do) != 5 || share.Once(t.Context(), "a", do) != 6 {
		t.Error("without WithOnce a thing was not done each time")
	}
}
