package probe

import (
	"errors"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/registry"
)

// The faults and phases of package registry have the names of those of a report, and so
// have what package disk says of file systems.

// registryForms maps the forms of package registry to those of a report.
//
//nolint:gochecknoglobals // never written
var registryForms = map[registry.Form]diagnosis.Form{
	registry.FormSchema1:   diagnosis.FormSchema1,
	registry.FormText:      diagnosis.FormText,
	registry.FormBlob:      diagnosis.FormBlob,
	registry.FormMediaType: diagnosis.FormMediaType,
	registry.FormTooLarge:  diagnosis.FormTooLarge,
	registry.FormLayers:    diagnosis.FormLayers,
}

// registryAlerts maps the alerts of package registry to those of a report.
//
//nolint:gochecknoglobals // never written
var registryAlerts = map[registry.Alert]diagnosis.Alert{
	registry.AlertName:        diagnosis.AlertName,
	registry.AlertCertificate: diagnosis.AlertCertificate,
	registry.AlertVersion:     diagnosis.AlertVersion,
}

// reserve returns what whypull refused to do with a registry although the runtime
// may do it.
func reserve(err error) diagnosis.Reserve {
	refusal, _ := errors.AsType[registry.Refusal](err)
	return reserves[refusal]
}

var reserves = map[registry.Refusal]diagnosis.Reserve{ //nolint:gochecknoglobals // never written
	registry.ErrRealmInsecure:     diagnosis.ReserveRealmInsecure,
	registry.ErrChallengeInsecure: diagnosis.ReserveChallengeInsecure,
	registry.ErrTooManyRedirects:  diagnosis.ReserveRedirects,
	registry.ErrNoRoom:            diagnosis.ReserveNoMemory,
	registry.ErrTooManyParts:      diagnosis.ReserveTooManyParts,
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
