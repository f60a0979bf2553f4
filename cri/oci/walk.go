package oci

import (
	"bytes"
	"encoding/json"
	"slices"
	"unicode/utf8"
)

// member is a member of a document that is a map.
type member struct {
	key, value []byte // as written
	commas     int    // between the members of the value, if that is a list or map
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
	_ = json.Unmarshal(m.key, &s) // the document is valid
	return s
}

// walk passes the members of a document that is a map to top, and reports whether the
// document is valid. It takes no more memory than the document is deep.
func walk(body []byte, top func(member)) bool {
	if !json.Valid(body) {
		return false
	}
	var m member
	depth, start := 0, 0
	structure(body, func(at int, c byte) {
		switch {
		case c == '{', c == '[':
			if depth++; depth == 1 {
				start = at + 1
			}
		case c == ',' && depth == 2:
			m.commas++
		case c == ':' && depth == 1:
			m.key, start = bytes.TrimSpace(body[start:at]), at+1
		case (c == ',' || c == '}') && depth == 1 && m.key != nil:
			m.value = bytes.TrimSpace(body[start:at])
			top(m)
			m, start = member{}, at+1
		}
		if c == '}' || c == ']' {
			depth--
		}
	})
	return true
}

// structure calls f for each character of a document that is not in a text, and where
// it is.
func structure(body []byte, f func(at int, c byte)) {
	inText := false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '\\': // in a text
			i++
		case c == '"':
			inText = !inText
		case !inText:
			f(i, c)
		}
	}
}
