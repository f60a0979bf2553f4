package probe

import (
	"errors"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/registry"
)

// The faults, phases, forms and alerts of package registry have the words of those of a
// report, and so have what package disk says of file systems.

// reserve returns what whypull refused to do with a registry although the runtime
// may do it.
func reserve(err error) diagnosis.Reserve {
	refusal, _ := errors.AsType[registry.Refusal](err)
	return reserves[refusal]
}

var reserves = map[registry.Refusal]diagnosis.Reserve{ //nolint:gochecknoglobals // never written
	registry.ErrRealmInsecure:      diagnosis.ReserveRealmInsecure,
	registry.ErrChallengeInsecure:  diagnosis.ReserveChallengeInsecure,
	registry.ErrChallengeElsewhere: diagnosis.ReserveChallengeElsewhere,
	registry.ErrTooManyRedirects:   diagnosis.ReserveRedirects,
	registry.ErrNoRoom:             diagnosis.ReserveNoMemory,
	registry.ErrTooManyParts:       diagnosis.ReserveTooManyParts,
}

// timings returns the durations by the phases of a report; nil for nil.
func timings(took map[registry.Phase]time.Duration) map[diagnosis.Phase]time.Duration {
	if took == nil {
		return nil
	}
	out := make(map[diagnosis.Phase]time.Duration, len(took))
	for phase, d := range took {
		out[diagnosis.Phase(phase)] = d
	}
	return out
}
