package probe

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/dnstest"
	"github.com/whypull/whypull/cri/registry"
)

func failedFor(c diagnosis.Cause, since time.Time) diagnosis.Failure {
	return diagnosis.Failure{Since: since, Facts: &diagnosis.MessageFacts{Cause: c}}
}

// An answer from before a failure is used only if it does not contradict the failure's
// message.
func TestDoubtedAnswers(t *testing.T) {
	t.Parallel()
	var (
		untrusted = registry.Answer{Fault: registry.FaultTLSUntrusted, Phase: registry.PhaseTLS}
		reset     = registry.Answer{Fault: registry.FaultNetworkUnreachable, Phase: registry.PhaseManifest}
		silent    = registry.Answer{Fault: registry.FaultConnectionTimeout, Phase: registry.PhaseManifest}
		unknown   = registry.Answer{Fault: registry.FaultNameNotFound, Phase: registry.PhaseDNS}
		rejected  = registry.Answer{Fault: registry.FaultUnauthorized, Phase: registry.PhaseManifest}
	)
	for name, tc := range map[string]struct {
		kept  registry.Answer
		says  diagnosis.Cause
		asked bool
	}{
		"found, and is reset":                     {found, diagnosis.NetworkUnreachable, true},
		"rejected, and is refused":                {rejected, diagnosis.ConnectionRefused, true},
		"refused, and is reset":                   {refused, diagnosis.NetworkUnreachable, true},
		"silent, and is reset":                    {silent, diagnosis.NetworkUnreachable, true},
		"silent, and is unavailable":              {silent, diagnosis.RegistryError, true},
		"silent, and is silent":                   {silent, diagnosis.ConnectionTimeout, false},
		"reset, and is reset":                     {reset, diagnosis.NetworkUnreachable, false},
		"no such name, and the DNS fails":         {unknown, diagnosis.DNSFailure, false},
		"no such name, and is refused":            {unknown, diagnosis.ConnectionRefused, true},
		"refused, and is refused":                 {refused, diagnosis.ConnectionRefused, false},
		"untrusted, and has expired":              {untrusted, diagnosis.TLSExpired, true},
		"untrusted, and is untrusted":             {untrusted, diagnosis.TLSUntrusted, false},
		"unavailable, and is unavailable":         {unavailable, diagnosis.RegistryError, false},
		"refused, and has no such tag":            {refused, diagnosis.TagNotFound, true},
		"reset, and has no such repository":       {reset, diagnosis.RepositoryNotFound, true},
		"found, and has no such tag":              {found, diagnosis.TagNotFound, false},
		"found, and the disk is full":             {found, diagnosis.DiskFull, false},
		"refused, and the message says nothing":   {refused, diagnosis.Unknown, false},
		"limits requests, and is refused":         {limited, diagnosis.ConnectionRefused, false},
		"limits requests, and has no such tag":    {limited, diagnosis.TagNotFound, false},
		"rejected, and rejects":                   {rejected, diagnosis.CredentialsRejected, false},
		"found, and the certificate is untrusted": {found, diagnosis.TLSUntrusted, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, asked := newAsker(), 0
				get := func(context.Context) registry.Answer { asked++; return tc.kept }
				before := time.Now()
				a.share(t.Context(), about("app"), time.Time{}, get)
				time.Sleep(time.Second)
				since := time.Now()
				a.share(withDoubt(t.Context(), doubtOf(failedFor(tc.says, before))), about("app"), time.Time{}, get)
				if asked != 1 {
					t.Errorf("asked again after an answer from after the failure")
				}
				a.share(withDoubt(t.Context(), doubtOf(failedFor(tc.says, since))), about("app"), time.Time{}, get)
				if (asked == 2) != tc.asked {
					t.Errorf("asked %d times, want again: %v", asked, tc.asked)
				}
			})
		})
	}
}

// Trouble from before a failure is not said of another image either, if the message
// shows that the registry was reached.
func TestDoubtedTrouble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAsker()
		a.put(about("app"), time.Time{}, func() registry.Answer { return refused })
		time.Sleep(time.Second)
		ctx := withDoubt(t.Context(), doubtOf(failedFor(diagnosis.TagNotFound, time.Now())))
		got, _ := a.share(ctx, about("other"), time.Time{}, func(context.Context) registry.Answer { return found })
		if !got.Found {
			t.Errorf("answer %+v, want that of a new request", got)
		}
	})
}

// A lookup from before a failure does not refute that the registry is unreachable, and
// not that its name was resolved.
func TestDoubtedLookups(t *testing.T) {
	noGoroutinesLeft(t)
	l, s, c := sharedLookups(t)
	ctx := withDoubt(t.Context(), doubtOf(failedFor(diagnosis.ConnectionTimeout, c.Now())))
	s.Set("hub.test", dnstest.Zone{Addresses: []string{"192.0.2.1"}})
	wantAnswer(t, l.lookup(ctx, "hub.test"), "", "192.0.2.1", "")
	s.Set("hub.test", dnstest.Zone{Addresses: []string{"192.0.2.2"}})
	c.advance(time.Second)
	wantAnswer(t, l.lookup(ctx, "hub.test"), "", "192.0.2.1", "")
	wantAnswer(t, l.lookup(withDoubt(t.Context(), doubtOf(failedFor(diagnosis.TagNotFound, c.Now()))), "hub.test"), "", "192.0.2.1", "")
	ctx = withDoubt(t.Context(), doubtOf(failedFor(diagnosis.ConnectionTimeout, c.Now())))
	wantAnswer(t, l.lookup(ctx, "hub.test"), "", "192.0.2.2", "")
}
