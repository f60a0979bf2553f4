package scratchpull

import "math"

// add adds sizes that a stranger has named: those below zero count nothing, and
// the sum does not wrap.
func add(a, b int64) int64 {
	a, b = max(a, 0), max(b, 0)
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
