package scratchpull

import "math"

// addSizes adds untrusted sizes: negative ones count as zero, and the sum
// saturates.
func addSizes(a, b int64) int64 {
	a, b = max(a, 0), max(b, 0)
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
