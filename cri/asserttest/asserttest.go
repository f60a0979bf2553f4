// Package asserttest has assertions that tests of several packages make.
package asserttest

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// Eventually waits until done returns true. The limit is for a test that hangs.
func Eventually(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("not so after a minute: %s", what)
		}
	}
}

// Lines compares two lists of lines.
func Lines(tb testing.TB, what string, got []string, want ...string) {
	tb.Helper()
	if !slices.Equal(got, want) {
		tb.Errorf("%s:\ngot  %s\nwant %s", what, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

// Golden compares a text with a file, which it writes first if update.
func Golden(tb testing.TB, file string, update bool, got string) {
	tb.Helper()
	if update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	want, err := os.ReadFile(file) //nolint:gosec // the tests' own
	if err != nil {
		tb.Fatal(err)
	}
	if got != string(want) {
		tb.Errorf("%s (update with -update):\ngot\n%s\nwant\n%s", file, got, want)
	}
}
