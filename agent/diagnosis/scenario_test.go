package diagnosis

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
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
//	credentials: Failed NoMatchingCredential secret=regcred hosts=ghcr.io | the sentence
//	---
//	PullSecretNoMatch, Confirmed
//	pull secret regcred is for …
//	$ kubectl …
//
// The sentence is the one that must be made of the facts in front of it. What a
// file does not say has the value of [ordinary].
type verdictCase struct {
	file     string
	input    string // all in front of the verdict
	golden   string
	failure  Failure
	evidence []Evidence
	details  []string // of the evidence that is not a text, as the file has them
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

// verdictCases are the scenarios, which no test may change.
func verdictCases(t testing.TB) []verdictCase {
	t.Helper()
	all, err := readScenarios()
	if err != nil || len(all) == 0 {
		t.Fatal("no scenarios", err)
	}
	return all
}

// readScenarios parses the files once for all tests.
var readScenarios = sync.OnceValues(func() ([]verdictCase, error) {
	files, err := filepath.Glob(filepath.Join("testdata", "scenarios", "*.txt"))
	if err != nil {
		return nil, err
	}
	var out []verdictCase
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		s, err := parseScenario(string(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		s.file = file
		out = append(out, s)
	}
	return out, nil
})

func (s verdictCase) name() string { return strings.TrimSuffix(filepath.Base(s.file), ".txt") }

func parseScenario(data string) (verdictCase, error) {
	s := verdictCase{failure: ordinary()}
	s.input, s.golden, _ = strings.Cut(data, divider)
	var messages []string
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
			messages = append(messages, key+":"+value)
			continue
		}
		if err := s.set(key, value); err != nil {
			return s, err
		}
	}
	if len(messages) == 0 && s.failure.Reason != "" {
		messages = []string{"text:"}
	}
	s.complete()
	for _, text := range messages {
		s.read(text)
	}
	return s, nil
}

// complete gives evidence the facts that a file need not spell out.
func (s *verdictCase) complete() {
	for i := range s.evidence {
		e := &s.evidence[i]
		if e.Body == nil && e.Reason == "" && e.Outcome != NotRun {
			e.Body = newBody(e.Check)
		}
		switch b := e.Body.(type) {
		case *DNSFacts:
			b.Host = hostOnly(hostOf(e.Endpoint.URL))
		case *RegistryFacts:
			b.Reference = cmp.Or(b.Reference, s.failure.Image)
		case *PullFacts:
			if b.Retry == nil && b.Disk == nil && b.Room == nil {
				b.Sources = []string{s.failure.Registry}
			}
		}
	}
}

// read takes a text of the kubelet's as the message check does; "blob" marks
// one that speaks of a step after the manifest.
func (s *verdictCase) read(text string) {
	kind, message, _ := strings.Cut(text, ":")
	s.failure.Message = message
	r := readMessage(s.failure.Reason, message)
	r.AfterManifest = kind == "blob"
	e := Evidence{Check: CheckMessage, Outcome: Inconclusive, Body: r}
	if r.Cause != Unknown {
		e.Outcome, e.Fault = Failed, FaultOf(r.Cause)
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
	case "manager":
		f.Manager = parseManager(value)
	case "platform":
		f.Platform = Platform(value)
	case "stall":
		f.Stall = Stall(value)
	case "owner":
		f.Owner.Kind, f.Owner.Name, _ = strings.Cut(value, "/")
	case "cronjob":
		f.Owner.CronJob = value
	case "attempts":
		n, err := strconv.Atoi(value)
		f.Attempts = n
		return err
	case "secrets":
		f.PullSecrets = strings.Split(value, ", ")
	default:
		line, detail, _ := strings.Cut(value, " | ")
		e, err := parseEvidence(key, line)
		if err != nil {
			return err
		}
		s.number(e.Credential())
		s.evidence, s.details = append(s.evidence, e), append(s.details, detail)
	}
	return nil
}

// parseManager reads "tool/namespace/name".
func parseManager(s string) Manager {
	tool, rest, _ := strings.Cut(s, "/")
	namespace, name, _ := strings.Cut(rest, "/")
	return NewManager(Tool(tool), namespace, name)
}

// number gives a credential its place in the kubelet's order, which is that in which
// the file names them first.
func (s *verdictCase) number(c *CredentialRef) {
	if c == nil {
		return
	}
	var before []CredentialRef
	for _, e := range s.evidence {
		old := e.Credential()
		if old == nil {
			continue
		}
		if old.Source == c.Source && old.Key == c.Key {
			c.Order = old.Order
			return
		}
		if !slices.Contains(before, *old) {
			before = append(before, *old)
		}
	}
	c.Order = len(before) + 1
}

// parseEvidence reads "Outcome Fault key=value key="a value" …".
func parseEvidence(check, line string) (Evidence, error) {
	e := Evidence{Check: Check(check)}
	if !slices.Contains(Checks(), e.Check) {
		return e, fmt.Errorf("no check %q", check)
	}
	for i, word := range words(line) {
		key, value, found := strings.Cut(word, "=")
		switch {
		case i == 0:
			e.Outcome = Outcome(word)
		case !found:
			e.Fault = Fault(word)
		default:
			if err := e.setForTest(key, unquoted(value)); err != nil {
				return e, err
			}
		}
	}
	if !slices.Contains([]Outcome{Passed, Failed, Inconclusive, NotRun}, e.Outcome) {
		return e, fmt.Errorf("no outcome %q", e.Outcome)
	}
	if e.Fault == FaultPending && e.Reason == "" {
		e.Reason = ReasonPending
	}
	return e, nil
}

// sentenceOf returns the value of a constant for a reason.
func sentenceOf(name string) (string, error) {
	all := reasons()
	i := slices.IndexFunc(all, func(c constant) bool { return c.name == name })
	if i < 0 {
		return "", fmt.Errorf("no constant %s", name)
	}
	return all[i].value, nil
}

var reasons = sync.OnceValue(func() []constant { return readConstants("reason.go", "Reason") })

// unquoted returns a value without the quotes around it.
func unquoted(value string) string {
	for _, quote := range []string{"`", `"`} {
		if inner, ok := strings.CutPrefix(value, quote); ok {
			return strings.TrimSuffix(inner, quote)
		}
	}
	return value
}

// words splits a line at the spaces that are not between quotes.
func words(line string) []string {
	var quote rune
	return strings.FieldsFunc(line, func(r rune) bool {
		switch {
		case quote == r:
			quote = 0
		case quote == 0 && (r == '"' || r == '`'):
			quote = r
		}
		return r == ' ' && quote == 0
	})
}

// setForTest sets a fact of the header, or else of the body.
func (e *Evidence) setForTest(key, value string) error {
	switch key {
	case "at":
		e.Endpoint.URL = value
		return nil
	case "mirror":
		e.Endpoint.URL, e.Endpoint.Mirror = value, true
		return nil
	case "dir":
		e.Endpoint.ConfigDir = value
		return nil
	case "crio":
		e.Endpoint.CRIO, e.Endpoint.ConfigFile = true, strings.TrimPrefix(value, "-")
		return nil
	case "full":
		e.Endpoint.Image = value
		return nil
	case "reason":
		sentence, err := sentenceOf("Reason" + value)
		e.Reason = Reason(sentence)
		return err
	}
	if e.Body == nil {
		e.Body = newBody(e.Check)
	}
	var set bool
	var err error
	switch b := e.Body.(type) {
	case *ImageFacts:
		set = setImage(b, key, value)
	case *CredentialFacts:
		set, err = setCredentials(b, key, value)
	case *DNSFacts:
		set = setDNS(b, key, value)
	case *RegistryFacts:
		set, err = setRegistry(e, b, key, value)
	case *PullFacts:
		set, err = setPull(e, b, key, value)
	}
	if !set {
		return fmt.Errorf("no field %q of a %s", key, e.Check)
	}
	return err
}

func newBody(c Check) Body {
	switch c {
	case CheckImage:
		return &ImageFacts{}
	case CheckCredentials:
		return &CredentialFacts{}
	case CheckNodeDNS, CheckPodDNS:
		return &DNSFacts{}
	case CheckRegistry:
		return &RegistryFacts{}
	case CheckPull:
		return &PullFacts{}
	case CheckMessage:
	}
	return &MessageFacts{}
}

// texts sets the field of a key, where it is one of these.
func texts(fields map[string]*string, key, value string) bool {
	if field := fields[key]; field != nil {
		*field = value
		return true
	}
	return false
}

func setImage(b *ImageFacts, key, value string) bool {
	switch key {
	case "candidates":
		b.Candidates = strings.Split(value, ",")
	case "record":
		b.Record = Record(value)
	default:
		return texts(map[string]*string{"invalid": &b.Invalid, "error": &b.Error, "recorded": &b.Recorded, "written": &b.Written}, key, value)
	}
	return true
}

func setCredentials(b *CredentialFacts, key, value string) (_ bool, err error) {
	switch key {
	case "hosts":
		b.Hosts = strings.Split(value, ",")
		b.Key = b.Hosts[0]
	case "expired":
		b.ExpiredAt, err = time.Parse(minute, value)
	case "changed":
		b.Changed, err = time.Parse(minute, value)
	case "lifetime":
		b.Lifetime, err = time.ParseDuration(value)
	case "login":
		source, key, _ := strings.Cut(value, "@")
		b.Credential = &CredentialRef{Source: source, Key: key, Order: 1}
	case "near":
		b.Near, b.NearIs = value, NearOtherPort
	case "type":
		b.Legacy = value == "dockercfg"
	case "manager":
		b.Manager = parseManager(value)
	case "run":
		run, status, _ := strings.Cut(value, ":")
		b.Run = ProviderRun(run)
		if status != "" {
			b.ExitStatus, err = strconv.Atoi(status)
		}
	case "nearpath":
		b.Near, b.NearIs = strings.TrimPrefix(value, "-"), NearOtherPath
	default:
		return texts(map[string]*string{"secret": &b.Secret, "provider": &b.Provider, "problem": &b.Problem, "annotation": &b.Annotation, "padding": &b.Padding}, key, value), nil
	}
	return true, err
}

func setDNS(b *DNSFacts, key, value string) bool {
	switch key {
	case "addresses":
		b.Addresses = strings.Split(value, ",")
	case "nodeAddresses":
		b.NodeAddresses = strings.Split(value, ",")
	case "sinkhole":
		b.Sinkhole = value == "yes"
	case "compared":
		b.Compared = Comparison(value)
	default:
		return texts(map[string]*string{"server": &b.Server, "name": &b.Name, "why": &b.Why, "connection": &b.Connection, "proxy": &b.Proxy}, key, value)
	}
	return true
}

func setRegistry(e *Evidence, b *RegistryFacts, key, value string) (_ bool, err error) {
	switch key {
	case "login":
		source, key, _ := strings.Cut(value, "@")
		provider, ofProvider := strings.CutPrefix(source, "provider:")
		b.Credential = &CredentialRef{Source: provider, Key: key, Order: 1, OfNode: ofProvider || strings.HasPrefix(source, "/"), OfProvider: ofProvider}
	case "validity":
		b.Credential.Validity = Validity(value)
	case "candidates":
		b.Candidates = strings.Split(value, ",")
	case "status":
		b.Status, err = strconv.Atoi(value)
	case "looked":
		b.Looked, err = strconv.Atoi(value)
	case "phase":
		b.Phase = Phase(value)
	case "content":
		b.Content, b.Blob, e.Endpoint.URL = true, value, cmp.Or(e.Endpoint.URL, "https://hub.example.com")
	case "protocol":
		b.OtherProtocol = value == "other"
	case "proxyfault":
		b.ProxyFault = Fault(value)
	case "waited":
		b.Waited, err = time.ParseDuration(value)
	case "hops":
		b.Hops = strings.Split(value, ",")
	case "page":
		b.Page = value == "yes"
	case "platforms":
		b.Platform, value, _ = strings.Cut(value, ":")
		if value != "" {
			b.Platforms = strings.Split(value, ",")
		}
	case "says":
		b.Exists, b.SaysExpired, b.TokenRejected, b.UpstreamRefuses = value == "exists", value == "expired", value == "invalid token", value == "upstream"
	case "skew":
		var ahead time.Duration
		ahead, err = time.ParseDuration(value)
		b.Skew = &ahead
	case "tokenplain":
		b.TokenHost, b.TokenPlain = value, true
	case "form":
		b.Form = map[string]Form{"blob": FormBlob, "zstd": FormZstd}[value]
	case "encrypted":
		b.Encrypted = value == "yes"
	case "outside":
		b.Outside = value == "yes"
	case "api":
		b.NoAPI = value == "none"
	case "alert":
		b.Alert = map[string]Alert{"name": AlertName}[value]
	case "challenge":
		b.NoChallenge = value == "none"
	case "unsent":
		b.Unsent = value == "true"
	case "retry":
		b.RetryAfter, err = time.ParseDuration(value)
	case "issuer":
		b.Certificate = &Certificate{Issuer: value}
	case "namesake":
		b.Certificate.Namesake = value == "yes"
	case "alone":
		b.Certificate.Alone = value == "yes"
	case "names":
		b.Certificate = &Certificate{Names: strings.Split(value, ",")}
	case "valid":
		b.Certificate = &Certificate{}
		from, to, _ := strings.Cut(value, "/")
		if b.Certificate.NotBefore, err = time.Parse(time.RFC3339, from); err == nil {
			b.Certificate.NotAfter, err = time.Parse(time.RFC3339, to)
		}
	case "config":
		b.Config = &ConfigFacts{Problem: ConfigProblem(value)}
		if b.Config.Problem.Effect() == "" {
			err = fmt.Errorf("no problem %s", value)
		}
	case "line":
		b.Config.Line, err = strconv.Atoi(value)
	case "endpoint":
		b.Config.Endpoint = value
	case "file":
		if b.Config != nil {
			b.Config.File = value
		} else {
			e.Endpoint.ConfigFile = value
		}
	default:
		return texts(map[string]*string{
			"reference": &b.Reference, "via": &b.Via, "proxy": &b.Proxy, "token": &b.TokenHost, "remote": &b.Remote, "source": &b.Source,
		}, key, value), nil
	}
	return true, err
}

func setPull(e *Evidence, b *PullFacts, key, value string) (_ bool, err error) {
	switch key {
	case "since":
		b.Since, err = time.Parse(time.RFC3339, value)
	case "blob":
		b.Blob = value
	case "progress":
		done, total, _ := strings.Cut(value, "/")
		if b.Done, err = strconv.ParseInt(done, 10, 64); err == nil {
			b.Total, err = strconv.ParseInt(total, 10, 64)
		}
	case "room":
		b.Room = &Room{}
		_, err = fmt.Sscanf(value, "%d/%d", &b.Room.Free, &b.Room.Floor)
	case "filesystem":
		b.Disk = cmp.Or(b.Disk, &DiskFacts{})
		var s Filesystem
		s, err = parseFilesystem(value)
		b.Disk.Filesystems = append(b.Disk.Filesystems, s)
	case "says":
		b.Disk = cmp.Or(b.Disk, &DiskFacts{})
		b.Disk.Estimated = strings.Contains(value, "estimated")
		b.Disk.Sole, b.Disk.Partial = strings.Contains(value, "sole"), strings.Contains(value, "partial")
	case "retried", "login", "content", "message", "came", "layers":
		b.Retry = cmp.Or(b.Retry, &RetryFacts{})
		return setRetry(e, b.Retry, key, value)
	default:
		return false, nil
	}
	return true, err
}

func setRetry(e *Evidence, r *RetryFacts, key, value string) (_ bool, err error) {
	switch key {
	case "retried":
		r.Cause = Cause(value)
	case "login":
		source, key, _ := strings.Cut(value, "@")
		r.Credential = &CredentialRef{Source: source, Key: key, Order: 1}
	case "content":
		r.Replay, e.Endpoint.URL = &RegistryFacts{Content: true, Blob: value}, cmp.Or(e.Endpoint.URL, "https://hub.example.com")
	case "message":
		r.Message = readMessage("ErrImagePull", value)
	case "came":
		_, err = fmt.Sscanf(value, "%d/%d", &r.Fetched, &r.Bytes)
	case "layers":
		r.Whole = true
		r.Layers, err = strconv.Atoi(value)
	}
	return true, err
}

// parseFilesystem reads "path;uses=a,b;free=1;…".
func parseFilesystem(value string) (Filesystem, error) {
	parts := strings.Split(value, ";")
	s := Filesystem{Path: parts[0]}
	for _, part := range parts[1:] {
		key, value, _ := strings.Cut(part, "=")
		number := map[string]*uint64{"free": &s.Free, "total": &s.Total, "needed": &s.Needed}[key]
		switch {
		case number != nil:
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				return s, err
			}
			*number = n
		case key == "uses":
			for use := range strings.SplitSeq(value, ",") {
				s.Uses = append(s.Uses, FilesystemUse(use))
			}
		case key == "seen":
			s.Presumed, s.Seen = true, value
		case key == "presumed":
			s.Presumed = true
		case key == "unseen":
			s.Unseen = Unseen(value)
		case key == "inodes":
			s.NoInodes = value == "none"
		default:
			return s, fmt.Errorf("no field %q of a file system", key)
		}
	}
	return s, nil
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
			checkPromise(t, v.Remedy)
			for i, want := range s.details {
				switch got := Detail(s.failure, &s.evidence[i]); {
				case got == want:
				case *update:
					s.input = strings.Replace(s.input, " | "+want+"\n", " | "+got+"\n", 1)
					s.golden = ""
				default:
					t.Errorf("%s: got detail\n%s\nwant\n%s", s.evidence[i].Check, got, want)
				}
			}
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
		x := newFacts(s.failure, sorted(s.evidence))
		i := slices.IndexFunc(rules, func(r rule) bool { return r.when(x, r.cause) != "" })
		fired[i] = true
	}
	for i, r := range rules {
		if !fired[i] {
			t.Errorf("rule %d (%s) decides no scenario", i, r.cause)
		}
	}
	if !fired[-1] {
		t.Error("no scenario is left to the text alone")
	}
}

func TestParseScenarioRefusesTypos(t *testing.T) {
	for _, bad := range []string{"nonsense", "registrry: Failed", "registry: Fialed", "registry: Failed X color=red", "registry: Failed X status=many", "registry: NotRun reason=Odd"} {
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
		body, err := json.Marshal(e.Body)
		if err != nil {
			panic(err)
		}
		e.Body = nil
		fmt.Fprintf(&b, "%+v %s\n", e, body)
	}
	return b.String()
}
