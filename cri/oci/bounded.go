package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"iter"
	"time"
)

// errType is a value of another type than the specification wants.
var errType = errors.New("value of a wrong type")

// text is a string that is kept.
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(raw []byte) error {
	if len(raw) > maxText && raw[0] == '"' {
		return ErrTooLarge
	}
	return json.Unmarshal(raw, (*string)(t))
}

// anyText is a string of which nothing is kept.
type anyText struct{}

// UnmarshalJSON implements json.Unmarshaler.
func (*anyText) UnmarshalJSON(raw []byte) error { return isText(raw) }

// texts is a list of strings of which nothing is kept.
type texts struct{}

// UnmarshalJSON implements json.Unmarshaler.
func (*texts) UnmarshalJSON(raw []byte) error { return each(raw, '[', isText) }

// textMap is a map of strings of which nothing is kept.
type textMap struct{}

// UnmarshalJSON implements json.Unmarshaler.
func (*textMap) UnmarshalJSON(raw []byte) error { return each(raw, '{', isText) }

// set is a map of objects of which nothing is kept.
type set struct{}

// UnmarshalJSON implements json.Unmarshaler.
func (*set) UnmarshalJSON(raw []byte) error {
	return each(raw, '{', func(v []byte) error { return is(v, '{') })
}

// history is the list of how an image was made, of which nothing is kept.
type history struct{}

// UnmarshalJSON implements json.Unmarshaler.
func (*history) UnmarshalJSON(raw []byte) error {
	return each(raw, '[', func(v []byte) error {
		var step struct {
			Created    *time.Time `json:"created"`
			CreatedBy  anyText    `json:"created_by"`
			Author     anyText    `json:"author"`
			Comment    anyText    `json:"comment"`
			EmptyLayer bool       `json:"empty_layer"`
		}
		return json.Unmarshal(v, &step)
	})
}

// data is embedded content, of which nothing is kept.
type data struct{}

// UnmarshalJSON implements json.Unmarshaler.
func (*data) UnmarshalJSON(raw []byte) error {
	var content []byte
	return json.Unmarshal(raw, &content)
}

// addresses is how many of them there are.
type addresses int

// UnmarshalJSON implements json.Unmarshaler.
func (a *addresses) UnmarshalJSON(raw []byte) error {
	*a = addresses(lengthOf(raw))
	return each(raw, '[', isText)
}

// presence is true where there is a member, null or not.
type presence bool

// UnmarshalJSON implements json.Unmarshaler.
func (p *presence) UnmarshalJSON([]byte) error {
	*p = true
	return nil
}

// length is how long a list is.
type length int

// UnmarshalJSON implements json.Unmarshaler.
func (l *length) UnmarshalJSON(raw []byte) error {
	*l = length(lengthOf(raw))
	return is(raw, '[')
}

// listOf decodes a list that may have so many entries.
func listOf[T any](into *[]T, raw []byte, most int) error {
	if lengthOf(raw) > most {
		return ErrTooLarge
	}
	var list []T // of a member that is there twice, the last one counts
	err := json.Unmarshal(raw, &list)
	*into = list
	return err
}

func isText(raw []byte) error { return is(raw, '"') }

// is checks the type of a value by its first byte. null is of every type.
func is(raw []byte, first byte) error {
	if raw[0] == first || raw[0] == 'n' {
		return nil
	}
	return errType
}

// each checks the values of a list or of a map, which begins with that byte.
func each(raw []byte, first byte, check func(value []byte) error) error {
	if err := is(raw, first); err != nil {
		return err
	}
	n := 0
	for value := range values(raw) {
		if n++; n > maxMembers {
			return ErrTooLarge
		}
		if err := check(value); err != nil {
			return err
		}
	}
	return nil
}

// lengthOf returns how long a list is, 0 for what is none.
func lengthOf(raw []byte) (n int) {
	if raw[0] != '[' {
		return 0
	}
	for range values(raw) {
		n++
	}
	return n
}

// values returns the values of a list or a map, as they stand in the text, none
// for other values. The text is valid JSON, and begins and ends with the list or
// the map.
func values(raw []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		isMap := raw[0] == '{'
		if !isMap && raw[0] != '[' {
			return
		}
		for i := next(raw, 1); i < len(raw)-1; i = next(raw, i+1) { // behind a comma
			if isMap {
				i = next(raw, next(raw, textEnd(raw, i))+1) // the name, and a colon
			}
			end := valueEnd(raw, i)
			if !yield(raw[i:end]) {
				return
			}
			i = next(raw, end)
		}
	}
}

// next returns where the next byte is that is no space.
func next(raw []byte, i int) int {
	for i < len(raw) && bytes.IndexByte([]byte(" \t\r\n"), raw[i]) >= 0 {
		i++
	}
	return i
}

// textEnd returns where a string ends that begins at i.
func textEnd(raw []byte, i int) int {
	for i++; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(raw)
}

// valueEnd returns where a value ends that begins at i.
func valueEnd(raw []byte, i int) int {
	for depth := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			i = textEnd(raw, i) - 1
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		default:
			if depth == 0 {
				return i + literal(raw[i:])
			}
			continue
		}
		if depth == 0 {
			return i + 1
		}
	}
	return len(raw)
}

// literal returns how long the number, true, false or null is with which a text
// begins.
func literal(raw []byte) int {
	if n := bytes.IndexAny(raw, ",]} \t\r\n"); n >= 0 {
		return n
	}
	return len(raw)
}
