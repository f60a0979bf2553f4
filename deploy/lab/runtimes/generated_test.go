package runtimes

import (
	"context"
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/registry/faulttest"
	"github.com/whypull/whypull/deploy/lab"
)

const (
	// ownSeed is that of knownDifferences.
	ownSeed = 1
	// equal is how many answers of a thousand have to be the runtimes'.
	equal = 995
)

var (
	seed   = flag.Uint64("seed", ownSeed, "the seed of the generated cases")
	number = flag.Int("cases", 300, "how many cases to generate")
	first  = flag.Int("first", 0, "the number of the first generated case, to reproduce it alone")
)

// knownDifferences are cases of ownSeed, as "g0001 on containerd 2.4", about which
// whypull is wrong, and why.
var knownDifferences = map[string]string{}

// TestGenerated compares "can be pulled" of whypull check with what runtimes do,
// on random configurations, credentials and faults.
func TestGenerated(t *testing.T) {
	dir, err := lab.DefaultDir()
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.Open(dir + "-generated")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	runtimes := slices.DeleteFunc(All(), func(r Runtime) bool {
		return r.Name == faulttest.Containerd16 || *only != "" && r.Name != *only
	})
	all, err := Compare(t.Context(), l, runtimes, faulttest.Generate{Seed: *seed, Cases: *number, First: *first}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	assertNothingLeft(t, l)
	if len(all) != len(runtimes)**number {
		t.Fatalf("%d results of %d cases on %d runtimes", len(all), *number, len(runtimes))
	}
	pulled, different, known := 0, 0, 0
	for _, c := range all {
		if c.Pulled {
			pulled++
		}
		if !c.Differ() {
			continue
		}
		different++
		why := knownDifferences[c.Case+" on "+c.Runtime]
		if *seed == ownSeed && why != "" {
			known++
			t.Logf("known (%s): %s", why, c)
			continue
		}
		if c.Confidence == diagnosis.Confirmed {
			t.Errorf("whypull is sure, and wrong: %s", c)
			continue
		}
		t.Logf("whypull is wrong: %s", c)
	}
	t.Logf("%d answers, %d of them pulled; %d differ (%.2f %% equal)", len(all), pulled, different, 100-100*float64(different)/float64(len(all)))
	if *seed == ownSeed && *first == 0 && *number >= 300 && *only == "" && known != len(knownDifferences) {
		t.Errorf("%d of %d known differences are left: take out those that are gone", known, len(knownDifferences))
	}
	if *number < 100 {
		return
	}
	// Without both kinds the test would say nothing.
	if pulled < len(all)/5 || pulled > len(all)*4/5 {
		t.Errorf("%d of %d are pulled", pulled, len(all))
	}
	if (len(all)-different)*1000 < len(all)*equal {
		t.Errorf("%d of %d answers differ", different, len(all))
	}
}
