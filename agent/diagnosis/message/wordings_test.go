package message

import (
	"os"
	"path/filepath"
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
// hosts, repositories and tags are called.
func TestReadWordings(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "wordings.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var cause diagnosis.Cause
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
		n++
		assertWording(t, cause, kind, wording)
	}
	if n < 200 {
		t.Errorf("only %d wordings", n)
	}
}

// assertWording reads a wording in each of its frames, with names of all kinds.
func assertWording(t *testing.T, cause diagnosis.Cause, kind, wording string) {
	t.Helper()
	around := frames[kind]
	if kind == "C" {
		around = append([]string{`Failed to pull image "IMAGE": rpc error: code = Unknown desc = TEXT`}, frames["S"]...)
	}
	for _, names := range [][3]string{
		{"reg.example.test", "team/app", "v1"},
		{"10.1.2.3:5000", "denied/unauthorized", "401"},
		{"no-such-host.timeout.test:8443", "not-found/quarantine/toomanyrequests", "404"},
		{"[2001:db8::1]:5000", "signature/policy", "expired"},
		{"registry:5000", "manifest-unknown/name-unknown", "500"},
		{"connection-refused.test", "short-name/blocked-by/rate-limit", "no-space-left"},
	} {
		host, repository, tag := names[0], names[1], names[2]
		name, _, _ := strings.Cut(strings.TrimPrefix(host, "["), "]")
		filled := strings.NewReplacer("IMAGE", host+"/"+repository+":"+tag, "IMG", host+"/"+repository+":"+tag, "HOST", host, "NAME", name,
			"REPO", repository, "TAG", tag, "DIG", "sha256:7393a1cbc03c5e138c8493de1b48626a58ad7a58c623480dfe3c817aace71845")
		for _, frame := range around {
			message := filled.Replace(strings.ReplaceAll(frame, "TEXT", wording))
			if got := Read("", message).Cause; got != cause {
				t.Errorf("%s, want %s: %s", got, cause, message)
			}
		}
	}
}
