package agent

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// scripted returns the same evidence from all examinations until it is changed.
type scripted struct {
	collector
	evidence []diagnosis.Evidence
}

func (c *scripted) Collect(context.Context, diagnosis.Failure, bool) ([]diagnosis.Evidence, <-chan []diagnosis.Evidence) {
	all := make(chan []diagnosis.Evidence, 1)
	all <- c.evidence
	close(all)
	return c.evidence, all
}

// denied returns evidence that the registry requires credentials, with the given
// evidence of the pull secret.
func denied(secret diagnosis.Evidence) []diagnosis.Evidence {
	facts := *secret.Credentials()
	facts.Secret = "regcred"
	secret.Check, secret.Body = diagnosis.CheckCredentials, &facts
	return []diagnosis.Evidence{
		{Check: diagnosis.CheckMessage, Outcome: diagnosis.Inconclusive, Body: &diagnosis.MessageFacts{Cause: diagnosis.AuthenticationRequired}},
		secret,
		{Check: diagnosis.CheckRegistry, Outcome: diagnosis.Failed, Fault: diagnosis.FaultUnauthorized, Endpoint: diagnosis.Endpoint{URL: "https://hub.test"}, Body: &diagnosis.RegistryFacts{Status: 401, Phase: diagnosis.PhaseManifest}},
	}
}

func readable() []diagnosis.Evidence {
	return denied(diagnosis.Evidence{Outcome: diagnosis.Failed, Fault: diagnosis.FaultNoMatchingCredential, Body: &diagnosis.CredentialFacts{Hosts: []string{"other.test"}}})
}

func unread(o diagnosis.Outcome) []diagnosis.Evidence {
	return denied(diagnosis.Evidence{Outcome: o, Fault: diagnosis.FaultSecretUnreadable})
}

// standings is an agent that makes one examination at a time.
type standings struct {
	t         *testing.T
	agent     *Agent
	judged    map[diagnosis.Subject]judged
	collector *scripted
	now       time.Time
}

func newStandings(t *testing.T) *standings {
	t.Helper()
	s := &standings{t: t, collector: &scripted{}, now: began().Add(time.Minute)}
	s.agent = New(NewPods(), "", s.collector, &publisher{}, nil)
	s.agent.now = func() time.Time { return s.now }
	t.Cleanup(s.agent.pods.queue.ShutDown)
	return s
}

// examine returns the verdict of one more examination, a minute later.
func (s *standings) examine(found []diagnosis.Evidence, edits ...func(*diagnosis.Failure)) diagnosis.Verdict {
	s.t.Helper()
	s.now = s.now.Add(time.Minute)
	s.collector.evidence = found
	u := update(failure("app", append([]func(*diagnosis.Failure){says("ErrImagePull", "no basic auth credentials")}, edits...)...))
	s.agent.pods.Observe(u)
	s.agent.pods.Reexamine(u.UID, false)
	r := s.agent.begin(s.t.Context(), work{update: u, judged: s.judged})
	r.collect()
	r.wait()
	s.judged = r.judged()
	return r.verdicts()[0]
}

func details(v diagnosis.Verdict) string {
	var out []string
	for _, e := range v.Evidence {
		if e.Check == diagnosis.CheckCredentials {
			out = append(out, string(e.Outcome)+" "+e.Detail)
		}
	}
	return strings.Join(out, "\n")
}

// A verdict is kept while a secret that it is based on is unreadable, and says since
// when; it is replaced once the secret is readable again.
func TestVerdictStandsWhileTheSecretIsUnreadable(t *testing.T) {
	t.Parallel()
	s := newStandings(t)
	was := s.examine(readable())
	if was.Cause != diagnosis.PullSecretNoMatch || was.Confidence != diagnosis.Confirmed {
		t.Fatalf("%s, %s", was.Cause, was.Confidence)
	}
	const note = " secret regcred has been unreadable since 2026-01-02T03:07:01Z; the verdict is older than that"
	const found = "Failed secret regcred has credentials for other.test, but the image is on hub.test\n"
	for i, o := range []diagnosis.Outcome{diagnosis.NotRun, diagnosis.Inconclusive, diagnosis.NotRun} {
		got := s.examine(unread(o), says("ImagePullBackOff", "no basic auth credentials"))
		if got.Cause != was.Cause || got.Confidence != was.Confidence || got.Summary != was.Summary {
			t.Errorf("examination %d: %s, %s: %s", i, got.Cause, got.Confidence, got.Summary)
		}
		if want := found + "NotRun" + note; details(got) != want {
			t.Errorf("examination %d:\n%s\nwant\n%s", i, details(got), want)
		}
		if got.Failure.Reason != "ImagePullBackOff" {
			t.Errorf("examination %d is of the failure as it was", i)
		}
	}
	again := s.examine(readable())
	if got := details(again); again.Confidence != diagnosis.Confirmed || got != strings.TrimSpace(found) {
		t.Errorf("%s\n%s", again.Confidence, got)
	}
	if got := details(was); got != strings.TrimSpace(found) {
		t.Errorf("the first verdict has changed: %s", got)
	}
}

// A verdict is also kept while the runtime does not answer, or too much is going on to ask
// a registry, if it would be a weaker one, and says since when.
func TestVerdictStandsWhileAnythingCannotBeChecked(t *testing.T) {
	t.Parallel()
	message := diagnosis.Evidence{Check: diagnosis.CheckMessage, Outcome: diagnosis.Inconclusive, Body: &diagnosis.MessageFacts{Cause: diagnosis.TagNotFound}}
	endpoint := diagnosis.Endpoint{URL: "https://hub.test"}
	missing := diagnosis.Evidence{Check: diagnosis.CheckRegistry, Outcome: diagnosis.Failed, Fault: diagnosis.FaultTagNotFound, Endpoint: endpoint, Body: &diagnosis.RegistryFacts{Status: 404, Phase: diagnosis.PhaseManifest}}
	for _, reason := range []diagnosis.Reason{diagnosis.ReasonQueueFull, diagnosis.ReasonOutOfTime, diagnosis.ReasonManyUnderWay, diagnosis.ReasonLimited, diagnosis.ReasonCutShort} {
		s := newStandings(t)
		was := s.examine([]diagnosis.Evidence{message, missing})
		if was.Cause != diagnosis.TagNotFound || was.Confidence != diagnosis.Confirmed {
			t.Fatalf("%s, %s", was.Cause, was.Confidence)
		}
		lost := diagnosis.Evidence{Check: diagnosis.CheckRegistry, Outcome: diagnosis.NotRun, Reason: reason, Endpoint: endpoint}
		for range 3 {
			got := s.examine([]diagnosis.Evidence{message, lost})
			if got.Cause != was.Cause || got.Confidence != was.Confidence || len(got.Evidence) != len(was.Evidence)+1 {
				t.Errorf("%s: %s, %s on %d facts", reason, got.Cause, got.Confidence, len(got.Evidence))
			}
			if last := got.Evidence[len(got.Evidence)-1]; last.Reason != reason || !strings.HasSuffix(last.Detail, " (since 2026-01-02T03:07:01Z; the verdict is older than that)") {
				t.Errorf("%s: %s", reason, last.Detail)
			}
		}
		if again := s.examine([]diagnosis.Evidence{message, missing}); len(again.Evidence) != len(was.Evidence) {
			t.Errorf("%s: checked again, %d facts", reason, len(again.Evidence))
		}
	}
	never := func(e diagnosis.Evidence) []diagnosis.Evidence {
		e.Check = diagnosis.CheckImage
		return []diagnosis.Evidence{{Check: diagnosis.CheckMessage, Outcome: diagnosis.Inconclusive, Body: &diagnosis.MessageFacts{Cause: diagnosis.ImageNotPresent}}, e}
	}
	policy := func(f *diagnosis.Failure) { f.PullPolicy, f.Reason = "Never", "ErrImageNeverPull" }
	s := newStandings(t)
	was := s.examine(never(diagnosis.Evidence{Outcome: diagnosis.Failed, Fault: diagnosis.FaultImageAbsent}), policy)
	got := s.examine(never(diagnosis.Evidence{Outcome: diagnosis.Inconclusive, Fault: diagnosis.FaultRuntimeUnready, Body: &diagnosis.ImageFacts{Error: "connection refused"}}), policy)
	if was.Confidence != diagnosis.Confirmed || got.Cause != was.Cause || got.Confidence != was.Confidence || len(got.Evidence) != len(was.Evidence)+1 {
		t.Errorf("without the runtime: %s, %s; before: %s, %s", got.Cause, got.Confidence, was.Cause, was.Confidence)
	}
}

// A weaker verdict replaces the previous one if the failure is another one or all
// secrets have been read.
func TestVerdictDoesNotStand(t *testing.T) {
	t.Parallel()
	refused := append(denied(diagnosis.Evidence{Outcome: diagnosis.NotRun, Fault: diagnosis.FaultSecretUnreadable}),
		diagnosis.Evidence{Check: diagnosis.CheckNodeDNS, Outcome: diagnosis.Passed})
	for name, tc := range map[string]struct {
		first, then []diagnosis.Evidence
		edit        func(*diagnosis.Failure)
	}{
		"another text":            {readable(), unread(diagnosis.NotRun), says("ErrImagePull", "dial tcp 10.0.0.1:443: connect: connection refused")},
		"another image":           {readable(), unread(diagnosis.NotRun), func(f *diagnosis.Failure) { f.Image = "hub.test/app:2" }},
		"other secrets":           {readable(), unread(diagnosis.NotRun), func(f *diagnosis.Failure) { f.PullSecrets = []string{"other"} }},
		"another incident":        {readable(), unread(diagnosis.NotRun), func(f *diagnosis.Failure) { f.Since = f.Since.Add(time.Minute) }},
		"weaker, read all":        {readable(), denied(diagnosis.Evidence{Outcome: diagnosis.Passed})[:1], func(*diagnosis.Failure) {}},
		"never read":              {unread(diagnosis.NotRun), refused, func(*diagnosis.Failure) {}},
		"stronger, though unread": {unread(diagnosis.NotRun), readable(), func(*diagnosis.Failure) {}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStandings(t)
			s.examine(tc.first)
			got := s.examine(tc.then, tc.edit)
			want := diagnosis.Diagnose(got.Failure, tc.then)
			if got.Cause != want.Cause || got.Confidence != want.Confidence || len(got.Evidence) != len(want.Evidence) {
				t.Errorf("%s, %s on %d facts; want %s, %s on %d", got.Cause, got.Confidence, len(got.Evidence), want.Cause, want.Confidence, len(want.Evidence))
			}
		})
	}
}
