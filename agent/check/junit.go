package check

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/whypull/whypull/agent/diagnosis"
)

// junit returns the results as JUnit's XML: a suite for each pod, with a case for each of
// its images. Package encoding/xml would make the agent larger by more than all of this
// package.
func (*checker) junit(all []result) (string, error) {
	var suites strings.Builder
	for _, own := range byPod(all) {
		name, file := "image", ""
		if p := own[0].target.pod; p != nil {
			name, file = fmt.Sprintf("%s %s/%s", p.kind, p.namespace, p.name), fileOf(p)
		}
		fmt.Fprintf(&suites, "  <testsuite%s %s>\n", attributes("name", name, "file", file), counts(own))
		for _, r := range own {
			suites.WriteString(testCase(name, file, r))
		}
		suites.WriteString("  </testsuite>\n")
	}
	return fmt.Sprintf("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"whypull check\" %s>\n%s</testsuites>\n", counts(all), suites.String()), nil
}

// problemOf returns JUnit's element for a result: an image that cannot be pulled is a
// failure, and one about which the checks are inconclusive an error; "" for one that can.
func problemOf(r result) string {
	switch {
	case r.pullable:
		return ""
	case r.verdict.Cause == diagnosis.Unknown:
		return "error"
	}
	return "failure"
}

// counts returns the attributes with the numbers of cases.
func counts(all []result) string {
	problems := map[string]int{}
	for _, r := range all {
		problems[problemOf(r)]++
	}
	return fmt.Sprintf(`tests="%d" failures="%d" errors="%d"`, len(all), problems["failure"], problems["error"])
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

// fileOf returns the file of a pod as a path with slashes; "" for standard input.
func fileOf(p *pod) string {
	if p.from.file == stdinName {
		return ""
	}
	return slashed(p.from.file)
}

// testCase returns the case of a result.
func testCase(suite, file string, r result) string {
	f, v := r.target.failure, r.verdict
	name, line := f.Image, ""
	if r.target.pod != nil {
		name = fmt.Sprintf("%s %s: %s", f.Kind.Words(), f.Container, f.Image)
	}
	if file != "" {
		line = strconv.Itoa(r.target.line)
	}
	content := fmt.Sprintf("<system-out>%s</system-out>", inXML(v.Summary))
	if problem := problemOf(r); problem != "" {
		content = fmt.Sprintf("<%s%s>%s</%s>", problem, attributes("type", string(v.Cause), "message", v.Summary), explained(r), problem)
	}
	return fmt.Sprintf("    <testcase%s>\n      %s\n    </testcase>\n", attributes("classname", suite, "name", name, "file", file, "line", line), content)
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
