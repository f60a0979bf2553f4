package message

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
)

func TestComplete(t *testing.T) {
	for _, c := range []struct{ cut, want string }{
		{"dial tcp: lookup _: no such h", "dial tcp: lookup _: no such host"},
		{"connect: connection refu…", "connect: connection refused"},
		{"connect: connection res...", "connect: connection reset by peer"},
		{"401 unautho\"", "401 unauthorized"},
		{"no such", "no such"}, // host, image, repository: the text does not say
		{"connection re", "connection re"},
		{"no such host", "no such host"},
		{"manifest unknown", "manifest unknown"},
		{"", ""},
	} {
		if got := complete(c.cut); got != c.want {
			t.Errorf("%q: %q, want %q", c.cut, got, c.want)
		}
	}
}

// No end of a text can stand for two errors.
func TestCutTailsAreDistinct(t *testing.T) {
	seen := map[string]string{}
	for tail := range cutTails {
		head, rest, found := strings.Cut(tail, "|")
		if !found || head == "" || rest == "" {
			t.Errorf("%q has no division", tail)
		}
		for other, whole := range seen {
			if strings.HasSuffix(head, other) && !strings.HasSuffix(head+rest, whole) {
				t.Errorf("%q ends as %q does", tail, whole)
			}
		}
		seen[head] = head + rest
	}
}

func encoded(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Trim(string(b), `"`)
}

// What logs, web pages and people make of a text does not change what it says.
func TestReadForms(t *testing.T) {
	curly := func(s string) string {
		for i := 0; strings.Contains(s, `"`); i++ {
			s = strings.Replace(s, `"`, []string{"“", "”"}[i%2], 1)
		}
		return s
	}
	forms := map[string]func(string) string{
		"JSON":         func(s string) string { return encoded(t, s) },
		"JSON in JSON": func(s string) string { return encoded(t, encoded(t, s)) },
		"lower case":   strings.ToLower,
		"curly quotes": curly,
		"HTML":         strings.NewReplacer("&", "&amp;", `"`, "&#34;", "<", "&lt;", ">", "&gt;").Replace,
		"lines":        func(s string) string { return strings.ReplaceAll(s, ": ", ":\r\n") },
		"markdown":     func(s string) string { return "**" + s + "**" },
		"event count":  func(s string) string { return s + " (x5 over 3m)" },
		"kubelet's log": func(s string) string {
			return `E0102 03:04:05.123456    1234 log.go:32] "PullImage from image service failed" err="` + encoded(t, s) + `" image="r.test/x:1"`
		},
		"pod worker's log": func(s string) string {
			return `"Error syncing pod, skipping" err="failed to \"StartContainer\" for \"app\" with ErrImagePull: \"` + encoded(t, encoded(t, s)) + `\"" pod="shop/cart"`
		},
		"nerdctl's log": func(s string) string {
			return `time="2026-01-02T03:04:05Z" level=fatal msg="` + encoded(t, s) + `"`
		},
	}
	all := scenarios(t)
	for name, form := range forms {
		wrong := 0
		for _, s := range all {
			if s.Reason != "" || s.Cause == diagnosis.Unknown {
				continue
			}
			if got := Read("", form(s.Message)).Cause; got != s.Cause {
				wrong++
				t.Logf("%s: %s, want %s: %s", name, got, s.Cause, form(s.Message))
			}
		}
		if 200*wrong > len(all) {
			t.Errorf("%s: %d of %d read differently", name, wrong, len(all))
		}
	}
}

// A text that lost its end says less, and seldom something else.
func TestReadCutOff(t *testing.T) {
	all := scenarios(t)
	same, wrong := 0, 0
	for _, s := range all {
		runes := []rune(s.Message)
		if s.Reason != "" || len(runes) < 20 {
			same++
			continue
		}
		switch got := Read("", string(runes[:len(runes)-5])+"…").Cause; got {
		case s.Cause:
			same++
		case diagnosis.Unknown:
		default:
			wrong++
			t.Logf("%s, want %s: %s", got, s.Cause, s.Message)
		}
	}
	t.Logf("of %d texts without their last five letters %d read the same, %d differently", len(all), same, wrong)
	if 100*wrong > 5*len(all) || 100*same < 80*len(all) {
		t.Error("too many")
	}
}
