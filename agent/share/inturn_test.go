package share

import (
	"slices"
	"testing"
)

func TestInTurn(t *testing.T) {
	t.Parallel()
	all := []string{"a", "a", "a", "b", "c", "c"}
	for most, want := range [][]int{
		0: {}, 2: {0, 3}, 4: {0, 3, 4, 1}, 5: {0, 3, 4, 1, 5}, 6: {0, 3, 4, 1, 5, 2}, 9: {0, 3, 4, 1, 5, 2},
	} {
		if got := InTurn(len(all), most, func(i int) string { return all[i] }); want != nil && !slices.Equal(got, want) {
			t.Errorf("%d: %v, want %v", most, got, want)
		}
	}
	if got := InTurn(0, 1, nil); len(got) > 0 {
		t.Errorf("of nothing: %v", got)
	}
}
