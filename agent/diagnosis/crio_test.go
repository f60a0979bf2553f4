package diagnosis

import (
	"slices"
	"strings"
	"testing"
)

// What may be wrong with a user's name is said where the registry refuses it.
func TestRejectedRobot(t *testing.T) {
	const hint = "the user robot"
	for fault, want := range map[Fault]bool{FaultUnauthorized: true, "": false} {
		at := attemptWith("regcred", answer(fault))
		if fault == "" {
			at.Outcome = Passed
		}
		cred := Evidence{Check: CheckCredentials, Outcome: Passed, Body: &CredentialFacts{Secret: "regcred", IfRejected: hint}}
		v := Diagnose(ordinary(), []Evidence{cred, at})
		if got := slices.ContainsFunc(v.Remedy, func(line string) bool { return strings.Contains(line, hint) }); got != want {
			t.Errorf("%s: %q", v.Cause, v.Remedy)
		}
	}
}

// A provider whose pattern nearly matches is named.
func TestProviderNear(t *testing.T) {
	f := ordinary()
	near := Evidence{Check: CheckCredentials, Outcome: NotRun, Reason: ReasonProviderNear, Body: &CredentialFacts{Provider: "corp-provider", Pattern: "10.9.8.7"}}
	none := Evidence{Check: CheckCredentials, Outcome: Failed, Fault: FaultNoCredentials}
	v := Diagnose(f, []Evidence{none, near, answer(FaultUnauthorized)})
	if v.Cause != AuthenticationRequired || v.Confidence != Confirmed || !strings.Contains(v.Summary, "corp-provider is for 10.9.8.7") {
		t.Errorf("%s %s: %s", v.Cause, v.Confidence, v.Summary)
	}
	near.Reason, near.Body = ReasonProviderUnfilled, &CredentialFacts{Provider: "corp-provider"}
	if v := Diagnose(f, []Evidence{none, near, answer(FaultUnauthorized)}); !strings.Contains(v.Summary, "corp-provider has a placeholder") {
		t.Errorf("%s %s: %s", v.Cause, v.Confidence, v.Summary)
	}
}

// Of several names that a short one may stand for, the one that fails is named.
func TestCompletedNames(t *testing.T) {
	f := ordinary()
	f.Registry, f.Repository = "docker.io", "library/app"
	at := func(name string, e Evidence) Evidence {
		e.Endpoint.Image = name
		return e
	}
	passed := answer("")
	passed.Outcome = Passed
	for want, evidence := range map[string][]Evidence{
		"docker.io": {answer(FaultRepositoryNotFound)},
		"a.example": {at("a.example/app", answer(FaultRepositoryNotFound)), at("b.example/app", answer(FaultRepositoryNotFound))},
		"b.example": {at("a.example/app", passed), at("b.example/app", answer(FaultRepositoryNotFound))},
		"c.example": {at("c.example/app", passed)},
		"d.example": {at("d.example/app", found(CheckNodeDNS, FaultNameNotFound))},
	} {
		if got := completed(f, evidence).Registry; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// A setting without effect is shown where it would have mattered.
func TestUnusedSettings(t *testing.T) {
	unused := Evidence{Check: CheckRegistry, Outcome: Inconclusive, Body: &RegistryFacts{Config: &ConfigFacts{File: "/etc/p.conf", Problem: "ProxyQuotes"}}}
	for _, fault := range []Fault{FaultConnectionTimeout, FaultConnectionRefused, FaultNetworkUnreachable} {
		v := Diagnose(ordinary(), []Evidence{answer(fault), unused})
		if v.Cause != fault.Points() || !strings.Contains(v.Summary, "/etc/p.conf sets a proxy without effect") {
			t.Errorf("%s: %s", v.Cause, v.Summary)
		}
	}
}

// A proxy that is spoken to over TLS is shown as such, also for a try by hand.
func TestProxyOverTLS(t *testing.T) {
	for proxy, want := range map[string]bool{"https://p.example:3128": true, "p.example:3128": false} {
		e := answer(FaultProxyFailed)
		e.Body = &RegistryFacts{Proxy: proxy}
		lines := strings.Join(Diagnose(ordinary(), []Evidence{e}).Remedy, "\n")
		if strings.Contains(lines, "uses TLS to the proxy itself") != want || !strings.Contains(lines, "--proxy "+proxy) {
			t.Errorf("%s: %s", proxy, lines)
		}
	}
}
