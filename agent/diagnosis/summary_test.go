package diagnosis

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestClip(t *testing.T) {
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{
		{"", 4, ""},
		{"abcd", 4, "abcd"},
		{"abcde", 4, "a…"},
		{"ääää", 8, "ääää"},
		{"äääää", 8, "ää…"},
		{"日本語日本語", 10, "日本…"},
		{strings.Repeat("x", 300), SummaryLimit, strings.Repeat("x", SummaryLimit-3) + "…"},
	} {
		got := Clip(c.in, c.n)
		if got != c.want || len(got) > c.n || !utf8.ValidString(got) {
			t.Errorf("%q in %d: %q, want %q", c.in, c.n, got, c.want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                    "plain",
		"é 日本":                     "é 日本",
		"a\nb\r\tc":                "abc",
		"\x00\x1b[31m\x7f\x9b":     "[31m",
		"a\u202eb\u2066c\u2069":    "abc",
		"\u200e\u200f\u061c\u200b": "",
		"a\u2028b\u2029c":          "abc",
		"\ufeffa\u00adb":           "ab",
		"a\xffb":                   "ab",
		"a\u0085b":                 "ab",
	} {
		if got := Printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestList(t *testing.T) {
	for _, c := range []struct {
		in   []string
		want string
	}{
		{nil, "no registry"},
		{[]string{"a"}, "a"},
		{[]string{"a", "b", "c"}, "a, b, c"},
		{[]string{"a", "b", "c", "d", "e"}, "a, b, c and 2 more"},
	} {
		if got := list(c.in); got != c.want {
			t.Errorf("%v: %s", c.in, got)
		}
	}
}

func TestPullSecrets(t *testing.T) {
	for want, in := range map[string][]string{
		"pull secret a is":                    {"a"},
		"pull secrets a, b are":               {"a", "b"},
		"pull secrets a, b, c and 1 more are": {"a", "b", "c", "d"},
	} {
		if got := pullSecrets(in, "is", "are"); got != want {
			t.Errorf("%v: %s", in, got)
		}
	}
	if got := pullSecrets([]string{"a"}, "", ""); got != "pull secret a" {
		t.Errorf("%q", got)
	}
}

func TestShortImage(t *testing.T) {
	for in, want := range map[string]string{
		"app:1":                  "app:1",
		strings.Repeat("a", 120): strings.Repeat("a", 120),
		strings.Repeat("a", 100) + strings.Repeat("b", 100): strings.Repeat("a", 56) + "…" + strings.Repeat("b", 56),
	} {
		if got := (&facts{Failure: Failure{Image: in}}).image(); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	cut := Printable((&facts{Failure: Failure{Image: strings.Repeat("ä", 100)}}).image())
	if !utf8.ValidString(cut) || len(cut) > 120 {
		t.Errorf("%q", cut)
	}
}

// TestSummariesWithoutDetail: evidence that says nothing for people leaves the
// catalogue's sentence, not an empty one.
func TestSummariesWithoutDetail(t *testing.T) {
	for _, f := range faults() {
		for _, check := range Checks() {
			x := given(Evidence{Check: check, Outcome: Failed, Fault: f, Body: &CredentialFacts{Secret: "a"}}, answer(FaultUnauthorized))
			cause, _ := x.decide()
			checkSentence(t, Clip(x.summary(cause), SummaryLimit))
		}
	}
}

// TestSummaryOfManySecrets: the sentence stays short enough to be read to its end.
func TestSummaryOfManySecrets(t *testing.T) {
	for _, fault := range []Fault{FaultSecretMissing, FaultNoMatchingCredential} {
		var all []Evidence
		for _, name := range []string{"alpha", "beta", "gamma", "delta", "epsilon"} {
			e := secretOf(name, Failed, fault)
			e.Body.(*CredentialFacts).Hosts = []string{name + ".example"}
			all = append(all, e)
		}
		v := Diagnose(ordinary(), append(all, answer(FaultUnauthorized)))
		if strings.HasSuffix(v.Summary, "…") || !strings.Contains(v.Summary, "hub.example.com") {
			t.Errorf("%s", v.Summary)
		}
	}
}

func TestWhose(t *testing.T) {
	reject := attemptWith("a", answer(FaultUnauthorized))
	node := attemptWith("/var/lib/kubelet/config.json", answer(FaultUnauthorized))
	for _, c := range []struct {
		name, want string
		x          *facts
	}{
		{"nobody's", "", given()},
		{"a secret's", "pull secret a", given(secretOf("a", Passed, ""), reject)},
		{"the same secret's twice", "pull secret a", given(secretOf("a", Passed, ""), reject, reject)},
		{"one that is to be tried", "pull secret b", given(secretOf("b", Passed, ""))},
		{"one entry of two", "pull secret a (entry hub.test/team)", given(secretOf("a", Passed, ""), withKey("hub.test/team", reject), withKey("hub.test", attemptWith("a", answer(FaultForbidden))))},
		{"both entries", "pull secret a (entries hub.test/team, hub.test)", given(secretOf("a", Passed, ""), withKey("hub.test/team", reject), withKey("hub.test", reject))},
		{"one entry of two secrets each", "pull secrets a, b", given(secretOf("a", Passed, ""), secretOf("b", Passed, ""), withKey("hub.test/team", reject), withKey("hub.test", attemptWith("b", answer(FaultUnauthorized))))},
		{"one that is not for the image", "pull secret a (entry hub.test/team)", given(withHosts(secretOf("a", Passed, ""), "https://HUB.test/v1/", "hub.test/team", "ghcr.io"), withKey("hub.test/team", reject))},
		{"for other hosts", "pull secret a", given(withHosts(secretOf("a", Passed, ""), "hub.test/team", "ghcr.io"), withKey("hub.test/team", reject))},
		{"the node's", "/var/lib/kubelet/config.json", given(secretOf("a", Failed, FaultSecretMissing), node)},
		{"both", "a, /var/lib/kubelet/config.json", given(secretOf("a", Passed, ""), reject, node)},
	} {
		if got := c.x.whose(c.x.rejected()); got != c.want {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

// The summary gives the time of the next attempt in UTC, or the longest wait where
// the time is unknown.
func TestNextTryInSummary(t *testing.T) {
	at := time.Date(2026, 1, 2, 13, 4, 30, 0, time.FixedZone("", 3600))
	for want, next := range map[string]time.Time{
		"all checks of hub.test/a:1 pass now; the kubelet retries between about 12:04:30 and 12:04:45 UTC": at,
		"all checks of hub.test/a:1 pass now; the kubelet retries within five minutes":                     {},
	} {
		f := Failure{Image: "hub.test/a:1", Registry: "hub.test", Repository: "a", NextTry: next}
		v := Diagnose(f, []Evidence{{Check: CheckRegistry, Outcome: Passed, Endpoint: Endpoint{URL: "https://hub.test"}}})
		if v.Cause != NotReproducible || v.Summary != want {
			t.Errorf("%s: %s, want %s", v.Cause, v.Summary, want)
		}
	}
	f := Failure{Image: "hub.test/a:1", Registry: "hub.test", Node: "n", PullPolicy: "Never", Reason: "ErrImageNeverPull", NextTry: at}
	v := Diagnose(f, []Evidence{{Check: CheckMessage, Outcome: Failed, Body: &MessageFacts{Cause: ImageNotPresent}}, {Check: CheckImage, Outcome: Passed, Body: &ImageFacts{Record: RecordThisPod}}})
	if v.Cause != NotReproducible || !strings.HasSuffix(v.Summary, "it retries between about 12:04:30 and 12:04:45 UTC") {
		t.Errorf("%s: %s", v.Cause, v.Summary)
	}
}
