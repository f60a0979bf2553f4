package probe

import (
	"cmp"
	"errors"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/registry"
)

// registryFaults maps the faults of package registry to those of a report.
//
//nolint:gochecknoglobals // never written
var registryFaults = map[registry.Fault]diagnosis.Fault{
	registry.FaultNameNotFound:        diagnosis.FaultNameNotFound,
	registry.FaultDNSFailure:          diagnosis.FaultDNSFailure,
	registry.FaultConnectionRefused:   diagnosis.FaultConnectionRefused,
	registry.FaultConnectionTimeout:   diagnosis.FaultConnectionTimeout,
	registry.FaultNetworkUnreachable:  diagnosis.FaultNetworkUnreachable,
	registry.FaultAddressForbidden:    diagnosis.FaultAddressForbidden,
	registry.FaultAddressUnspecified:  diagnosis.FaultAddressUnspecified,
	registry.FaultProxyFailed:         diagnosis.FaultProxyFailed,
	registry.FaultTLSUntrusted:        diagnosis.FaultTLSUntrusted,
	registry.FaultTLSHostnameMismatch: diagnosis.FaultTLSHostnameMismatch,
	registry.FaultTLSExpired:          diagnosis.FaultTLSExpired,
	registry.FaultTLSHandshakeFailed:  diagnosis.FaultTLSHandshakeFailed,
	registry.FaultHTTPSMismatch:       diagnosis.FaultHTTPSMismatch,
	registry.FaultUnauthorized:        diagnosis.FaultUnauthorized,
	registry.FaultInsufficientScope:   diagnosis.FaultInsufficientScope,
	registry.FaultForbidden:           diagnosis.FaultForbidden,
	registry.FaultNotFound:            diagnosis.FaultNotFound,
	registry.FaultTagNotFound:         diagnosis.FaultTagNotFound,
	registry.FaultRepositoryNotFound:  diagnosis.FaultRepositoryNotFound,
	registry.FaultRateLimited:         diagnosis.FaultRateLimited,
	registry.FaultServerError:         diagnosis.FaultServerError,
	registry.FaultUnexpectedAnswer:    diagnosis.FaultUnexpectedAnswer,
	registry.FaultPolicyBlocked:       diagnosis.FaultPolicyBlocked,
	registry.FaultWebPage:             diagnosis.FaultWebPage,
	registry.FaultPlatformMismatch:    diagnosis.FaultPlatformMismatch,
	registry.FaultUnsupportedFormat:   diagnosis.FaultUnsupportedFormat,
	registry.FaultContentCorrupt:      diagnosis.FaultContentCorrupt,
	registry.FaultContentMissing:      diagnosis.FaultContentMissing,
}

// registryPhases maps the phases of package registry to those of a report.
//
//nolint:gochecknoglobals // never written
var registryPhases = map[registry.Phase]diagnosis.Phase{
	registry.PhaseDNS:      diagnosis.PhaseDNS,
	registry.PhaseConnect:  diagnosis.PhaseConnect,
	registry.PhaseTLS:      diagnosis.PhaseTLS,
	registry.PhasePing:     diagnosis.PhasePing,
	registry.PhaseToken:    diagnosis.PhaseToken,
	registry.PhaseManifest: diagnosis.PhaseManifest,
	registry.PhaseBlob:     diagnosis.PhaseBlob,
}

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

// reportFault returns the fault of a report for a fault of package registry; "" for
// "" and FaultUnexpectedAnswer for unknown ones.
func reportFault(f registry.Fault) diagnosis.Fault {
	if f == "" {
		return ""
	}
	return cmp.Or(registryFaults[f], diagnosis.FaultUnexpectedAnswer)
}

// reserve returns what whypull refused to do with a registry although the runtime
// may do it.
func reserve(err error) diagnosis.Reserve {
	switch {
	case errors.Is(err, registry.ErrRealmInsecure):
		return diagnosis.ReserveRealmInsecure
	case errors.Is(err, registry.ErrChallengeInsecure):
		return diagnosis.ReserveChallengeInsecure
	case errors.Is(err, registry.ErrTooManyRedirects):
		return diagnosis.ReserveRedirects
	case errors.Is(err, registry.ErrNoRoom):
		return diagnosis.ReserveNoMemory
	case errors.Is(err, registry.ErrTooManyParts):
		return diagnosis.ReserveTooManyParts
	}
	return ""
}

// timings returns the durations by the phases of a report; nil for nil.
func timings(took map[registry.Phase]time.Duration) map[diagnosis.Phase]time.Duration {
	if took == nil {
		return nil
	}
	out := make(map[diagnosis.Phase]time.Duration, len(took))
	for phase, d := range took {
		out[registryPhases[phase]] = d
	}
	return out
}
