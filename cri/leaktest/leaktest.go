// Package leaktest finds goroutines that a test leaves behind.
package leaktest

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is how long goroutines may take to end, even on a slow machine.
const patience = time.Minute

// Check fails the test if it ends with more goroutines than it began with, of
// those whose stack counts. Call it first, and not in a parallel test.
func Check(t testing.TB, counts func(stack string) bool) {
	t.Helper()
	check(t, counts, patience)
}

func check(t testing.TB, counts func(stack string) bool, patience time.Duration) {
	t.Helper()
	before := len(stacks(counts))
	t.Cleanup(func() {
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			after := stacks(counts)
			if len(after) <= before {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("goroutines before %d, after %d:\n%s", before, len(after), strings.Join(after, "\n\n"))
				return
			}
		}
	})
}

// With counts the goroutines whose stack contains one of the words.
func With(words ...string) func(stack string) bool {
	return func(stack string) bool {
		return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(stack, word) })
	}
}

// Without counts all goroutines except those whose stack contains one of the
// words.
func Without(words ...string) func(stack string) bool {
	with := With(words...)
	return func(stack string) bool { return !with(stack) }
}

func stacks(counts func(stack string) bool) []string {
	buf := make([]byte, 4<<20)
	all := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	return slices.DeleteFunc(all, func(stack string) bool { return !counts(stack) })
}
