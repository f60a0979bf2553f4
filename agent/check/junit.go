package check

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/whypull/whypull/agent/diagnosis"
)

// junitSuite is a suite of JUnit's XML: a pod, with a case for each of its images.
// Package encoding/xml would make the agent larger by more than all of this package.
type junitSuite struct {
	name, file       string
	cases            []string
	failures, errors int
}

// counts returns the attributes with the numbers of cases.
func (s junitSuite) counts() string {
	return fmt.Sprintf(`tests="%d" failures="%d" errors="%d"`, len(s.cases), s.failures, s.errors)
}

// junit returns the results as JUnit's XML. An image that cannot be pulled is a
// failure, and one about which the checks are inconclusive an error.
func (c *checker) junit(all []result) (string, error) {
	var suites []junitSuite
	var total junitSuite
	last := -1
	for _, r := range all {
		if r.target.pod != last {
			suites, last = append(suites, c.suiteOf(r)), r.target.pod
		}
		s := &suites[len(suites)-1]
		one := c.caseOf(s, r)
		s.cases, total.cases = append(s.cases, one), append(total.cases, one)
	}
	var b strings.Builder
	for _, s := range suites {
		total.failures, total.errors = total.failures+s.failures, total.errors+s.errors
		fmt.Fprintf(&b, "  <testsuite%s %s>\n%s  </testsuite>\n", attributes("name", s.name, "file", s.file), s.counts(), strings.Join(s.cases, ""))
	}
	return fmt.Sprintf("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"whypull check\" %s>\n%s</testsuites>\n", total.counts(), b.String()), nil
}

// attributes returns attributes from names and values, without empty ones.
func attributes(pairs ...string) string {
	var text strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(&text, ` %s="%s"`, pairs[i], inXML(pairs[i+1]))
		}
	}
	return text.String()
}

// inXML returns a text as XML has it (XML 1.0, 2.2 and 2.4), on one line and without
// what moves a terminal's cursor.
func inXML(text string) string {
	text = strings.NewReplacer("\uFFFE", "", "\uFFFF", "").Replace(look{}.plain(text))
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;").Replace(text)
}

func (c *checker) suiteOf(r result) junitSuite {
	if len(c.objects.pods) == 0 {
		return junitSuite{name: "image"}
	}
	p := c.objects.pods[r.target.pod]
	return junitSuite{name: fmt.Sprintf("%s %s/%s", p.kind, p.namespace, p.name), file: fileOf(p)}
}

// fileOf returns the file of a pod as a path with slashes; "" for standard input.
func fileOf(p pod) string {
	if p.from.file == stdinName {
		return ""
	}
	return slashed(p.from.file)
}

// caseOf returns the case of a result and counts what it is.
func (c *checker) caseOf(s *junitSuite, r result) string {
	f, v := r.target.failure, r.verdict
	name, line := f.Image, ""
	if len(c.objects.pods) > 0 {
		name = fmt.Sprintf("%s %s: %s", f.Kind.Words(), f.Container, f.Image)
	}
	if s.file != "" {
		line = strconv.Itoa(r.target.line)
	}
	content := fmt.Sprintf("<system-out>%s</system-out>", inXML(v.Summary))
	if !r.pullable {
		kind := "failure"
		if v.Cause == diagnosis.Unknown {
			kind = "error"
			s.errors++
		} else {
			s.failures++
		}
		content = fmt.Sprintf("<%s%s>%s</%s>", kind, attributes("type", string(v.Cause), "message", v.Summary), explained(r), kind)
	}
	return fmt.Sprintf("    <testcase%s>\n      %s\n    </testcase>\n", attributes("classname", s.name, "name", name, "file", s.file, "line", line), content)
}

// explained returns, as XML, the summary, the evidence and the remedy of a result, each on
// lines of their own.
func explained(r result) string {
	lines := []string{r.verdict.Summary}
	for _, e := range r.verdict.Evidence {
		lines = append(lines, fmt.Sprintf("%s %s: %s", e.Check, e.Outcome, e.Detail))
	}
	lines = slices.Concat(lines, r.verdict.Remedy)
	for i := range lines {
		lines[i] = inXML(lines[i])
	}
	return strings.Join(lines, "\n")
}
