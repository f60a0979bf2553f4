package keyringdiff

import (
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"k8s.io/klog/v2"

	"github.com/whypull/whypull/agent/keyring"
)

// tally counts kinds of cases, so that a run with only rejected input does not count as
// agreement.
type tally struct {
	sync.Mutex
	cases, badImages, broken, withCredentials, several, tied, hubFallback, ofNode, both, badFiles uint64
}

func TestSameAsKubelet(t *testing.T) {
	silenceKubelet()
	seed, cases := number(t, "KEYRINGDIFF_SEED", 1), number(t, "KEYRINGDIFF_CASES", 200_000)
	var sum tally
	t.Run("cases", func(t *testing.T) {
		workers := uint64(runtime.GOMAXPROCS(0))
		for w := range workers {
			t.Run(strconv.FormatUint(w, 10), func(t *testing.T) {
				t.Parallel()
				for n := w; n < cases; n += workers {
					compare(t, seed, n, &sum)
				}
			})
		}
	})
	t.Logf("seed %d: %d cases; %d images rejected, %d lookups broken, %d with credentials (%d with several, %d with tied places, %d by the fallback to Docker Hub, %d of the node, %d of it and of secrets; %d node files refused)",
		seed, sum.cases, sum.badImages, sum.broken, sum.withCredentials, sum.several, sum.tied, sum.hubFallback, sum.ofNode, sum.both, sum.badFiles)
	if sum.withCredentials < cases/10 || sum.broken < cases/50 || sum.hubFallback < cases/1000 || sum.both < cases/50 || sum.badFiles < cases/200 {
		t.Error("the cases do not exercise the rules")
	}
}

// silenceKubelet turns off the kubelet's log line for each entry that does not parse.
func silenceKubelet() {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
}

func number(t *testing.T, variable string, fallback uint64) uint64 {
	t.Helper()
	s := os.Getenv(variable)
	if s == "" {
		return fallback
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

func compare(t *testing.T, seed, n uint64, sum *tally) {
	image, from := newGrammar(seed, n).next()
	theirs := askKubelet(image, from)
	ours, lookup := askOurs(image, from)
	sum.add(theirs, lookup, from.Node)
	for _, difference := range []string{
		differ(theirs, ours, lookup), contradiction(lookup), wrongReason(theirs, lookup), wrongFile(from.Node),
	} {
		if difference != "" {
			t.Errorf("KEYRINGDIFF_SEED=%d case %d: %s\nimage %q\n%s\nkubelet %+v\nours    %+v",
				seed, n, difference, image, show(from), theirs, ours)
		}
	}
}

func show(from keyring.Sources) string {
	var b strings.Builder
	if from.Node != nil {
		fmt.Fprintf(&b, "node legacy %t %q\n", from.Node.Legacy, from.Node.Data.Reveal())
	}
	for _, s := range from.Secrets {
		data := s.Data.Reveal()
		fmt.Fprintf(&b, "%s type %q %s %q %s %q\n", s.Name, s.Type,
			keyring.DataDockerConfigJSON, data[keyring.DataDockerConfigJSON], keyring.DataDockercfg, data[keyring.DataDockercfg])
	}
	return b.String()
}

func (s *tally) add(a answer, l keyring.Lookup, n *keyring.NodeFile) {
	s.Lock()
	defer s.Unlock()
	count := func(n *uint64, yes bool) {
		if yes {
			*n++
		}
	}
	count(&s.cases, true)
	count(&s.badImages, a.Err != nil)
	count(&s.broken, a.Broken != nil)
	count(&s.withCredentials, len(a.Attempts) > 0)
	count(&s.several, len(a.Attempts) > 1)
	count(&s.tied, len(l.Credentials) > 1 && l.Credentials[len(l.Credentials)-1].Order < len(l.Credentials))
	ofNode := func(a attempt) bool { return a.OfNode }
	count(&s.ofNode, slices.ContainsFunc(a.Attempts, ofNode))
	count(&s.both, slices.ContainsFunc(a.Attempts, ofNode) && !a.Attempts[0].OfNode)
	count(&s.badFiles, n != nil && !n.Valid())
	count(&s.hubFallback, len(l.Credentials) > 0 && strings.Contains(l.Credentials[0].Key, "index.docker.io"))
}

// differ returns how the two answers differ, or "". It compares credentials for the
// same position as a set, because the kubelet's order among them is random.
func differ(theirs, ours answer, l keyring.Lookup) string {
	switch {
	case (theirs.Err != nil) != (ours.Err != nil):
		return "one accepts the image, one does not"
	case theirs.Image != ours.Image:
		return "the names differ"
	case (theirs.Broken != nil) != (ours.Broken != nil):
		return "one accepts the secrets, one does not"
	case !slices.Equal(settle(theirs.Attempts, l.Credentials), settle(ours.Attempts, l.Credentials)):
		return "the attempts differ"
	default:
		return ""
	}
}

func settle(all []attempt, places []keyring.Credential) []attempt {
	out := slices.Clone(all)
	if len(all) != len(places) {
		return out
	}
	for from := 0; from < len(out); {
		to := from + 1
		for to < len(out) && places[to].Order == places[from].Order {
			to++
		}
		slices.SortFunc(out[from:to], func(a, b attempt) int {
			return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
		})
		from = to
	}
	return out
}

// contradiction checks that the explanations agree with the credentials.
func contradiction(l keyring.Lookup) string {
	matching := 0
	states := slices.Clone(l.Secrets)
	if l.Node != nil {
		states = append(states, *l.Node)
	}
	for _, s := range states {
		if (s.Problem == "") != (s.Reason == "") {
			return "a problem without a reason, or a reason without a problem"
		}
		for _, e := range s.Entries {
			if e.Matches {
				matching++
			}
			if e.Matches != (e.Why == "") || !e.Matches && e.Text == "" {
				return "an entry that does not match and no word why: " + e.Key
			}
		}
	}
	if l.Broken == nil && matching != len(l.Credentials) {
		return "the matching entries are not those of the credentials"
	}
	return ""
}

// wrongReason compares the kind of the kubelet's error with our sentence.
func wrongReason(theirs answer, l keyring.Lookup) string {
	if theirs.Broken == nil || l.Broken == nil {
		return ""
	}
	raw, ours := theirs.Broken.Error(), l.Broken.Error()
	for _, class := range []struct{ raw, ours string }{
		{`^illegal base64 data at input byte (\d+)$`, `is not base64 \(at byte $1\)`},
		{`^unable to parse auth field`, `is not the base64 of user:password`},
		{`^json: .* field DockerConfigJSON\.HttpHeaders`, `"HttpHeaders" are not`},
		{`^json: cannot unmarshal (array|object) into`, `is an $1, not`},
		{`^json: cannot unmarshal (string|number) into`, `is a $1, not`},
		{`^json: cannot unmarshal bool into`, `is a boolean, not`},
		{`^invalid character|^unexpected end`, `is not valid JSON`},
	} {
		pattern := regexp.MustCompile(class.raw)
		if at := pattern.FindStringSubmatchIndex(raw); at != nil {
			want := string(pattern.ExpandString(nil, class.ours, raw, at))
			if regexp.MustCompile(want).MatchString(ours) {
				return ""
			}
			return fmt.Sprintf("the kubelet says %q, we say %q", raw, ours)
		}
	}
	return fmt.Sprintf("the kubelet says %q, which is none of the kinds we know", raw)
}

// wrongFile checks which of the node's files are skipped.
func wrongFile(n *keyring.NodeFile) string {
	if n == nil {
		return ""
	}
	if _, err := nodeConfig(*n); (err == nil) != n.Valid() {
		return fmt.Sprintf("the kubelet says %v of the node's file, we say valid: %t", err, n.Valid())
	}
	return ""
}
