package fleet

import (
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// Layout says how the output is to look.
type Layout struct {
	// Width is how many columns there are; 0 for as many as it takes.
	Width int
	// Height is how many lines there are; 0 for as many as it takes.
	Height int
	// Color tells to use colours.
	Color bool
}

// The colours, as ECMA-48 selects them.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (l Layout) paint(color, s string) string {
	if !l.Color || s == "" {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

// columns is how wide a text is on a terminal: characters of East Asian scripts
// take two columns, combining marks none.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += columnsOf(r)
	}
	return n
}

func columnsOf(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
		return 2
	}
	return 1
}

// pad fills a text up to n columns.
func pad(s string, n int) string { return s + strings.Repeat(" ", max(n-columns(s), 0)) }

// fit cuts a text to n columns. Of an image's or pod's name the end says as much
// as the beginning, so it is the middle that goes.
func fit(s string, n int) string {
	if columns(s) <= n {
		return s
	}
	r := []rune(s)
	begin, end := 0, len(r)
	for used := 1; ; {
		if c := columnsOf(r[begin]); used+c <= n && columns(string(r[:begin])) <= columns(string(r[end:])) {
			begin, used = begin+1, used+c
		} else if c := columnsOf(r[end-1]); used+c <= n {
			end, used = end-1, used+c
		} else {
			return string(r[:begin]) + "…" + string(r[end:])
		}
	}
}

// wrap breaks a text at blanks into lines of at most n columns, each behind the
// indent. A word that is longer gets a line of its own, so that what is copied
// is whole. With n 0 there is one line.
func wrap(s string, indent string, n int) string {
	var b strings.Builder
	used := 0
	for word := range strings.FieldsSeq(s) {
		switch c := columns(word); {
		case used == 0:
			b.WriteString(indent + word)
			used = columns(indent) + c
		case n > 0 && used+1+c > n:
			b.WriteString("\n" + indent + word)
			used = columns(indent) + c
		default:
			b.WriteString(" " + word)
			used += 1 + c
		}
	}
	b.WriteString("\n")
	return b.String()
}

// Screen cuts a text to what the layout has room for at once: the beginning, and
// how many lines there are more.
func (l Layout) Screen(text string) string {
	lines := strings.SplitAfter(text, "\n")
	if l.Height < 2 || len(lines) <= l.Height {
		return text
	}
	most := l.Height - 2
	return strings.Join(lines[:most], "") + "... and " + count(len(lines)-1-most, "line") + " more\n"
}

// gap is between two columns of a table.
const gap = 2

// table sets rows, the first of which is the heading, in columns. Where they
// take more than the layout's width, the widest columns give way, down to
// narrowest.
func (l Layout) table(indent string, rows [][]string) string {
	widths := l.fitted(columns(indent), rows)
	var b strings.Builder
	for i, row := range rows {
		line := indent
		for j, cell := range row {
			cell = fit(cell, widths[j])
			if j < len(row)-1 {
				cell = pad(cell, widths[j]+gap)
			}
			line += cell
		}
		line = strings.TrimRight(line, " ")
		if i == 0 {
			line = l.paint(dim, line)
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// narrowest is what a column keeps.
const narrowest = 6

func (l Layout) fitted(indent int, rows [][]string) []int {
	widths := make([]int, len(rows[0]))
	total := indent - gap
	for j := range widths {
		for _, row := range rows {
			widths[j] = max(widths[j], columns(row[j]))
		}
		total += widths[j] + gap
	}
	for ; l.Width > 0 && total > l.Width; total-- {
		widest := 0
		for j := range widths {
			if widths[j] > widths[widest] {
				widest = j
			}
		}
		if widths[widest] <= narrowest {
			break
		}
		widths[widest]--
	}
	return widths
}
