package oci

import (
	"encoding/json"
	"slices"
	"unicode/utf8"
)

// maxNested is how deeply encoding/json lets lists and maps be nested.
const maxNested = 10000

// member is a member of a document that is a map.
type member struct {
	key, value []byte // as written
	entries    int    // members of the value, if that is a list or map
}

// text returns the member's name; "" for one that is too long to be any of ours.
func (m member) text() string {
	const longest = 6 * 16 // each character may be escaped
	if len(m.key) > longest {
		return ""
	}
	if !slices.ContainsFunc(m.key, func(c byte) bool { return c == '\\' || c >= utf8.RuneSelf }) {
		return string(m.key[1 : len(m.key)-1])
	}
	var s string
	_ = json.Unmarshal(m.key, &s) // it is valid, as the document is so far
	return s
}

// walker reads a document once, from begin to end. It takes no more memory than the
// document is deep.
type walker struct {
	body   []byte
	at     int
	open   []byte       // the brackets around
	top    func(member) // gets the members of the document itself
	member member
	start  int // of its value
}

// walk passes the members of a document that is a map to top, and reports whether the
// document is valid by the rules of encoding/json. Only then do they mean anything.
func walk(body []byte, top func(member)) bool {
	w := walker{body: body, top: top, open: make([]byte, 0, 64)}
	return w.document()
}

func (w *walker) document() bool {
	for {
		whole, ok := w.value()
		for whole && ok && len(w.open) > 0 {
			whole, ok = w.after()
		}
		switch {
		case !ok:
			return false
		case whole:
			return w.next() == 0
		}
	}
}

// next skips white space and returns the character after it; 0 at the end, which is
// valid nowhere else.
func (w *walker) next() byte {
	for ; w.at < len(w.body); w.at++ {
		switch c := w.body[w.at]; c {
		case ' ', '\t', '\r', '\n':
		case 0:
			return 1
		default:
			return c
		}
	}
	return 0
}

// inTop reports whether what is read is a member of the document itself.
func (w *walker) inTop() bool { return len(w.open) == 1 && w.open[0] == '{' }

// value reads a value, of a list or map that is not empty only the beginning: whole is
// false then.
func (w *walker) value() (whole, ok bool) {
	c := w.next()
	if w.inTop() {
		w.start, w.member.entries = w.at, 0
	}
	switch c {
	case '{':
		return w.begin('{', '}')
	case '[':
		return w.begin('[', ']')
	case '"':
		return true, w.text()
	case 't':
		return true, w.word("true")
	case 'f':
		return true, w.word("false")
	case 'n':
		return true, w.word("null")
	}
	return true, w.number()
}

func (w *walker) begin(opening, closing byte) (whole, ok bool) {
	if w.at++; len(w.open) == maxNested {
		return false, false
	}
	if w.next() == closing {
		w.at++
		return true, true
	}
	w.open = append(w.open, opening)
	w.count()
	return false, opening == '[' || w.key()
}

// count counts an entry of a member of the document itself.
func (w *walker) count() {
	if len(w.open) == 2 {
		w.member.entries++
	}
}

// key reads a name and the colon after it.
func (w *walker) key() bool {
	if w.next() != '"' {
		return false
	}
	start := w.at
	if !w.text() {
		return false
	}
	if w.inTop() {
		w.member.key = w.body[start:w.at]
	}
	if w.next() != ':' {
		return false
	}
	w.at++
	return true
}

// after reads what is between a value and the next, or the end of the list or map.
func (w *walker) after() (whole, ok bool) {
	if w.inTop() {
		w.member.value = w.body[w.start:w.at]
		w.top(w.member)
	}
	last := len(w.open) - 1
	in := w.open[last]
	switch c := w.next(); {
	case c == ',':
		w.at++
		w.count()
		return false, in == '[' || w.key()
	case c == '}' && in == '{', c == ']' && in == '[':
		w.at++
		w.open = w.open[:last]
		return true, true
	}
	return false, false
}

func (w *walker) word(word string) bool {
	rest := w.body[w.at:]
	if len(rest) < len(word) || string(rest[:len(word)]) != word {
		return false
	}
	w.at += len(word)
	return true
}

// text reads a text from its first quotation mark to its last.
func (w *walker) text() bool {
	for w.at++; w.at < len(w.body); w.at++ {
		switch c := w.body[w.at]; {
		case c == '"':
			w.at++
			return true
		case c < ' ':
			return false
		case c == '\\':
			if !w.escaped() {
				return false
			}
		}
	}
	return false
}

// escaped reads an escaped character but for its last byte.
func (w *walker) escaped() bool {
	if w.at++; w.at == len(w.body) {
		return false
	}
	switch w.body[w.at] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		const digits = 4
		for range digits {
			if w.at++; w.at == len(w.body) || !isHex(w.body[w.at]) {
				return false
			}
		}
		return true
	}
	return false
}

func isHex(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// number reads a number.
func (w *walker) number() bool {
	w.skip('-', '-')
	if !w.skip('0', '0') && !w.digits() {
		return false
	}
	if w.skip('.', '.') && !w.digits() {
		return false
	}
	if w.skip('e', 'E') {
		w.skip('+', '-')
		return w.digits()
	}
	return true
}

// skip reads one of two characters, if it is there.
func (w *walker) skip(a, b byte) bool {
	if w.at == len(w.body) || w.body[w.at] != a && w.body[w.at] != b {
		return false
	}
	w.at++
	return true
}

// digits reads one digit or more.
func (w *walker) digits() bool {
	start := w.at
	for w.at < len(w.body) && isDigit(w.body[w.at]) {
		w.at++
	}
	return w.at > start
}
