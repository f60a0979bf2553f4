package fleet

import (
	"regexp"
	"strings"
)

// The indents of a page: its sections, and what is to be copied from them.
const (
	pageIndent = "  "
	codeIndent = "      "
	bullet     = "- "
)

// pageWidth is the widest that a text is still read with ease.
const pageWidth = 100

// markdown renders the part of Markdown that the runbook's pages are written in
// for a terminal: headings, paragraphs, lists of one level and fenced code, which
// is indented and never wrapped.
func (l Layout) markdown(source string) string {
	p := page{Layout: l}
	p.Width = min(l.Width, pageWidth)
	for line := range strings.Lines(source) {
		p.line(strings.TrimRight(line, "\n"))
	}
	p.flush()
	return p.out.String()
}

// page is a page as far as it has been rendered.
type page struct {
	Layout
	out  strings.Builder
	text string // of the paragraph or list item that is being read
	item bool   // it is a list item
	deep string // the indent of the section
	code bool   // within a fence
}

func (p *page) line(s string) {
	switch {
	case strings.HasPrefix(s, "```"):
		p.flush()
		p.code = !p.code
	case p.code:
		p.out.WriteString(strings.TrimRight(codeIndent+s, " ") + "\n")
	case strings.HasPrefix(s, "<!--"):
	case s == "":
		p.flush()
		p.out.WriteString("\n")
	case strings.HasPrefix(s, "#"):
		p.heading(s)
	case strings.HasPrefix(s, bullet):
		p.flush()
		p.text, p.item = strings.TrimPrefix(s, bullet), true
	default:
		p.text += " " + s
	}
}

func (p *page) heading(s string) {
	p.flush()
	text := strings.TrimLeft(s, "#")
	if strings.HasPrefix(s, "## ") {
		p.deep = pageIndent
	}
	for line := range strings.Lines(wrap(inline(text), "", p.Width)) {
		p.out.WriteString(p.paint(bold, strings.TrimRight(line, "\n")) + "\n")
	}
}

// flush ends the paragraph or list item.
func (p *page) flush() {
	if p.text == "" {
		return
	}
	text, indent := inline(p.text), p.deep
	if p.item {
		indent += pageIndent
	}
	text = wrap(text, indent, p.Width)
	if p.item { // the mark stands in the indent
		text = p.deep + bullet + strings.TrimPrefix(text, indent)
	}
	p.out.WriteString(text)
	p.text, p.item = "", false
}

// inline takes the marks out of a text: those of code, of emphasis and of links,
// of which the words stay. Between the marks of code nothing else is one.
func inline(s string) string {
	parts := strings.Split(s, "`")
	link := regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	for i := 0; i < len(parts); i += 2 {
		parts[i] = link.ReplaceAllString(strings.ReplaceAll(parts[i], "**", ""), "$1")
	}
	return strings.Join(parts, "")
}
