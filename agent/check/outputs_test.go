//go:build linux

package check

import (
	"encoding/json"
	"encoding/xml"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/deploy/runbook"
)

// hostile is a file name that would break lines, terminals and markup.
const hostile = "a\n\x1b[31m\u202e<&\"%.yaml"

// reported runs the command on the manifest of everything in a file with a hostile name.
func reported(t *testing.T, output string) (got outcome, file string) {
	t.Helper()
	w := world(t)
	o := options(w)
	file = write(t, filepath.Join(t.TempDir(), hostile), everything(t, w))
	o.Files, o.Output = []string{file}, output
	got = do(t, o, "")
	if got.err != nil || got.pullable {
		t.Fatalf("pullable %t, error %v", got.pullable, got.err)
	}
	return got, file
}

// junitXML is what programs read of JUnit's XML.
type junitXML struct {
	XMLName  xml.Name `xml:"testsuites"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Suites   []struct {
		Name     string `xml:"name,attr"`
		File     string `xml:"file,attr"`
		Tests    int    `xml:"tests,attr"`
		Failures int    `xml:"failures,attr"`
		Cases    []struct {
			Class   string        `xml:"classname,attr"`
			Name    string        `xml:"name,attr"`
			File    string        `xml:"file,attr"`
			Line    int           `xml:"line,attr"`
			Failure *junitProblem `xml:"failure"`
			Error   *junitProblem `xml:"error"`
			Output  string        `xml:"system-out"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

type junitProblem struct {
	Type    string `xml:"type,attr"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func TestJUnit(t *testing.T) {
	t.Parallel()
	got, _ := reported(t, "junit")
	var doc junitXML
	if err := xml.Unmarshal([]byte(got.text), &doc); err != nil {
		t.Fatalf("%v in %s", err, got.text)
	}
	var names []string
	failures := 0
	for _, s := range doc.Suites {
		cases := 0
		for _, c := range s.Cases {
			if c.Class != s.Name || c.Name == "" || c.Line == 0 || c.File != s.File || !strings.HasSuffix(c.File, "<&\"%.yaml") || (c.Failure != nil && c.Error != nil) {
				t.Errorf("case %+v of %s", c, s.Name)
			}
			if c.Failure != nil {
				cases++
				names = append(names, s.Name+" "+strings.Fields(c.Name)[1]+" "+c.Failure.Type)
				if c.Failure.Message == "" || !strings.HasPrefix(c.Failure.Text, c.Failure.Message+"\n") {
					t.Errorf("failure %+v", c.Failure)
				}
			}
		}
		if s.Tests != len(s.Cases) || s.Failures != cases {
			t.Errorf("%s: %d tests with %d failures, and %d cases with %d", s.Name, s.Tests, s.Failures, len(s.Cases), cases)
		}
		failures += cases
	}
	if doc.Failures != failures || doc.Tests < failures || len(doc.Suites) != 2 {
		t.Errorf("%d suites, %d tests, %d failures, want %d", len(doc.Suites), doc.Tests, doc.Failures, failures)
	}
	if !slices.Contains(names, "Deployment shop/web old: TagNotFound") {
		t.Errorf("failures %q", names)
	}
	if !strings.Contains(got.text, "# Put image ") {
		t.Error("no remedy")
	}
}

// What is in XML comes out of it, but what no terminal and no parser is to see.
func TestInXML(t *testing.T) {
	t.Parallel()
	const text = "a<b>&\"c\"'d' é]]>"
	written := "<x" + attributes("y", text+"\x1b\uFFFE\uFFFF\xff\n\u202e", "none", "") + ">" + inXML(text) + "</x>"
	var x struct {
		Y    string `xml:"y,attr"`
		Text string `xml:",chardata"`
	}
	if err := xml.Unmarshal([]byte(written), &x); err != nil || x.Y != text || x.Text != text || strings.Contains(written, "none") {
		t.Errorf("%+v, error %v in %s", x, err, written)
	}
}

// TestSARIF checks what the schema of SARIF 2.1.0 requires, and what GitHub does.
func TestSARIF(t *testing.T) {
	t.Parallel()
	got, file := reported(t, "sarif")
	var raw map[string]any
	var log sarifLog
	if err := json.Unmarshal([]byte(got.text), &raw); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(got.text), &log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || len(log.Runs) != 1 || !strings.HasSuffix(log.Schema, "sarif-2.1.0.json") {
		t.Fatalf("version %s, %d runs, schema %s", log.Version, len(log.Runs), log.Schema)
	}
	run := log.Runs[0]
	if run.Tool.Driver.Name != "whypull" || len(run.Results) < 3 || !slices.Contains([]string{"utf16CodeUnits", "unicodeCodePoints"}, run.ColumnKind) {
		t.Errorf("driver %q, %d results, columns %s", run.Tool.Driver.Name, len(run.Results), run.ColumnKind)
	}
	for _, rule := range run.Tool.Driver.Rules {
		if rule.ID == "" || rule.ShortDescription.Text == "" || rule.FullDescription.Text == "" || rule.Help.Text == "" || rule.HelpURI != runbook.URL(diagnosis.Cause(rule.ID)) {
			t.Errorf("rule %+v", rule)
		}
	}
	for _, r := range run.Results {
		if r.RuleIndex < 0 || r.RuleIndex >= len(run.Tool.Driver.Rules) || run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID {
			t.Errorf("rule %s at %d", r.RuleID, r.RuleIndex)
		}
		if r.Message.Text == "" || !slices.Contains([]string{"error", "warning"}, r.Level) || len(r.Locations) != 1 || r.Locations[0].Physical == nil {
			t.Errorf("result %+v", r)
			continue
		}
		at := r.Locations[0].Physical
		u, err := url.Parse(at.Artifact.URI)
		if err != nil || u.Path != file || at.Region.StartLine < 1 {
			t.Errorf("location %s, line %d, error %v", at.Artifact.URI, at.Region.StartLine, err)
		}
	}
}

// A location is relative to the directory in which the command runs, as programs that
// read SARIF expect it.
func TestURI(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"./deploy/a b.yaml": "deploy/a%20b.yaml", "x/../y.yaml": "y.yaml", "/srv/x.yaml": "file:///srv/x.yaml", "a:b.yaml": "./a:b.yaml", "a\nb": "a%0Ab",
	} {
		if got := uriOf(file); got != want {
			t.Errorf("%q: %s, want %s", file, got, want)
		}
	}
}

// The image of the command line is in no file.
func TestOutputsOfAnImage(t *testing.T) {
	t.Parallel()
	w := world(t)
	o := options(w)
	for output, want := range map[string]string{
		"junit": `<testcase classname="image" name="Not/Valid:1">`, "sarif": `"ruleId": "InvalidImageName"`, "yaml": "schema: " + Schema,
	} {
		o.Image, o.Output = "Not/Valid:1", output
		got := do(t, o, "")
		if got.err != nil || got.pullable || !strings.Contains(got.text, want) {
			t.Errorf("%s: error %v: %s", output, got.err, got.text)
		}
		if output == "yaml" {
			var d map[string]any
			if err := yaml.UnmarshalStrict([]byte(got.text), &d); err != nil || d["pullable"] != false {
				t.Errorf("%v in %s", err, got.text)
			}
		}
	}
}

// An image about which the checks are inconclusive is no failure and no success.
func TestInconclusiveOutputs(t *testing.T) {
	t.Parallel()
	c := &checker{objects: &objects{}}
	r := result{verdict: diagnosis.Verdict{Cause: diagnosis.Unknown, Summary: "nothing is known"}}
	r.target.failure.Image = "hub.example/a"
	junit, err := c.junit([]result{r})
	if err != nil || !strings.Contains(junit, `<error type="Unknown" message="nothing is known">`) || strings.Contains(junit, "<failure") {
		t.Errorf("error %v in %s", err, junit)
	}
	sarif, err := c.sarif([]result{r})
	if err != nil || !strings.Contains(sarif, `"level": "warning"`) {
		t.Errorf("error %v in %s", err, sarif)
	}
}
