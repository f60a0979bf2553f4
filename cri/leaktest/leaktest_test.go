package leaktest

import (
	"testing"
	"time"
)

// recorded is a test that records its failure, and runs its cleanups on demand.
type recorded struct {
	testing.TB
	cleanup func()
	failed  bool
}

func (r *recorded) Helper()               {}
func (r *recorded) Cleanup(f func())      { r.cleanup = f }
func (r *recorded) Errorf(string, ...any) { r.failed = true }

func left(started, release chan struct{}) { close(started); <-release }

// Not parallel, nor are its subtests: goroutines of one would count for
// another.
func TestCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		counts func(string) bool
		fails  bool
	}{
		"left":        {With("another.left", "leaktest.left"), true},
		"of others":   {With("another.left"), false},
		"passed over": {Without("goroutine "), false},
	} {
		started, release, r := make(chan struct{}), make(chan struct{}), &recorded{TB: t}
		check(r, tc.counts, time.Millisecond)
		go left(started, release)
		<-started // before that, its stack does not contain the name
		r.cleanup()
		close(release)
		for len(stacks(With("leaktest.left"))) > 0 { // until it has ended, the next case would count it
			time.Sleep(time.Millisecond)
		}
		if r.failed != tc.fails {
			t.Errorf("%s: failed %t, want %t", name, r.failed, tc.fails)
		}
	}
}
