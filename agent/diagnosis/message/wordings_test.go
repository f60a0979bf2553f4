package message

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
)

// frames are what stands around a runtime's error when it reaches a pod, by the
// letter in testdata/wordings.txt.
var frames = map[string][]string{
	"R": {
		`Failed to pull image "IMAGE": failed to pull and unpack image "IMAGE": failed to resolve reference "IMAGE": TEXT`,
		`rpc error: code = Unknown desc = failed to pull and unpack image "IMAGE": failed to resolve image: TEXT`,
	},
	"F": {
		`Failed to pull image "IMAGE": failed to pull and unpack image "IMAGE": failed to copy: httpReadSeeker: failed open: TEXT`,
		`rpc error: code = Unknown desc = failed to pull and unpack image "IMAGE": failed to copy: TEXT`,
	},
	"U": {`Failed to pull image "IMAGE": rpc error: code = Unknown desc = failed to pull and unpack image "IMAGE": TEXT`},
	"S": {
		`unable to pull image or OCI artifact: pull image err: initializing source docker://IMAGE: TEXT; artifact err: image reference: get manifest from ref: create image source: TEXT`,
		`Failed to pull image "IMAGE": rpc error: code = Unknown desc = initializing source docker://IMAGE: TEXT`,
	},
	"B": {
		`unable to pull image or OCI artifact: pull image err: TEXT; artifact err: image reference: reference is a container image, not an OCI artifact`,
		`Failed to pull image "IMAGE": rpc error: code = Unknown desc = TEXT`,
		`Failed to pull image "IMAGE": copying system image from manifest list: TEXT`,
	},
	"D": {`Failed to pull image "IMAGE": Error response from daemon: TEXT`, `rpc error: code = Unknown desc = Error response from daemon: TEXT`},
	"K": {"TEXT"},
}

// What a runtime says in the words of several versions keeps its cause, whatever
// hosts, repositories and tags are called: also if that is a phrase of a rule.
func TestReadWordings(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "wordings.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var cause diagnosis.Cause
	phrases := phrasesAsNames()
	n := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if name, is := strings.CutPrefix(line, "= "); is {
			cause = diagnosis.Cause(name)
			continue
		}
		kind, wording, found := strings.Cut(line, "|")
		if !found || strings.HasPrefix(line, "//") {
			continue
		}
		assertWording(t, cause, kind, wording, [3]string{"reg.example.test", "team/app", "v1"})
		assertWording(t, cause, kind, wording, [3]string{"10.1.2.3:5000", "denied/unauthorized", "401"})
		assertWording(t, cause, kind, wording, [3]string{"[2001:db8::1]:5000", "signature/policy", "500"})
		for range 4 {
			a, b, c := phrases[n%len(phrases)], phrases[(n+1)%len(phrases)], phrases[(n+2)%len(phrases)]
			assertWording(t, cause, kind, wording, [3]string{a + ":5000", b, c})
			assertWording(t, cause, kind, wording, [3]string{b + ".test", c + "/" + a, "v1"})
			n += 3
		}
	}
	if n < 200*12 {
		t.Errorf("only %d names", n)
	}
}

// phrasesAsNames returns the phrases of all rules, as an image can be called.
func phrasesAsNames() []string {
	var names []string
	for _, r := range slices.Concat(textRules, stages) {
		for phrase := range strings.FieldsFuncSeq(r.any+"|"+r.with+"|"+r.not, func(c rune) bool { return c == '|' }) {
			words := strings.FieldsFunc(phrase, func(c rune) bool { return c >= 0x80 || !isAlnum(byte(c)) })
			if name := strings.Join(words, "-"); len(name) > 2 && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// assertWording reads a wording in each of its frames, with a host, a repository and a tag.
func assertWording(t *testing.T, cause diagnosis.Cause, kind, wording string, names [3]string) {
	t.Helper()
	around := frames[kind]
	if kind == "C" {
		around = append([]string{`Failed to pull image "IMAGE": rpc error: code = Unknown desc = TEXT`}, frames["S"]...)
	}
	host, repository, tag := names[0], names[1], names[2]
	name := strings.Trim(strings.TrimSuffix(host, ":5000"), "[]")
	filled := strings.NewReplacer("IMAGE", host+"/"+repository+":"+tag, "IMG", host+"/"+repository+":"+tag, "HOST", host, "NAME", name,
		"REPO", repository, "TAG", tag, "DIG", "sha256:7393a1cbc03c5e138c8493de1b48626a58ad7a58c623480dfe3c817aace71845")
	for _, frame := range around {
		message := filled.Replace(strings.ReplaceAll(frame, "TEXT", wording))
		if got := Read("", message).Cause; got != cause {
			t.Errorf("%s, want %s: %s", got, cause, message)
		}
	}
}
