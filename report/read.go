package report

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// readLimit is the most bytes that Parse takes. Later versions of whypull may
// write more than ReportLimit, but whoever can write annotations can write 256
// KiB of them.
const readLimit = 16 * ReportLimit

// Parse reads a report annotation. Fields that it does not know are passed
// over, since v1 only ever adds some; a document of another schema, one that is
// far too long, or none at all is an error. The texts are as they were found:
// see Printable.
func Parse(annotation string) (Document, error) {
	if len(annotation) > readLimit {
		return Document{}, fmt.Errorf("report annotation: %d bytes, more than %d", len(annotation), readLimit)
	}
	var d Document
	if err := json.Unmarshal([]byte(annotation), &d); err != nil {
		return Document{}, fmt.Errorf("report annotation: %w", err)
	}
	if d.Schema != Schema {
		return Document{}, fmt.Errorf("report annotation: schema %q, want %q", clip(d.Schema, 64), Schema)
	}
	return d, nil
}

// Printable returns a copy of the document whose texts may be shown on a
// terminal.
func (d Document) Printable() Document {
	d.Schema, d.Node, d.ObservedAt = Printable(d.Schema), Printable(d.Node), Printable(d.ObservedAt)
	containers := make([]Container, 0, len(d.Containers))
	for _, c := range d.Containers {
		containers = append(containers, c.printable())
	}
	d.Containers = containers
	return d
}

func (c Container) printable() Container {
	for _, s := range []*string{&c.Name, &c.Kind, &c.Image, &c.PullPolicy, &c.Cause, &c.Confidence, &c.Summary, &c.Since} {
		*s = Printable(*s)
	}
	remedy, evidence := make([]string, 0, len(c.Remedy)), make([]Entry, 0, len(c.Evidence))
	for _, line := range c.Remedy {
		remedy = append(remedy, Printable(line))
	}
	for _, e := range c.Evidence {
		evidence = append(evidence, Entry{Printable(e.Check), Printable(e.Outcome), Printable(e.Fault), Printable(e.Detail)})
	}
	c.Remedy, c.Evidence = remedy, evidence
	return c
}

// escapes are the control sequences of ECMA-48 and xterm: CSI, the strings OSC,
// DCS, SOS, PM and APC with their ends, and the short ones.
const escapes = "(?:\x1b\\[|\u009b)[0-?]*[ -/]*[@-~]" +
	"|(?:\x1b[\\]PX^_]|[\u009d\u0090\u0098\u009e\u009f])[^\x07\x1b\u009c]*(?:\x07|\x1b\\\\|\u009c)" +
	"|\x1b[ -/]*[0-~]"

// Printable returns a text from the cluster as it may be shown on a terminal, in
// one line: without escape sequences, control characters, and those that turn
// the direction of writing or cannot be seen. White space of any kind becomes a
// blank, invalid UTF-8 the replacement character.
func Printable(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if plain(s) {
		return s
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		s = regexp.MustCompile(escapes).ReplaceAllLiteralString(s, "")
	}
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r) && r != '\u0085':
			return ' '
		}
		return -1
	}, s)
}

// plain tells that there is nothing to do, as for nearly all texts.
func plain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
