package diagnosis

import "testing"

// TestWantsRetry: a pull is tried again where that can tell more, and not for
// every failure.
func TestWantsRetry(t *testing.T) {
	t.Parallel()
	found := Evidence{Check: CheckRegistry, Outcome: Passed, Endpoint: Endpoint{URL: "https://hub.example.com"}}
	missing := Evidence{Check: CheckRegistry, Outcome: Failed, Fault: FaultTagNotFound, Endpoint: Endpoint{URL: "https://hub.example.com"}}
	says := func(c Cause, later bool) Evidence {
		return Evidence{Check: CheckMessage, Outcome: Failed, Fault: FaultOf(c), Body: &MessageFacts{Cause: c, AfterManifest: later}}
	}
	for name, tc := range map[string]struct {
		failure  func(*Failure)
		evidence []Evidence
		want     bool
	}{
		"every check passes":             {nil, []Evidence{says(ConnectionRefused, false), found}, true},
		"nothing is known":               {nil, []Evidence{says(Unknown, false)}, true},
		"the cause is plain":             {nil, []Evidence{says(TagNotFound, false), missing}, false},
		"the runtime says another thing": {nil, []Evidence{says(DiskFull, false), missing}, true},
		"it speaks of a later step":      {nil, []Evidence{says(RuntimeError, true), found}, true},
		"its disk is full":               {nil, []Evidence{says(DiskFull, false), {Check: CheckRegistry, Outcome: NotRun}}, true},
		"somebody wants to be left alone": {nil, []Evidence{says(Unknown, false),
			{Check: CheckRegistry, Outcome: Failed, Fault: FaultRateLimited, Endpoint: Endpoint{URL: "https://hub.example.com"}}}, false},
		"a secret cannot be read":      {nil, []Evidence{says(Unknown, false), {Check: CheckCredentials, Outcome: Inconclusive, Fault: FaultSecretUnreadable, Body: &CredentialFacts{Secret: "x"}}}, false},
		"the kubelet cannot record it": {nil, []Evidence{{Check: CheckMessage, Outcome: Failed, Fault: FaultDiskFull, Body: &MessageFacts{Cause: DiskFull, IntentUnrecorded: true}}}, false},
		"the policy is Never":          {func(f *Failure) { f.PullPolicy = "Never" }, []Evidence{says(Unknown, false)}, false},
		"it is under way":              {func(f *Failure) { f.Stall = StallUnbegun }, []Evidence{says(Unknown, false)}, false},
		"it is the sandbox":            {func(f *Failure) { f.Kind = KindSandbox }, []Evidence{says(Unknown, false)}, false},
		"the runtime is down":          {nil, []Evidence{{Check: CheckImage, Outcome: Inconclusive, Fault: FaultRuntimeUnready}}, false},
		"the kubelet's own limit":      {nil, []Evidence{says(PullThrottled, false), found}, false},
	} {
		f := ordinary()
		if tc.failure != nil {
			tc.failure(&f)
		}
		if got := WantsRetry(f, tc.evidence); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestCauseOf(t *testing.T) {
	t.Parallel()
	for fault, want := range map[Fault]Cause{
		"": "", FaultTagNotFound: TagNotFound, FaultContentMissing: ContentCorrupt, FaultUnauthorized: AuthenticationRequired,
		FaultAddressForbidden: Unknown, FaultServerError: RegistryError,
	} {
		if got := CauseOf(fault); got != want {
			t.Errorf("%q: %q, want %q", fault, got, want)
		}
	}
}
