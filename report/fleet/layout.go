package fleet

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// Layout describes the terminal.
type Layout struct {
	// Width is the number of columns; 0 means unlimited.
	Width int
	// Height is the number of lines; 0 means unlimited.
	Height int
	// Color enables colors.
	Color bool
}

// The colors as ECMA-48 parameters.
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

// columns returns the width of a text on a terminal: East Asian wide characters
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

// pad pads a text to n columns.
func pad(s string, n int) string { return s + strings.Repeat(" ", max(n-columns(s), 0)) }

// fit truncates a text to n columns. It removes the middle, because the end of
// an image or pod name matters as much as its beginning.
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

// wrap breaks a text at spaces into indented lines of at most n columns. A
// longer word gets a line of its own, so that it can be copied. With n 0 there
// is one line.
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

// Screen truncates a text to the layout's height and says how many lines are
// missing.
func (l Layout) Screen(text string) string {
	lines := strings.SplitAfter(text, "\n")
	if l.Height < 2 || len(lines) <= l.Height {
		return text
	}
	most := l.Height - 2
	return strings.Join(lines[:most], "") + "... and " + count(len(lines)-1-most, "line") + " more\n"
}

// gap is the space between two columns of a table.
const gap = 2

// table formats rows, the first of which is the heading. If they are wider than
// the layout, the widest columns shrink, down to minColumn.
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

// minColumn is the minimum width of a shrunk column.
const minColumn = 6

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
		widest := slices.Index(widths, slices.Max(widths))
		if widths[widest] <= minColumn {
			break
		}
		widths[widest]--
	}
	return widths
}
