package share

import "slices"

// InTurn returns the indexes of at most so many of n: the first of each namespace, then the
// second of each, and so on. One with many leaves room for the others.
func InTurn(n, most int, namespace func(i int) string) []int {
	out, places, seen := make([]int, n), make([]int, n), map[string]int{}
	for i := range n {
		out[i], places[i] = i, seen[namespace(i)]
		seen[namespace(i)]++
	}
	slices.SortStableFunc(out, func(a, b int) int { return places[a] - places[b] })
	return out[:min(n, most)]
}
