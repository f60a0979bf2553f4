package check

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	"github.com/whypull/whypull/agent/diagnosis"
)

// The elements of JUnit's XML: a suite for each pod, a case for each of its images.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		File     string      `xml:"file,attr,omitempty"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		File    string        `xml:"file,attr,omitempty"`
		Line    int           `xml:"line,attr,omitempty"`
		Failure *junitProblem `xml:"failure"`
		Error   *junitProblem `xml:"error"`
		Output  string        `xml:"system-out,omitempty"`
	}
	junitProblem struct {
		Type    string `xml:"type,attr"`
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// junit returns the results as JUnit's XML. An image that cannot be pulled is a
// failure, and one about which the checks are inconclusive an error.
func (c *checker) junit(all []result) (string, error) {
	doc := junitSuites{Name: "whypull check"}
	last := -1
	for _, r := range all {
		if r.target.pod != last {
			doc.Suites, last = append(doc.Suites, c.suiteOf(r)), r.target.pod
		}
		suite := &doc.Suites[len(doc.Suites)-1]
		one := c.caseOf(r)
		one.Class = suite.Name
		suite.Cases = append(suite.Cases, one)
		suite.Tests, doc.Tests = suite.Tests+1, doc.Tests+1
		if one.Failure != nil {
			suite.Failures, doc.Failures = suite.Failures+1, doc.Failures+1
		}
		if one.Error != nil {
			suite.Errors, doc.Errors = suite.Errors+1, doc.Errors+1
		}
	}
	out, err := xml.MarshalIndent(doc, "", "  ")
	return xml.Header + string(out) + "\n", err
}

func (c *checker) suiteOf(r result) junitSuite {
	if len(c.objects.pods) == 0 {
		return junitSuite{Name: "image"}
	}
	p := c.objects.pods[r.target.pod]
	return junitSuite{Name: look{}.plain(fmt.Sprintf("%s %s/%s", p.kind, p.namespace, p.name)), File: fileOf(p)}
}

// fileOf returns the file of a pod as a path with slashes that is safe to show; ""
// for standard input.
func fileOf(p pod) string {
	if p.from.file == stdinName {
		return ""
	}
	return look{}.plain(slashed(p.from.file))
}

func (c *checker) caseOf(r result) junitCase {
	f, v := r.target.failure, r.verdict
	out := junitCase{Name: look{}.plain(fmt.Sprintf("%s %s: %s", f.Kind.Words(), f.Container, f.Image))}
	if len(c.objects.pods) == 0 {
		out.Name = look{}.plain(f.Image)
	} else {
		p := c.objects.pods[r.target.pod]
		if out.File = fileOf(p); out.File != "" {
			out.Line = r.target.line
		}
	}
	if r.pullable {
		out.Output = look{}.plain(v.Summary)
		return out
	}
	problem := &junitProblem{Type: string(v.Cause), Message: look{}.plain(v.Summary), Text: explained(r)}
	if v.Cause == diagnosis.Unknown {
		out.Error = problem
	} else {
		out.Failure = problem
	}
	return out
}

// explained returns the summary, the evidence and the remedy of a result, each on
// lines of their own.
func explained(r result) string {
	lines := []string{r.verdict.Summary}
	for _, e := range r.verdict.Evidence {
		lines = append(lines, fmt.Sprintf("%s %s: %s", e.Check, e.Outcome, e.Detail))
	}
	lines = slices.Concat(lines, r.verdict.Remedy)
	for i := range lines {
		lines[i] = look{}.plain(lines[i])
	}
	return strings.Join(lines, "\n")
}
