package diagnosis

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the verdicts into the scenario files")

// readMessage is message.Read, see [ReadMessagesWith].
var readMessage func(reason, text string) *MessageFacts

// A scenario file is one case. In front of the line "---" stand the failure and
// the evidence, behind it the verdict:
//
//	# comment
//	secrets: regcred
//	text: failed to pull …               the kubelet's text, read as in production
//	credentials: Failed NoMatchingCredential secret=regcred hosts=ghcr.io | detail
//	---
//	PullSecretNoMatch, Confirmed
//	pull secret regcred is for …
//	$ kubectl …
//
// What a file does not say has the value of [ordinary].
type verdictCase struct {
	file     string
	input    string // all in front of the verdict
	golden   string
	failure  Failure
	evidence []Evidence
}

const divider = "---\n"

// ordinary is a container of a bare pod whose image's name is well-formed.
func ordinary() Failure {
	return Failure{
		Namespace: "shop", Pod: "web", UID: "0c0ffee0", Node: "worker-3", Container: "app", Kind: KindContainer,
		Image: "hub.example.com/team/app:1.2", Registry: "hub.example.com", Repository: "team/app",
		PullPolicy: "IfNotPresent", Reason: "ErrImagePull",
	}
}

func verdictCases(t testing.TB) []verdictCase {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "scenarios", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	var out []verdictCase
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s, err := parseScenario(string(data))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		s.file = file
		out = append(out, s)
	}
	return out
}

func (s verdictCase) name() string { return strings.TrimSuffix(filepath.Base(s.file), ".txt") }

func parseScenario(data string) (verdictCase, error) {
	s := verdictCase{failure: ordinary()}
	s.input, s.golden, _ = strings.Cut(data, divider)
	var texts []string
	for line := range strings.Lines(s.input) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, found := strings.Cut(line, ":")
		if !found {
			return s, fmt.Errorf("not a line of a scenario: %q", line)
		}
		value = strings.TrimSpace(value)
		if key == "text" || key == "blob" {
			texts = append(texts, key+":"+value)
			continue
		}
		if err := s.set(key, value); err != nil {
			return s, err
		}
	}
	if len(texts) == 0 && s.failure.Reason != "" {
		texts = []string{"text:"}
	}
	for _, text := range texts {
		s.read(text)
	}
	return s, nil
}

// read takes a text of the kubelet's as the message check does; "blob" marks
// one that speaks of a step after the manifest.
func (s *verdictCase) read(text string) {
	kind, message, _ := strings.Cut(text, ":")
	s.failure.Message = message
	r := readMessage(s.failure.Reason, message)
	e := Evidence{Check: CheckMessage, Outcome: Inconclusive, Cause: r.Cause, Host: r.Host, BehindProxy: r.BehindProxy, LoginSent: r.CredentialsSent, AfterManifest: kind == "blob", Blob: r.Blob, Detail: "the kubelet says: " + r.Text}
	if r.Cause != Unknown {
		e.Outcome, e.Fault = Failed, Fault(r.Cause)
	}
	s.evidence = append(s.evidence, e)
}

func (s *verdictCase) set(key, value string) error {
	f := &s.failure
	fields := map[string]*string{
		"namespace": &f.Namespace, "pod": &f.Pod, "node": &f.Node, "container": &f.Container, "ref": &f.Image, "host": &f.Registry,
		"repository": &f.Repository, "policy": &f.PullPolicy, "reason": &f.Reason, "account": &f.ServiceAccount,
	}
	if field := fields[key]; field != nil {
		*field = value
		return nil
	}
	switch key {
	case "kind":
		f.Kind = Kind(value)
	case "stall":
		f.Stall = Stall(value)
	case "owner":
		f.Owner.Kind, f.Owner.Name, _ = strings.Cut(value, "/")
	case "secrets":
		f.PullSecrets = strings.Split(value, ", ")
	default:
		e, err := parseEvidence(key, value)
		if err != nil {
			return err
		}
		s.number(e.Credential)
		s.evidence = append(s.evidence, e)
	}
	return nil
}

// number gives a login its place in the kubelet's order, which is that in which
// the file names them first.
func (s *verdictCase) number(c *Credential) {
	if c == nil {
		return
	}
	var before []Credential
	for _, e := range s.evidence {
		if e.Credential == nil {
			continue
		}
		if e.Credential.Source == c.Source && e.Credential.Key == c.Key {
			c.Order = e.Credential.Order
			return
		}
		if !slices.Contains(before, *e.Credential) {
			before = append(before, *e.Credential)
		}
	}
	c.Order = len(before) + 1
}

// parseEvidence reads "Outcome Fault key=value … | detail".
func parseEvidence(check, line string) (Evidence, error) {
	e := Evidence{Check: Check(check)}
	if !slices.Contains(Checks(), e.Check) {
		return e, fmt.Errorf("no check %q", check)
	}
	line, e.Detail, _ = strings.Cut(line, " | ")
	for i, word := range strings.Fields(line) {
		key, value, found := strings.Cut(word, "=")
		switch {
		case i == 0:
			e.Outcome = Outcome(word)
		case !found:
			e.Fault = Fault(word)
		default:
			if err := e.setForTest(key, value); err != nil {
				return e, err
			}
		}
	}
	if !slices.Contains([]Outcome{Passed, Failed, Inconclusive, NotRun}, e.Outcome) {
		return e, fmt.Errorf("no outcome %q", e.Outcome)
	}
	return e, nil
}

func (e *Evidence) setForTest(key, value string) error {
	switch key {
	case "secret":
		e.Secret = value
	case "hosts":
		e.Hosts = strings.Split(value, ",")
	case "candidates":
		e.Candidates = strings.Split(value, ",")
	case "login":
		source, key, _ := strings.Cut(value, "@")
		e.Credential = &Credential{Source: source, Key: key, Order: 1}
	case "at":
		e.Endpoint = value
	case "mirror":
		e.Endpoint, e.Mirror = value, true
	case "status":
		n, err := strconv.Atoi(value)
		e.Status = n
		return err
	case "phase":
		e.Phase = Phase(value)
	case "content":
		e.Content, e.Blob, e.Endpoint = true, value, cmp.Or(e.Endpoint, "https://hub.example.com")
	case "via":
		e.Via = value
	case "proxy":
		e.Proxy = value
	case "platforms":
		e.Platform, value, _ = strings.Cut(value, ":")
		e.Platforms = strings.Split(value, ",")
	case "validity":
		e.Credential.Validity = Validity(value)
	case "provider":
		e.Provider = value
	case "says":
		e.Exists, e.SaysExpired, e.Unrecorded, e.Estimated, e.Presumed = value == "exists", value == "expired", value == "unrecorded", value == "estimated", value == "presumed"
	case "retry":
		n, err := strconv.Atoi(value)
		e.RetryAfter = n
		return err
	case "dir":
		e.ConfigDir = value
	case "file":
		e.ConfigFile = value
	case "directories":
		e.Directories = strings.Split(value, ",")
	case "addresses":
		e.Addresses = strings.Split(value, ",")
	case "server":
		e.Server = value
	case "name":
		e.Name = value
	case "retried":
		e.Retried, e.Cause = true, Cause(value)
	case "compared":
		e.Compared = Comparison(value)
	case "use":
		e.Use = Use(value)
	default:
		return fmt.Errorf("no field %q", key)
	}
	return nil
}

// golden is how a verdict stands in a scenario file.
func golden(v Verdict) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s\n%s\n", v.Cause, v.Confidence, v.Summary)
	for _, line := range v.Remedy {
		if !strings.HasPrefix(line, "#") {
			line = "$ " + line
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

func TestScenarios(t *testing.T) {
	for _, s := range verdictCases(t) {
		t.Run(s.name(), func(t *testing.T) {
			v := Diagnose(s.failure, s.evidence)
			checkVerdict(t, v)
			if got := golden(v); got != s.golden {
				if *update {
					if err := os.WriteFile(s.file, []byte(s.input+divider+got), 0o644); err != nil {
						t.Fatal(err)
					}
					return
				}
				t.Errorf("got\n%s\nwant\n%s", got, s.golden)
			}
		})
	}
}

// TestScenariosCoverCauses: every cause is shown by a scenario.
func TestScenariosCoverCauses(t *testing.T) {
	seen := map[Cause]int{}
	for _, s := range verdictCases(t) {
		seen[Diagnose(s.failure, s.evidence).Cause]++
	}
	for _, e := range Catalogue() {
		if seen[e.Cause] == 0 {
			t.Errorf("%s: no scenario", e.Cause)
		}
	}
}

// TestScenariosCoverRules: no rule of the table is dead.
func TestScenariosCoverRules(t *testing.T) {
	fired := map[int]bool{}
	for _, s := range verdictCases(t) {
		x := &facts{Failure: s.failure, all: sorted(s.evidence)}
		i := slices.IndexFunc(rules(), func(r rule) bool { return r.when(x) != "" })
		fired[i] = true
	}
	for i, r := range rules() {
		if !fired[i] {
			t.Errorf("rule %d (%s) decides no scenario", i, r.cause)
		}
	}
	if !fired[-1] {
		t.Error("no scenario is left to the text alone")
	}
}

func TestParseScenarioRefusesTypos(t *testing.T) {
	for _, bad := range []string{"nonsense", "registrry: Failed", "registry: Fialed", "registry: Failed X colour=red", "registry: Failed X status=many"} {
		if _, err := parseScenario(bad + "\n" + divider); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// TestScenariosAreDistinct: two files with one input show that one of them does
// not say what it means.
func TestScenariosAreDistinct(t *testing.T) {
	seen := map[string]string{}
	for _, s := range verdictCases(t) {
		key := fmt.Sprintf("%+v %s", s.failure, render(s.evidence))
		if other, ok := seen[key]; ok {
			t.Errorf("%s and %s have the same input", s.name(), other)
		}
		seen[key] = s.name()
		if !strings.HasPrefix(s.input, "# ") {
			t.Errorf("%s does not say what it is about", s.name())
		}
	}
	if len(slices.Collect(maps.Keys(seen))) < 80 {
		t.Errorf("only %d scenarios", len(seen))
	}
}

// render shows evidence with what its pointers point to.
func render(all []Evidence) string {
	var b bytes.Buffer
	for _, e := range all {
		login := ""
		if e.Credential != nil {
			login = fmt.Sprintf("%+v", *e.Credential)
		}
		e.Credential = nil
		fmt.Fprintf(&b, "%+v %s\n", e, login)
	}
	return b.String()
}
