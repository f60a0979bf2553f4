package diagnosis

import (
	"slices"
	"strings"
	"testing"
)

// details are the names of evidence, see [named].
func details(all []*Evidence) string {
	var out []string
	for _, e := range all {
		out = append(out, string(e.Reason))
	}
	return strings.Join(out, " ")
}

// named gives evidence a name, for which these tests take the reason.
func named(detail string, e Evidence) Evidence {
	e.Reason = Reason(detail)
	return e
}

// aNode is evidence of every kind that the questions have to tell apart.
func aNode() *facts {
	odd := Evidence{Check: CheckRegistry, Outcome: Inconclusive, Fault: FaultConfigInvalid}
	return given(
		named("odd", odd),
		named("mirror-name", atMirror(found(CheckNodeDNS, FaultNameNotFound))),
		named("mirror-skipped", atMirror(Evidence{Check: CheckRegistry, Outcome: NotRun})),
		named("name", Evidence{Check: CheckNodeDNS, Outcome: Passed}),
		named("mirror-401", atMirror(attemptWith("a", answer(FaultUnauthorized)))),
		named("first", attemptWith("a", answer(FaultUnauthorized))),
		named("second", attemptWith("b", answer(FaultForbidden))),
		named("none", answer(FaultUnauthorized)),
		named("unasked", Evidence{Check: CheckRegistry, Outcome: NotRun, Fault: FaultUnauthorized}),
		named("forgotten", Evidence{Check: CheckRegistry, Fault: FaultUnauthorized}),
	)
}

func TestQuestions(t *testing.T) {
	x := aNode()
	for _, c := range []struct {
		name string
		got  []*Evidence
		want string
	}{
		{"asked", x.asked(), "mirror-401 first second none"},
		{"attempts", x.attempts(), "mirror-401 first second"},
		{"origin", x.origin(), "first second"},
		{"anonymous", x.anonymous(), "none"},
		{"rejected", x.rejected(), "first"},
		{"denied", x.denied(), "second"},
		{"mirrors", x.mirrors(), "mirror-401 mirror-name"},
	} {
		if got := details(c.got); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if !x.wantsCredentials() || x.evasive() || !x.credentialed() || x.works() || x.replaced() {
		t.Errorf("wants %v, evasive %v, credentialed %v, works %v, replaced %v",
			x.wantsCredentials(), x.evasive(), x.credentialed(), x.works(), x.replaced())
	}
}

// TestQuestionsUnderNever: nobody outside the node is asked.
func TestQuestionsUnderNever(t *testing.T) {
	x := never(aNode())
	if n := len(x.asked()) + len(x.attempts()) + len(x.origin()) + len(x.anonymous()) + len(x.mirrors()); n != 0 {
		t.Errorf("%d answers", n)
	}
	if x.wantsCredentials() || x.credentialed() || x.works() {
		t.Error("an answer counts")
	}
	for _, c := range []Check{CheckMessage, CheckImage, CheckCredentials} {
		x := never(given(Evidence{Check: c, Outcome: Failed}))
		if len(x.of(c)) != 1 {
			t.Errorf("%s is not looked at", c)
		}
	}
}

// TestAttemptsWithoutCredentials: where the kubelet has no credential it makes one attempt
// without.
func TestAttemptsWithoutCredentials(t *testing.T) {
	x := given(named("mirror", atMirror(answer(FaultNotFound))), named("none", answer(FaultUnauthorized)))
	if got := details(x.attempts()); got != "mirror none" {
		t.Error(got)
	}
	if x.credentialed() {
		t.Error("credentialed")
	}
}

func TestPresence(t *testing.T) {
	for _, c := range []struct {
		e               Evidence
		present, absent bool
	}{
		{Evidence{Check: CheckImage, Outcome: Passed}, true, false},
		{found(CheckImage, FaultImageAbsent), false, true},
		{Evidence{Check: CheckImage, Outcome: Inconclusive, Fault: FaultRuntimeUnready}, false, false},
		{Evidence{Check: CheckImage, Outcome: NotRun, Fault: FaultImageAbsent}, false, false},
		{Evidence{Check: CheckImage}, false, false},
		{Evidence{Check: CheckRegistry, Outcome: Passed}, false, false},
	} {
		x := given(c.e)
		if x.present() != c.present || x.absent() != c.absent {
			t.Errorf("%+v: present %v, absent %v", c.e, x.present(), x.absent())
		}
	}
}

func TestMessage(t *testing.T) {
	for _, c := range []struct {
		name string
		x    *facts
		want Cause
	}{
		{"none", given(), Unknown},
		{"no cause", given(Evidence{Check: CheckMessage, Outcome: Inconclusive}), Unknown},
		{"first that supports one", given(text(Unknown), text(TagNotFound), text(DiskFull)), TagNotFound},
		{"not run", given(Evidence{Check: CheckMessage, Outcome: NotRun, Body: &MessageFacts{Cause: DiskFull}}), Unknown},
	} {
		if got := c.x.reading(); got != c.want {
			t.Errorf("%s: %s", c.name, got)
		}
	}
	x := given(Evidence{Check: CheckMessage, Outcome: Inconclusive, Body: &MessageFacts{AfterManifest: true}})
	if e := x.message(); !e.AfterManifest || x.reading() != Unknown {
		t.Errorf("%+v", e)
	}
}

func TestNoted(t *testing.T) {
	x := given(secretOf("a", NotRun, FaultSecretUnreadable), secretOf("b", Failed, FaultSecretMissing))
	if _, ok := x.noted(CheckCredentials, FaultSecretUnreadable); !ok || !x.unread() {
		t.Error("not noted")
	}
	if x.has(CheckCredentials, FaultSecretUnreadable) {
		t.Error("counts as a finding")
	}
	if e, ok := x.first(CheckCredentials, FaultSecretUnreadable, FaultSecretMissing); !ok || e.Credentials().Secret != "b" {
		t.Errorf("%+v", e)
	}
}

func TestMatched(t *testing.T) {
	if x := given(secretOf("a", Passed, ""), secretOf("b", Failed, FaultSecretMissing)); !x.matched() || !slices.Equal(x.matching(), []string{"a"}) {
		t.Error(x.matching())
	}
	if x := given(secretOf("b", Failed, FaultSecretMissing)); x.matched() || x.matching() != nil {
		t.Error(x.matching())
	}
}

// TestEvasive: only an anonymous refusal of the repository leaves open whether
// there is one.
func TestEvasive(t *testing.T) {
	for fault, want := range map[Fault]bool{
		FaultUnauthorized: false, FaultInsufficientScope: true, FaultForbidden: true, FaultTagNotFound: false, "": false,
	} {
		if got := given(answer(fault)).evasive(); got != want {
			t.Errorf("%q: %v", fault, got)
		}
		if given(attemptWith("a", answer(fault))).evasive() {
			t.Errorf("%q with a login", fault)
		}
	}
}

func TestReplaced(t *testing.T) {
	mirror := atMirror(answer(FaultNotFound))
	for _, c := range []struct {
		name string
		x    *facts
		want bool
	}{
		{"only a mirror", given(mirror), true},
		{"and the registry", given(mirror, answer(FaultNotFound)), false},
		{"and the registry's name", given(mirror, found(CheckNodeDNS, FaultNameNotFound)), false},
		{"and an odd configuration", given(mirror, found(CheckRegistry, FaultConfigInvalid)), true},
		{"and more to come", given(mirror, Evidence{Check: CheckRegistry, Outcome: NotRun, Fault: FaultPending}), false},
	} {
		if got := c.x.replaced(); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestElsewhere(t *testing.T) {
	blames := func(host string) Evidence {
		return Evidence{Check: CheckMessage, Outcome: Failed, Body: &MessageFacts{Cause: ConnectionRefused, Host: host}}
	}
	token := answer(FaultConnectionRefused)
	token = atPhase(PhaseToken, token)
	for _, c := range []struct {
		name, want string
		x          *facts
	}{
		{"no text", "", given()},
		{"no host", "", given(blames(""))},
		{"the registry", "", given(blames("hub.example.com"))},
		{"the registry with its port", "", given(blames("hub.example.com:443"))},
		{"another", "cdn.example.net:8443", given(blames("cdn.example.net:8443"))},
		{"another, but the registry fails too", "", given(blames("cdn.example.net"), answer(FaultConnectionRefused))},
		{"another, and the registry passes", "cdn.example.net", given(blames("cdn.example.net"), answer(""))},
		{"the token server, for us too", "auth.example.com", given(blames("auth.example.com"), token)},
	} {
		if got := c.x.elsewhere(); got != c.want {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

func TestEndpoint(t *testing.T) {
	hub := Failure{Registry: "docker.io"}
	for _, c := range []struct {
		x    *facts
		want string
	}{
		{given(), "https://hub.example.com"},
		{newFacts(hub, nil), "https://registry-1.docker.io"},
		{newFacts(hub, []Evidence{atMirror(answer(""))}), "https://registry-1.docker.io"},
		{given(Evidence{Check: CheckRegistry, Outcome: NotRun, Endpoint: Endpoint{URL: "http://hub.example.com:5000"}}), "http://hub.example.com:5000"},
	} {
		if got := c.x.endpoint(); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
		if got := c.x.host(); !strings.HasSuffix(c.want, "://"+got) {
			t.Error(got)
		}
	}
}

func TestFirstOf(t *testing.T) {
	all := []*Evidence{{Fault: FaultForbidden, Reason: "a"}, {Fault: FaultUnauthorized, Reason: "b"}, {Fault: FaultForbidden, Reason: "c"}}
	if e, ok := firstOf(all, FaultUnauthorized, FaultForbidden); !ok || e.Reason != "a" {
		t.Errorf("%+v", e)
	}
	if e, ok := firstOf(all, FaultNotFound); ok || e.Reason != "" {
		t.Errorf("%+v", e)
	}
	if _, ok := firstOf(all); ok {
		t.Error("no fault, and found")
	}
}

func TestRan(t *testing.T) {
	for outcome, want := range map[Outcome]bool{Passed: true, Failed: true, Inconclusive: true, NotRun: false, "": false, "passed": false} {
		if got := (&Evidence{Outcome: outcome}).ran(); got != want {
			t.Errorf("%q: %v", outcome, got)
		}
	}
}

// Where a name's addresses are from is said only as far as it is known.
func TestWhoAnswered(t *testing.T) {
	t.Parallel()
	f := Failure{Node: "n"}
	for want, facts := range map[string]DNSFacts{
		"(the node's hosts file)": {}, "(resolver 10.0.0.2:53)": {Server: "10.0.0.2:53"}, "(the system's resolver)": {System: true},
	} {
		facts.Host, facts.Addresses = "hub.example.com", []string{"192.0.2.1"}
		e := Evidence{Check: CheckNodeDNS, Outcome: Passed, Body: &facts}
		if got := Detail(f, &e); got != "node n resolves hub.example.com to 192.0.2.1 "+want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
