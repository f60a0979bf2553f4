package probe

import (
	"context"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/dns"
	"github.com/whypull/whypull/cri/registry"
)

// reach is how far requests to a registry get: reached, or the way in which they fail.
type reach string

const (
	reached    reach = ""
	notReached reach = "unreachable" // in a way that no message names
	noAddress  reach = "no address"
)

// reachOf returns what an answer shows.
func reachOf(a registry.Answer) reach {
	if !aboutEndpoint(a) && a.Fault != registry.FaultServerError && a.Fault != registry.FaultNetworkUnreachable {
		return reached
	}
	if shown := reachAt(diagnosis.CauseOf(diagnosis.Fault(a.Fault))); shown != reached {
		return shown
	}
	return notReached
}

// reachOfName returns what the lookup of a registry's name shows.
func reachOfName(a dns.Answer) reach {
	if a.Fault != "" {
		return noAddress
	}
	return reached
}

// reachAt returns what a cause implies. Whether a name does not exist or cannot be
// resolved is often the same fault to two resolvers.
func reachAt(c diagnosis.Cause) reach {
	switch {
	case c == diagnosis.RegistryNameNotFound, c == diagnosis.DNSFailure:
		return noAddress
	case c.Entry().Place == diagnosis.OnTheWay, c == diagnosis.RegistryError:
		return reach(c)
	}
	return reached
}

// doubt is what a failure's message says against cached answers: those from before the
// failure are used only if they show the same reach. That a registry has answered, or has
// been silent, some minutes ago does not refute that it refuses connections now.
type doubt struct {
	since time.Time // zero: there is none
	shown reach
}

// doubtOf returns the doubt of a failure whose message has been read.
func doubtOf(f diagnosis.Failure) doubt {
	if f.Facts == nil {
		return doubt{}
	}
	switch f.Facts.Cause {
	case diagnosis.AuthenticationRequired, diagnosis.CredentialsRejected, diagnosis.AccessDenied, diagnosis.DeniedOrNotFound,
		diagnosis.TagNotFound, diagnosis.RepositoryNotFound:
		return doubt{since: f.Since}
	default:
		if shown := reachAt(f.Facts.Cause); shown != reached {
			return doubt{since: f.Since, shown: shown}
		}
		return doubt{}
	}
}

// allows reports whether a cached answer may be used.
func (d doubt) allows(fetched time.Time, shown reach) bool {
	return d.since.IsZero() || d.shown == shown || !fetched.Before(d.since)
}

type doubtKey struct{}

func withDoubt(ctx context.Context, d doubt) context.Context {
	return context.WithValue(ctx, doubtKey{}, d)
}

func doubtIn(ctx context.Context) doubt {
	d, _ := ctx.Value(doubtKey{}).(doubt)
	return d
}
