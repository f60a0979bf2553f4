package diagnosis

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"
)

// checkVerdict asserts what holds of every verdict, whatever it was made from.
func checkVerdict(t testing.TB, v Verdict) {
	t.Helper()
	if byCause[v.Cause] == nil {
		t.Errorf("cause %q is not in the catalogue", v.Cause)
	}
	if !slices.Contains([]Confidence{Confirmed, Likely, Suspected}, v.Confidence) {
		t.Errorf("confidence %q", v.Confidence)
	}
	if v.Confidence == Confirmed && !checked(v) {
		t.Errorf("%s is Confirmed without a check that found anything:\n%s", v.Cause, render(evidenceOf(v)))
	}
	if v.Cause == Unknown && v.Confidence != Suspected {
		t.Errorf("unknown, and %s", v.Confidence)
	}
	checkSentence(t, v.Summary)
	checkRemedy(t, v.Remedy)
}

func evidenceOf(v Verdict) []Evidence {
	var out []Evidence
	for _, e := range v.Evidence {
		out = append(out, e.Evidence)
	}
	return out
}

// checked reports whether a check other than the reading of the text has an
// answer.
func checked(v Verdict) bool {
	return slices.ContainsFunc(v.Evidence, func(e Finding) bool {
		return e.Check != CheckMessage && (e.Outcome == Passed || e.Outcome == Failed)
	})
}

func checkSentence(t testing.TB, s string) {
	t.Helper()
	if s == "" || len(s) > SummaryLimit || strings.TrimSpace(s) == "" {
		t.Errorf("%d bytes of summary: %q", len(s), s)
	}
	checkText(t, s)
}

// checkText asserts that a text is harmless on a terminal and stays on one line.
func checkText(t testing.TB, s string) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("not UTF-8: %q", s)
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Cf, unicode.Zl, unicode.Zp) {
			t.Errorf("%U in %q", r, s)
		}
	}
}

func checkRemedy(t testing.TB, lines []string) {
	t.Helper()
	if len(lines) == 0 {
		t.Fatal("no remedy")
	}
	for _, line := range lines {
		if checkText(t, line); strings.TrimLeft(line, "# ") == "" {
			t.Errorf("empty line in %q", lines)
		}
		if strings.HasPrefix(line, "#") && regexp.MustCompile(`\w''([^'\\]|$)`).MatchString(line) {
			t.Errorf("nothing is quoted behind a word: %q", line)
		}
	}
}

// checkPromise asserts that a comment that announces a command is followed by one. A
// hostile name that ends a comment may be a colon itself, and is no promise.
func checkPromise(t testing.TB, lines []string) {
	t.Helper()
	if last := lines[len(lines)-1]; strings.HasPrefix(last, "#") && strings.HasSuffix(last, ":") {
		t.Errorf("the remedy promises a command and has none: %q", lines)
	}
}

// TestDiagnoseIsPure: the same input gives the same verdict, however often, and is
// left as it was.
func TestDiagnoseIsPure(t *testing.T) {
	t.Parallel()
	for _, s := range verdictCases(t) {
		before, failure := render(s.evidence), s.failure
		first := Diagnose(s.failure, s.evidence)
		for range 20 {
			if again := Diagnose(s.failure, s.evidence); !reflect.DeepEqual(first, again) {
				t.Errorf("%s: %+v, then %+v", s.name(), first, again)
			}
		}
		if render(s.evidence) != before || !reflect.DeepEqual(s.failure, failure) {
			t.Errorf("%s: the input was changed", s.name())
		}
	}
}

// TestDiagnoseKeepsEvidence: all of it, in the order of the checks, within a
// check in the order of arrival.
func TestDiagnoseKeepsEvidence(t *testing.T) {
	in := []Evidence{
		{Check: CheckPull, Outcome: NotRun}, {Check: CheckRegistry, Fault: "b"}, {Check: CheckImage}, {Check: CheckRegistry, Fault: "a"},
		{Check: CheckPodDNS}, {Check: CheckMessage}, {Check: CheckNodeDNS}, {Check: CheckCredentials},
	}
	var got []string
	for _, e := range Diagnose(ordinary(), in).Evidence {
		got = append(got, string(e.Check)+string(e.Fault))
	}
	want := "message image credentials nodeDNS podDNS registryb registrya pull"
	if strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// TestDiagnoseOrderOfChecks: in which order the checks have come in does not
// matter.
func TestDiagnoseOrderOfChecks(t *testing.T) {
	for _, s := range verdictCases(t) {
		want := golden(Diagnose(s.failure, s.evidence))
		shuffled := slices.Clone(s.evidence)
		for seed := range uint64(5) {
			order := Checks()
			rand.New(rand.NewPCG(seed, 7)).Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			slices.SortStableFunc(shuffled, func(a, b Evidence) int {
				return slices.Index(order, a.Check) - slices.Index(order, b.Check)
			})
			if got := golden(Diagnose(s.failure, shuffled)); got != want {
				t.Errorf("%s, checks as %v: got\n%s\nwant\n%s", s.name(), order, got, want)
			}
		}
	}
}

// TestDiagnoseSubsets: whatever evidence is missing, every verdict is well-formed.
func TestDiagnoseSubsets(t *testing.T) {
	t.Parallel()
	for _, s := range verdictCases(t) {
		if len(s.evidence) > 10 {
			t.Fatalf("%s has %d pieces of evidence", s.name(), len(s.evidence))
		}
		for mask := range 1 << len(s.evidence) {
			var some []Evidence
			for i, e := range s.evidence {
				if mask&(1<<i) != 0 {
					some = append(some, e)
				}
			}
			checkVerdict(t, Diagnose(s.failure, some))
		}
		if t.Failed() {
			t.Fatalf("subsets of %s", s.name())
		}
	}
}

// withheld is evidence of a check that was not run, but for the fault: what a
// careless check may leave behind.
func withheld(e Evidence) Evidence {
	e.Outcome = NotRun
	return e
}

// TestDiagnoseNotRun: evidence that was not gathered confirms nothing. A verdict
// that is Confirmed with it is Confirmed without it, and of the same cause.
func TestDiagnoseNotRun(t *testing.T) {
	t.Parallel()
	for _, s := range verdictCases(t) {
		for mask := range 1 << len(s.evidence) {
			var with, without []Evidence
			for i, e := range s.evidence {
				if mask&(1<<i) != 0 {
					with = append(with, withheld(e))
				} else {
					with, without = append(with, e), append(without, e)
				}
			}
			checkNotRun(t, s.failure, with, without)
		}
		if t.Failed() {
			t.Fatalf("variants of %s", s.name())
		}
	}
}

func checkNotRun(t testing.TB, f Failure, with, without []Evidence) {
	t.Helper()
	v := Diagnose(f, with)
	if v.Confidence != Confirmed {
		return
	}
	if bare := Diagnose(f, without); bare.Confidence != Confirmed || bare.Cause != v.Cause {
		t.Errorf("%s %s with\n%s\n%s %s without what was not run", v.Cause, v.Confidence, render(with), bare.Cause, bare.Confidence)
	}
}

// TestDiagnosePending: a first verdict is never Confirmed.
func TestDiagnosePending(t *testing.T) {
	for _, s := range verdictCases(t) {
		pending := slices.ContainsFunc(s.evidence, func(e Evidence) bool { return e.Fault == FaultPending })
		v := Diagnose(s.failure, s.evidence)
		if pending && v.Confidence == Confirmed {
			t.Errorf("%s: Confirmed before the registry has answered", s.name())
		}
	}
}

// hostile are texts that a pod, a secret or a registry's configuration may
// hold, and that nobody may be harmed by.
func hostile() []string {
	return []string{
		"'", `"`, "`id`", "$(id)", "${IFS}", "a;id", "a|id", "a&&id", "a\nid", "a\r\nid #", "#", "a #b", "-", "--help", "-n", "\\", `\'`, "'\\''",
		"<image>", "<tag>", ">x", "*", "?", "~", "!", "{a,b}", "a b", "\t", "\x00", "\x1b[2J", "\u202eevil", "\u2066x\u2069", "\u2028id", "\ufeff", "\u200b",
		"\xff\xfe", "é", "日本", "%s%d%!", blankStart + "tag" + blankEnd, blankStart + "$(id)" + blankEnd, blankStart, blankEnd, strings.Repeat("x", 400), strings.Repeat("ä", 200),
		"",
	}
}

// spoiltHost is a text in the place of a host: hosts that were the same stay so,
// and others do not become it, because that decides.
func spoiltHost(host, text string) string {
	if host == "" {
		return ""
	}
	return text + string(rune('a'+len(hostOnly(host))%26))
}

// spoil puts a text everywhere where one can stand.
func spoil(f Failure, evidence []Evidence, text string) (Failure, []Evidence) {
	f.Namespace, f.Pod, f.Node, f.Container = text, text, text, text
	f.Image, f.Registry, f.Repository, f.ServiceAccount = text, spoiltHost(f.Registry, text), text, text
	f.PullSecrets = []string{text}
	if f.Owner.Kind != "" {
		f.Owner.Name, f.Owner.CronJob = text, text
	}
	if f.Manager.Tool != "" {
		f.Manager.Namespace, f.Manager.Name = text, text
	}
	out := slices.Clone(evidence)
	for i := range out {
		e := &out[i]
		e.Endpoint.URL, e.Endpoint.ConfigDir = "https://"+spoiltHost(hostOf(e.Endpoint.URL), text), "/"+text
		e.Body = spoiltBody(e.Body, text)
	}
	return f, out
}

// spoiltBody is a copy of facts with a text everywhere where one can stand.
func spoiltBody(b Body, text string) Body {
	word := func(s *string) {
		if *s != "" {
			*s = text + "x"
		}
	}
	words := func(s *[]string) { *s = slices.Repeat([]string{text}, len(*s)) }
	cred := func(c **CredentialRef) {
		if old := *c; old != nil {
			*c = &CredentialRef{Source: text, Key: text, Order: old.Order, Validity: old.Validity}
		}
	}
	switch b := b.(type) {
	case *MessageFacts:
		out := *b
		out.Host, out.Text = spoiltHost(b.Host, text), text
		return &out
	case *ImageFacts:
		out := *b
		for _, s := range []*string{&out.Invalid, &out.Error, &out.Recorded, &out.Written} {
			word(s)
		}
		words(&out.Candidates)
		words(&out.Others)
		return &out
	case *CredentialFacts:
		out := *b
		if out.Secret != "" {
			out.Secret = text
		}
		for _, s := range []*string{&out.Provider, &out.File, &out.Key, &out.Problem, &out.Note, &out.Near, &out.Unread, &out.Pattern} {
			word(s)
		}
		if out.Manager.Tool != "" {
			out.Manager.Namespace, out.Manager.Name = text, text
		}
		words(&out.Hosts)
		cred(&out.Credential)
		return &out
	case *DNSFacts:
		out := *b
		for _, s := range []*string{&out.Host, &out.Server, &out.Name, &out.Alias, &out.Why, &out.Proxy, &out.ProxySource, &out.Connection} {
			word(s)
		}
		return &out
	case *RegistryFacts:
		out := *b
		place := func(s *string) {
			if *s != "" {
				*s = "https://" + spoiltHost(hostOf(*s), text)
			}
		}
		words(&out.Hops)
		words(&out.Targets)
		for _, s := range []*string{&out.Via, &out.Proxy, &out.Platform, &out.Reference, &out.TokenHost, &out.Remote, &out.Blob, &out.Source} {
			word(s)
		}
		words(&out.Platforms)
		words(&out.Candidates)
		cred(&out.Credential)
		if b.Config != nil {
			out.Config = &ConfigFacts{File: text, Line: b.Config.Line, Problem: b.Config.Problem, Endpoint: b.Config.Endpoint}
			place(&out.Config.Endpoint)
		}
		if b.Certificate != nil {
			out.Certificate = &Certificate{Issuer: text, Names: []string{text}}
		}
		return &out
	case *PullFacts:
		out := *b
		word(&out.Blob)
		words(&out.Sources)
		if b.Retry != nil {
			retry := *b.Retry
			cred(&retry.Credential)
			out.Retry = &retry
		}
		return &out
	}
	return nil
}

func TestVerdictsOnHostileTexts(t *testing.T) {
	t.Parallel()
	for _, s := range verdictCases(t) {
		want := Diagnose(s.failure, s.evidence)
		for _, text := range hostile() {
			f, evidence := spoil(s.failure, s.evidence, text)
			v := Diagnose(f, evidence)
			checkVerdict(t, v)
			if v.Cause != want.Cause || v.Confidence != want.Confidence {
				t.Errorf("%q changes the verdict to %s, %s", text, v.Cause, v.Confidence)
			}
		}
		if t.Failed() {
			t.Fatal(s.name())
		}
	}
}

// anything makes evidence of random parts.
func anything(r *rand.Rand) Evidence {
	checks, faults, outcomes := Checks(), faults(), []Outcome{Passed, Failed, Failed, Inconclusive, NotRun, ""}
	e := Evidence{Check: checks[r.IntN(len(checks))], Outcome: outcomes[r.IntN(len(outcomes))], Fault: faults[r.IntN(len(faults))], Endpoint: Endpoint{Mirror: r.IntN(4) == 0}}
	switch e.Check {
	case CheckMessage:
		e.Body = &MessageFacts{Cause: catalogue[r.IntN(len(catalogue))].Cause, AfterManifest: r.IntN(8) == 0}
	case CheckRegistry:
		var b RegistryFacts
		if r.IntN(2) == 0 {
			validities := []Validity{ValidityUnknown, ValidityGood, ValidityExpired, ValidityOutlived}
			n := r.IntN(3)
			b.Credential = &CredentialRef{Source: fmt.Sprint("s", n), Order: n + 1, Validity: validities[r.IntN(len(validities))]}
		}
		b.Content, b.Exists, b.SaysExpired = r.IntN(4) == 0, r.IntN(4) == 0, r.IntN(8) == 0
		e.Body = &b
	case CheckCredentials:
		e.Body = &CredentialFacts{Secret: fmt.Sprint("s", r.IntN(3))}
	case CheckImage, CheckNodeDNS, CheckPodDNS, CheckPull:
	}
	return e
}

// faults returns all faults, and none.
var faults = sync.OnceValue(func() []Fault {
	out := []Fault{""}
	for _, f := range constantsOf("fault.go", "Fault") {
		out = append(out, Fault(f))
	}
	for _, e := range Catalogue() {
		out = append(out, FaultOf(e.Cause))
	}
	slices.Sort(out)
	return slices.Compact(out)
})

func randomFailure(r *rand.Rand) Failure {
	f := ordinary()
	f.PullPolicy = []string{"Always", "IfNotPresent", "Never", ""}[r.IntN(4)]
	f.Reason = []string{"ErrImagePull", "ImageInspectError", "ErrImageNeverPull", ""}[r.IntN(4)]
	f.Kind = []Kind{KindContainer, KindInitContainer, KindEphemeralContainer, KindImageVolume, KindSandbox}[r.IntN(5)]
	f.Stall = []Stall{"", "", "", StallSandbox, StallUnbegun, StallTransfer, StallBehind}[r.IntN(7)]
	f.Platform = append(everyPlatform(), "")[r.IntN(len(everyPlatform())+1)]
	f.Owner.Kind = []string{"", "Deployment", "StatefulSet", "Job", "Node", "Rollout"}[r.IntN(6)]
	f.PullSecrets = []string{"s0", "s1"}[:r.IntN(3)]
	return f
}

// checkRandom makes a failure with n pieces of evidence from a seed and asserts
// what holds of all verdicts.
func checkRandom(t testing.TB, seed uint64, n int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	f := randomFailure(r)
	var all, ranOnly []Evidence
	for range n {
		e := anything(r)
		if all = append(all, e); e.Outcome != NotRun {
			ranOnly = append(ranOnly, e)
		}
	}
	v := Diagnose(f, all)
	checkVerdict(t, v)
	checkNotRun(t, f, all, ranOnly)
	of := func(c Cause) bool { return c == v.Cause || v.Cause == SandboxImageFailed } // which stands for the cause at its image
	if v.Cause != Unknown && v.Confidence == Suspected && !slices.ContainsFunc(all, func(e Evidence) bool { return e.Check == CheckMessage && e.Outcome != NotRun && of(e.Message().Cause) }) {
		t.Errorf("%s is suspected without a text that says so:\n%s", v.Cause, render(all))
	}
}

func TestDiagnoseRandomEvidence(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5_000) {
		if checkRandom(t, seed, int(seed%12)); t.Failed() {
			t.Fatalf("seed %d, %d pieces", seed, seed%12)
		}
	}
}

func FuzzDiagnose(f *testing.F) {
	f.Add(uint64(1), uint8(3))
	f.Add(uint64(2), uint8(9))
	f.Fuzz(func(t *testing.T, seed uint64, n uint8) { checkRandom(t, seed, int(n%16)) })
}

func BenchmarkDiagnose(b *testing.B) {
	all := verdictCases(b)
	for b.Loop() {
		for _, s := range all {
			Diagnose(s.failure, s.evidence)
		}
	}
}
