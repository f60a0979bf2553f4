package check

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/containerd/platforms"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/asserttest"
	"github.com/whypull/whypull/cri/hostfs/hostfstest"
	"github.com/whypull/whypull/report"
)

// long is the time limit for what must happen.
const long = time.Minute

// update updates the golden files.
var update = flag.Bool("update", false, "update the golden files")

// password is in all input of the command and must not be in any output.
const password = "correct-horse-battery"

// reportOf is Options.Report as in the command.
func reportOf(v []diagnosis.Verdict, node string, at time.Time) any {
	return report.NewDocument(v, node, at)
}

// outcome is the result of a run of the command.
type outcome struct {
	pullable bool
	err      error
	text     string
}

// do runs the command and checks that its output has no password and nothing that
// moves the cursor.
func do(t *testing.T, o Options, stdin string) outcome {
	t.Helper()
	var out bytes.Buffer
	pullable, err := Run(t.Context(), o, strings.NewReader(stdin), &out)
	got := outcome{pullable, err, out.String()}
	everything := fmt.Sprint(got.text, got.err)
	for _, form := range []string{password, base64.StdEncoding.EncodeToString([]byte(password)), basic("user", password)} {
		if strings.Contains(everything, form) {
			t.Errorf("the password is in\n%s", everything)
		}
	}
	tidy(t, everything)
	return got
}

func tidy(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			t.Fatalf("%U is in %q", r, text)
		}
	}
}

// parsed returns the parsed JSON output.
func (o outcome) parsed(t *testing.T) Document[report.Document] {
	t.Helper()
	var d Document[report.Document]
	dec := json.NewDecoder(strings.NewReader(o.text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		t.Fatalf("%v in %s (error %v)", err, o.text, o.err)
	}
	return d
}

func basic(user, pass string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + pass))
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func secretOf(t *testing.T, name, namespace, config string) string {
	t.Helper()
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\ntype: kubernetes.io/dockerconfigjson\nmetadata: {name: %s, namespace: '%s'}\ndata: {.dockerconfigjson: %s}\n",
		name, namespace, base64.StdEncoding.EncodeToString([]byte(config)))
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	hostfstest.Add(t, "", map[string]string{name: text})
	return name
}

// golden compares text with a file in testdata, except what differs between runs:
// ports, directories, digests.
func golden(t *testing.T, name, text string, variable ...string) {
	t.Helper()
	text = regexp.MustCompile(`(\.example|localhost|127\.0\.0\.1):\d+`).ReplaceAllString(text, "$1:PORT")
	text = regexp.MustCompile(`example-\d+`).ReplaceAllString(text, "example-PORT")
	variable = append(variable, platforms.Format(platforms.DefaultSpec()), "PLATFORM")
	for i := 0; i < len(variable); i += 2 {
		if variable[i] == "" {
			continue
		}
		text = strings.ReplaceAll(text, variable[i], variable[i+1])
	}
	asserttest.Golden(t, filepath.Join("testdata", name), *update, text)
}
