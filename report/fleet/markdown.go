package fleet

import (
	"regexp"
	"strings"
)

// The indents of a page's sections and of its code.
const (
	pageIndent = "  "
	codeIndent = "      "
	bullet     = "- "
)

// pageWidth is the maximum line length for readability.
const pageWidth = 100

// markdown renders the Markdown subset of the runbook's pages for a terminal:
// headings, paragraphs, flat lists and fenced code, which is indented and never
// wrapped.
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
	text string // of the current paragraph or list item
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
	if p.item { // the bullet is part of the indent
		text = p.deep + bullet + strings.TrimPrefix(text, indent)
	}
	p.out.WriteString(text)
	p.text, p.item = "", false
}

// inline removes the markup of code, emphasis and links and keeps their text.
// Code contains no other markup.
func inline(s string) string {
	parts := strings.Split(s, "`")
	link := regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	for i := 0; i < len(parts); i += 2 {
		parts[i] = link.ReplaceAllString(strings.ReplaceAll(parts[i], "**", ""), "$1")
	}
	return strings.Join(parts, "")
}
