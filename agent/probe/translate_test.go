package probe

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/faulttest"
)

// The words are the same on both sides, as reports and metrics have them.
func TestFaultsAreTranslated(t *testing.T) {
	t.Parallel()
	for _, f := range registry.Faults() {
		if got, has := registryFaults[f]; !has || string(got) != string(f) {
			t.Errorf("%s becomes %q", f, got)
		}
	}
	if got := reportFault(""); got != "" {
		t.Errorf("no fault becomes %q", got)
	}
	if got := reportFault("SomethingNew"); got != diagnosis.FaultUnexpectedAnswer {
		t.Errorf("a fault without a row becomes %q", got)
	}
	if got, want := len(registryFaults), len(registry.Faults()); got != want {
		t.Errorf("%d rows for %d faults", got, want)
	}
}

func TestPhasesAreTranslated(t *testing.T) {
	t.Parallel()
	var order []diagnosis.Phase
	took, want := map[registry.Phase]time.Duration{}, map[diagnosis.Phase]time.Duration{}
	for i, p := range registry.Phases() {
		got, has := registryPhases[p]
		if !has || string(got) != string(p) {
			t.Errorf("%s becomes %q", p, got)
		}
		order = append(order, got)
		took[p], want[got] = time.Duration(i), time.Duration(i)
	}
	if !slices.Equal(order, diagnosis.Phases()) || len(registryPhases) != len(order) {
		t.Errorf("the phases are %v, those of a report %v", order, diagnosis.Phases())
	}
	if got := timings(took); !maps.Equal(got, want) {
		t.Errorf("timings %v, want %v", got, want)
	}
	if got := timings(nil); got != nil {
		t.Errorf("no timings become %v", got)
	}
}

// What is really wrong in the world of faults is what a diagnosis can find.
func TestTruthsAreCauses(t *testing.T) {
	t.Parallel()
	for _, truth := range faulttest.Truths() {
		if !slices.ContainsFunc(diagnosis.Catalogue(), func(e diagnosis.Entry) bool { return e.Cause == diagnosis.Cause(truth) }) {
			t.Errorf("%s is no cause", truth)
		}
	}
}
